"""Preparing: from an estimator's settings and its data to a `Run`, ready to search."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import optuna

from adamtune import engine as engines
from adamtune.experience import Experience
from adamtune.settings import Settings, kept_options
from adamtune.tasks import judging, networks, splits
from adamtune.tasks import task as tasks
from adamtune.tasks.data import Data
from adamtune.tasks.task import Task
from adamtune.tuning import records, run
from adamtune.tuning import study as studies
from adamtune.tuning.run import Run
from adamtune.tuning.space import Space


def make_task(tuner: Any, X: Any, y: Any, groups: Any, data: Data, seed: int) -> tuple[Task, Any]:
    """The task, and its model with weights of that seed.

    Parameters
    ----------
    tuner : AdamTuner
    X, y, groups
        As `fit` was given them.
    data : Data
        What was made of them.
    """
    folds = None if tuner.cv is None else splits.folds_of(data, tuner.cv, groups)

    def split(own_seed: int) -> splits.Split:
        return splits.split(data, tuner.validation_split, own_seed, groups)

    train = (split(seed) if folds is None else folds(seed)[0]).train
    build = engines.hastily(networks.builder(tuner.model, X, y, data, train))
    model = build(seed)
    networks.check(model, data)
    typed = networks.typed(data, model)
    loss = tasks.choose_loss(tuner.loss, model, typed)
    logits = tasks.from_logits(loss, model)
    metric, objective = judging.choose_metric(tuner.metric, typed, loss, tasks.output_width(model), logits)
    direction = judging.choose_direction(tuner.direction, metric, objective)
    epochs, batch_size = int(tuner.epochs), int(tuner.batch_size)
    # Study names are what people choose by in a dashboard: say what it is and how large.
    size = "+".join("x".join(map(str, (data.n_given, *part.row_shape))) for part in data.x.parts.values())
    name = f"{data.kind}-{size}"
    task = Task(name, typed, split, build, loss, metric, objective, direction, epochs, batch_size, folds)
    return task, model


def keeping(tuner: Any, settings: Settings, model: Any) -> Settings:
    """The settings with what the optimizer of the user's compiled model does besides its rule."""
    return settings.keeping(kept_options(tuner.model if isinstance(tuner.model, keras.Model) else model))


def make_run(
    tuner: Any,
    settings: Settings,
    stored: optuna.Study | None,
    seed: int,
    task: Task,
    model: Any,
    experience: Experience,
) -> Run:
    """Programs that train the task, the space to search and what goes with them.

    Parameters
    ----------
    stored : optuna.Study or None
        The study to go on with: what was resolved for it is used again.
    """
    stamp = None if stored is None else records.read_stamp(stored)
    # The wave and the automatic space depend on n_trials; a resumed study keeps those it was made with.
    searched = settings.space
    if stamp and _alike(kept := Space.from_json(stamp.space), searched):
        searched = kept if tuner.space == "auto" else dataclasses.replace(searched, wave=kept.wave)
    return run.prepare(
        task,
        model,
        searched,
        settings.starting(experience.configs) if stored is None else studies.starting(stored),
        seed=seed,
        n_seeds=tuner.n_seeds,
        patience=tuner.patience,
        sampler=settings.sampler,
        pruner=settings.pruner,
        lanes=tuner.lanes,
        n_trials=tuner.n_trials,
        stored=stamp,
        prior=experience.prior,
    )


def _alike(stored: Space, asked: Space) -> bool:
    """Whether two spaces are of the same optimizers with the same options, whatever numbers they free."""
    same = list(stored.parts) == list(asked.parts) and (stored.wave is None) == (asked.wave is None)
    return same and stored.options == asked.options


def worker(tuner: Any, run: Run, n_trials: int, seconds: float | None) -> Any:
    """The estimator with which another process joins a study of this one's; its storage and name go beside it."""
    folds = tuner.cv
    # A splitter would draw other rows there, and an iterator has none left.
    if run.task.folds is not None and not isinstance(folds, (int, np.integer)):
        folds = [(split.train, split.valid) for split in run.task.folds(run.stamp.seed)]
    given = tuner.get_params(deep=False) | {"cv": folds, "random_state": run.stamp.seed, "n_trials": n_trials}
    given |= {"timeout": seconds, "storage": None, "resume": True, "n_jobs": 1, "callbacks": (), "verbose": 0}
    return type(tuner)(**given)
