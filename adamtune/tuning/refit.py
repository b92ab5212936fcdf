"""The winner as a trained model: on all rows, or its trial over again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from adamtune.config import OptimizerConfig
from adamtune.engine.one_by_one import Batches, OneByOne, fit_arguments
from adamtune.engine.stream import Stream
from adamtune.tasks import networks
from adamtune.tasks.task import Task, targets
from adamtune.tuning import records

History = dict[str, list[float]]


def train_on_all(task: Task, stream: Stream, config: OptimizerConfig, epochs: int) -> tuple[Any, History]:
    """A model compiled with the config and trained by `model.fit` on every row given, judging rows included.

    A schedule that ends with the training is stretched to the steps of all the task's epochs on these rows, which are
    more than in the study, also where fewer `epochs` are trained.

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
        return model.fit(**rows, epochs=epochs, verbose=0)

    return model, dict(networks.seeded(stream.seed, train).history)


def is_finite(model: Any, history: History) -> bool:
    """Whether neither the losses at the end of a training nor the weights are NaN or infinite."""
    last = [values[-1] for values in history.values() if values]
    weights = (np.asarray(weight, np.float64) for weight in model.get_weights())
    return bool(np.isfinite(last).all()) and all(np.isfinite(weight).all() for weight in weights)


class _Shuffled(Batches):
    """Rows by the batch, in another order in each epoch: of batches that it is given, `fit` shuffles the order alone.

    Rows on a disk are often sorted by label, and batches of one label train nothing.
    """

    def __init__(self, task: Task, index: np.ndarray, y: np.ndarray, weight: np.ndarray | None, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        super().__init__(task, self._rng.permutation(index), y, weight)

    def on_epoch_end(self) -> None:
        self._index = self._rng.permutation(self._index)


def replay(
    task: Task, streams: Sequence[Stream], trial: optuna.trial.FrozenTrial, pass_number: int = 0
) -> tuple[Any, History]:
    """A trial's training again through `model.fit`: its rows, in the order of its ticks, for the epochs that count.

    Raises
    ------
    StudyError
        When the trial never began that pass.
    """
    tick = records.start_tick(trial, pass_number)
    stream = streams[pass_number]
    model = task.build(stream.seed)
    engine = OneByOne(task, model, stream)
    engine.clock = tick
    engine.load({0: records.config_of(trial)})
    history: History = {"loss": [], "val_loss": []}
    for _ in range(records.counted(trial, task.epochs, pass_number)):
        engine.tick()
        (report,) = engine.reports()
        history["loss"].append(report.train_loss)
        history["val_loss"].append(report.val_loss)
        if report.metric is not None:
            history.setdefault(f"val_{task.metric_name}", []).append(report.metric)
    engine.finish()
    return model, history
