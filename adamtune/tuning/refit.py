"""The winner as a trained model: on all rows, or its trial over again."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna

from adamtune.config import OptimizerConfig
from adamtune.engine.one_by_one import OneByOne, fit_arguments
from adamtune.engine.program import Stream
from adamtune.tasks import networks
from adamtune.tasks.task import Task, encode_targets

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
        rows = fit_arguments(task, given, encode_targets(task.data, task.loss), task.data.training_weight(given))
        return model.fit(**rows, epochs=task.epochs, verbose=0)

    return model, dict(networks.seeded(stream.seed, train).history)


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
