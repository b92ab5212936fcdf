import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune.errors import DataError
from adamtune.tasks import inputs as module
from adamtune.tasks.data import check_inputs, prepare
from adamtune.tasks.inputs import Inputs, inputs, stack

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
    kept = check_inputs(ids, dtype="int32")
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
