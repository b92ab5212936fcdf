"""An honest winner: the best few configs again, under other chance.

The best of many noisy trials is optimistic: it was chosen for its luck too. So the top configs are trained again with
fresh initial weights and order and, when the split was drawn, a fresh split of the same sizes; the winner is chosen on
those values alone. All configs of a pass share its chance, so they are compared like with like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adamtune.config import OptimizerConfig
from adamtune.engine import Engine
from adamtune.engine.program import Stream
from adamtune.errors import LaneStatus
from adamtune.tasks.task import Task

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
    task: Task, engine: Engine, configs: Sequence[OptimizerConfig], passes: Sequence[Stream]
) -> Iterator[list[Confirmed]]:
    """Train every config in every pass; after each pass, yields what is known of all configs so far."""
    values: list[list[float]] = [[] for _ in configs]
    for stream in passes:
        engine.restart(stream, task.build(stream.seed))
        waiting = list(range(len(configs)))
        while waiting:
            seated = dict(enumerate(waiting[: engine.n_lanes]))
            waiting = waiting[len(seated) :]
            # Every wave sees the pass from its first tick, so that all configs meet the same rows in the same order.
            engine.clock = 0
            engine.load({lane: configs[number] for lane, number in seated.items()})
            for _ in range(task.epochs):
                engine.tick()
            for report in engine.reports():
                running = report.status is LaneStatus.RUNNING
                values[seated[report.lane]].append(report.value if running else float("nan"))
            engine.free(list(seated))
        yield [Confirmed(config, tuple(v)) for config, v in zip(configs, values, strict=True)]


def best(confirmed: Sequence[Confirmed], direction: str) -> int:
    """Which of them has the best mean; those that diverged come last."""
    sign = 1.0 if direction == "minimize" else -1.0
    return int(np.argmin([sign * c.mean if np.isfinite(c.mean) else np.inf for c in confirmed]))
