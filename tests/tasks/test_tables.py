import gzip
import json
import pickle
import sys
from dataclasses import asdict
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from adamtune.errors import DataError
from adamtune.tasks.tables import Encoder, digits, encoded, read_table


@pytest.fixture
def write(tmp_path):
    def write(text, name="people.csv"):
        path = tmp_path / name
        content = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def rows(n, line):
    return "".join(line(i) + "\n" for i in range(n))


def said(table, words):
    found = [sentence for sentence in table.said if words in sentence]
    assert len(found) == 1, table.said
    return found[0]


# ----------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.csv.gz", "a.tsv", "a.tsv.gz"])
def test_numbers_stay_as_they_are(name, write):
    text = "x1,x2,y\n1,2.5,0\n-3,4e2,1\n5,0.125,0\n"
    table = read_table(write(text.replace(",", "\t") if ".tsv" in name else text, name), "y")
    np.testing.assert_array_equal(table.x, [[1, 2.5], [-3, 400], [5, 0.125]])
    np.testing.assert_array_equal(table.y, [0, 1, 0])
    assert (table.name, table.features, table.said) == ("a", ["x1", "x2"], [])
    assert table.x.dtype == np.float32


def test_parquet_is_read_as_the_same_table_as_csv(tmp_path):
    frame = pd.DataFrame(
        {
            "size": [1, 2, None, 4],
            "price": [Decimal("1.50"), Decimal("2.25"), None, Decimal("3.00")],
            "colour": ["red", "blue", None, "red"],
            "sold": [True, False, None, True],
            "label": ["a", "b", "a", "b"],
        },
        index=[5, 6, 7, 8],
    )
    frame.to_csv(tmp_path / "shop.csv", index=False)
    frame.to_parquet(tmp_path / "shop.PARQUET")
    from_text, found = (read_table(tmp_path / name, "label") for name in ("shop.csv", "shop.PARQUET"))
    np.testing.assert_array_equal(found.x, from_text.x)
    np.testing.assert_array_equal(found.y, from_text.y)
    assert (found.name, found.kind, found.features) == (from_text.name, from_text.kind, from_text.features)
    assert found.said == from_text.said


def test_what_parquet_holds_beyond_a_table_is_dropped_with_a_word(tmp_path):
    frame = pd.DataFrame({"x": [1, 2, 3], "list": [[1], [2], []], "record": [{"a": 1}] * 3, "y": [0, 1, 0]})
    frame.to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet", "y")
    assert table.features == ["x"]
    assert table.said == ["Dropped, because lists and records have no place in a table: list, record."]


def test_bytes_in_parquet_are_text_whatever_they_hold(tmp_path):
    frame = pd.DataFrame({"x": [b"\xff", b"ab", b"ab"], "z": [1, 2, 3], "y": [b"no", b"yes", b"no"]})
    frame.to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet", "y")
    assert table.features == ["z", "x=\ufffd"] and list(table.y) == ["no", "yes", "no"]


def test_named_index_of_parquet_is_a_column(tmp_path):
    pd.DataFrame({"x": [1, 2], "y": [0, 1]}, index=pd.Index([7, 9], name="age")).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", "y").features == ["x", "age"]


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" + 100 * b"x" + b"PAR1", b"PAR1\0\0\0\0PAR1"])
def test_broken_parquet_is_refused(content, write):
    with pytest.raises(DataError, match=r"people.parquet cannot be read as Parquet: .+\."):
        read_table(write(content, "people.parquet"), "y")


def test_parquet_without_pyarrow_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'adamtune\[parquet\]'"):
        read_table(write(b"PAR1", "people.parquet"), "y")


def test_semicolons_and_decimal_commas_of_a_spreadsheet(write):
    table = read_table(write("\ufeffx;y\n1,5;0\n2,5;1\n"), "y")
    np.testing.assert_array_equal(table.x[:, 0], [1.5, 2.5])


def test_the_name_keeps_its_own_dots(write):
    assert read_table(write("x,y\n1,0\n2,1\n", "v1.2.csv.gz"), "y").name == "v1.2"


def test_text_becomes_columns_of_0_and_1(write):
    table = read_table(write("colour,sex,y\nred,m,0\nblue,f,1\ngreen,f,0\nred,m,0\n"), "y")
    assert table.features == ["colour=blue", "colour=green", "colour=red", "sex=m"]
    np.testing.assert_array_equal(table.x, [[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])


def test_bool_is_one_column_also_with_gaps(write):
    table = read_table(write("a,b,y\nTrue,True,0\nFalse,,1\nTrue,False,0\nTrue,True,0\n"), "y")
    assert table.features == ["a=True", "b=False", "b=True", "b=missing"]
    np.testing.assert_array_equal(table.x[:, 0], [1, 0, 1, 1])


def test_rare_categories_are_one_and_it_is_said(write):
    # c00 .. c49 twice each, then ten values once.
    values = [f"c{i % 50:02d}" for i in range(100)] + [f"rare{i}" for i in range(10)]
    table = read_table(write("c,y\n" + rows(110, lambda i: f"{values[i]},{i % 2}")), "y")
    assert len(table.features) == 51
    assert table.features[-1] == "c=other"
    np.testing.assert_array_equal(table.x.sum(axis=1), 1)
    assert table.x[:, -1].sum() == 10
    assert said(table, "c: kept the 50 most frequent values, 10 others are one.")


def test_missing_numbers_are_the_median_and_missing_text_is_a_value(write):
    table = read_table(write("n,t,y\n1,a,0\n,b,1\n3,,0\n8,a,1\ninf,b,0\n"), "y")
    np.testing.assert_array_equal(table.x[:, 0], [1, 3, 3, 8, 3])
    assert table.features == ["n", "t=a", "t=b", "t=missing"]
    np.testing.assert_array_equal(table.x[2], [3, 0, 0, 1])
    assert said(table, "Filled 2 missing numbers by the median: n.")


def test_a_stray_mark_among_numbers_is_a_gap_and_it_is_said(write):
    table = read_table(write("n,y\n" + rows(20, lambda i: f"{'?' if i == 7 else i},{i % 2}")), "y")
    assert table.features == ["n"]
    assert said(table, "n: 1 value taken as missing for not being a number, such as '?'.")


def test_columns_that_say_nothing_are_dropped_and_named(write):
    line = "id{i:02d},2020-01-{d:02d},one,,{i},{i2}".format
    table = read_table(write("name,day,same,empty,n,y\n" + rows(20, lambda i: line(i=i, d=i + 1, i2=i % 2))), "y")
    assert table.features == ["n"]
    assert said(table, "every row has the same: same, empty.")
    assert said(table, "differ in nearly every row cannot be learned: name, day.")


def test_many_dates_are_dropped_though_each_comes_twice(write):
    days = [f"{1 + i % 28}.{1 + i // 28}.2020" for i in range(60)] * 2
    table = read_table(write("day,n,y\n" + rows(120, lambda i: f"{days[i]},{i},{i % 2}")), "y")
    assert table.features == ["n"]


def test_rows_without_a_target_are_dropped_and_counted(write):
    table = read_table(write("n,y\n1,a\n2,\n3,b\n4,a\n"), "y")
    np.testing.assert_array_equal(table.x[:, 0], [1, 3, 4])
    assert said(table, "1 row without 'y' dropped.")


# ------------------------------------------------------------------------------------------------- the target


@pytest.mark.parametrize(
    "values, expected, kind",
    [
        (["yes", "no", "yes"], ["yes", "no", "yes"], "classification"),
        (["True", "False", "True"], ["True", "False", "True"], "classification"),
        (["3", "1", "3"], [3, 1, 3], "auto"),
        (["1.0", "0.0", ""], [1, 0], "auto"),
        (["1.5", "0.0", "2"], [1.5, 0.0, 2.0], "regression"),
        ([f"{i}.0" for i in range(21)], [float(i) for i in range(21)], "regression"),
    ],
)
def test_text_is_labels_and_fractions_are_amounts(values, expected, kind, write):
    table = read_table(write("n,y\n" + rows(len(values), lambda i: f"{i},{values[i]}")), "y")
    assert table.y.tolist() == expected
    assert [type(value) for value in table.y.tolist()] == [type(value) for value in expected]
    assert table.kind == kind


# ---------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "people.csv is empty"),
        ("x,y\n", "has column names but no rows"),
        ("x,y\n1,0\n", "one row with 'y'"),
        ("x,y\n1,0\n2,\n", "one row with 'y'"),
        ("x,y\n1,\n2,\n", "the column 'y' of people.csv is empty"),
        ("x,y\n1,0\n1,2,3\n", "people.csv is no table"),
        ("x,y\n1,0,9\n1,2,3\n", "people.csv is no table"),
        ('x,y\n1,"0\n1,2\n', "people.csv is no table"),
        ("x,y\n5,0\n5,1\n", "no usable column besides 'y'. Dropped, because every row has the same: x."),
        ("y\n0\n1\n", "no usable column besides 'y'"),
        ("x,x ,y\n5,0,0\n5,1,1\n", "several columns called 'x'"),
        (b"x,y\n\xff\xfe\xfa,0\n1,1\n", "is not UTF-8 text"),
    ],
)
def test_what_is_no_table_is_refused_in_words(text, words, write):
    with pytest.raises(DataError) as error:
        read_table(write(text), "y")
    assert words in str(error.value)


def test_a_mistyped_target_gets_the_near_one_and_the_list(write):
    with pytest.raises(DataError, match=r"no column 'survivd'\. Did you mean 'survived'\? It has: age, survived\."):
        read_table(write("age,survived\n1,0\n2,1\n"), "survivd")


def test_a_long_list_of_columns_is_cut(write):
    header = ",".join(f"c{i}" for i in range(30))
    with pytest.raises(DataError, match="c18, c19 and 10 more"):
        read_table(write(f"{header}\n{header}\n"), "zzz")


def test_a_mistyped_file_gets_the_near_one(write):
    path = write("x,y\n1,0\n2,1\n")
    with pytest.raises(DataError, match=r"peple.csv' does not exist\. Did you mean 'people.csv'"):
        read_table(path.with_name("peple.csv"), "y")
    with pytest.raises(DataError, match="does not exist"):
        read_table(path.parent / "nowhere" / "people.csv", "y")


@pytest.mark.parametrize("name", ["people.xlsx", "people", ".csv", "people.gz"])
def test_another_ending_is_refused(name, tmp_path):
    with pytest.raises(DataError, match="expected a file that ends in"):
        read_table(tmp_path / name, "y")


WHOLE = gzip.compress(b"x,y\n1,0\n2,1\n" * 99)
BROKEN = {"no gz": b"x,y\n1,0\n", "cut off": WHOLE[:-20], "overwritten": WHOLE[:10] + b"\xff" * 9 + WHOLE[19:]}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)  # the bytes hold the second they were made in
def test_a_broken_gz_and_a_folder_are_refused(content, tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"a.csv.gz cannot be read"):
        read_table(tmp_path / "a.csv.gz", "y")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(DataError, match=r"b.csv cannot be read"):
        read_table(tmp_path / "b.csv", "y")


def test_the_digits_are_there():
    table = digits()
    assert (table.x.shape, table.x.max(), sorted(set(table.y))) == ((1797, 64), 16, list(range(10)))


# ---------------------------------------------------------------------------------------------- frames of pandas

N = 8
FRAME = pd.DataFrame(
    {
        "age": [20.0, 30.0, None, 50.0, 40.0, np.inf, 20.0, 60.0],
        "colour": ["red", "blue", None, "red", "green", "blue", "red", "red"],
        "size": pd.Categorical([1, 2, 1, 3, 2, 1, 3, 1]),
        "left": [True, False] * 4,
        "count": pd.array([1, None, 3, 4, 5, 6, 7, 8], dtype="Int64"),
        "member": pd.array([True, None, False, True] * 2, dtype="boolean"),
        "born": pd.date_range("2020-01-01", periods=N),
        "took": pd.to_timedelta(range(N), unit="h"),
        "name": [f"person {i}" for i in range(N)],
        "same": ["a"] * N,
    }
)
FEATURES = [
    *("age", "count"),
    *("colour=blue", "colour=green", "colour=missing", "colour=red"),
    *("size=1", "size=2", "size=3", "left=True"),
    *("member=False", "member=True", "member=missing"),
]


def test_a_frame_becomes_numbers():
    encoder = Encoder.fit(FRAME)
    assert encoder.features == FEATURES
    x = encoder.transform(FRAME)
    assert (x.dtype, x.shape) == (np.float32, (N, len(FEATURES)))
    np.testing.assert_array_equal(x[:, 0], [20, 30, 35, 50, 40, 35, 20, 60])
    np.testing.assert_array_equal(x[:, 1], [1, 5, 3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(x[1, 2:], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(x[2, 2:], [0, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0])
    assert encoder.transform(FRAME, "float64").dtype == np.float64


def test_what_was_done_to_a_frame_is_said():
    encoder = Encoder.fit(FRAME)
    assert encoder.dropped == (
        "Dropped, because every row has the same: same.",
        "Dropped, because text or dates that differ in nearly every row cannot be learned: name.",
        "Dropped, because dates and times are no numbers (make some of them, such as the hour or the weekday): born, "
        "took.",
    )
    assert encoder.said == (*encoder.dropped, "Filled 3 missing numbers by the median: age, count.")


def test_an_encoder_is_data():
    encoder = Encoder.fit(FRAME)
    json.dumps(asdict(encoder))
    copied = pickle.loads(pickle.dumps(encoder))
    assert copied == encoder
    np.testing.assert_array_equal(copied.transform(FRAME), encoder.transform(FRAME))


def test_rows_are_encoded_alike_whatever_they_come_with():
    encoder = Encoder.fit(FRAME)
    whole = encoder.transform(FRAME)
    for rows in ([3], [5, 1], slice(2, 3)):
        np.testing.assert_array_equal(encoder.transform(FRAME.iloc[rows]), whole[rows])
    np.testing.assert_array_equal(encoder.transform(FRAME.to_numpy(object)), whole)
    np.testing.assert_array_equal(encoder.transform(FRAME.set_axis([7] * N)), whole)  # an index says nothing


def test_unknown_text_is_another_value_or_none():
    rare = [f"c{i % 50:02d}" for i in range(100)] + [f"rare{i}" for i in range(10)]
    encoder = Encoder.fit(pd.DataFrame({"few": ["a", "b", "c", "a", "b"] * 22, "many": rare, "two": ["x", "y"] * 55}))
    x = encoder.transform(pd.DataFrame({"few": ["d", None], "many": ["new", None], "two": ["z", None]}))
    features = encoder.features
    assert features[-2:] == ["many=other", "two=y"]
    np.testing.assert_array_equal(x[:, features.index("many=other")], [1, 1])
    np.testing.assert_array_equal(np.delete(x, features.index("many=other"), axis=1), 0)


def test_a_gap_where_there_was_none_is_the_median():
    encoder = Encoder.fit(pd.DataFrame({"n": [1, 2, 9], "t": ["a", "b", "a"]}))
    for gap in (None, np.nan, pd.NA, np.inf):
        assert encoder.transform(pd.DataFrame({"n": [gap], "t": ["b"]})).tolist() == [[2, 1]]


def test_text_where_numbers_were_is_refused_unless_marks_were_gaps():
    n = [*range(19), "?"]
    clean, marked = (Encoder.fit(pd.DataFrame({"n": each, "t": ["a", "b"] * 10})) for each in (range(20), n))
    other = pd.DataFrame({"n": ["5", "n/a"], "t": ["a", "b"]})
    np.testing.assert_array_equal(marked.transform(other), [[5, 0], [9, 1]])
    with pytest.raises(DataError, match="n held numbers when the table was encoded, but holds 'n/a' now"):
        clean.transform(other)


@pytest.mark.parametrize("columns", [["n"], ["t", "n"], ["n", "u"], ["n", "t", "u"]])
def test_other_columns_are_refused(columns):
    encoder = Encoder.fit(pd.DataFrame({"n": [1, 2], "t": ["a", "b"]}))
    with pytest.raises(DataError, match=r"has the columns .*; expected those of fit: n, t\."):
        encoder.transform(pd.DataFrame({name: [1, 2] for name in columns}))


def test_columns_of_one_name_keep_their_places():
    frame = pd.DataFrame([[1, "a", 5], [2, "b", 6], [3, "a", 5]], columns=["x", "y", "x"])
    np.testing.assert_array_equal(Encoder.fit(frame).transform(frame), [[1, 5, 0], [2, 6, 1], [3, 5, 0]])


def test_complex_numbers_are_refused():
    with pytest.raises(DataError, match="z has dtype complex128, expected real numbers"):
        Encoder.fit(pd.DataFrame({"z": [1 + 2j, 3j], "t": ["a", "b"]}))


@pytest.mark.parametrize(
    "rows",
    [
        FRAME.to_numpy(object),
        pd.DataFrame({"a": [1, 2], "b": [True, False], "c": [0.5, 1.5]}),
        pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": pd.array([True, False], dtype="boolean")}),
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame({"a": []}, dtype=object),
    ],
    ids=["array", "numbers", "nullable numbers", "no columns", "no rows"],
)
def test_what_is_numbers_already_stays_as_it_is(rows):
    judging = (rows, [0, 1])
    encoder, x, same = encoded(rows, judging, "float32")
    assert encoder is None
    assert x is rows
    assert same is judging


def test_rows_that_judge_teach_nothing():
    train, judge = FRAME.iloc[:6], FRAME.iloc[6:]
    encoder, x, (judging, y) = encoded(train, (judge, "y"), "float64")
    assert encoder == Encoder.fit(train)
    np.testing.assert_array_equal(x, encoder.transform(train, "float64"))
    np.testing.assert_array_equal(judging, encoder.transform(judge, "float64"))
    assert (y, judging.dtype) == ("y", np.float64)
    assert encoded(train, None, "float32")[2] is None


def test_a_frame_without_a_usable_column_is_refused():
    with pytest.raises(DataError, match=r"X has no usable column\. Dropped, because every row has the same: a\."):
        encoded(pd.DataFrame({"a": ["x", "x"], "b": pd.to_datetime(["2020", "2021"])}), None, "float32")
