"""Lanes: seats in a compiled program; trials are loaded into them, trained a tick at a time, read and freed.

This is the engine the tuning loop sees. It keeps what is on the device (the lanes' arrays) together with what is known
of them here: who sits where, how old they are, what they were judged.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from adamtune.config import OptimizerConfig
from adamtune.engine.feed import Feed, first
from adamtune.engine.forward import Forward
from adamtune.engine.program import JUDGED_AT_ONCE, Program, row
from adamtune.engine.stream import Report, Stream, report
from adamtune.tasks.task import Task

# Batches that a probe times, after one that it does not.
_PROBED = 3


class LaneEngine:
    """An engine of `n_lanes` seats; see `adamtune.engine.Engine` for the contract.

    Parameters
    ----------
    task : Task
    model : keras.Model
        With the initial weights of the stream.
    program : Program
        May be shared by several engines, each with a stream of its own.
    feed : Feed
    n_lanes : int
    stream : Stream
    """

    def __init__(self, task: Task, model: Any, program: Program, feed: Feed, n_lanes: int, stream: Stream) -> None:
        self.task, self.n_lanes, self.stream = task, n_lanes, stream
        self.clock = 0
        self._program, self._feed = program, feed
        self._ages: dict[int, int] = {}
        self._fresh = np.ones(n_lanes, bool)
        self._hypers = np.tile(self._row(OptimizerConfig(program.rule.name)), (n_lanes, 1))
        self._judged: list[Report] = []
        self._start_from(model)
        # Lanes that go through a program together: all of them, or each alone.
        width = n_lanes if program.strategy == "stacked" else 1
        self._groups = [range(first, first + width) for first in range(0, n_lanes, width)]
        self._lanes = [program.empty(self._untrained, width) for _ in self._groups]

    @property
    def n_programs(self) -> int:
        """How many training programs were compiled for this engine and those that share its program."""
        return self._program.n_compiled

    def compile(self) -> None:
        """Compile both programs now; raises NotStackable when the model has an operation without a stacked form."""
        training, judging = self._pieces(1)
        self._program.backend.check(self._program.train, self._training(0, self._seeds(), *training))
        self._program.backend.check(self._program.judge, (self._lanes[0], self._seeds(), *judging))

    def load(self, configs: Mapping[int, OptimizerConfig]) -> None:
        """Seat configs; each starts at the next tick from the stream's initial weights, with empty slots."""
        for lane, config in configs.items():
            self._hypers[lane] = self._row(config)
            self._fresh[lane] = True
            self._ages[lane] = 0

    def tick(self) -> None:
        """Train one epoch in every lane and judge it."""
        numbers: dict[int, np.ndarray] = {}
        for group, lanes in enumerate(self._groups):
            if len(self._groups) == 1 or any(lane in self._ages for lane in lanes):
                numbers |= zip(lanes, self._epoch(group).T, strict=True)
        self.clock += 1
        self._judged = []
        for lane in sorted(self._ages):
            self._ages[lane] += 1
            self._judged.append(report(self.task, lane, self._ages[lane], *numbers[lane]))

    def reports(self) -> list[Report]:
        """What each seated lane did in the last tick, in the order of lanes."""
        return self._judged

    def free(self, lanes: list[int]) -> None:
        """Empty these seats. What is in them is not read again."""
        for lane in lanes:
            del self._ages[lane]

    def restart(self, stream: Stream, model: Any) -> None:
        """Go over to another stream, with the initial weights of `model`; frees every lane."""
        self.stream, self.clock = stream, 0
        self._ages.clear()
        self._fresh[:] = True
        self._start_from(model)

    def initial_loss(self) -> float:
        """The objective of the untrained model on the judging rows."""
        untrained = self._program.empty(self._untrained, len(self._groups[0]))
        loss, metric = self._judge(untrained, self._seeds())[:, 0]
        return report(self.task, 0, 0, 0.0, loss, metric).value

    def weights(self, lane: int) -> list[np.ndarray]:
        """The lane's model weights, as they are judged, in the order of `model.weights` without generator states."""
        width = len(self._groups[0])
        forward, held = self._program.forward, self._lanes[lane // width]
        judged = self._program.judged(held)
        pairs = [*zip(forward.weights, judged, strict=True), *zip(forward.state, held.state, strict=True)]
        found = {variable.path: _numbers(value)[lane % width] for variable, value in pairs}
        return [found[v.path] for v in forward.model.weights if v.path in found]

    def seconds_a_tick(self) -> float:
        """How long a tick takes, judged by a few batches; whoever sits in a lane starts anew."""
        for n in (1, _PROBED):
            training, judging = self._pieces(n)
            began = time.perf_counter()
            self._lanes[0], seeds, loss = self._program.train(*self._training(0, self._seeds(), *training))
            _numbers(loss)
            trained = time.perf_counter()
            _numbers(self._program.judge(self._lanes[0], seeds, *judging))
            judged = time.perf_counter()
        self._fresh[:] = True
        of_train = self.task.steps_per_epoch(self.stream.split.n_train) / training[2].sum()
        of_judge = -(-len(self.stream.split.valid) // JUDGED_AT_ONCE) / judging[2].sum()
        return len(self._groups) * (of_train * (trained - began) + of_judge * (judged - trained))

    def _row(self, config: OptimizerConfig) -> np.ndarray:
        steps = self.task.epochs * self.task.steps_per_epoch(self.stream.split.n_train)
        return np.asarray(row(config, steps), self._program.dtype)

    def _pieces(self, n: int) -> tuple[Any, Any]:
        """The first `n` batches that train and the first `n` that judge."""
        return (
            first(self._feed.training(self.stream.order(0)), n),
            first(self._feed.judging(self.stream.split.valid), n),
        )

    def _start_from(self, model: Any) -> None:
        self._untrained = self._program.initial(Forward(model, self.task))
        self._initial = self._program.placed(self._untrained)

    def _epoch(self, group: int) -> np.ndarray:
        """Train one epoch of these lanes; their training loss, validation loss and metric, (3, lanes)."""
        lanes, order = self._groups[group], self.stream.order(self.clock)
        seeds, losses = self._seeds(), []
        for batches in self._feed.training(order):
            self._lanes[group], seeds, loss = self._program.train(*self._training(group, seeds, *batches))
            self._fresh[lanes] = False
            losses.append(loss)  # read when all is under way: reading waits for the device
        train_loss = np.sum([_numbers(loss) for loss in losses], axis=0) / len(order)
        return np.vstack([train_loss, self._judge(self._lanes[group], seeds)])

    def _training(self, group: int, seeds: Any, rows: Any, order: Any, counts: Any) -> tuple[Any, ...]:
        # Indexing by a range copies: a backend may still be reading when the next tick is prepared.
        lanes = self._groups[group]
        return self._lanes[group], self._fresh[lanes], self._hypers[lanes], self._initial, seeds, rows, order, counts

    def _judge(self, lanes: Any, seeds: Any) -> np.ndarray:
        """Means over the judging rows of loss and metric, (2, lanes)."""
        valid = self.stream.split.valid
        sums = [self._program.judge(lanes, seeds, *batches) for batches in self._feed.judging(valid)]
        return np.sum([_numbers(each) for each in sums], axis=0) / len(valid)

    def _seeds(self) -> tuple[Any, ...]:
        generators = self._program.forward.seeds
        states = self.stream.masks(self.clock, len(generators))
        return tuple(s.astype(v.dtype) for s, v in zip(states, generators, strict=True))


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values).astype("float64")
