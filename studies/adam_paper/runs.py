"""Configs trained side by side by AdamTuner, and their learning curves.

A `Task` is rows, a network and a budget. `curves` trains the configs it is given on a task and nothing else, once for
each seed. Under a seed all begin with the same weights; those that begin together, in the lanes of one program, also
see the rows in the same order and drop the same units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna

from adamtune import AdamTunerClassifier, AdamTunerRegressor, OptimizerConfig
from adamtune.tuning import curves as stored
from adamtune.tuning import records

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Task:
    """What is learned, by which network, for how long.

    Parameters
    ----------
    train, judge : tuple of arrays (X, y)
        Rows that train, and rows that give the validation loss.
    network : callable
        `network(X, y)` returns an uncompiled Keras model.
    loss : keras.losses.Loss
    batch_size, epochs : int
    """

    train: tuple[np.ndarray, np.ndarray]
    judge: tuple[np.ndarray, np.ndarray]
    network: Callable[[Any, Any], Any]
    loss: Any
    batch_size: int
    epochs: int

    def cut(self, rows: int, epochs: int) -> Task:
        """The same with fewer rows of each part and fewer epochs."""
        train, judge = (tuple(each[:rows] for each in part) for part in (self.train, self.judge))
        return replace(self, train=train, judge=judge, epochs=min(epochs, self.epochs))

    @property
    def is_regression(self) -> bool:
        """Whether the targets are numbers."""
        return self.train[1].dtype.kind == "f"


@dataclass(frozen=True)
class Curves:
    """Losses after each epoch under each seed, both of shape (seeds, epochs); infinite from where a run diverged."""

    train: np.ndarray
    judge: np.ndarray


@dataclass(frozen=True)
class Arm:
    """A config of which everything is settled but the learning rate, and the rates that are tried."""

    label: str
    config: OptimizerConfig
    rates: tuple[float, ...]

    def at(self, rate: float) -> OptimizerConfig:
        """The config with that learning rate."""
        own = self.config
        return OptimizerConfig(own.optimizer, schedule=own.schedule, **{**own.hypers, "learning_rate": rate})


def decades(low: float, high: float) -> tuple[float, ...]:
    """Learning rates from 10^low to 10^high, two in a decade."""
    return tuple(float(f"{rate:.3g}") for rate in np.logspace(low, high, round(2 * (high - low)) + 1))


def over_rates(task: Task, arms: Sequence[Arm], random_state: int) -> list[list[Curves]]:
    """One training for each arm and each of its rates, all from the same seed."""
    found = iter(curves(task, [arm.at(rate) for arm in arms for rate in arm.rates], 1, random_state))
    return [[next(found) for _ in arm.rates] for arm in arms]


def curves(task: Task, configs: Sequence[OptimizerConfig], seeds: int, random_state: int) -> list[Curves]:
    """The learning curves of the configs, in their order: one study for each optimizer among them."""
    found: dict[Any, Curves] = {}
    for name in dict.fromkeys(config.optimizer for config in configs):
        once = {_key(config): config for config in configs if config.optimizer == name}
        found |= dict(zip(once, _of_one_optimizer(task, list(once.values()), seeds, random_state), strict=True))
    return [found[_key(config)] for config in configs]


def _of_one_optimizer(task: Task, configs: list[OptimizerConfig], seeds: int, random_state: int) -> list[Curves]:
    first, *others = configs
    schedules = list(dict.fromkeys([*(config.schedule for config in configs), "constant", "linear"]))
    tuner = (AdamTunerRegressor if task.is_regression else AdamTunerClassifier)(
        model=task.network,
        optimizer=first.optimizer,
        # A study begins with the default of its space. Here that is the first config, so that nothing else is trained;
        # the schedule is named as free because a space must leave something free.
        space={**first.hypers, "schedule": schedules},
        start_from=others,
        n_trials=len(configs),
        n_seeds=seeds,
        epochs=task.epochs,
        batch_size=task.batch_size,
        loss=task.loss,
        metric="loss",
        confirm=0,
        sampler="random",
        pruner="none",
        storage="memory",
        refit=False,
        random_state=random_state,
        verbose=0,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The judging rows were given")  # nothing is chosen by fit itself
        tuner.fit(*task.train, validation_data=task.judge)
    trials = tuner.study_.get_trials(deepcopy=False)
    assert [_key(records.config_of(trial)) for trial in trials] == [_key(config) for config in configs]
    kept = stored.read(tuner.study_)
    return [_curves(kept.get(trial.number), seeds, task.epochs) for trial in trials]


def _key(config: OptimizerConfig) -> tuple[Any, ...]:
    return config.optimizer, config.schedule, config.values


def _curves(curve: Any, seeds: int, epochs: int) -> Curves:
    """All passes of a trial stand one after the other in its curve; one that diverged breaks off."""
    columns = []
    for column in ((), ()) if curve is None else (curve.train_loss, curve.val_loss):
        whole = np.full(seeds * epochs, np.inf)
        whole[: len(column)] = np.where(np.isfinite(column), column, np.inf)
        columns.append(whole.reshape(seeds, epochs))
    return Curves(*columns)
