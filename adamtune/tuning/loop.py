"""The loop of a study: ask, load, tick, report, prune, tell, refill.

`search` is a generator of events and prints nothing; who listens decides what people see. It knows an engine by its
four methods and never sees a backend, so it is tested with a fake one.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import optuna

from adamtune.config import OptimizerConfig
from adamtune.engine import Engine
from adamtune.engine.program import Report
from adamtune.errors import LaneStatus
from adamtune.tuning import policies, records, storage
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import Space

_State = optuna.trial.TrialState


@dataclass(frozen=True)
class Budget:
    """When a study ends: at `trials` finished ones in all, at `epochs` trained here, or after `seconds` from now."""

    trials: int | None = None
    epochs: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class TrialEnded:
    """A trial left its lane; `state` is "complete", "pruned", "diverged" or "stopped"."""

    number: int
    config: OptimizerConfig
    state: str
    value: float | None
    epochs: int


@dataclass(frozen=True)
class Ticked:
    """A tick is over: trials now in lanes, and epochs trained in all lanes since the start."""

    running: int
    epochs: int


@dataclass(frozen=True)
class Phase:
    """Another piece of work begins, of `total` units."""

    name: str
    total: int
    unit: str


@dataclass(frozen=True)
class Advanced:
    """One unit of a phase without trials is done."""


Event = TrialEnded | Ticked | Phase | Advanced


@dataclass
class _Seat:
    trial: optuna.Trial
    config: OptimizerConfig
    last: Report | None = None


def search(
    study: optuna.Study,
    space: Space,
    engine: Engine,
    budget: Budget,
    *,
    epochs: int,
    sampler: str,
    pruner: Asha | None,
    seed: int,
    metric: str | None = None,
) -> Generator[Event]:
    """Train configs until the budget is spent.

    Parameters
    ----------
    study : optuna.Study
        May hold finished trials already: they count towards `budget.trials` and are learned from.
    epochs : int
        The full budget of one trial.
    metric : str or None
        Name of the metric beside the loss, for the records.

    Yields
    ------
    TrialEnded, Ticked

    Notes
    -----
    Whatever ends the loop, an exception or a closed generator included, running trials are told to have failed and
    everything is written.
    """
    seats: dict[int, _Seat] = {}
    steps = records.report_steps(epochs, pruner.rungs if pruner else [])
    stored = study.get_trials(deepcopy=False)
    finished = sum(trial.state in records.FINISHED for trial in stored)
    # Trials that wait are the next to be asked; counting here saves a read of the whole study at each ask.
    numbers = itertools.count(sum(trial.state != _State.WAITING for trial in stored))
    penalty = _Penalty(engine, study)
    trained, deadline = 0, None if budget.seconds is None else time.monotonic() + budget.seconds
    stopped = "interrupted"
    try:
        while True:
            # Ask and load.
            free = [lane for lane in range(engine.n_lanes) if lane not in seats]
            wanted = _wanted(budget, finished + len(seats), trained, epochs, len(seats))
            for lane in free[:wanted]:
                seats[lane] = _ask(study, space, sampler, seed, next(numbers))
                records.started(seats[lane].trial, seats[lane].config, lane, engine.clock)
            engine.load({lane: seats[lane].config for lane in free[:wanted]})
            if not seats:
                return

            # Tick and report.
            engine.tick()
            reports = engine.reports()
            trained += len(reports)
            for report in reports:
                seats[report.lane].last = report
                if report.status is LaneStatus.RUNNING and report.epoch in steps:
                    seats[report.lane].trial.report(report.value, report.epoch)

            # Prune, tell, and free the lanes for a refill.
            ended = _judge(reports, pruner, epochs)
            for report in reports:
                penalty.see(report)
            told = []
            for lane, state in ended.items():
                told.append(_tell(study, seats[lane], state, penalty, metric))
                del seats[lane]
            finished += len(told)
            engine.free(list(ended))
            storage.flush(study._storage)
            # Only now: whoever listens may stop here, and everything that ended is told.
            yield from told
            yield Ticked(len(seats), trained)
            if deadline is not None and time.monotonic() >= deadline:
                stopped = "timeout"
                return
    finally:
        for seat in seats.values():
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # told in the moment of the stop
                if seat.last is not None:
                    records.ended(seat.trial, seat.last, metric)
                seat.trial.set_user_attr("stopped", stopped)
                study.tell(seat.trial, state=_State.FAIL, skip_if_finished=True)
        storage.flush(study._storage)


def _wanted(budget: Budget, begun: int, trained: int, epochs: int, running: int) -> int:
    """How many trials may still begin."""
    if budget.trials is not None:
        return max(0, budget.trials - begun)
    assert budget.epochs is not None
    # Running trials may use up their full length; a budget of epochs is never exceeded by more than one trial.
    left = budget.epochs - trained
    return max(0, -(-left // epochs) - running) if left > 0 else 0


def _ask(study: optuna.Study, space: Space, sampler: str, seed: int, number: int) -> _Seat:
    study.sampler = policies.sampler_for(sampler, seed, number)
    trial = study.ask(space.distributions)
    stored = trial.user_attrs.get("config")
    # A starting config is trained exactly as given, also where the space can only come near it.
    config = OptimizerConfig.from_json(stored) if stored else space.config(trial.params)
    return _Seat(trial, config)


def _judge(reports: list[Report], pruner: Asha | None, epochs: int) -> dict[int, str]:
    """The lanes whose trials end with this tick, and how."""
    ended = {}
    for report in reports:
        if report.status is LaneStatus.DIVERGED:
            ended[report.lane] = "diverged"
        elif report.epoch >= epochs:
            ended[report.lane] = "complete"
    for rung in pruner.rungs if pruner else ():
        at_rung = [r for r in reports if r.epoch == rung and r.lane not in ended]
        if at_rung:
            assert pruner is not None
            stays = pruner.judge(rung, [report.value for report in at_rung])
            ended |= {r.lane: "pruned" for r, stay in zip(at_rung, stays, strict=True) if not stay}
    return dict(sorted(ended.items()))


def _tell(study: optuna.Study, seat: _Seat, state: str, penalty: _Penalty, metric: str | None) -> TrialEnded:
    report = seat.last
    assert report is not None
    records.ended(seat.trial, report, metric)
    value: float | None = report.value
    if state == "pruned":
        study.tell(seat.trial, state=_State.PRUNED)
    else:
        if state == "diverged":
            value = None
        study.tell(seat.trial, penalty.value if value is None else value)
    return TrialEnded(seat.trial.number, seat.config, state, value, report.epoch)


class _Penalty:
    """What a diverged trial is told: no better than the untrained model, nor than the worst value seen.

    A sampler learns nothing from a failed trial, and ranks a pruned one by how long it lived; a finite bad value is
    what teaches it to stay away.
    """

    def __init__(self, engine: Engine, study: optuna.Study) -> None:
        self._worse = max if study.direction == optuna.study.StudyDirection.MINIMIZE else min
        self.value = engine.initial_loss()
        for trial in study.get_trials(deepcopy=False):
            for value in trial.intermediate_values.values():
                self._take(value)

    def see(self, report: Report) -> None:
        """Take a report's value into account."""
        self._take(report.value)

    def _take(self, value: float) -> None:
        if np.isfinite(value):
            self.value = self._worse(self.value, value) if np.isfinite(self.value) else value
