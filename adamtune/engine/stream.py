"""Stream and report: what goes into a tick by chance, and what comes out of it.

All lanes of a program see the same rows in the same order, the same dropout masks and the same initial weights
(common random numbers), so trials of the same ticks differ only by their hypers. That chance is the `Stream`: a pure
function of (seed, tick). It is data to the program, so another seed or another split of the same sizes compiles
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adamtune.errors import LaneStatus
from adamtune.tasks.splits import Split
from adamtune.tasks.task import Task

# What chance is drawn for, so that order and masks of the same tick do not share numbers.
_ORDER, _MASKS = 0, 1


@dataclass(frozen=True)
class Stream:
    """The chance of a program: which rows train and judge, their order, the masks, the initial weights.

    Parameters
    ----------
    seed : int
        The study's seed, or another one for a confirming pass.
    split : Split
    """

    seed: int
    split: Split

    def order(self, tick: int) -> np.ndarray:
        """The training rows in the order of that tick, int32 of shape (n_train,)."""
        return self.split.order(np.random.default_rng([self.seed, _ORDER, tick]), tick)

    def masks(self, tick: int, n_generators: int) -> np.ndarray:
        """States for the model's seed generators at the start of that tick, shape (n_generators, 2)."""
        rng = np.random.default_rng([self.seed, _MASKS, tick])
        seeds = rng.integers(1, 10**9, size=n_generators)
        return np.stack([seeds, np.zeros_like(seeds)], axis=1)


@dataclass(frozen=True)
class Report:
    """What a lane did in one tick.

    Parameters
    ----------
    lane : int
    epoch : int
        The trial's own age in this program: epochs it has trained, from 1.
    value : float
        The objective; not finite when it diverged, or when its metric has no value.
    status : LaneStatus
    train_loss, val_loss : float
        Means over the rows, as `model.fit` reports them.
    metric : float or None
        The task's metric over the judging rows; NaN where a `Scorer` has no value for such outputs.
    """

    lane: int
    epoch: int
    value: float
    status: LaneStatus
    train_loss: float
    val_loss: float
    metric: float | None


def report(task: Task, lane: int, epoch: int, train: float, val: float, metric: float) -> Report:
    """A Report; a loss or an objective that is not finite is a status, not an exception."""
    value = val if task.objective == "val_loss" else metric
    finite = bool(np.isfinite([train, val, value]).all())
    return Report(
        lane,
        epoch,
        float(value),
        LaneStatus.RUNNING if finite else LaneStatus.DIVERGED,
        float(train),
        float(val),
        float(metric) if task.metric is not None else None,
    )
