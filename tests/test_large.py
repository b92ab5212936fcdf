"""Data that lie on a disk and are larger than what the device may hold: the same study, fed block by block."""

import keras
import numpy as np
import pytest

from adamtune.engine import feed, plan, program
from adamtune.engine.feed import Feed
from adamtune.tasks.inputs import Inputs
from adamtune.tuning import refit
from tests.small import X, Y, network, tuned, watch_runs

SETTINGS = {"n_trials": 5, "epochs": 2, "sampler": "random", "pruner": None, "confirm": 2, "refit": True, "lanes": 2}


@pytest.fixture
def on_disk(tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


@pytest.fixture
def too_large(monkeypatch):
    """Pretend that 61 rows fill the device: 20 may lie there together, and 8 are judged at once."""
    monkeypatch.setattr(plan, "_ROWS_SHARE", 0.0)
    monkeypatch.setattr(plan, "_BLOCK_BYTES", 20 * X[0].nbytes)
    for module in (feed, program):
        monkeypatch.setattr(module, "JUDGED_AT_ONCE", 8)


class Own(keras.Sequential):
    """A model that trains in its own way, so its trials go one by one."""

    def train_step(self, *given):
        return super().train_step(*given)


def own(X, y):
    return Own(network(X, y).layers)


def never_whole(monkeypatch):
    """Fails when all rows of X are read at once, or more than a block of them is put on the device."""
    monkeypatch.setattr(Inputs, "array", lambda inputs: pytest.fail("all rows were read at once"))
    take = Inputs.take

    def taken(inputs, index):
        assert len(index) <= 48, f"{len(index)} rows were read at once"
        return take(inputs, index)

    monkeypatch.setattr(Inputs, "take", taken)


def same(one, other):
    """Whether two studies differ by rounding alone."""
    assert one.trials_["learning_rate"].equals(other.trials_["learning_rate"])
    np.testing.assert_allclose(one.trials_["value"], other.trials_["value"], rtol=2e-5)
    np.testing.assert_allclose(one.best_score_, other.best_score_, rtol=2e-5)
    assert int(one.model_.optimizer.iterations) == int(other.model_.optimizer.iterations)


def test_rows_fed_in_blocks_make_the_same_study(on_disk, request, monkeypatch):
    resident = tuned(**SETTINGS)
    assert resident.plan_.rows_at_once is None
    request.getfixturevalue("too_large")
    never_whole(monkeypatch)
    numbers = []
    blocks = Feed._blocks
    monkeypatch.setattr(Feed, "_blocks", lambda *given: numbers.append(0) or _counted(blocks(*given), numbers))
    fed = tuned(X=on_disk, **SETTINGS)
    assert fed.plan_.rows_at_once == 20
    assert fed.n_programs_ == resident.n_programs_ == 1
    assert max(numbers) == 3  # 48 training rows, 16 of the 20 at a time; 13 judging ones, 8 and 5
    assert min(numbers[2:]) >= 1
    same(resident, fed)


def _counted(blocks, numbers):
    for block in blocks:
        numbers[-1] += 1
        yield block


def test_rows_in_memory_that_do_not_fit_the_device_are_fed_too(too_large):
    tuner = tuned(**SETTINGS | {"refit": False}, fit={"sample_weight": np.where(Y == 0, 3.0, 1.0)})
    assert tuner.plan_.rows_at_once == 20 and set(tuner.trials_["state"]) == {"complete"}


@pytest.mark.parametrize("weighted", [False, True])
def test_model_with_its_own_step_reads_batch_by_batch(on_disk, weighted, monkeypatch):
    fit = {"sample_weight": np.linspace(0.5, 2.0, 61)} if weighted else {}
    settings = SETTINGS | {"model": own, "n_trials": 2, "confirm": 0}
    resident = tuned(fit=fit, **settings)
    never_whole(monkeypatch)
    fed = tuned(X=on_disk, fit=fit, **settings)
    assert fed.plan_.strategy == resident.plan_.strategy == "one_by_one"
    assert len(fed.trials_) == 2
    for column in ("learning_rate", "value"):
        np.testing.assert_allclose(fed.trials_[column], resident.trials_[column], rtol=2e-5)


def test_winner_meets_rows_on_disk_in_another_order_in_each_epoch(on_disk, monkeypatch):
    runs = watch_runs(monkeypatch)
    tuner = tuned(X=on_disk, n_trials=1, epochs=3)
    epochs = [set()]
    take, end = Inputs.take, refit._Shuffled.on_epoch_end
    monkeypatch.setattr(Inputs, "take", lambda rows, index: epochs[-1].add(frozenset(index)) or take(rows, index))
    monkeypatch.setattr(refit._Shuffled, "on_epoch_end", lambda batches: epochs.append(set()) or end(batches))
    refit.train_on_all(runs[0].task, runs[0].streams[0], tuner.best_config_, tuner.epochs)
    epochs = [batches for batches in epochs if len(batches) == 4]  # Keras looks at a batch or two before it begins
    assert len(epochs) == 3 and all(frozenset.union(*batches) == set(range(61)) for batches in epochs)
    # Not the order of batches alone: neighbours on the disk, perhaps of one label, meet others each time.
    assert not epochs[0] & epochs[1] and not epochs[1] & epochs[2]
