"""Many configs, one compiled program.

An engine has lanes. The tuning loop loads configs into them, calls `tick()` (one epoch of every lane), reads
`reports()` and frees the lanes whose trials ended. It never sees a backend. There are two engines: stacked lanes, and
one trial at a time through `model.fit`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from adamtune.config import OptimizerConfig
from adamtune.engine.lanes import Plan
from adamtune.engine.program import NotStackable, Report, Stream
from adamtune.optimizers._rule import Rule
from adamtune.tasks.task import Task


class Engine(Protocol):
    """What the tuning loop needs of an engine.

    `clock` counts ticks; a caller that resumes a study sets it forward. `n_programs` counts compiled training programs.
    """

    n_lanes: int
    clock: int

    @property
    def n_programs(self) -> int:
        """Training programs compiled so far."""
        ...

    def load(self, configs: Mapping[int, OptimizerConfig]) -> None:
        """Seat configs in lanes; they start anew at the next tick."""
        ...

    def tick(self) -> None:
        """Train one epoch in every lane and judge it."""
        ...

    def reports(self) -> list[Report]:
        """What each seated lane did in the last tick, in the order of lanes."""
        ...

    def free(self, lanes: list[int]) -> None:
        """Empty these lanes."""
        ...

    def restart(self, stream: Stream, model: Any) -> None:
        """Go over to another stream and its initial weights."""
        ...

    def initial_loss(self) -> float:
        """The objective of the untrained model."""
        ...


def device() -> str:
    """The device training will run on, in words: "CPU (2 cores)" or "GPU (name)"."""
    import keras

    if keras.backend.backend() == "tensorflow":
        from adamtune.engine import tensorflow_lanes

        name = tensorflow_lanes.device()
    else:
        name = "CPU"
    return f"CPU ({os.cpu_count()} cores)" if name == "CPU" else name


def make(plan: Plan, task: Task, model: Any, rule: Rule, stream: Stream) -> tuple[Engine, Plan]:
    """The engine of a plan, and the plan as it came out: what cannot be stacked goes one by one, with the reason."""
    if plan.strategy == "stacked":
        from adamtune.engine.tensorflow_lanes import TensorFlowLanes

        engine = TensorFlowLanes(task, model, rule, plan.lanes, stream)
        try:
            engine.compile()
            return engine, plan
        except NotStackable as operation:
            plan = replace(plan, strategy="one_by_one", lanes=1, reason=f"TensorFlow cannot stack {operation}")
    from adamtune.engine.one_by_one import OneByOne

    return OneByOne(task, model, stream), plan
