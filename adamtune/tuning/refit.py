"""The winner as a trained model: on all rows, or its trial over again."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna

from adamtune.config import OptimizerConfig
from adamtune.engine.one_by_one import Batches, OneByOne, fit_arguments
from adamtune.engine.stream import Stream
from adamtune.tasks import networks
from adamtune.tasks.task import Task, targets

History = dict[str, list[float]]


def train_on_all(task: Task, stream: Stream, config: OptimizerConfig) -> tuple[Any, History]:
    """A model compiled with the config and trained by `model.fit` on every row given, judging rows included.

    A schedule that ends with the training is stretched to its number of steps, which are more than in the study.

    Returns
    -------
    model : keras.Model
        Compiled with a fresh optimizer of the config, so that it can go on training.
    history : dict of str to list of float
    """
    model = task.build(stream.seed)
    steps = task.epochs * task.steps_per_epoch(len(task.data.x))
    model.compile(optimizer=config.to_keras(steps), loss=task.loss, metrics=task.metrics)
    given = np.arange(len(task.data.x))

    def train() -> Any:
        y, weight, _ = targets(task)
        rows = fit_arguments(task, given, y, weight)
        if isinstance(rows["x"], Batches):
            rows["x"] = _Shuffled(task, given, y, weight, stream.seed)
        return model.fit(**rows, epochs=task.epochs, verbose=0)

    return model, dict(networks.seeded(stream.seed, train).history)


class _Shuffled(Batches):
    """Rows by the batch, in another order in each epoch: of batches that it is given, `fit` shuffles the order alone.

    Rows on a disk are often sorted by label, and batches of one label train nothing.
    """

    def __init__(self, task: Task, index: np.ndarray, y: np.ndarray, weight: np.ndarray | None, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        super().__init__(task, self._rng.permutation(index), y, weight)

    def on_epoch_end(self) -> None:
        self._index = self._rng.permutation(self._index)


def replay(task: Task, stream: Stream, trial: optuna.trial.FrozenTrial, config: OptimizerConfig) -> tuple[Any, History]:
    """The trial's training over again through `model.fit`: its rows, in the order of its ticks, for its epochs."""
    model = task.build(stream.seed)
    engine = OneByOne(task, model, stream)
    engine.clock = trial.user_attrs["start_tick"]
    engine.load({0: config})
    history: History = {"loss": [], "val_loss": []}
    for _ in range(trial.user_attrs["epochs"]):
        engine.tick()
        (report,) = engine.reports()
        history["loss"].append(report.train_loss)
        history["val_loss"].append(report.val_loss)
    engine.finish()
    return model, history
