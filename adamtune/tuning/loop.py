"""The loop of a study: ask, load, tick, report, prune, tell, refill.

`search` is a generator of events and prints nothing; who listens decides what people see. It knows an engine by its
methods and never sees a backend, so it is tested with a fake one.

Every optimizer has a program of its own, and so has every pass (fold or seed) of it. A trial waits in the queue of its
optimizer's first pass until a lane is free; at the end of a pass it goes to the queue of the next one.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import optuna

from adamtune.config import OptimizerConfig
from adamtune.engine import Engine
from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus, OutOfMemory
from adamtune.tuning import curves, pruning, records, sharing, storage
from adamtune.tuning.asking import Asking
from adamtune.tuning.curves import Curve
from adamtune.tuning.patience import Course
from adamtune.tuning.penalty import Penalty
from adamtune.tuning.policies import Sampler
from adamtune.tuning.prior import Prior
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import Space

_State = optuna.trial.TrialState

# Seconds between writes of the curves of trials that run: what a killed process may lose of them.
_DRAW_EVERY = 1.0
# Rounds that a program with free lanes waits for more trials. Each that ticks half empty costs as much as a full one;
# to wait for longer holds back what is to be learned from the trials it has.
_PATIENCE = 2


@dataclass(frozen=True)
class Budget:
    """When a study ends: at `trials` finished ones in all, at `epochs` trained here, or after `seconds` from now."""

    trials: int | None = None
    epochs: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class TrialEnded:
    """A trial left its lane for good; `state` is "complete", "pruned" or "diverged", `epochs` those of all passes."""

    number: int
    config: OptimizerConfig
    state: str
    value: float | None
    epochs: int


@dataclass(frozen=True)
class Ticked:
    """A round of ticks is over: trials now in lanes, and epochs trained in all lanes since the start."""

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
    """One unit of a phase is done that is no trial of this process."""


@dataclass(frozen=True)
class Halved:
    """The memory did not hold all lanes of a program: it goes on with so many."""

    lanes: int


Event = TrialEnded | Ticked | Phase | Advanced | Halved


@dataclass(eq=False)
class _Run:
    """A trial that has been asked and has not ended."""

    trial: optuna.Trial
    config: OptimizerConfig
    course: Course  # of the pass it is in
    passes: list[float] = field(default_factory=list)  # values of those that are over
    reports: list[Report] = field(default_factory=list)  # of all passes, an epoch each
    before: int = 0  # epochs trained in the passes that are over
    step: int = 0  # where it is when every pass counts as a whole one
    farthest: int = 0  # the last step that is judged
    value: float = float("nan")  # mean of the passes that are over and the present one

    def begin(self) -> None:
        """Begin the present pass, or begin it anew."""
        self.course = self.course.anew()

    def take(self, report: Report) -> None:
        """Take in what the trial did in a tick."""
        self.course.take(report.epoch, report.value)
        values = [*self.passes, report.value if report.status is LaneStatus.DIVERGED else self.course.value]
        self.step, self.value = len(self.passes) * self.course.epochs + report.epoch, sum(values) / len(values)
        self.reports[self.before + report.epoch - 1 :] = [report]

    def end_pass(self) -> None:
        """Close the present pass."""
        self.passes.append(self.course.value)
        self.before = len(self.reports)

    @property
    def ends_pass(self) -> bool:
        """Whether the present pass is over."""
        return self.course.is_over and not self.diverged

    @property
    def last(self) -> Report | None:
        """What it did in its last tick."""
        return self.reports[-1] if self.reports else None

    @property
    def diverged(self) -> bool:
        """Whether its loss is no number any more."""
        return self.last is not None and self.last.status is LaneStatus.DIVERGED


@dataclass(eq=False)
class _Program:
    """One optimizer's training in one pass: the trials in its lanes, and those that wait for one."""

    engine: Engine
    seats: dict[int, _Run] = field(default_factory=dict)
    queue: deque[_Run] = field(default_factory=deque)
    waited: int = 0

    def fill(self) -> None:
        """Seat trials from the queue in the free lanes."""
        free = [lane for lane in range(self.engine.n_lanes) if lane not in self.seats]
        seated = {lane: self.queue.popleft() for lane in free[: len(self.queue)]}
        self.seats |= seated
        for lane, run in seated.items():
            run.begin()
            records.started(run.trial, lane, self.engine.clock, len(run.passes))
        if seated:
            self.engine.load({lane: run.config for lane, run in seated.items()})

    def tick(self) -> list[_Run]:
        """Train all lanes for an epoch; returns the trials in them: none when the memory does not hold the lanes."""
        try:
            self.engine.tick()
        except OutOfMemory:
            self.engine.halve()
            # What was in the lanes is lost: who sat there begins this pass anew.
            self.queue.extendleft(reversed(self.seats.values()))
            self.seats.clear()
            return []
        for report in self.engine.reports():
            self.seats[report.lane].take(report)
        return list(self.seats.values())

    def free(self, leaving: Collection[_Run]) -> None:
        """Empty the lanes of these trials."""
        lanes = sorted(lane for lane, run in self.seats.items() if run in leaving)
        self.engine.free(lanes)
        for lane in lanes:
            del self.seats[lane]

    def leave(self, gone: Collection[_Run]) -> None:
        """Go on without these trials, wherever they are."""
        self.free([run for run in self.seats.values() if run in gone])
        self.queue = deque(run for run in self.queue if run not in gone)


def search(
    study: optuna.Study,
    space: Space,
    programs: Callable[[str, int], Engine],
    budget: Budget,
    *,
    epochs: int,
    passes: int = 1,
    at_once: int,
    ahead: int = 0,
    sampler: Sampler,
    prior: Prior | None = None,
    pruner: optuna.pruners.BasePruner | None,
    seed: int,
    metric: str | None = None,
    patience: int | None = None,
) -> Generator[Event]:
    """Train configs until the budget is spent.

    Parameters
    ----------
    study : optuna.Study
        May hold finished trials already: they count towards `budget.trials` and are learned from. Other processes
        may search it at the same time: together they finish `budget.trials`, and each returns when these are finished.
    programs : callable
        `programs(rule, number)` is the engine of that optimizer and pass, always the same one, with its clock set. It
        is called when the first trial needs it.
    epochs : int
        Of one pass.
    passes : int
        That a trial goes through, one after the other; its value is the mean over them.
    at_once : int
        Trials that may be asked and not ended.
    ahead : int
        Trials that may be asked beside them, while lanes train. They are asked with what was told before that tick,
        whatever it brings, so a study does not depend on who is faster. As many are asked in a tick as are expected to
        end in one.
    sampler : str or optuna.samplers.BaseSampler
    prior : Prior, optional
        Configs near to which the first trials are drawn, beside the sampler.
    pruner : optuna.pruners.BasePruner or None
        An `Asha` judges all that came to a rung in a round together; others are asked trial by trial.
    metric : str or None
        Name of the metric beside the loss, for the records.
    patience : int or None
        Epochs without a better value after which a pass ends early, see `patience`.

    Yields
    ------
    TrialEnded, Ticked, Halved, Advanced

    Notes
    -----
    Whatever ends the loop, an exception or a closed generator included, running trials are told to have failed and
    everything is written.
    """
    running: dict[int, _Run] = {}
    opened: dict[tuple[str, int], _Program] = {}
    full, course = epochs * passes, Course(epochs, study.direction.name.lower(), patience)
    steps = records.report_steps(full, pruner.rungs if isinstance(pruner, Asha) else [])
    asking, penalty = Asking(study, space, sampler, seed, prior, budget.trials), Penalty(study)
    others = sharing.Others(study, pruner if isinstance(pruner, Asha) else None)
    finished = others.n_finished
    study.pruner = pruner or optuna.pruners.NopPruner()
    study._stop_flag = False
    trained, lanes, deadline = 0, 0, None if budget.seconds is None else time.monotonic() + budget.seconds
    stopped, due_drawn = "interrupted", time.monotonic() + _DRAW_EVERY
    ends = pruner.eta if isinstance(pruner, Asha) else 1  # of the trials that train, so many in `full` ticks
    background = ThreadPoolExecutor(1) if ahead else None

    def queue(run: _Run) -> None:
        key = run.config.optimizer, len(run.passes)
        if key not in opened:
            opened[key] = _Program(programs(*key))
            penalty.know(opened[key].engine)
        opened[key].queue.append(run)

    def ask(most: int) -> None:
        wanted = 0 if study._stop_flag else _wanted(budget, finished + len(running), trained, full, len(running))
        with asking.several(max(0, min(wanted, most))) as trials:
            for asked in trials:
                others.own.add(asked[0].number)
                run = running[asked[0].number] = _Run(*asked, course)
                queue(run)

    def leave_lost() -> list[_Run]:
        """Others took this process for dead, because it was silent for so long: these trials are theirs now."""
        lost = [run for run in running.values() if others.has_ended(run.trial)]
        for program in opened.values() if lost else ():
            program.leave(lost)
        for run in lost:
            del running[run.trial.number]
        return lost

    try:
        while True:
            # Ask and load.
            is_enough = budget.trials is not None and finished >= budget.trials
            yield from [Advanced()] * others.look(at_once=is_enough and not running)
            if others.is_over:
                return
            ask(at_once - len(running))
            if not running:
                if not others.may_need_help(budget.trials) or _is_past(deadline):
                    return
                yield Ticked(0, trained)
                finished = others.n_finished
                continue
            leave_lost()
            for program in opened.values():
                program.fill()
            lanes = lanes or max(program.engine.n_lanes for program in opened.values())

            # Tick, ask for who comes next meanwhile, and report.
            due, seats = _due(opened.values()), _seats(opened.values())
            if background is None:
                ticked = _tick(due)
            else:
                ticking = background.submit(_tick, due)
                ask(min(-(-ahead * ends // full), at_once + ahead - len(running)))
                ticked = ticking.result()
            trained += len(ticked)
            if lost := leave_lost():
                ticked = [run for run in ticked if run not in lost]
            fresh = [run for run in ticked if run.step > run.farthest]
            for run in fresh:
                run.farthest = run.step
                penalty.see(run.value)
                if run.step in steps and not run.diverged:
                    run.trial.report(run.value, run.step)

            # Prune and tell.
            ended = _judge(ticked, fresh, pruner, steps, passes)
            for program in due:
                program.free([run for run in ticked if run.ends_pass or run.trial.number in ended])
            for run in ticked:
                number = len(run.passes)
                if patience is not None and (run.ends_pass or run.trial.number in ended):
                    records.best_epoch(run.trial, run.course.epoch, number)
                if passes > 1 and run.ends_pass:
                    records.passed(run.trial, number, run.course.value)
            told, drawn = [], {number: Curve.of(running[number].reports) for number in ended}
            with storage.together(study):  # also what was reported
                for number, state in ended.items():
                    told.append(_tell(study, running[number], state, penalty, metric))
                    del running[number]
            finished += len(told)
            if time.monotonic() >= due_drawn:
                drawn |= {run.trial.number: Curve.of(run.reports) for run in running.values() if run.reports}
                due_drawn = time.monotonic() + _DRAW_EVERY
            curves.write(study, drawn)
            if (left := _seats(opened.values())) < seats:
                at_once, ahead = max(1, at_once * left // seats), ahead * left // seats
            fewest = min(program.engine.n_lanes for program in opened.values())
            if fewest < lanes:  # in this tick, or because a program found no memory for more when it was opened
                lanes = fewest
                records.halved(study, lanes, finished)
                yield Halved(lanes)
            if due:  # only now: whoever listens may stop here, and everything that ended is told
                yield from told
                yield Ticked(sum(len(program.seats) for program in opened.values()), trained)
                if _is_past(deadline):
                    stopped = "timeout"
                    return

            # Refill: who has another pass before it waits for a lane there.
            for run in ticked:
                if run.ends_pass and run.trial.number not in ended:
                    run.end_pass()
                    queue(run)
    except Exception:
        stopped = records.LOST  # one of these configs may be what cannot be trained: they have one more chance
        raise
    finally:
        if background is not None:
            background.shutdown()
        drawn = {run.trial.number: Curve.of(run.reports) for run in running.values() if run.reports}
        with storage.together(study):
            for run in running.values():
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # told in the moment of the stop
                    if run.last is not None:
                        records.ended(run.trial, run.last, metric, len(run.reports))
                    run.trial.set_user_attr(records.STOPPED, stopped)
                    study.tell(run.trial, state=_State.FAIL, skip_if_finished=True)
        curves.write(study, drawn)


def _is_past(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _wanted(budget: Budget, begun: int, trained: int, full: int, running: int) -> int:
    """How many trials may still begin."""
    if budget.trials is not None:
        return max(0, budget.trials - begun)
    assert budget.epochs is not None
    # Running trials may use up their full length; a budget of epochs is never exceeded by more than one trial.
    left = budget.epochs - trained
    return max(0, -(-left // full) - running) if left > 0 else 0


def _due(programs: Collection[_Program]) -> list[_Program]:
    """The programs that tick in this round: full ones, and those whose trials have waited for others long enough."""
    seated = [program for program in programs if program.seats]
    due = [p for p in seated if len(p.seats) == p.engine.n_lanes or p.waited >= _PATIENCE]
    for program in seated:
        program.waited = 0 if program in due else program.waited + 1
    return due


def _tick(due: Collection[_Program]) -> list[_Run]:
    """Train the programs, one after the other; returns the trials that were in them, in their order."""
    return sorted((run for program in due for run in program.tick()), key=lambda run: run.trial.number)


def _seats(programs: Collection[_Program]) -> int:
    return sum(program.engine.n_lanes for program in programs)


def _judge(
    ticked: list[_Run],
    fresh: list[_Run],
    pruner: optuna.pruners.BasePruner | None,
    steps: Collection[int],
    passes: int,
) -> dict[int, str]:
    """The trials that end with this round, by number, and how; only those that are farther than ever are judged."""
    ended = {run.trial.number: "diverged" for run in ticked if run.diverged}
    ended |= {run.trial.number: "complete" for run in ticked if run.ends_pass and len(run.passes) + 1 == passes}
    going = [run for run in fresh if run.step in steps and run.trial.number not in ended]
    stopped = pruning.stopped(pruner, [(run.trial, run.step, run.value) for run in going])
    return dict(sorted((ended | dict.fromkeys(stopped, "pruned")).items()))


def _tell(study: optuna.Study, run: _Run, state: str, penalty: Penalty, metric: str | None) -> TrialEnded:
    assert run.last is not None
    records.ended(run.trial, run.last, metric, len(run.reports))
    with may_be_stopped(study):
        if state == "pruned":
            study.tell(run.trial, state=_State.PRUNED)
        else:
            study.tell(run.trial, penalty.value if state == "diverged" else run.value)
    value = None if state == "diverged" else run.value
    return TrialEnded(run.trial.number, run.config, state, value, len(run.reports))


@contextlib.contextmanager
def may_be_stopped(study: optuna.Study) -> Iterator[None]:
    """Let a sampler or a callback end the study: `study.stop()` wants to be in Optuna's own loop."""
    study._thread_local.in_optimize_loop = True
    try:
        yield
    finally:
        study._thread_local.in_optimize_loop = False
