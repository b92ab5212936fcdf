"""Stacked lanes on TensorFlow: one `tf.function` trains an epoch of every lane and judges it.

Each array has a leading lane axis: weights are (lanes, *shape), hypers (lanes, n_hypers). Gradients of all lanes come
from one tape over `tf.vectorized_map`: their losses are independent, so the gradient of the sum is each lane's own. The
rule's update needs no map, it broadcasts.

The epoch is a `while` loop inside the program over the rows on the device; a tick takes from the host one order of rows
and gives back three numbers a lane. The last short batch is a second static shape after the loop, never padding. A lane
that starts anew is set by a mask inside the program. No XLA: on CPU it makes this 3 to 10 times slower.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from adamtune.config import OptimizerConfig
from adamtune.engine.program import Forward, NotStackable, Report, Stream, hyper_row, report, rows, update
from adamtune.optimizers._rule import Rule
from adamtune.tasks.task import Task

# Judging rows that pass through all lanes at once: large enough that the loop costs nothing, small enough that the
# activations of 32 lanes of a 512-unit network stay under 100 MB.
_JUDGED_AT_ONCE = 1024
# How TensorFlow says that it cannot stack an operation.
_UNVECTORISED = re.compile(r"No pfor vectorization defined for (\w+)|of op '(\w+)' expected to be loop invariant")


class TensorFlowLanes:
    """An engine of `n_lanes` seats; see `adamtune.engine.Engine` for the contract."""

    def __init__(self, task: Task, model: Any, rule: Rule, n_lanes: int, stream: Stream) -> None:
        self.task, self.rule, self.n_lanes, self.stream = task, rule, n_lanes, stream
        self.clock = 0
        self._forward = Forward(model, task)
        self._dtype = self._forward.weights[0].dtype
        kept = rows(task)
        self._x, self._y = tf.constant(kept.x), tf.constant(kept.y)
        self._train_weight = None if kept.train_weight is None else tf.constant(kept.train_weight)
        self._valid_weight = None if kept.valid_weight is None else tf.constant(kept.valid_weight)
        self._n_train, self._n_valid = len(stream.split.train), len(stream.split.valid)
        self._ages: dict[int, int] = {}
        self._fresh = np.ones(n_lanes, bool)
        default = hyper_row(rule, OptimizerConfig(rule.name))
        self._hypers = np.tile(np.asarray(default, self._dtype), (n_lanes, 1))
        self._judged: list[Report] = []
        self._start_from(model)
        self._lanes = self._empty()
        self._program = tf.function(self._tick, autograph=False, jit_compile=False)

    @property
    def n_programs(self) -> int:
        """How many training programs the backend has compiled for this engine."""
        return int(self._program.experimental_get_tracing_count())

    def compile(self) -> None:
        """Compile the program now; raises NotStackable when the model has an operation without a vectorised form."""
        try:
            self._program.get_concrete_function(*self._arguments())
        except ValueError as error:
            found = _UNVECTORISED.search(str(error))
            if found is None:
                raise
            raise NotStackable(found[1] or found[2]) from None

    def load(self, configs: Mapping[int, OptimizerConfig]) -> None:
        """Seat configs; each starts at the next tick from the stream's initial weights, with empty slots."""
        for lane, config in configs.items():
            self._hypers[lane] = hyper_row(self.rule, config)
            self._fresh[lane] = True
            self._ages[lane] = 0

    def tick(self) -> None:
        """Train one epoch in every lane and judge it."""
        self._lanes, judged = self._program(*self._arguments())
        self.clock += 1
        self._fresh[:] = False
        numbers = judged.numpy().astype("float64")
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
        """Go over to another stream of the same sizes, with the initial weights of `model`; frees every lane."""
        sizes = (len(stream.split.train), len(stream.split.valid))
        if sizes != (self._n_train, self._n_valid):
            raise ValueError(f"a stream of {sizes} rows does not fit a program for {self._n_train}, {self._n_valid}")
        self.stream, self.clock = stream, 0
        self._ages.clear()
        self._start_from(model)

    def initial_loss(self) -> float:
        """The objective of the untrained model on the judging rows."""
        # One model, not stacked, and run once: eagerly, because compiling it would take longer.
        weights, state = self._initial
        totals = np.zeros(2)
        for start in range(0, self._n_valid, _JUDGED_AT_ONCE):
            index = self.stream.split.valid[start : start + _JUDGED_AT_ONCE]
            x, y = tf.gather(self._x, index), tf.gather(self._y, index)
            weight = None if self._valid_weight is None else tf.gather(self._valid_weight, index)
            loss, outputs, _, _ = self._forward(weights, state, self._seeds(), x, y, weight, training=False)
            metric = 0.0 if self._forward.metric is None else float(self._forward.mean_metric(y, outputs))
            totals += len(index) * np.array([float(loss), metric])
        return report(self.task, 0, 0, 0.0, *(totals / self._n_valid)).value

    def weights(self, lane: int) -> list[np.ndarray]:
        """The lane's model weights, in the order of `model.weights` without seed-generator states."""
        weights, _, state, _ = self._lanes
        trained = {v.path: w[lane].numpy() for v, w in zip(self._forward.weights, weights, strict=True)}
        kept = {v.path: s[lane].numpy() for v, s in zip(self._forward.state, state, strict=True)}
        found = trained | kept
        return [found[v.path] for v in self._forward.model.weights if v.path in found]

    def _start_from(self, model: Any) -> None:
        forward = Forward(model, self.task)
        self._initial = tuple(
            tuple(tf.convert_to_tensor(variable) for variable in group) for group in (forward.weights, forward.state)
        )

    def _arguments(self) -> tuple[Any, ...]:
        return (
            self._lanes,
            tf.constant(self._fresh),
            tf.constant(self._hypers),
            self._initial,
            self._seeds(),
            tf.constant(self.stream.order(self.clock)),
            tf.constant(self.stream.split.valid.astype(np.int32)),
        )

    def _seeds(self) -> tuple[Any, ...]:
        generators = self._forward.seeds
        states = self.stream.masks(self.clock, len(generators))
        return tuple(tf.constant(s, dtype=v.dtype) for s, v in zip(states, generators, strict=True))

    def _empty(self) -> tuple[Any, ...]:
        weights, state = self._initial
        stacked = [tuple(tf.repeat(v[None], self.n_lanes, axis=0) for v in group) for group in (weights, state)]
        slots = tuple(tuple(tf.zeros_like(w) for _ in self.rule.slots) for w in stacked[0])
        return stacked[0], slots, stacked[1], tf.zeros(self.n_lanes, self._dtype)

    def _tick(
        self, lanes: Any, fresh: Any, hypers: Any, initial: Any, seeds: Any, order: Any, valid: Any
    ) -> tuple[Any, Any]:
        lanes = self._reset(lanes, fresh, initial)
        lanes, seeds, train_loss = self._epoch(lanes, hypers, seeds, order)
        val_loss, metric = self._judge(lanes[0], lanes[2], seeds, valid)
        return lanes, tf.stack([train_loss, val_loss, metric], axis=1)

    def _reset(self, lanes: Any, fresh: Any, initial: Any) -> Any:
        # A fresh lane may hold NaN: choose, never multiply.
        def chosen(new: Any, old: Any) -> Any:
            mask = tf.reshape(fresh, (-1,) + (1,) * (len(old.shape) - 1))
            return tf.where(mask, new, old)

        weights, slots, state, iterations = lanes
        zero = tf.zeros((), self._dtype)
        return (
            tuple(chosen(new[None], old) for new, old in zip(initial[0], weights, strict=True)),
            tuple(tuple(chosen(zero, slot) for slot in each) for each in slots),
            tuple(chosen(new[None], old) for new, old in zip(initial[1], state, strict=True)),
            chosen(zero, iterations),
        )

    def _epoch(self, lanes: Any, hypers: Any, seeds: Any, order: Any) -> tuple[Any, Any, Any]:
        batch = self.task.batch_size
        n_full, rest = divmod(self._n_train, batch)

        def step(i: Any, lanes: Any, seeds: Any, total: Any, size: int = batch) -> tuple[Any, ...]:
            lanes, seeds, loss = self._step(lanes, hypers, seeds, _slice(order, i * batch, size))
            return i + 1, lanes, seeds, total + size * loss

        carry = (tf.constant(0), lanes, seeds, tf.zeros(self.n_lanes, self._dtype))
        if n_full:
            carry = tf.while_loop(lambda i, *_: i < n_full, step, carry)
        if rest:
            carry = step(*carry, size=rest)
        _, lanes, seeds, total = carry
        return lanes, seeds, total / self._n_train

    def _step(self, lanes: Any, hypers: Any, seeds: Any, index: Any) -> tuple[Any, Any, Any]:
        weights, slots, state, iterations = lanes
        x, y = tf.gather(self._x, index), tf.gather(self._y, index)
        weight = None if self._train_weight is None else tf.gather(self._train_weight, index)

        def lane(values: Any) -> Any:
            loss, _, state, seeds_after = self._forward(values[0], values[1], seeds, x, y, weight, training=True)
            return loss, state, seeds_after

        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss, state, seeds_after = _map(lane, (weights, state))
        gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        weights, slots = update(self.rule, gradients, weights, slots, hypers, iterations)
        # Every lane drew the same numbers: the first one's generators stand for all.
        seeds = tuple(value[0] for value in seeds_after)
        return (weights, slots, state, iterations + 1), seeds, tf.cast(loss, self._dtype)

    def _judge(self, weights: Any, state: Any, seeds: Any, valid: Any) -> tuple[Any, Any]:
        size = min(_JUDGED_AT_ONCE, self._n_valid)
        n_full, rest = divmod(self._n_valid, size)

        def block(i: Any, totals: Any, size: int = size, start: int | None = None) -> tuple[Any, Any]:
            index = _slice(valid, i * size if start is None else start, size)
            x, y = tf.gather(self._x, index), tf.gather(self._y, index)
            weight = None if self._valid_weight is None else tf.gather(self._valid_weight, index)

            def lane(values: Any) -> Any:
                return self._forward(values[0], values[1], seeds, x, y, weight, training=False)[:2]

            loss, outputs = _map(lane, (weights, state))
            means = tf.stack([tf.cast(loss, self._dtype), self._metric(y, outputs)])
            return i + 1, totals + size * means

        totals = tf.zeros((2, weights[0].shape[0]), self._dtype)
        _, totals = tf.while_loop(lambda i, _: i < n_full, block, (tf.constant(0), totals))
        if rest:
            _, totals = block(tf.constant(0), totals, size=rest, start=n_full * size)
        loss, metric = tf.unstack(totals / self._n_valid)
        return loss, metric

    def _metric(self, y: Any, outputs: Any) -> Any:
        # A loop over lanes, because Keras' argmax has no vectorised form; judging is short.
        if self._forward.metric is None:
            return tf.zeros(outputs.shape[0], self._dtype)
        mean = lambda lane: tf.cast(self._forward.mean_metric(y, lane), self._dtype)  # noqa: E731
        return tf.map_fn(mean, outputs, fn_output_signature=self._dtype)


def _map(function: Any, values: Any) -> Any:
    # Without the flag an operation that cannot be vectorised would silently become a slow loop.
    return tf.vectorized_map(function, values, fallback_to_while_loop=False)


def _slice(index: Any, start: Any, size: int) -> Any:
    part = index[start : start + size]
    part.set_shape([size])
    return part


def device() -> str:
    """The device TensorFlow will use, in words."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    return f"GPU ({name})"
