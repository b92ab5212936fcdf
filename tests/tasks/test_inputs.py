import itertools
import pathlib
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from adamtune.errors import DataError
from adamtune.tasks import inputs as module
from adamtune.tasks.data import check_inputs, prepare
from adamtune.tasks.inputs import Inputs, Sparse, inputs, stack

MB = 2**20


def on_disk(folder, array, name="x"):
    """The array as a memory map of a file, for reading only."""
    np.save(folder / f"{name}.npy", array)
    return np.load(folder / f"{name}.npy", mmap_mode="r")


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    index=st.lists(st.integers(0, 10**6), max_size=50),
    source=st.sampled_from(["float64", "float32", "float16", "int64", "uint8", "bool", ">f4"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_rows_are_taken_in_any_order(sizes, index, source, dtype):
    blocks = tuple((np.arange(n * 6) + 100 * i).reshape(n, 2, 3).astype(source) for i, n in enumerate(sizes))
    x = Inputs(blocks, np.dtype(dtype))
    whole = np.concatenate(blocks).astype(dtype)
    index = np.array(index, int) % sum(sizes)
    taken = x.take(index)
    assert taken.dtype == dtype
    assert taken.flags.c_contiguous
    np.testing.assert_array_equal(taken, whole[index])
    assert (len(x), x.shape, x.nbytes, x.n_blocks) == (sum(sizes), whole.shape, whole.nbytes, len(sizes))
    for every in (x.array(), np.asarray(x), np.concatenate(list(x.chunks())), x[:], x.sample(np.arange(len(x)))):
        assert every.dtype == dtype
        np.testing.assert_array_equal(every, whole)
    np.testing.assert_array_equal(x[1:3], whole[1:3])


@pytest.mark.parametrize("index", [[-1], [0, 12], [5, -3]])
@pytest.mark.parametrize("n_blocks", [1, 2])
def test_row_numbers_past_the_end(index, n_blocks):
    x = Inputs((np.zeros((12 // n_blocks, 2), "float32"),) * n_blocks, np.dtype("float32"))
    with pytest.raises(IndexError, match=r"rows -?\d+ \.\. \d+ of 12|rows -1 \.\. -1 of 12"):
        x.take(index)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int16", "bool", ">f4"])
def test_a_memory_map_is_taken_as_the_array_is(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(module, "_CHUNK", 64)  # rows of 16 to 128 bytes: chunks of a few
    array = np.random.default_rng(0).integers(0, 2, (30, 4, 4)).astype(dtype)
    labels = np.arange(30) % 3
    disk, memory = (
        prepare(each, labels, validation_data=(each[:5], labels[:5])) for each in (on_disk(tmp_path, array), array)
    )
    assert disk.x.on_disk
    assert disk.x.dtype == memory.x.dtype
    index = np.random.default_rng(1).integers(0, 35, 40)
    np.testing.assert_array_equal(disk.x.take(index), memory.x.take(index))
    np.testing.assert_array_equal(disk.x.take(index), np.concatenate([array, array[:5]])[index])
    assert type(disk.x.take(index)) is np.ndarray
    np.testing.assert_array_equal(disk.x.array(), memory.x.array())


def test_one_block_is_not_copied(tmp_path):
    for given_as in (np.ones((5, 2), "float32"), on_disk(tmp_path, np.ones((5, 2), "float32"))):
        x = inputs(given_as, "X", "float32")
        assert x.blocks[0] is given_as
        assert np.shares_memory(x.array(), given_as)


def test_a_large_array_is_not_converted_as_a_whole(monkeypatch):
    array = np.arange(20.0).reshape(10, 2)
    assert inputs(array, "X", "float32").blocks[0] is not array
    monkeypatch.setattr(module, "LARGE", 100)
    x = inputs(array, "X", "float32")
    assert x.blocks[0] is array
    assert x.take([3]).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_every_chunk_is_checked(tmp_path, monkeypatch, bad):
    monkeypatch.setattr(module, "_CHUNK", 64)
    array = np.zeros((50, 4))
    array[[3, 49], 1] = bad
    for given_as in (array, on_disk(tmp_path, array)):
        with pytest.raises(DataError, match=r"X holds 2 value\(s\)"):
            inputs(given_as, "X", "float32")


def test_rows_of_two_types_become_floats():
    x = stack(*(inputs(np.ones((3, 2, 2), dtype), "X", "float32") for dtype in ("uint8", "int32")), "float32")
    assert (x.dtype, x.shape, x.n_blocks) == (np.float32, (6, 2, 2), 2)
    np.testing.assert_array_equal(x.take([0, 5]), np.ones((2, 2, 2)))


def test_a_sample_is_spread_over_the_rows_it_may_see(monkeypatch):
    x = inputs(np.arange(100.0).reshape(100, 1), "X", "float32")
    monkeypatch.setattr(module, "_SAMPLE", 4 * 5)
    assert x.sample(np.arange(20, 61)).ravel().tolist() == [20, 30, 40, 50, 60]
    monkeypatch.setattr(module, "_SAMPLE", 1)
    assert x.sample(np.arange(20, 61)).shape == (1, 1)


def test_rows_to_predict_have_the_type_of_those_that_trained():
    ids = np.array([[2**24 + 1, 3]])
    assert check_inputs(ids).dtype == np.float32
    kept = check_inputs(ids, dtypes={"": "int32"})
    assert (kept.dtype, kept.array().tolist()) == (np.int32, ids.tolist())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path, dtype):
    import keras

    from adamtune.tasks import networks
    from adamtune.tasks.splits import split
    from adamtune.tasks.task import Task

    n = 400 * MB // (1000 * np.dtype(dtype).itemsize)
    x = np.memmap(tmp_path / "x", dtype, "w+", shape=(n, 1000))  # a sparse file: only what is written takes room
    x[::5000] = 1.0
    x.flush()
    x = np.memmap(tmp_path / "x", dtype, "r", shape=(n, 1000))
    y = np.arange(n) % 3
    tracemalloc.start()  # counts what numpy allocates, not the pages of the file that the system keeps or drops
    try:
        data = prepare(x, y, validation_data=(x[:1000], y[:1000]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        task = Task(
            "large",
            data,
            lambda seed: split(data, 0.2, seed),
            lambda seed: None,
            loss,
            None,
            "val_loss",
            "minimize",
            1,
            32,
        )
        network = networks.default_network(data, task.split(0).train)
        task.fingerprint(network)
        data.x.take(np.random.default_rng(0).integers(0, n, 1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150 * MB
    assert data.x.blocks[0] is x


# ----------------------------------------------------------------------------------------------- sparse matrices

COUNTS = np.random.default_rng(0).poisson(0.5, (30, 7))
FORMATS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("kind", [*(f"{name}_matrix" for name in FORMATS), *(f"{name}_array" for name in FORMATS)])
def test_a_sparse_matrix_is_taken_as_the_dense_one_is(kind, dtype, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 64)  # of a few rows
    counts = COUNTS.astype(dtype)
    sparse, dense = (inputs(each, "X", "float32") for each in (getattr(scipy.sparse, kind)(counts), counts))
    assert (sparse.shape, sparse.dtype, sparse.nbytes) == (dense.shape, dense.dtype, dense.nbytes)
    index = np.random.default_rng(1).integers(0, 30, 40)
    assert type(sparse.take(index)) is np.ndarray
    for mine, other in (
        (sparse.take(index), dense.take(index)),
        (sparse.array(), dense.array()),
        (sparse[2:5], dense[2:5]),
    ):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(np.concatenate(list(sparse.chunks())), dense.array())


def test_blocks_may_be_sparse_and_dense():
    labels = np.arange(30) % 3
    data = prepare(scipy.sparse.csr_array(COUNTS), labels, validation_data=(COUNTS[:5] + 0.5, labels[:5]))
    assert [type(block) for block in data.x.blocks] == [Sparse, np.ndarray]
    np.testing.assert_array_equal(data.x.array(), np.concatenate([COUNTS, COUNTS[:5] + 0.5]))
    np.testing.assert_array_equal(data.x.take([32, 3, 32]), [COUNTS[2] + 0.5, COUNTS[3], COUNTS[2] + 0.5])


def test_a_large_sparse_matrix_is_never_dense_as_a_whole():
    n = 200_000
    X = scipy.sparse.csr_array((np.ones(n), (np.arange(n), np.arange(n))))  # 320 GB if it were dense
    tracemalloc.start()
    try:
        data = prepare(X, np.arange(n) % 3)
        np.testing.assert_array_equal(data.x.take([7, n - 1]).nonzero(), [[0, 1], [7, n - 1]])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * MB


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_what_a_sparse_matrix_holds_is_checked(bad):
    X = scipy.sparse.csr_array(COUNTS.astype("float64"))
    X.data[[0, 9]] = bad
    with pytest.raises(DataError, match=r"X holds 2 value\(s\).*expected finite"):
        inputs(X, "X", "float32")
    with pytest.raises(DataError, match=r"shape \(7,\), expected 2D array or more"):
        inputs(scipy.sparse.coo_array(COUNTS[0]), "X", "float32")


# ------------------------------------------------------------------------------------------------- several inputs

NAMED = {"words": COUNTS, "image": np.ones((30, 4, 4, 1), "uint8"), "bag": scipy.sparse.csr_array(COUNTS)}


def test_several_inputs_have_the_same_rows_by_name():
    x = inputs(NAMED, "X", "float32")
    assert list(x.parts) == ["bag", "image", "words"] and len(x) == 30
    assert x.dtypes == {"bag": "float32", "image": "uint8", "words": "float32"}
    assert x.row_shape == {"bag": (7,), "image": (4, 4, 1), "words": (7,)}
    assert x.row_nbytes == 2 * 7 * 4 + 16 and x.nbytes == 30 * x.row_nbytes and not x.on_disk
    for taken, rows in ((x.take([4, 2]), [4, 2]), (x[1:3], [1, 2]), (x.array(), range(30))):
        for name, part in x.parts.items():
            assert taken[name].dtype == part.dtype
            np.testing.assert_array_equal(taken[name], part.take(rows))
    twice = stack(
        x,
        inputs(
            {"bag": COUNTS, "image": np.ones((2, 4, 4, 1)), "words": COUNTS} | {"image": NAMED["image"]}, "X", "float32"
        ),
        "float32",
    )
    assert len(twice) == 60
    np.testing.assert_array_equal(twice.take([33, 3])["bag"], COUNTS[[3, 3]])


def test_one_input_on_disk_is_enough(tmp_path):
    assert inputs(NAMED | {"image": on_disk(tmp_path, NAMED["image"])}, "X", "float32").on_disk


@pytest.mark.parametrize(
    ("given_as", "message"),
    [
        ({}, r"X is a dict with keys \[\], expected the names of the model's inputs"),
        ({1: COUNTS}, r"keys \[1\], expected the names"),
        ({"": COUNTS}, r"keys \[''\], expected the names"),
        ({"a": {"b": COUNTS}}, r"X\['a'\] is a dict in a dict"),
        ({"a": COUNTS, "b": COUNTS[:9]}, "inconsistent numbers of samples: X has a: 30, b: 9"),
        ({"a": COUNTS, "b": COUNTS[:, 0]}, r"X\['b'\] has shape \(30,\).*X\['b'\].reshape\(-1, 1\)"),
        ({"a": COUNTS, "b": COUNTS * np.nan}, r"X\['b'\] holds 210 value"),
    ],
)
def test_refused_dicts(given_as, message):
    with pytest.raises(DataError, match=message):
        inputs(given_as, "X", "float32")


def test_rows_that_judge_have_the_names_of_those_that_train():
    labels = np.arange(30) % 3
    for other in (COUNTS, {"words": COUNTS}):
        with pytest.raises(DataError, match=r"validation_data's rows have shape .*, those of X .*: expected the same"):
            prepare(NAMED, labels, validation_data=(other, labels))


def test_rows_to_predict_have_the_names_of_those_that_trained():
    named, single = (inputs(each, "X", "float32").dtypes for each in (NAMED, COUNTS))
    assert check_inputs(NAMED, dtypes=named | {"words": "int32"}).dtypes["words"] == "int32"
    with pytest.raises(DataError, match="X is one array, but fit was given a dict of bag, image, words"):
        check_inputs(COUNTS, dtypes=named)
    with pytest.raises(DataError, match="X is a dict of words, but fit was given a dict of bag"):
        check_inputs({"words": COUNTS}, dtypes=named)
    with pytest.raises(DataError, match="X is a dict of bag, image, words, but fit was given one array"):
        check_inputs(NAMED, dtypes=single)


# ------------------------------------------------------------------------------------------------------- readers

ROWS = np.arange(48.0).reshape(12, 4)


def of_tensorflow():
    tensorflow = pytest.importorskip("tensorflow")
    return "dataset", tensorflow.data.Dataset.from_tensor_slices((ROWS, np.arange(12))).batch(5)


def of_torch():
    torch = pytest.importorskip("torch")
    rows = torch.utils.data.TensorDataset(torch.tensor(ROWS), torch.arange(12))
    return "loader", torch.utils.data.DataLoader(rows, batch_size=5)


def map_style_of_torch():
    torch = pytest.importorskip("torch")
    return "dataset", torch.utils.data.TensorDataset(torch.tensor(ROWS), torch.arange(12))


def of_keras():
    import keras

    class Own(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            rows = slice(5 * number, 5 * number + 5)
            return ROWS[rows], np.arange(12)[rows]

    return "dataset", Own()


def generator():
    return "batches", ((ROWS[start : start + 5], np.arange(12)[start : start + 5]) for start in (0, 5, 10))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (of_tensorflow, "a tf.data.Dataset"),
        (of_torch, "a torch DataLoader"),
        (map_style_of_torch, "a torch Dataset"),
        (of_keras, "a keras PyDataset"),
        (generator, r"an iterator \(generator\)"),
    ],
)
def test_what_yields_batches_is_refused_with_a_line_that_reads_it(make, kind):
    name, reader = make()
    with pytest.raises(DataError, match=f"X is {kind}, expected an array.*Rows that do not fit the memory") as caught:
        prepare(reader, None)
    known = {"np": np, "itertools": itertools, "n_batches": 3, name: reader}
    if kind == "a torch Dataset":
        known["torch"] = pytest.importorskip("torch")
    exec(str(caught.value).split("`")[1], known)
    np.testing.assert_array_equal(known["X"], ROWS)
    np.testing.assert_array_equal(known["y"], np.arange(12))


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("rows.npy", r"np.load\('rows.npy', mmap_mode='r'\)"),
        (pathlib.Path("rows.CSV"), r"pandas.read_csv\('rows.CSV'\)"),
        (b"rows.parquet", r"pandas.read_parquet\('rows.parquet'\)"),
        ("rows", "np.memmap"),
    ],
)
def test_a_path_is_refused_with_what_reads_it(path, advice):
    with pytest.raises(DataError, match=f"X is the path 'rows.*', expected an array: pass .*{advice}"):
        inputs(path, "X", "float32")
