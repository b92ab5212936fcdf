"""However rows reach the device, the same training comes of it."""

import numpy as np
import pytest
import scipy.sparse

from adamtune.engine.feed import blocks
from tests.engine import cases, equality, problems

STRATEGIES = ("stacked", "looped")
CONFIGS = [cases.adam(), cases.adam(learning_rate=0.05)]


def run(strategy, at_once=None, model=problems.noisy, **options):
    task, stream = problems.make_task(model, n=203, **options)
    engine = equality.open_engine(task, stream, CONFIGS, strategy, at_once=at_once)
    return engine, equality.train(engine, CONFIGS)


def same(ours, theirs):
    """To rounding: sums over rows are added up block by block."""
    for mine, plain in zip(ours, theirs, strict=True):
        for one, other in zip(mine, plain, strict=True):
            for name in ("train_loss", "val_loss", "metric"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-12)


# 163 rows train in 10 batches of 16 and one of 3: whole blocks, one that is not full, a block a batch, one block.
@pytest.mark.parametrize("at_once", [80, 48, 16, 1, 1000])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_in_blocks_train_like_rows_on_the_device(strategy, at_once):
    with problems.precision("float64"):
        engine, resident = run(strategy)
        fed, in_blocks = run(strategy, at_once)
        same(in_blocks, resident)
        for lane in range(2):
            for ours, theirs in zip(fed.weights(lane), engine.weights(lane), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
        assert fed.n_programs == equality.n_programs(strategy)


@pytest.mark.parametrize("at_once", [None, 48])
def test_rows_on_disk_train_like_rows_in_memory(tmp_path, at_once):
    weight = np.random.default_rng(2).uniform(0.5, 2.0, 203)
    X = problems.numbers(np.random.default_rng(0), 203)
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    with problems.precision("float64"):
        _, memory = run("stacked", sample_weight=weight)
        _, disk = run("stacked", at_once, X=on_disk, sample_weight=weight)
        same(disk, memory)


NAMED = cases.Case("several inputs", problems.two_inputs, problems.named, compared=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_several_inputs_train_as_in_keras_fit(strategy):
    equality.compare(NAMED, strategy, "never", NAMED.tolerance)


def test_several_inputs_in_blocks_train_like_those_on_the_device():
    with problems.precision("float64"):
        (_, resident), (_, fed) = (
            run("stacked", each, problems.two_inputs, kind=problems.named) for each in (None, 48)
        )
        same(fed, resident)


def test_rows_of_a_sparse_matrix_train_like_dense_ones():
    X = np.random.default_rng(0).poisson(0.3, (203, 6)).astype("float64")
    with problems.precision("float64"):
        _, dense = run("stacked", X=X)
        for at_once in (None, 48):
            _, sparse = run("stacked", at_once, X=scipy.sparse.csr_array(X))
            same(sparse, dense)


@pytest.mark.parametrize("at_once", [None, 16, 32, 40, 64, 1000])
@pytest.mark.parametrize("n", [5, 16, 32, 50, 163])
def test_blocks_hold_every_row_once_in_pieces_of_one_length(n, at_once):
    order = np.random.default_rng(0).permutation(1000)[:n]
    pieces = blocks(order, 16, at_once)
    counted = [index[: full * 16 + short * (n % 16)] for index, (full, short) in pieces]
    np.testing.assert_array_equal(np.concatenate(counted), order)
    assert len({len(index) for index, _ in pieces}) == 1
    assert sum(short for _, (_, short) in pieces) == int(n % 16 > 0)
    assert {short for _, (_, short) in pieces[:-1]} <= {0}  # the short batch is the last one
