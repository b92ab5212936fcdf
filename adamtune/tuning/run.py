"""Run: everything a study needs, resolved: task, space, programs, and the stamp that says so.

Between the estimator, which knows what the user wrote, and the loop, which knows only a study, a space and engines.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import optuna

from adamtune import engine as engines
from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine import plan as plans
from adamtune.engine.program import Structure
from adamtune.engine.stream import Stream
from adamtune.optimizers._rule import Rule
from adamtune.tasks.splits import passes
from adamtune.tasks.task import Task
from adamtune.tuning import loop, policies, records
from adamtune.tuning import study as studies
from adamtune.tuning.confirm import Confirmed, best, confirm
from adamtune.tuning.prior import NOTHING, Prior
from adamtune.tuning.records import Stamp
from adamtune.tuning.space import Space, space


@dataclass(frozen=True)
class Run:
    """A task, where its trials come from and what trains them."""

    task: Task
    streams: tuple[Stream, ...]
    space: Space
    starting: tuple[OptimizerConfig, ...]
    sampler: policies.Sampler
    pruner: policies.Pruner
    programs: engines.Programs
    stamp: Stamp
    prior: Prior = NOTHING

    @property
    def plan(self) -> plans.Plan:
        """How trials are trained."""
        return self.programs.plan

    def search(self, study: optuna.Study, budget: loop.Budget) -> Generator[loop.Event]:
        """The loop of the study, with clocks and a pruner that go on where what is stored has stopped."""
        epochs, n_passes = self.task.epochs, len(self.streams)
        pruner = policies.pruner_for(self.pruner, epochs, self.task.direction, n_passes)
        return loop.search(
            study,
            self.space,
            self._clocked(study),
            budget,
            epochs=epochs,
            passes=n_passes,
            at_once=self.plan.at_once,
            ahead=self.plan.ahead,
            sampler=self.sampler,
            prior=self.prior,
            pruner=pruner,
            seed=self.stamp.seed,
            metric=self.task.metric_name,
            patience=self.stamp.patience,
        )

    def _clocked(self, study: optuna.Study) -> Callable[[str, int], engines.Engine]:
        def open_program(rule: str, number: int) -> engines.Engine:
            engine = self.programs(rule, number)
            engine.clock = records.last_tick(study, rule, number, self.task.epochs)
            return engine

        return open_program


def streams_of(task: Task, seed: int, n_seeds: int) -> tuple[Stream, ...]:
    """The chance of each pass of a trial."""
    return tuple(Stream(*each) for each in passes(seed, task.folds or (lambda own: [task.split(own)]), n_seeds))


def prepare(
    task: Task,
    model: Any,
    searched: Space,
    starting: Sequence[OptimizerConfig],
    *,
    seed: int,
    n_seeds: int,
    patience: int | None,
    sampler: policies.Sampler,
    pruner: policies.Pruner,
    lanes: int | str,
    n_trials: int,
    stored: Stamp | None,
    prior: Prior,
) -> Run:
    """Resolve strategy and lanes, compile the first program and write the stamp.

    Parameters
    ----------
    model : keras.Model
        The task's, built with `seed`.
    starting : sequence of OptimizerConfig
        To be tried first; programs must be able to train them.
    stored : Stamp or None
        Of the study that is resumed: the lanes it resolved to are used again.
    """
    streams = streams_of(task, seed, n_seeds)
    if task.scorer is not None:
        task.scorer.check(task.data, (stream.split.valid for stream in streams))
    plan = plans.plan(
        task,
        model,
        searched.rules,
        stored.lanes if stored is not None and lanes == "auto" else lanes,
        n_trials,
        learns=policies.learns(sampler),
        n_passes=len(streams),
        options=searched.options,
    )
    structure = Structure.needed(
        searched.structure().union(*(config.hypers for config in starting)),
        [searched.options, *(config.options for config in starting)],
        plans.scales_loss(model),
    )
    programs = engines.Programs(task, plan, streams, structure, model)
    plan = programs.settle(searched.rules[0].name)
    stamp = Stamp(
        fingerprint=task.fingerprint(model),
        task=task.name,
        optimizer="+".join(searched.parts),
        space=searched.to_json(),
        objective=task.objective,
        epochs=task.epochs,
        batch_size=task.batch_size,
        steps=task.epochs * task.steps_per_epoch(streams[0].split.n_train),
        seed=seed,
        lanes=plan.lanes,
        strategy=plan.strategy,
        device=plan.device,
        backend=keras.backend.backend(),
        sampler=policies.name_of(sampler),
        pruner=policies.name_of(pruner),
        version=importlib.metadata.version("adamtune"),
        passes=len(streams),
        patience=patience,
    )
    return Run(task, streams, searched, tuple(starting), sampler, pruner, programs, stamp, prior)


def open_study(
    run: Run, database: optuna.storages.BaseStorage, name: str | None, stored: optuna.Study | None, exact: bool
) -> optuna.Study:
    """The stored study; or a new one, by default named for its task and optimizers, with what is to be tried first."""
    if stored is not None:
        return studies.resume(database, stored.study_name, run.task.direction, run.stamp)
    name = name or f"{run.task.name}/{'all' if run.space.wave else run.stamp.optimizer}"
    direction, starting = run.task.direction, run.starting
    while True:
        try:
            return studies.create(database, name, direction, run.stamp, exact, space=run.space, starting=starting)
        except optuna.exceptions.DuplicatedStudyError:  # another process has made it since we looked
            if studies.whole(optuna.load_study(study_name=name, storage=database)):
                return studies.resume(database, name, direction, run.stamp)


Row = tuple[str, int | None, Confirmed]


def baselines(
    study: optuna.Study, run: Run, chances: Sequence[Stream], n_confirmed: int, seconds: float | None
) -> Generator[loop.Event | list[Row]]:
    """Keras' default Adam, and Adam tuned over the learning rate alone with as many epochs as the study took.

    The second is a study of its own in the same database, with the same sampler and pruner, whose first trial is the
    default; like the study's own winner it is the best of its first few in the confirming passes. Yields events, at
    last the rows.
    """
    adam = optimizers.get("adam")
    rate = adam.hyper("learning_rate")
    epochs = records.spent(study)
    other = beside(run, replace(space(adam, {rate.name: (rate.low, rate.high)}, 0), options=run.space.options))
    name, starting = study.study_name + studies.BESIDE, other.space.defaults()
    alone = studies.create(study._storage, name, run.task.direction, other.stamp, space=other.space, starting=starting)
    yield loop.Phase("learning rate alone", epochs, "epochs")
    yield from other.search(alone, loop.Budget(epochs=epochs, seconds=seconds))
    n_trials = len(alone.get_trials(deepcopy=False, states=records.FINISHED))
    label = f"Adam, learning rate alone ({n_trials} trials, {records.spent(alone)} epochs)"
    top = [records.config_of(trial) for trial in records.ranked(alone)[:n_confirmed]]
    default = [] if adam.name in run.space.parts else [OptimizerConfig(adam.name)]
    yield loop.Phase("confirming the comparison", len(chances), "passes")
    confirmed: list[Confirmed] = []
    for done in confirm(run.task, other.programs, top + default, chances, run.stamp.patience):
        confirmed = done
        yield loop.Advanced()
    rows: list[Row] = [(default_label(adam), None, each) for each in confirmed[len(top) :]]
    if top:
        rows.append((label, None, confirmed[best(confirmed[: len(top)], run.task.direction)]))
    yield rows


def beside(run: Run, other: Space) -> Run:
    """A run of the same task and programs over another space, from the beginning."""
    run.programs.restart()
    stamp = replace(run.stamp, optimizer="+".join(other.parts), space=other.to_json())
    # A sampler that is an object remembers what it was told: the other study gets one of ours.
    sampler = run.sampler if isinstance(run.sampler, str) else "tpe"
    named = replace(stamp, sampler=policies.name_of(sampler))
    return replace(run, space=other, sampler=sampler, stamp=named, prior=NOTHING)


def default_label(rule: Rule) -> str:
    """What the optimizer's defaults are called in a comparison."""
    return f"Keras' default {rule.class_name}"
