"""Lanes: seats in a compiled program; trials are loaded into them, trained a tick at a time, read and freed.

This is the engine the tuning loop sees. It keeps what is on the device (the lanes' arrays) together with what is known
of them here: who sits where, how old they are, what they were judged.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np

from adamtune.config import OptimizerConfig
from adamtune.engine.feed import Feed, first
from adamtune.engine.forward import Forward
from adamtune.engine.program import JUDGED_AT_ONCE, Program, row
from adamtune.engine.stream import Report, Stream, report
from adamtune.errors import OutOfMemory
from adamtune.tasks.task import Task

# Batches that a probe times, after one that it does not.
_PROBED = 3


class LaneEngine:
    """An engine of `n_lanes` seats; see `adamtune.engine.Engine` for the contract.

    Lanes go through the program in groups, each group in a thread of its own, because small operations keep one core
    busy and no more. When lanes stay empty the others move together, and groups with nobody in them do not train.

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
    width : int, optional
        Stacked lanes of a group, a divisor of `n_lanes`; default: all of them. A looped program takes one at a time.
    """

    _pool: ThreadPoolExecutor | None
    _has_ticked: bool

    def __init__(
        self,
        task: Task,
        model: Any,
        program: Program,
        feed: Feed,
        n_lanes: int,
        stream: Stream,
        width: int | None = None,
    ) -> None:
        self.task, self.stream = task, stream
        self.clock = 0
        self._program, self._feed = program, feed
        self._judged: list[Report] = []
        self._start_from(model)
        self._asked_width = (width or n_lanes) if program.strategy == "stacked" else 1
        self._open(n_lanes)

    @property
    def n_programs(self) -> int:
        """How many training programs were compiled for this engine and those that share its program."""
        return self._program.n_compiled

    def compile(self) -> None:
        """Compile both programs now; raises NotStackable when the model has an operation without a stacked form."""
        training, judging = self._pieces(1)
        self._program.backend.check(self._program.train, self._training(0, self._seeds(), *training))
        if self.task.scorer is None:
            self._program.backend.check(self._program.judge, (self._lanes[0], self._seeds(), *judging))
        else:
            self._program.backend.check(self._program.outputs, (self._lanes[0], self._seeds(), *judging[:2]))

    def load(self, configs: Mapping[int, OptimizerConfig]) -> None:
        """Seat configs; each starts at the next tick from the stream's initial weights, with empty slots."""
        for lane, config in configs.items():
            place = self._places.pop(lane, None)
            if place is None:
                place = min(set(range(self.n_lanes)) - set(self._places.values()))
            self._hypers[place] = self._row(config)
            self._fresh[place] = True
            self._ages[lane], self._places[lane] = 0, place

    def tick(self) -> None:
        """Train one epoch in every lane and judge it.

        Raises
        ------
        OutOfMemory
            When the memory does not hold what a tick needs; the lanes are lost, see `halve`.
        """
        epoch = partial(self._epoch, order=self.stream.order(self.clock))
        with self._memory():
            self._move_together()
            busy = sorted({place // self._width for place in self._places.values()})
            # What is met for the first time, such as the short batch, is traced by one thread alone.
            each = self._pool.map(epoch, busy) if self._pool and self._has_ticked else map(epoch, busy)
            told = dict(zip(busy, each, strict=True))
        self._has_ticked = True
        self.clock += 1
        self._judged = []
        for lane in sorted(self._ages):
            self._ages[lane] += 1
            group, seat = divmod(self._places[lane], self._width)
            train, val, said = (of_lanes[seat] for of_lanes in told[group])
            self._judged.append(report(self.task, lane, self._ages[lane], train, val, self._metric(said)))

    def reports(self) -> list[Report]:
        """What each seated lane did in the last tick, in the order of lanes."""
        return self._judged

    def free(self, lanes: list[int]) -> None:
        """Empty these seats. What is in them is not read again."""
        for lane in lanes:
            del self._ages[lane], self._places[lane]

    def restart(self, stream: Stream, model: Any) -> None:
        """Go over to another stream, with the initial weights of `model`; frees every lane."""
        self.stream, self.clock = stream, 0
        self._ages.clear()
        self._places.clear()
        self._fresh[:] = True
        try:
            self._start_from(model)
        except OutOfMemory:
            self.halve()
            self.restart(stream, model)

    def halve(self) -> None:
        """Go on with half of the lanes, all of them empty.

        Raises
        ------
        OutOfMemory
            When there is only one.
        """
        if self.n_lanes == 1:
            raise OutOfMemory("one lane does not fit the memory: a smaller batch_size or a smaller model is needed")
        if self._pool:
            self._pool.shutdown(cancel_futures=True)  # the other groups may still train, and would write into new lanes
        self._lanes.clear()  # before others are made
        try:
            self._open(self.n_lanes // 2)
        except OutOfMemory:
            self.halve()

    def initial_loss(self) -> float:
        """The objective of the untrained model on the judging rows; NaN where the memory holds no more lanes for it."""
        try:
            with self._memory():
                untrained = self._program.empty(self._untrained, self._width)
                loss, said = (of_lanes[0] for of_lanes in self._judge(untrained, self._seeds()))
        except OutOfMemory:
            return float("nan")
        return report(self.task, 0, 0, 0.0, loss, self._metric(said)).value

    def weights(self, lane: int) -> list[np.ndarray]:
        """The lane's model weights, as they are judged, in the order of `model.weights` without generator states."""
        group, seat = divmod(self._places[lane], self._width)
        forward, held = self._program.forward, self._lanes[group]
        judged = self._program.judged(held)
        pairs = [*zip(forward.weights, judged, strict=True), *zip(forward.state, held.state, strict=True)]
        found = {variable.path: _numbers(value)[seat] for variable, value in pairs}
        return [found[v.path] for v in forward.model.weights if v.path in found]

    def seconds_a_tick(self) -> float:
        """How long a tick takes, judged by a few batches; whoever sits in a lane starts anew."""
        for n in (1, _PROBED):
            training, judging = self._pieces(n)
            with self._memory():
                began = time.perf_counter()
                self._lanes[0], seeds, loss = self._program.train(*self._training(0, self._seeds(), *training))
                _numbers(loss)
                trained = time.perf_counter()
                told = keras.tree.map_structure(np.asarray, self._said(self._lanes[0], seeds, *judging))
                judged = time.perf_counter()
        self._fresh[:] = True
        of_train = self.task.steps_per_epoch(self.stream.split.n_train) / training[2].sum()
        of_judge = -(-len(self.stream.split.valid) // JUDGED_AT_ONCE) / judging[2].sum()
        in_turn = -(-len(self._lanes) // self._threads)
        of_score = 0.0 if self.task.scorer is None else self.n_lanes * self._seconds_of_scoring(told[1][0])
        return in_turn * (of_train * (trained - began) + of_judge * (judged - trained)) + of_score

    def _seconds_of_scoring(self, outputs: np.ndarray) -> float:
        """How long the scorer takes for a lane, by its outputs for some rows."""
        said = np.resize(outputs, (len(self.stream.split.valid), outputs.shape[-1]))
        self._metric(said)  # the first time may compile
        began = time.perf_counter()
        self._metric(said)
        return time.perf_counter() - began

    def _open(self, n_lanes: int) -> None:
        """Make so many lanes, all of them empty."""
        width = self._asked_width if n_lanes % self._asked_width == 0 else n_lanes
        self.n_lanes, self._width = n_lanes, width
        self._ages: dict[int, int] = {}
        self._places: dict[int, int] = {}  # of each lane with somebody in it: its group and its seat there
        self._fresh = np.ones(n_lanes, bool)
        self._has_ticked = False
        self._hypers = np.tile(self._row(OptimizerConfig(self._program.rule.name)), (n_lanes, 1))
        n_groups = n_lanes // width
        with self._memory():
            self._lanes = [self._program.empty(self._untrained, width) for _ in range(n_groups)]
        # A looped lane takes all cores by itself, but for what is between its batches where they are called one by one:
        # a lane-epoch of a small MNIST network took 0.42 s alone and 0.36 in two threads on JAX, on TensorFlow 0.13 and
        # 0.18.
        in_threads = self._program.strategy == "stacked" or self._program.backend.LOOPED_SINGLY
        self._threads = min(os.cpu_count() or 1, n_groups) if in_threads else 1
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Give an error of the backend that means too little memory its name."""
        try:
            yield
        except Exception as error:
            if isinstance(error, MemoryError) or self._program.backend.is_out_of_memory(error):
                traceback.clear_frames(error.__traceback__)  # their arguments are the lanes, which have to go
                raise OutOfMemory(str(error).partition("\n")[0] or type(error).__name__) from None
            raise

    def _move_together(self) -> None:
        """Let the lanes of the emptiest groups move to the others, where these have room for them."""
        seated = Counter(place // self._width for place in self._places.values())
        kept = [group for group, _ in seated.most_common(-(-len(self._places) // self._width))]
        leaving = [lane for lane, place in self._places.items() if place // self._width not in kept]
        if not leaving:
            return
        held: dict[int, list[np.ndarray]] = {}
        for group in seated:  # few and small: in numpy, for which nothing has to be compiled
            held[group] = [np.array(each) for each in keras.tree.flatten(self._lanes[group])]
        taken = set(self._places.values())
        free = (place for group in kept for place in self._of(group) if place not in taken)
        for lane, place in zip(leaving, free, strict=False):
            before, self._places[lane] = self._places[lane], place
            for source, target in zip(held[before // self._width], held[place // self._width], strict=True):
                target[place % self._width] = source[before % self._width]
            self._hypers[place], self._fresh[place] = self._hypers[before], self._fresh[before]
        for group in kept:
            packed = keras.tree.pack_sequence_as(self._lanes[group], held[group])
            self._lanes[group] = self._program.placed(packed)

    def _of(self, group: int) -> range:
        """The places of a group."""
        return range(group * self._width, (group + 1) * self._width)

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
        with self._memory():
            self._initial = self._program.placed(self._untrained)

    def _epoch(self, group: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Train one epoch of these lanes; their training losses, and what `_judge` returns."""
        places, seeds, losses = self._of(group), self._seeds(), []
        for batches in self._feed.training(order):
            self._lanes[group], seeds, loss = self._program.train(*self._training(group, seeds, *batches))
            self._fresh[places] = False
            losses.append(loss)  # read when all is under way: reading waits for the device
        train_loss = np.sum([_numbers(loss) for loss in losses], axis=0) / len(order)
        return train_loss, *self._judge(self._lanes[group], seeds)

    def _training(self, group: int, seeds: Any, rows: Any, order: Any, counts: Any) -> tuple[Any, ...]:
        # Indexing by a range copies: a backend may still be reading when the next tick is prepared.
        places = self._of(group)
        return self._lanes[group], self._fresh[places], self._hypers[places], self._initial, seeds, rows, order, counts

    def _judge(self, lanes: Any, seeds: Any) -> tuple[np.ndarray, np.ndarray]:
        """The mean loss over the judging rows, (lanes,), and that of the metric; or what each lane says of them.

        What a scorer needs, (lanes, n_valid, width), is scored later, by one thread for all: metrics of Keras have
        a state.
        """
        valid = self.stream.split.valid
        told = [self._said(lanes, seeds, *batches) for batches in self._feed.judging(valid)]
        if self.task.scorer is None:
            loss, metric = np.sum([_numbers(each) for each in told], axis=0) / len(valid)
            return loss, metric
        losses, outputs = zip(*told, strict=True)
        loss = np.sum([_numbers(each) for each in losses], axis=0) / len(valid)
        return loss, np.concatenate([np.asarray(each) for each in outputs], axis=1)

    def _said(self, lanes: Any, seeds: Any, rows: Any, order: Any, counts: Any) -> Any:
        """Of some judging rows: sums of loss and metric, (2, lanes); or sums of loss and outputs, for a scorer."""
        if self.task.scorer is None:
            return self._program.judge(lanes, seeds, rows, order, counts)
        return self._program.outputs(lanes, seeds, rows, order)

    def _metric(self, said: Any) -> float:
        """A lane's metric, by what `_judge` says of it."""
        return said if self.task.scorer is None else self.task.scorer(self.stream.split.valid, said)

    def _seeds(self) -> tuple[Any, ...]:
        generators = self._program.forward.seeds
        states = self.stream.masks(self.clock, len(generators))
        return tuple(s.astype(v.dtype) for s, v in zip(states, generators, strict=True))


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values).astype("float64")
