import math
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.exceptions import DataConversionWarning

from adamtune.errors import DataError
from adamtune.tasks.data import check_inputs, prepare
from adamtune.tasks.splits import folds, split

X = np.arange(24.0).reshape(12, 2)
LABELS = np.array([0, 1, 2] * 4)
TARGETS = np.linspace(-1.0, 1.0, 12)


def images(dtype):
    return np.arange(12 * 16).reshape(12, 4, 4).astype(dtype)


# ------------------------------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    "given_as",
    [
        X,
        X.astype("float16"),
        X.astype("float32"),
        X.astype(np.longdouble),
        X.astype("int32"),
        X.astype("int64"),
        X.tolist(),
        tuple(map(tuple, X)),
        X.astype(object),
        X.astype(int).astype(str),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        scipy.sparse.csr_matrix(X),
        pd.DataFrame(X, columns=["a", "b"]),
        pd.DataFrame(X).astype("Int64"),
        pd.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(object)}),
        pd.DataFrame({"a": X[:, 0], "b": pd.Categorical(X[:, 1])}),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_a_table_becomes_floats(given_as):
    x = prepare(given_as, LABELS).x
    assert x.dtype == np.float32
    for rows in (x.array(), x.take(np.arange(12))):
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        np.testing.assert_array_equal(rows, X)


def test_a_table_in_the_users_float_type():
    data = prepare(X, TARGETS, np.ones(12), floatx="float64")
    assert {array.dtype for array in (data.x, data.y, data.weight)} == {np.dtype("float64")}


@pytest.mark.parametrize(
    ("given_as", "kept"),
    [("uint8", "uint8"), ("int64", "int64"), ("float64", "float32"), ("float16", "float32"), ("bool", "float32")],
)
def test_whole_number_images_keep_their_type(given_as, kept):
    x = prepare(images(given_as), LABELS).x
    assert x.dtype == kept
    assert x.shape == (12, 4, 4)
    np.testing.assert_array_equal(x, images(given_as))


def test_bools_become_floats():
    assert prepare(X > 4, LABELS).x.dtype == np.float32


def with_one(value):
    table = X.copy()
    table[3, 1] = value
    return table


class Unreadable:
    """No number, and no text that is one."""


REFUSED_X = {
    "NaN": (with_one(math.nan), "X holds 1 value.* NaN or infinity.*Impute them first"),
    "infinity": (with_one(-math.inf), "X holds 1 value.* NaN or infinity"),
    "too large": (X + 1e39, r"X holds 24 value.*too large for float32"),
    "None": ([[1.0, None], [2.0, 3.0]] * 6, "X holds 6 value.* NaN"),
    "pandas.NA": (pd.DataFrame(X).astype("Int64").mask(X > 20), "X holds 3 value.* NaN"),
    "NaN among images": (np.full((12, 2, 2), math.nan), "NaN or infinity"),
    "text": ([["a", "1"], ["b", "2"]] * 6, "could not convert.*Columns that are no numbers: 0. Encode text first"),
    "objects": ([[Unreadable(), 1]] * 12, "argument must be a string or a number"),
    "dates": (
        np.array([["2014-12-22"] * 2] * 12, dtype="datetime64[D]"),
        r"dtype datetime64\[D\].*Make numbers of times",
    ),
    "records": (np.zeros((12, 1), dtype=[("a", float)]), "expected numbers"),
    "ragged": ([[1, 2], [3]] * 6, "X cannot be made an array.*Expected rows of equal shape"),
    "ragged objects": (np.array([[1, 2], [3]] * 6, dtype=object), "X holds values that are no numbers"),
    "one axis": (X[:, 0], r"shape \(12,\), expected 2D array or more.*X.reshape\(-1, 1\)"),
    "a number": (3.0, r"shape \(\), expected 2D array or more"),
    "complex": (X + 1j, "Complex data not supported: X has dtype complex128, expected real numbers"),
    "no rows": (X[:0], r"Found array with 0 sample.*minimum of 1"),
    "no columns": (X[:, :0], r"Found array with 12 sample.*0 feature.*minimum of 1"),
}


@pytest.mark.parametrize(("given_as", "message"), REFUSED_X.values(), ids=REFUSED_X)
def test_refused_inputs(given_as, message):
    for check in (lambda: prepare(given_as, LABELS), lambda: check_inputs(given_as)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DataError, match=message):
                check()


def test_the_columns_of_text_are_named():
    frame = pd.DataFrame({"age": [1, 2] * 6, "name": ["a", "b"] * 6, "left": [1.5, 2.5] * 6, "town": ["x", None] * 6})
    frame["number as object"] = frame["age"].astype(object)
    with pytest.raises(DataError, match=r"Columns that are no numbers: name, town\. Encode text first"):
        prepare(frame, LABELS)


# ------------------------------------------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    ("y", "kind", "classes"),
    [
        ([0, 1] * 6, "binary", [0, 1]),
        ([-1, 1] * 6, "binary", [-1, 1]),
        ([True, False] * 6, "binary", [False, True]),
        (["no", "yes"] * 6, "binary", ["no", "yes"]),
        ([3, 7, 5] * 4, "multiclass", [3, 5, 7]),
        ([1.0, 2.0, 3.0] * 4, "multiclass", [1.0, 2.0, 3.0]),
        (np.array([0, 1, 2] * 4, dtype="uint8"), "multiclass", [0, 1, 2]),
        (np.array(["b", "a", "c"] * 4, dtype=object), "multiclass", ["a", "b", "c"]),
        (np.array([2, 1] * 6, dtype=object), "binary", [1, 2]),
        (pd.Series(["b", "a", "c"] * 4, dtype="category"), "multiclass", ["a", "b", "c"]),
        (pd.Series(["b", "a"] * 6, dtype="string"), "binary", ["a", "b"]),
        (pd.Series([1, 2] * 6, dtype="Int64"), "binary", [1, 2]),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_labels_are_numbered_in_their_order(y, kind, classes):
    for asked in ("auto", "classification"):
        data = prepare(X, y, kind=asked)
        assert data.kind == kind
        assert data.classes.tolist() == classes
        assert data.y.dtype == np.int32
        assert data.classes[data.y].tolist() == list(y)
        assert data.n_outputs == (1 if kind == "binary" else 3)


@pytest.mark.parametrize(
    "y",
    [
        TARGETS,
        TARGETS.tolist(),
        TARGETS.astype(object),
        pd.Series(TARGETS),
        np.stack([TARGETS, 2 * TARGETS], axis=1),
        np.arange(24).reshape(12, 2),
    ],
    ids=lambda value: str(getattr(value, "dtype", "list")),
)
def test_numbers_are_targets(y):
    for asked in ("auto", "regression"):
        data = prepare(X, y, kind=asked)
        assert (data.kind, data.classes, data.target_scale) == ("regression", None, None)
        assert data.y.dtype == np.float32
        np.testing.assert_allclose(data.y, np.asarray(y, dtype="float32"))
        assert data.n_outputs == (2 if np.ndim(y) == 2 else 1)


def test_the_user_can_say_what_it_is():
    assert prepare(X, LABELS, kind="regression").kind == "regression"
    assert prepare(X, [0, 1] * 6, kind="regression").y.dtype == np.float32
    assert prepare(X, np.arange(12) // 2, kind="classification").kind == "multiclass"


def test_many_whole_numbers_are_ambiguous():
    n = 400
    rows = np.zeros((2 * n, 1))

    def kind(n_labels, n_rows):
        return prepare(rows[:n_rows], np.arange(n_rows) % n_labels).kind

    assert kind(20, n) == "multiclass"
    assert kind(40, 2 * n) == "multiclass"  # 5 % of the rows
    for n_labels, n_rows in ((21, n), (41, 2 * n)):
        for dtype in (int, float):
            with pytest.raises(
                DataError, match=f"{n_labels} different whole numbers in {n_rows} rows.*AdamTunerRegressor"
            ):
                prepare(rows[:n_rows], (np.arange(n_rows) % n_labels).astype(dtype))
    assert prepare(rows[:n], np.arange(n) // 2, kind="classification").n_outputs == n // 2
    assert prepare(rows[:n], np.arange(n), kind="regression").n_outputs == 1


ONE_HOT = np.eye(3, dtype=int)[LABELS]
REFUSED_Y = {
    "None": (None, "auto", "y is None.*requires y to be passed, but the target y is None"),
    "NaN": ([*TARGETS[:-1], math.nan], "auto", r"Input y contains NaN or infinity: 1 value\(s\)"),
    "infinity": ([*TARGETS[:-1], math.inf], "regression", r"Input y contains NaN or infinity: 1 value\(s\)"),
    "too large": (TARGETS * 1e300, "regression", "Input y contains NaN or infinity: 12 value"),
    "NaN among labels": ([0.0, 1.0, math.nan] * 4, "classification", "Input y contains NaN"),
    "None among labels": (["a", None] * 6, "auto", r"Input y contains NaN: 6 row\(s\) hold no value"),
    "None among numbers": ([1.5, None] * 6, "regression", "Input y contains NaN: 6 row"),
    "NA among labels": (pd.Series(["a", pd.NA] * 6, dtype="string"), "auto", "Input y contains NaN: 6 row"),
    "NA among numbers": (pd.Series([1, pd.NA] * 6, dtype="Int64"), "auto", "Input y contains NaN.* 6 value"),
    "text as numbers": (["a", "b"] * 6, "regression", "expected numbers for regression.*AdamTunerClassifier"),
    "text and numbers": (np.array(["a", 1] * 6, dtype=object), "auto", "mixes labels that have no order.*one kind"),
    "fractions as labels": (TARGETS, "classification", "Unknown label type"),
    "complex": (TARGETS + 1j, "auto", "y has dtype complex128, expected labels or real numbers"),
    "dates": (np.array(["2014-12-22"] * 12, dtype="datetime64[D]"), "auto", "expected labels or real numbers"),
    "times": (pd.Series(pd.to_datetime(["2014-12-22"] * 12)), "regression", "expected labels or real numbers"),
    "ragged": ([[1], [1, 2]] * 6, "auto", "y cannot be made an array.*one label or target a row"),
    "ragged objects": (np.array([[1], [1, 2]] * 6, dtype=object), "auto", "y holds lists or sets, expected one label"),
    "one class": (["a"] * 12, "auto", r"one class only \('a'\), expected at least two"),
    "one number": (np.ones(12, int), "classification", r"one class only \(1\)"),
    "one-hot": (
        ONE_HOT,
        "auto",
        r"one-hot.*pass y.argmax\(axis=1\).*several labels.*AdamTunerClassifier.*amounts.*AdamTunerRegressor",
    ),
    "one-hot floats": (ONE_HOT.astype(float), "auto", r"pass y.argmax\(axis=1\)"),
    "one-hot in a sparse matrix": (scipy.sparse.csr_matrix(ONE_HOT), "auto", r"pass y.argmax\(axis=1\)"),
    "rows of text": ([["a", "b"]] * 12, "auto", r"y has shape \(12, 2\).*MultiLabelBinarizer"),
    "rows of text as labels": ([["a", "b"]] * 12, "classification", r"y has shape \(12, 2\).*MultiLabelBinarizer"),
    "sets of labels": ([{"a", "b"}, {"a"}] * 6, "classification", "lists or sets.*MultiLabelBinarizer"),
    "two columns of classes": ([[0, 2], [1, 1]] * 6, "classification", "columns of 0 and 1 for several labels a row"),
    "halves among 0 and 1": ([[0, 0.5], [1, 1]] * 6, "classification", "columns of 0 and 1 for several labels a row"),
    "NaN among 0 and 1": ([[0, math.nan], [1, 1]] * 6, "classification", "y contains NaN.*a column for each label"),
    "None among 0 and 1": ([[0, None], [1, 1]] * 6, "classification", "Input y contains NaN: 6"),
    "one row of labels again and again": ([[0, 1, 1]] * 12, "auto", "every column of y holds the same in all rows"),
    "three axes": (np.zeros((12, 2, 2)), "regression", r"y has shape \(12, 2, 2\), expected \(n,\)"),
    "no axis": (3.0, "auto", r"y has shape \(\), expected \(n,\)"),
    "no targets": (np.zeros((12, 0)), "auto", r"y has shape \(12, 0\), expected"),
    "too short": (LABELS[:-1], "auto", "inconsistent numbers of samples: X has 12, y has 11"),
    "too long": ([*LABELS, 1], "auto", "inconsistent numbers of samples: X has 12, y has 13"),
}


@pytest.mark.parametrize(("y", "kind", "message"), REFUSED_Y.values(), ids=REFUSED_Y)
def test_refused_targets(y, kind, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=message):
            prepare(X, y, kind=kind)


def test_zeros_and_ones_can_be_amounts():
    assert prepare(X, ONE_HOT, kind="regression").n_outputs == 3
    assert prepare(X, SEVERAL, kind="regression").kind == "regression"


SEVERAL = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 0, 0]] * 3)


@pytest.mark.parametrize(
    "y",
    [
        SEVERAL,
        SEVERAL.tolist(),
        list(SEVERAL),
        SEVERAL.astype(object),
        SEVERAL.astype(bool),
        SEVERAL.astype("float32"),
        SEVERAL.astype("uint8"),
        scipy.sparse.csr_matrix(SEVERAL),
        scipy.sparse.csc_array(SEVERAL),
        pd.DataFrame(SEVERAL, columns=["a", "b", "c"]),
        pd.DataFrame(SEVERAL).astype("boolean"),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_columns_of_0_and_1_are_several_labels_a_row(y):
    for asked in ("auto", "classification"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = prepare(X, y, kind=asked)
        assert (data.kind, data.n_outputs, data.one_label) == ("multilabel", 3, False)
        assert data.classes.tolist() == [0, 1, 2]
        assert data.y.dtype == np.int32
        np.testing.assert_array_equal(data.y, SEVERAL)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float32", "uint8"])
def test_the_type_of_0_and_1_is_kept_in_mind(dtype):
    assert prepare(X, SEVERAL.astype(dtype)).label_type == dtype
    assert prepare(X, LABELS.astype("uint8")).label_type is None


def test_one_hot_rows_for_a_classifier_are_several_labels_and_it_is_said():
    with pytest.warns(UserWarning, match=r"exactly one 1: its 3 columns are trained as labels.*y.argmax\(axis=1\)"):
        data = prepare(X, ONE_HOT, kind="classification")
    assert data.kind == "multilabel"


def test_a_label_that_no_row_or_every_row_has_is_named():
    y = np.hstack([np.zeros((12, 1), int), SEVERAL, np.ones((12, 1), int)])
    with pytest.warns(UserWarning, match=r"column\(s\) 0, 4 hold the same in all rows"):
        assert prepare(X, y).n_outputs == 5


def test_several_labels_are_split_without_strata():
    for data in (prepare(X, SEVERAL), prepare(X, TARGETS)):
        chosen = split(data, 0.25, seed=0)
        assert (len(chosen.train), len(chosen.valid)) == (9, 3)
    assert chosen.valid.tolist() == split(prepare(X, SEVERAL), 0.25, seed=0).valid.tolist()
    assert [len(fold.valid) for fold in folds(prepare(X, SEVERAL), 3)] == [4, 4, 4]


@pytest.mark.parametrize("y", [LABELS, TARGETS])
def test_a_column_is_read_as_a_row_and_said(y):
    with pytest.warns(DataConversionWarning, match=r"column-vector y.*shape \(12, 1\) is read as \(12,\)"):
        data = prepare(X, y.reshape(-1, 1))
    np.testing.assert_array_equal(data.y, prepare(X, y).y)


def test_scaled_targets_can_be_scaled_back():
    # Years and prices: float32 holds no seven digits of the first and no third decimal of the second.
    y = np.stack([1.7e9 + np.arange(12), 100_000 + TARGETS / 100, np.full(12, 3.0)], axis=1)
    data = prepare(X, y, scale_targets=True)
    assert data.y.dtype == np.float32
    np.testing.assert_allclose(data.y.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.y.std(axis=0), [1, 1, 0], rtol=1e-5)
    mean, deviation = data.target_scale
    error = np.abs(data.y * deviation + mean - y).max(axis=0)
    assert (error <= [1e-5, 1e-8, 0]).all(), error


def test_scaling_looks_at_the_given_rows_only():
    data = prepare(X, TARGETS, scale_targets=True, validation_data=(X[:2], [100.0, 200.0]))
    mean, deviation = data.target_scale
    assert (mean, deviation) == (pytest.approx(TARGETS.mean()), pytest.approx(TARGETS.std()))
    np.testing.assert_allclose(data.y[12:] * deviation + mean, [100.0, 200.0], rtol=1e-6)


def test_labels_are_not_scaled():
    assert prepare(X, LABELS, scale_targets=True).target_scale is None


# ------------------------------------------------------------------------------------------------------ weights


def test_weights_multiply():
    weight = np.linspace(0, 1.1, 12)
    rows = np.array([0, 4, 8, 5])
    by_label = {0: 2.0, 2: 0.5}
    plain, given_weight, by_class, both = (
        prepare(X, LABELS, sample_weight, class_weight=class_weight).training_weight(rows)
        for sample_weight, class_weight in ((None, None), (weight, None), (None, by_label), (weight, by_label))
    )
    assert plain is None
    np.testing.assert_allclose(given_weight, weight[rows], rtol=1e-6)
    np.testing.assert_allclose(by_class, [2.0, 1.0, 0.5, 0.5])  # labels 0, 1, 2, 2
    np.testing.assert_allclose(both, weight[rows] * by_class, rtol=1e-6)


def test_balanced_is_that_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array(["a"] * 7 + ["b"] * 3 + ["c"] * 2)
    ours = prepare(X, y, class_weight="balanced").class_weight
    np.testing.assert_allclose(ours, compute_class_weight("balanced", classes=np.unique(y), y=y), rtol=1e-6)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(11), r"sample_weight has shape \(11,\), expected \(12,\): one weight a row"),
        (np.ones((12, 1)), r"shape \(12, 1\), expected \(12,\)"),
        (1.0, r"shape \(\), expected \(12,\)"),
        (np.full(12, math.nan), "finite, not negative and not all zero"),
        (-np.ones(12), "finite, not negative and not all zero"),
        (np.zeros(12), "finite, not negative and not all zero"),
        (["heavy"] * 12, "sample_weight holds what is no number.*one weight a row"),
        ([[1], [1, 2]] * 6, "sample_weight holds what is no number"),
    ],
)
def test_refused_sample_weight(weight, message):
    with pytest.raises(DataError, match=message):
        prepare(X, LABELS, weight)


@pytest.mark.parametrize(
    ("class_weight", "y", "message"),
    [
        ("balance", LABELS, "class_weight='balance': expected 'balanced' or a mapping from labels among"),
        ({3: 1.0}, LABELS, r"mapping from labels among \[0, 1, 2\]"),
        ({"0": 1.0}, LABELS, r"mapping from labels among \[0, 1, 2\]"),
        ([1.0, 2.0, 3.0], LABELS, "expected 'balanced' or a mapping"),
        ({0: -1.0}, LABELS, "finite weights, not negative and not all zero"),
        ({0: math.nan}, LABELS, "finite weights, not negative"),
        ({0: 0, 1: 0, 2: 0}, LABELS, "not all zero"),
        ({0: "heavy"}, LABELS, "finite weights"),
        ({0: [1, 2]}, LABELS, "finite weights"),
        ("balanced", TARGETS, "the task is regression: use sample_weight"),
        ("balanced", SEVERAL, "a row may have several labels: use sample_weight"),
        ({0: 2.0}, SEVERAL, "a row may have several labels: use sample_weight"),
    ],
)
def test_refused_class_weight(class_weight, y, message):
    with pytest.raises(DataError, match=message):
        prepare(X, y, class_weight=class_weight)


# ---------------------------------------------------------------------------------------------- rows that judge


def test_validation_rows_come_behind_and_judge():
    data = prepare(X, ["a", "b", "c"] * 4, validation_data=(X[:3] + 0.5, ["c", "a", "a"]))
    assert (len(data.x), data.n_given, data.weight) == (15, 12, None)
    np.testing.assert_array_equal(data.x[12:], X[:3] + 0.5)
    assert data.y[12:].tolist() == [2, 0, 0]
    chosen = split(data, 0.5, seed=0)
    assert chosen.train.tolist() == list(range(12))
    assert chosen.valid.tolist() == [12, 13, 14]
    assert not chosen.drawn


@pytest.mark.parametrize(
    ("given_weight", "judging"), [(None, [2.0, 3.0]), (np.full(12, 0.5), None), (np.full(12, 0.5), [2.0, 3.0])]
)
def test_who_gives_no_weight_gives_ones(given_weight, judging):
    validation = (X[:2], LABELS[:2], judging) if judging else (X[:2], LABELS[:2])
    weight = prepare(X, LABELS, given_weight, validation_data=validation).weight
    np.testing.assert_array_equal(weight[:12], 1.0 if given_weight is None else given_weight)
    np.testing.assert_array_equal(weight[12:], [1.0, 1.0] if judging is None else judging)


def test_validation_rows_of_several_labels():
    data = prepare(X, SEVERAL, validation_data=(X[:2], [[True, True, True], [False, False, False]]))
    assert data.y[12:].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert data.y.dtype == np.int32


def test_balanced_counts_the_given_rows_only():
    plain = prepare(X, LABELS, class_weight="balanced")
    more = prepare(X, LABELS, class_weight="balanced", validation_data=(X[:5], [0] * 5))
    np.testing.assert_array_equal(more.class_weight, plain.class_weight)


def test_two_types_of_images_become_floats():
    data = prepare(images("uint8"), LABELS, validation_data=(images("int64"), LABELS))
    assert data.x.dtype == np.float32
    assert prepare(images("uint8"), LABELS, validation_data=(images("uint8"), LABELS)).x.dtype == np.uint8


@pytest.mark.parametrize(
    ("validation", "y", "message"),
    [
        (X, LABELS, r"validation_data must be \(X, y\) or \(X, y, sample_weight\)"),
        ((X,), LABELS, r"validation_data must be \(X, y\)"),
        ((X, LABELS, None, None), LABELS, r"validation_data must be \(X, y\)"),
        ({"X": X, "y": LABELS}, LABELS, r"validation_data must be \(X, y\)"),
        ((X[:, :1], LABELS), LABELS, r"rows have shape \(1,\), those of X \(2,\)"),
        ((X[:0], LABELS[:0]), LABELS, "Found array with 0 sample.*validation_data's X"),
        ((with_one(math.nan), LABELS), LABELS, "validation_data's X holds 1 value"),
        ((X, LABELS[:-1]), LABELS, "validation_data's X has 12, its y has 11"),
        ((X, None), LABELS, "validation_data's y is None"),
        ((X, [0, 7, 1] * 4), LABELS, r"labels that y does not: \[7\]. Expected: \[0, 1, 2\]"),
        ((X, ["a"] * 12), LABELS, r"labels that y does not: \['a'\]"),
        ((X, ONE_HOT), LABELS, "validation_data's y has shape.*y.argmax"),
        ((X, LABELS), SEVERAL, r"validation_data's y has shape \(12,\), that of fit \(12, 3\)"),
        ((X, SEVERAL[:, :2]), SEVERAL, r"validation_data's y has shape \(12, 2\), that of fit \(12, 3\)"),
        ((X, 2 * SEVERAL), SEVERAL, "validation_data's y has shape.*columns of 0 and 1"),
        ((X, [math.nan, 1, 2] * 4), LABELS, "labels that y does not"),
        ((X, [math.nan] * 12), TARGETS, "contains NaN or infinity"),
        ((X, np.zeros((12, 2))), TARGETS, r"validation_data's y has shape \(12, 2\), that of fit \(12,\)"),
        ((X, LABELS, [1.0]), LABELS, r"sample_weight has shape \(1,\), expected \(12,\)"),
    ],
)
def test_refused_validation_data(validation, y, message):
    with pytest.raises(DataError, match=message):
        prepare(X, y, validation_data=validation)


def test_rows_of_predict_are_never_cut_off_to_whole_numbers():
    dtypes = {"": "uint8"}
    with pytest.raises(DataError, match=r"X holds floats, but fit was given whole numbers \(uint8\)"):
        check_inputs(np.full((2, 3, 3), 0.5), dtypes=dtypes)
    assert check_inputs(np.full((2, 3, 3), 7), dtypes=dtypes)[:].dtype == np.uint8
    with pytest.raises(DataError, match=r"X\['image'\] holds floats"):
        check_inputs({"image": np.zeros((2, 3, 3))}, dtypes={"image": "int32"})
