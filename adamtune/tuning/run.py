"""Run: everything a study needs, resolved: task, space, engine, and the stamp that says so.

Between the estimator, which knows what the user wrote, and the loop, which knows only a study, a space and an engine.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import optuna

from adamtune import engine as engines
from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine import lanes
from adamtune.engine.program import Stream
from adamtune.optimizers._rule import Rule
from adamtune.tasks.task import Task
from adamtune.tuning import loop, policies, records
from adamtune.tuning import study as studies
from adamtune.tuning.confirm import Confirmed, confirm
from adamtune.tuning.records import Stamp
from adamtune.tuning.space import Space, space


@dataclass(frozen=True)
class Run:
    """A task, where its trials come from and what trains them."""

    task: Task
    stream: Stream
    space: Space
    engine: engines.Engine
    plan: lanes.Plan
    stamp: Stamp

    def search(self, study: optuna.Study, budget: loop.Budget) -> Generator[loop.Event]:
        """The loop of the study, with a pruner that has learned from what is stored."""
        pruner = policies.pruner_for(self.stamp.pruner, self.task.epochs, self.task.direction)
        if pruner is not None:
            pruner.learn(study.get_trials(deepcopy=False))
        return loop.search(
            study,
            self.space,
            self.engine,
            budget,
            epochs=self.task.epochs,
            sampler=self.stamp.sampler,
            pruner=pruner,
            seed=self.stamp.seed,
            metric=self.task.metric_name,
        )


def prepare(
    task: Task,
    model: Any,
    rule: Rule,
    searched: Space,
    *,
    seed: int,
    sampler: str,
    pruner: str,
    lanes_asked: int | str,
    n_trials: int,
    stored: Stamp | None,
) -> Run:
    """Resolve strategy and lanes, make the engine and write the stamp.

    Parameters
    ----------
    model : keras.Model
        The task's, built with `seed`.
    stored : Stamp or None
        Of the study that is resumed: the lanes it resolved to are used again.
    """
    stream = Stream(seed, task.split(seed))
    if stored is not None and lanes_asked == "auto":
        lanes_asked = stored.lanes
    plan = lanes.plan(task, model, rule, lanes_asked, n_trials, policies.learns(sampler), engines.device())
    engine, plan = engines.make(plan, task, model, rule, stream)
    stamp = Stamp(
        fingerprint=task.fingerprint(model),
        task=task.name,
        optimizer=rule.name,
        space=searched.to_json(),
        objective=task.objective,
        epochs=task.epochs,
        batch_size=task.batch_size,
        steps=task.epochs * task.steps_per_epoch(len(stream.split.train)),
        seed=seed,
        lanes=plan.lanes,
        strategy=plan.strategy,
        device=plan.device,
        backend=keras.backend.backend(),
        sampler=sampler,
        pruner=pruner,
        version=importlib.metadata.version("adamtune"),
    )
    return Run(task, stream, searched, engine, plan, stamp)


def open_study(
    run: Run, database: optuna.storages.BaseStorage, name: str, stored: optuna.Study | None, exact: bool
) -> optuna.Study:
    """The stored study with the engine's clock where it stopped, or a new one."""
    if stored is None:
        return studies.create(database, name, run.task.direction, run.stamp, exact)
    study = studies.resume(database, stored.study_name, run.task.direction, run.stamp)
    run.engine.clock = records.last_tick(study)
    return study


Row = tuple[str, int | None, Confirmed]


def baselines(
    study: optuna.Study, run: Run, passes: Sequence[Stream], epochs: int, seconds: float | None
) -> Generator[loop.Event | list[Row]]:
    """Keras' default Adam, and Adam tuned over the learning rate alone with as many epochs as the study took.

    The second is a study of its own in the same database, with the same sampler and pruner, whose first trial is the
    default. Both are confirmed in the study's passes (the default is left out when the study's own optimizer is Adam:
    it was confirmed with the others). Yields events, at last the rows.
    """
    adam = optimizers.get("adam")
    rate = adam.hyper("learning_rate")
    alone = space(adam, {rate.name: (rate.low, rate.high)}, 0)
    engine = run.engine
    if run.stamp.optimizer == adam.name:
        engine.restart(run.stream, run.task.build(run.stream.seed))
    else:
        engine, _ = engines.make(run.plan, run.task, run.task.build(run.stream.seed), adam, run.stream)
    other = replace(
        run, space=alone, engine=engine, stamp=replace(run.stamp, optimizer=adam.name, space=alone.to_json())
    )
    beside = studies.create(study._storage, study.study_name + studies.BESIDE, run.task.direction, other.stamp)
    studies.enqueue(beside, alone, [OptimizerConfig(adam.name)])
    yield loop.Phase("learning rate alone", epochs, "epochs")
    yield from other.search(beside, loop.Budget(epochs=epochs, seconds=seconds))
    trials = beside.get_trials(deepcopy=False, states=records.FINISHED)
    spent = sum(trial.user_attrs["epochs"] for trial in trials)
    label = f"Adam, learning rate alone ({len(trials)} trials, {spent} epochs)"
    compared = [(label, records.config_of(trial)) for trial in records.ranked(beside)[:1]]
    if run.stamp.optimizer != adam.name:
        compared.append((default_label(adam), OptimizerConfig(adam.name)))
    yield loop.Phase("confirming the comparison", len(passes), "passes")
    confirmed: list[Confirmed] = []
    for done in confirm(run.task, engine, [config for _, config in compared], passes):
        confirmed = done
        yield loop.Advanced()
    yield [(label, None, each) for (label, _), each in zip(compared, confirmed, strict=True)]


def default_label(rule: Rule) -> str:
    """What the optimizer's defaults are called in a comparison."""
    return f"Keras' default {rule.class_name}"
