"""Many configs, one compiled program.

An engine has lanes. The tuning loop loads configs into them, calls `tick()` (one epoch of every lane), reads
`reports()` and frees the lanes whose trials ended. It never sees a backend. There are two engines: lanes of a compiled
program, and one trial at a time through `model.fit`. `Programs` opens those that a study needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import keras

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine import reuse
from adamtune.engine.feed import Feed
from adamtune.engine.forward import Forward
from adamtune.engine.lanes import LaneEngine
from adamtune.engine.one_by_one import OneByOne
from adamtune.engine.plan import BACKENDS, Plan
from adamtune.engine.program import NotStackable, Program, Strategy, Structure
from adamtune.engine.stream import Report, Stream
from adamtune.errors import OutOfMemory
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

    def halve(self) -> None:
        """Go on with half of the lanes, all of them empty, after a tick has raised OutOfMemory."""
        ...

    def initial_loss(self) -> float:
        """The objective of the untrained model."""
        ...


def hastily(build: Callable[[int], Any]) -> Callable[[int], Any]:
    """`build`, which makes a model for a seed, without the care that programs are compiled with."""
    name = keras.backend.backend()
    if name not in BACKENDS:
        return build

    def made(seed: int) -> Any:
        with BACKENDS[name]().hastily():
            return build(seed)

    return made


class Programs:
    """The programs of a study, opened when they are first needed: one compiled training a rule, lanes a rule and pass.

    Parameters
    ----------
    task : Task
    plan : Plan
    streams : sequence of Stream
        The chance of each pass.
    structure : Structure
        What programs do in a step besides their rule.
    model : keras.Model
        The task's, built with the seed of the first pass and not trained.
    """

    def __init__(self, task: Task, plan: Plan, streams: Sequence[Stream], structure: Structure, model: Any) -> None:
        self.task, self.streams, self.structure = task, streams, structure
        self._plan = plan
        self._untrained = {0: model}  # lanes only read a model, so those of a pass share one
        self._backend = BACKENDS[keras.backend.backend()]() if plan.strategy != "one_by_one" else None
        self._feed: Feed | None = None
        self._programs: dict[str, Program] = {}
        self._engines: dict[tuple[str, int], Engine] = {}

    @property
    def plan(self) -> Plan:
        """How trials are trained now: in as many lanes as were planned, or as the memory was seen to hold."""
        while any(engine.n_lanes < self._plan.lanes for engine in self._engines.values()):
            self._plan = self._plan.halved()
        return self._plan

    def __call__(self, rule: str, number: int = 0) -> Engine:
        """The engine of that rule and pass, always the same one."""
        key = (rule, number)
        if key not in self._engines:
            self._engines[key] = self._open(optimizers.get(rule), number)
        return self._engines[key]

    def settle(self, rule: str) -> Plan:
        """Compile the first program, and give up strategies that the model does not bear; returns the plan now."""
        while True:
            try:
                self(rule)
                return self.plan
            except NotStackable as problem:
                self._engines.clear()
                self._programs.clear()
                self._feed = None
                if self.plan.strategy == "stacked":
                    self._plan = replace(self.plan, strategy="looped", ahead=0, reason=str(problem))
                else:
                    self._plan = self.plan.one_by_one(str(problem))

    def restart(self) -> None:
        """Let every engine begin anew with its own stream."""
        for (_, number), engine in self._engines.items():
            engine.restart(self.streams[number], self._model(number))

    @property
    def n_programs(self) -> int:
        """Training programs that were used, compiled now or earlier in this process."""
        ours = sum(program.n_compiled for program in self._programs.values())
        return ours or sum(engine.n_programs for engine in self._engines.values())

    def _model(self, number: int) -> Any:
        """The untrained model of a pass, the same one each time."""
        if number not in self._untrained:
            self._untrained[number] = self.task.build(self.streams[number].seed)
        return self._untrained[number]

    def _open(self, rule: Rule, number: int) -> Engine:
        stream = self.streams[number]
        if self._backend is None or self.plan.strategy == "one_by_one":
            return OneByOne(self.task, self.task.build(stream.seed), stream)  # which trains it
        model = self._model(number)
        if self._feed is None:
            singly = self.plan.strategy == "looped" and self._backend.LOOPED_SINGLY
            self._feed = Feed(self.task, self._backend, self.plan.rows_at_once, singly)
        if rule.name in self._programs:
            engine = self._seated(self._programs[rule.name], model, stream)
            engine.compile()
            return engine
        key = reuse.key_of(self.task, model, stream.split, self.structure, self.plan)
        program = self._programs[rule.name] = reuse.program(key, rule, partial(self._made, rule, model))
        engine = self._seated(program, model, stream)
        engine.compile()
        reuse.keep(key, program)
        return engine

    def _made(self, rule: Rule, model: Any) -> Program:
        """A new program of the rule."""
        assert self._backend is not None
        strategy: Strategy = "looped" if self.plan.strategy == "looped" else "stacked"
        forward = Forward(model, self.task)
        return Program(forward, rule, self.structure, strategy, self.task.batch_size, self._backend)

    def _seated(self, program: Program, model: Any, stream: Stream) -> LaneEngine:
        """Lanes of a program: as many as planned, or as the memory holds."""
        assert self._feed is not None
        while True:
            plan = self.plan
            try:
                return LaneEngine(self.task, model, program, self._feed, plan.lanes, stream, plan.width)
            except OutOfMemory:
                if plan.lanes == 1:
                    raise
                self._plan = plan.halved()
