"""An honest winner: the best few configs again, under other chance.

The best of many noisy trials is optimistic: it was chosen for its luck too. So the top configs are trained again with
fresh initial weights and order and, when the split was drawn, a fresh split of the same sizes; the winner is chosen on
those values alone. All configs of a pass share its chance, so they are compared like with like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adamtune.config import OptimizerConfig
from adamtune.engine import Engine
from adamtune.engine.stream import Stream
from adamtune.errors import LaneStatus, OutOfMemory
from adamtune.tasks.task import Task
from adamtune.tuning import records
from adamtune.tuning.patience import Course

# The fewest that give an idea of the spread: the standard error of their mean is 0.6 of one run's deviation.
PASSES = 3


@dataclass(frozen=True)
class Confirmed:
    """Values of a config in the confirming passes; NaN where it diverged."""

    config: OptimizerConfig
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the values; NaN when any pass diverged."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over the passes (n - 1); NaN when there is only one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")


def streams(task: Task, seed: int, passes: int = PASSES) -> list[Stream]:
    """The chance of each confirming pass, none of it the study's own."""
    seeds = [int(s) for s in np.random.SeedSequence([seed, 1]).generate_state(passes)]
    return [Stream(own, task.split(own)) for own in seeds]


def confirm(
    task: Task,
    open_program: Callable[[str], Engine],
    configs: Sequence[OptimizerConfig],
    passes: Sequence[Stream],
    patience: int | None = None,
) -> Iterator[list[Confirmed]]:
    """Train every config in every pass; after each pass, yields what is known of all configs so far.

    Parameters
    ----------
    open_program : callable
        `open_program(rule)` is the engine of that optimizer, always the same one; each pass restarts it.
    configs : sequence of OptimizerConfig
        Of one optimizer or several.
    patience : int or None
        That of the trials, see `patience`.
    """
    course = Course(task.epochs, task.direction, patience)
    values: list[list[float]] = [[] for _ in configs]
    of_rule = {rule: [n for n, c in enumerate(configs) if c.optimizer == rule] for rule in _rules(configs)}
    for stream in passes:
        untrained = task.build(stream.seed)
        for rule, numbers in of_rule.items():
            engine = open_program(rule)
            engine.restart(stream, untrained)
            for number, value in _one_pass(engine, course, {number: configs[number] for number in numbers}):
                values[number].append(value)
        yield [Confirmed(config, tuple(v)) for config, v in zip(configs, values, strict=True)]


def _rules(configs: Sequence[OptimizerConfig]) -> list[str]:
    return list(dict.fromkeys(config.optimizer for config in configs))


def _one_pass(engine: Engine, course: Course, configs: dict[int, OptimizerConfig]) -> Iterator[tuple[int, float]]:
    """Numbers and values of configs after the pass; NaN where one diverged."""
    waiting = list(configs)
    while waiting:
        seated = dict(enumerate(waiting[: engine.n_lanes]))
        waiting = waiting[len(seated) :]
        # Every wave sees the pass from its first tick, so that all configs meet the same rows in the same order.
        engine.clock = 0
        engine.load({lane: configs[number] for lane, number in seated.items()})
        courses = {lane: course.anew() for lane in seated}
        diverged: set[int] = set()
        try:
            while not all(each.is_over for each in courses.values()):
                engine.tick()
                for report in engine.reports():
                    if not courses[report.lane].is_over:
                        courses[report.lane].take(report.epoch, report.value)
                        diverged |= {report.lane} if report.status is LaneStatus.DIVERGED else set()
        except OutOfMemory:
            engine.halve()
            waiting = [*seated.values(), *waiting]
            continue
        for lane, number in seated.items():
            yield number, float("nan") if lane in diverged else courses[lane].value
        engine.free(list(seated))


def best(confirmed: Sequence[Confirmed], direction: str) -> int:
    """Which of them has the best mean; those that diverged come last."""
    sign = records.sign(direction)
    return int(np.argmin([sign * c.mean if np.isfinite(c.mean) else np.inf for c in confirmed]))
