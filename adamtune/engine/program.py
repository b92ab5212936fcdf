"""Program: one tick of training for one rule and one model, and the stream of chance that all its lanes share.

All lanes of a program see the same rows in the same order, the same dropout masks and the same initial weights
(common random numbers), so trials of the same ticks differ only by their hypers. That chance is the `Stream`: a pure
function of (seed, tick). It is data to the program, so another seed or another split of the same sizes compiles
nothing.

This file is what both backends share. It turns a Keras model and a Rule into pure functions over `keras.ops`; how many
lanes run through them at once is the backend file's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from keras import ops

from adamtune.config import OptimizerConfig
from adamtune.errors import LaneStatus
from adamtune.optimizers import schedules
from adamtune.optimizers._rule import Rule
from adamtune.tasks.data import Split
from adamtune.tasks.task import Task, encode_targets

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
        rng = np.random.default_rng([self.seed, _ORDER, tick])
        return rng.permutation(self.split.train).astype(np.int32)

    def masks(self, tick: int, n_generators: int) -> np.ndarray:
        """States for the model's seed generators at the start of that tick, shape (n_generators, 2)."""
        rng = np.random.default_rng([self.seed, _MASKS, tick])
        seeds = rng.integers(1, 10**9, size=n_generators)
        return np.stack([seeds, np.zeros_like(seeds)], axis=1)


class NotStackable(Exception):
    """The model has an operation, named by the text, that cannot run for stacked lanes."""


@dataclass(frozen=True)
class Report:
    """What a lane did in one tick.

    Parameters
    ----------
    lane : int
    epoch : int
        The trial's own age: epochs it has trained, from 1.
    value : float
        The objective; not finite when it diverged.
    status : LaneStatus
    train_loss, val_loss : float
        Means over the rows, as `model.fit` reports them.
    metric : float or None
        The task's metric over the judging rows.
    """

    lane: int
    epoch: int
    value: float
    status: LaneStatus
    train_loss: float
    val_loss: float
    metric: float | None


def report(task: Task, lane: int, epoch: int, train: float, val: float, metric: float) -> Report:
    """A Report; a loss that is not finite is a status, not an exception."""
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


def hyper_row(rule: Rule, config: OptimizerConfig) -> list[float]:
    """A config as numbers in the order of the rule's hypers and the schedules'."""
    values = config.hypers
    return [hyper.carry(values.get(hyper.name, hyper.default)) for hyper in rule.hypers + schedules.HYPERS]


class Forward:
    """A built Keras model as a pure function of its weights.

    Its variables fall into three groups: `weights` (trained), `state` (batch-norm statistics and the like, one per
    lane) and `seeds` (states of the generators behind dropout and noise, shared by all lanes so that their masks are
    the same).
    """

    def __init__(self, model: Any, task: Task) -> None:
        self.model = model
        self.loss = task.loss
        self.metric = task.metric
        self.weights = list(model.trainable_variables)
        others = model.non_trainable_variables
        self._is_seed = [variable.path.endswith("seed_generator_state") for variable in others]
        self.state = [v for v, is_seed in zip(others, self._is_seed, strict=True) if not is_seed]
        self.seeds = [v for v, is_seed in zip(others, self._is_seed, strict=True) if is_seed]

    def __call__(
        self,
        weights: Sequence[Any],
        state: Sequence[Any],
        seeds: Sequence[Any],
        x: Any,
        y: Any,
        weight: Any,
        training: bool,
    ) -> tuple[Any, Any, tuple[Any, ...], tuple[Any, ...]]:
        """Loss (with the model's own losses) and outputs of one batch, then the new state and seeds."""
        own_state, own_seeds = iter(state), iter(seeds)
        others = [next(own_seeds) if is_seed else next(own_state) for is_seed in self._is_seed]
        # As in Keras' own steps: a model whose `call` takes no `training` is not told.
        told = {"training": training} if self.model._call_has_training_arg else {}
        outputs, others, extra = self.model.stateless_call(list(weights), others, x, return_losses=True, **told)
        loss = self.loss(y, outputs, weight)
        for each in extra:
            loss = loss + ops.sum(each)
        new = list(zip(self._is_seed, others, strict=True))
        return (
            loss,
            outputs,
            tuple(value for is_seed, value in new if not is_seed),
            tuple(value for is_seed, value in new if is_seed),
        )

    def mean_metric(self, y: Any, outputs: Any) -> Any:
        """The metric's mean over a batch; like `model.compile(metrics=...)` it leaves sample weights out."""
        values = self.metric._fn(y, outputs, **self.metric._fn_kwargs)
        return ops.mean(ops.cast(values, self.loss.dtype))


def update(
    rule: Rule,
    gradients: Sequence[Any],
    weights: Sequence[Any],
    slots: Sequence[tuple[Any, ...]],
    hypers: Any,
    iterations: Any,
) -> tuple[tuple[Any, ...], tuple[tuple[Any, ...], ...]]:
    """One step of the rule for every weight of every lane.

    Parameters
    ----------
    gradients, weights : sequences of arrays of shape (lanes, *shape)
    slots : per weight, a tuple of arrays of its shape
    hypers : array of shape (lanes, n_hypers), columns as in `hyper_row`
    iterations : array of shape (lanes,)
        Updates each lane has done before this one.
    """
    names = [hyper.carried_name for hyper in rule.hypers + schedules.HYPERS]
    columns = {name: hypers[:, i] for i, name in enumerate(names)}
    columns["learning_rate"] = schedules.learning_rate(SimpleNamespace(**columns), iterations)
    t = iterations + 1

    @cache
    def against(rank: int) -> tuple[SimpleNamespace, Any]:
        """The hypers and t for weights of that rank; made once, because each reshape is an operation in every step."""
        shape = (-1,) + (1,) * rank
        return SimpleNamespace(**{name: ops.reshape(c, shape) for name, c in columns.items()}), ops.reshape(t, shape)

    def one(gradient: Any, weight: Any, slot: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return rule.update(gradient, weight, slot, *against(len(weight.shape) - 1))

    updated = [one(*each) for each in zip(gradients, weights, slots, strict=True)]
    return tuple(weight for weight, _ in updated), tuple(slot for _, slot in updated)


@dataclass(frozen=True)
class Rows:
    """The rows a program keeps on its device: inputs, targets as the loss wants them, weights or None."""

    x: np.ndarray
    y: np.ndarray
    train_weight: np.ndarray | None
    valid_weight: np.ndarray | None


def rows(task: Task) -> Rows:
    """The task's rows; training weights carry the class weights, judging ones do not (as in `model.fit`)."""
    data = task.data
    return Rows(
        data.x,
        encode_targets(data, task.loss),
        data.training_weight(np.arange(len(data.x))),
        data.weight,
    )
