"""Program: the compiled training of one rule and one model, for as many lanes as are loaded into it.

Everything here is pure functions over `keras.ops`, the same for every backend. What a backend has to add is small (its
gradient, its map over lanes, its compiler) and stands in its own file, see `Backend`. There are two strategies:
stacked lanes go through each operation of the program together; looped ones through a program for one lane, one after
the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, Protocol

import keras
import numpy as np
from keras import ops

from adamtune.engine.forward import Forward
from adamtune.optimizers import gradients as stages
from adamtune.optimizers import schedules
from adamtune.optimizers._rule import Place, Rule, Total, places

Strategy = Literal["stacked", "looped"]

# Judging rows that pass through all lanes at once: large enough that the loop costs nothing, small enough that the
# activations of 32 lanes of a 512-unit network stay under 100 MB.
JUDGED_AT_ONCE = 1024
# The dynamic scale of keras.optimizers.LossScaleOptimizer: where it starts, and after how many good steps it doubles.
_FIRST_SCALE, _GOOD_STEPS = 2.0**15, 2000


class Backend(Protocol):
    """What a backend's file offers (it is a module)."""

    LOOPED_SINGLY: bool
    # `either(condition, this, that)`: what the one function or the other returns; None where a loop has no branches.
    either: Callable | None

    def device(self) -> str:
        """The device training will run on, in words."""
        ...

    def place(self, array: np.ndarray) -> Any:
        """The array on the device."""
        ...

    def rows(self, array: Any, index: Any) -> Any:
        """The rows of those numbers, all of which there are."""
        ...

    def compiled(self, function: Callable, donates: bool = False) -> Callable:
        """The function compiled; where it donates, the memory of its first argument is given away."""
        ...

    def hastily(self) -> AbstractContextManager[None]:
        """In it, what runs once is not compiled with care."""
        ...

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether that is how the backend says that memory is short."""
        ...

    def check(self, compiled: Callable, arguments: tuple[Any, ...]) -> None:
        """Compile for these arguments now; raises NotStackable when an operation has no stacked form."""
        ...

    def gradient(self, function: Callable, values: Any) -> tuple[Any, Any]:
        """What `function(values) -> (loss, extra)` returns beside the loss, and the loss's gradient by `values[0]`."""
        ...

    def stacked(self, function: Callable, values: Any) -> Any:
        """`function` of each lane's slice of `values`, all lanes going through each operation together."""
        ...

    def stacked_gradients(self, function: Callable, values: Any) -> tuple[Any, Any]:
        """`gradient` of each lane's slice, all lanes together."""
        ...

    def loop(self, function: Callable, values: Any) -> Any:
        """`function`, which returns one number, of each lane's slice of `values`, one after the other."""
        ...


class NotStackable(Exception):
    """The model has an operation, named by the text, that cannot run for stacked lanes."""


class Lanes(NamedTuple):
    """All that lanes remember; every array begins with the lane axis. What a program does not need is empty."""

    weights: tuple[Any, ...]
    slots: tuple[tuple[Any, ...], ...]  # of each weight
    state: tuple[Any, ...]
    scalars: tuple[Any, ...]  # the rule's memory of the whole optimizer
    calls: Any  # batches each lane has trained
    sums: tuple[Any, ...]  # gradients that wait to be applied together
    averages: tuple[Any, ...]  # of the weights
    scale: tuple[Any, ...]  # of the loss, and good steps since it changed


class Rows(NamedTuple):
    """Rows on the device: inputs, targets as the loss wants them, and weights or None."""

    x: Any
    y: Any
    train_weight: Any
    valid_weight: Any


@dataclass(frozen=True)
class Structure:
    """What a program does in a step besides the rule; the numbers of each are values.

    Parameters
    ----------
    stages : frozenset of str
        Among "weight_decay", "clipvalue", "clipnorm", "global_clipnorm", "accumulation", "overwriting" (of the weights
        by their moving average) and "loss_scale".
    """

    stages: frozenset[str] = frozenset()

    def __contains__(self, stage: str) -> bool:
        return stage in self.stages

    @classmethod
    def needed(cls, hypers: Iterable[str], options: Iterable[Mapping[str, Any]], scales_loss: bool) -> Structure:
        """What programs need for configs with these hypers and options, see `OptimizerConfig`."""
        given = {name for each in options for name, value in each.items() if value}
        switched = {
            "accumulation": "gradient_accumulation_steps" in given,
            "overwriting": "ema_overwrite_frequency" in given,
            "loss_scale": scales_loss,
        }
        around = {hyper.name for hyper in stages.HYPERS}
        return cls(frozenset(around & set(hypers) | {stage for stage, is_on in switched.items() if is_on}))


_CLIPS = frozenset(hyper.name for hyper in stages.CLIPS)
# Columns of a program beside those of the rule, with the number that leaves things as they are.
_OPTION_COLUMNS = ("gradient_accumulation_steps", "ema_momentum", "ema_overwrite_frequency")


def columns(rule: Rule) -> tuple[str, ...]:
    """Names of a lane's numbers in the order of `row`."""
    return (*rule.columns, *_OPTION_COLUMNS)


def row(config: Any, steps: int) -> list[float]:
    """A config as the numbers of a lane, for a training of so many steps."""
    options = config.options
    return [
        *config.row(steps),
        float(options.get("gradient_accumulation_steps") or 1),
        float(options.get("ema_momentum", 0.99)),
        float(options.get("ema_overwrite_frequency") or np.inf) if options.get("use_ema") else np.inf,
    ]


class Program:
    """Training and judging for lanes of one rule, each compiled once.

    Parameters
    ----------
    forward : Forward
    rule : Rule
    structure : Structure
    strategy : {"stacked", "looped"}
    batch_size : int
    backend : Backend

    Notes
    -----
    Judging is by `judge`, or by `outputs` for metrics that are no mean over rows; what is not used is not compiled.

    `train` and `judge` take rows that lie on the device and an order of them. They go through the order in whole
    batches and then, at most once, in the short batch that is left: a second static shape in the same program, never
    padding. How many batches they take is data, so a part of the rows, one block of many, compiles nothing.
    """

    def __init__(
        self, forward: Forward, rule: Rule, structure: Structure, strategy: Strategy, batch_size: int, backend: Backend
    ) -> None:
        self.forward, self.rule, self.structure = forward, rule, structure
        self.strategy, self.batch_size, self.backend = strategy, batch_size, backend
        self.dtype = keras.backend.standardize_dtype(forward.weights[0].dtype)
        self.columns = columns(rule)
        self._decays = not rule.decays and ("weight_decay" in structure or "weight_decay" in self._own_names)
        self._places = places(forward.weights)
        self.n_compiled = 0
        self.train = backend.compiled(self._train, donates=True)
        self.judge = backend.compiled(self._judge)
        self.outputs = backend.compiled(self._outputs)

    def initial(self, forward: Forward) -> Lanes:
        """What one lane of that model holds before its first step, without the lane axis, as numpy arrays."""
        # In numpy, because a backend may compile each little operation: on JAX that takes longer than all of them.
        weights = tuple(ops.convert_to_numpy(variable) for variable in forward.weights)
        zeros = tuple(np.zeros_like(weight) for weight in weights)
        number = np.dtype(self.dtype).type
        return Lanes(
            weights=weights,
            slots=tuple(map(self._slots, weights, self._places)),
            state=tuple(ops.convert_to_numpy(variable) for variable in forward.state),
            scalars=tuple(number(value) for _, value in self.rule.scalars),
            calls=number(0.0),
            sums=zeros if "accumulation" in self.structure else (),
            averages=zeros if "overwriting" in self.structure else (),
            scale=(number(_FIRST_SCALE), number(0.0)) if "loss_scale" in self.structure else (),
        )

    def _slots(self, weight: np.ndarray, place: Place) -> tuple[np.ndarray, ...]:
        """Zeros; but what is judged in a weight's place is the weight, until there is an update."""
        named = zip(self.rule.slots, self.rule.slot_shapes(place), strict=True)
        return tuple(weight if slot == self.rule.averaged else np.zeros(shape, weight.dtype) for slot, shape in named)

    def placed(self, lanes: Lanes) -> Lanes:
        """The same on the device."""
        return keras.tree.map_structure(self.backend.place, lanes)

    def empty(self, initial: Lanes, n_lanes: int) -> Lanes:
        """`n_lanes` lanes on the device that hold `initial`."""
        return self.placed(keras.tree.map_structure(lambda value: np.repeat(value[None], n_lanes, axis=0), initial))

    # --------------------------------------------------------------------------------------------- training

    def _train(
        self,
        lanes: Lanes,
        fresh: Any,
        hypers: Any,
        initial: Lanes,
        seeds: tuple[Any, ...],
        rows: Rows,
        order: Any,
        counts: Any,
    ) -> tuple[Lanes, tuple[Any, ...], Any]:
        """Lanes after the batches that `counts` says; the seeds; each lane's sum of losses over rows, (lanes,)."""
        self.n_compiled += 1  # runs when the program is traced, not when it is called
        lanes = self._reset(lanes, fresh, initial)
        values = SimpleNamespace(**{name: hypers[:, i] for i, name in enumerate(self.columns)})
        n_steps = -(-order.shape[0] // self.batch_size)
        rates = self._rates(values, lanes.calls, n_steps)
        numbers = self._numbers(values, {len(w.shape) - 1 for w in lanes.weights})

        def found(carry: Any, start: Any, size: int) -> Any:
            lanes, seeds, _ = carry
            loss, state, seeds, gradients = self._gradients(lanes, seeds, rows, ops.slice(order, [start], [size]))
            return size * loss, state, seeds, gradients

        def update(i: Any, carry: Any, found: Any) -> Any:
            lanes, _, total = carry
            loss, state, seeds, gradients = found
            # Skipped steps do not count: with a scaled loss the rate is known only now.
            rate = schedules.learning_rate(values, lanes.calls) if "loss_scale" in self.structure else rates[i]
            return self._update(lanes._replace(state=state), values, numbers, rate, gradients), seeds, total + loss

        total = ops.zeros(fresh.shape[0], self.dtype)
        return _in_batches(self.backend, found, update, (lanes, seeds, total), order, counts, self.batch_size)

    def _reset(self, lanes: Lanes, fresh: Any, initial: Lanes) -> Lanes:
        # A fresh lane may hold NaN: choose, never multiply.
        return keras.tree.map_structure(lambda new, old: _choose(fresh, new[None], old), initial, lanes)

    def _rates(self, values: SimpleNamespace, calls: Any, n_steps: int) -> Any:
        """The learning rate of every step that is to come, (n_steps, lanes): once a tick instead of once a step."""
        to_come = ops.reshape(ops.arange(n_steps, dtype=self.dtype), (-1, 1))
        return schedules.learning_rate(values, calls[None] + to_come)

    def _numbers(self, values: SimpleNamespace, ranks: set[int]) -> dict[int, dict[str, Any]]:
        """The rule's hypers shaped against weights of each rank; made once, for a reshape is an operation."""
        names = [h.carried_name for h in self.rule.hypers if h.name != "learning_rate"]
        return {rank: {name: _against(getattr(values, name), rank) for name in names} for rank in ranks}

    def _gradients(self, lanes: Lanes, seeds: tuple[Any, ...], rows: Rows, index: Any) -> tuple[Any, ...]:
        """Of a batch: each lane's loss, the new state and seeds, and the gradients of all weights."""
        x, y = self._taken(rows.x, index), self.backend.rows(rows.y, index)
        weight = None if rows.train_weight is None else self.backend.rows(rows.train_weight, index)

        def lane(slices: Any) -> Any:
            weights, state, *scale = slices
            loss, _, state, after = self.forward(weights, state, seeds, x, y, weight, training=True)
            return (loss * scale[0] if scale else loss), (loss, state, after)

        held = (lanes.weights, lanes.state, *lanes.scale[:1])
        (loss, state, after), gradients = (
            self.backend.stacked_gradients(lane, held)
            if self.strategy == "stacked"
            else _as_lane(self.backend.gradient(lane, _only(held)))
        )
        # Every lane drew the same numbers: the first one's generators stand for all.
        return ops.cast(loss, self.dtype), state, tuple(value[0] for value in after), gradients

    def _taken(self, x: Any, index: Any) -> Any:
        """Those rows of the inputs, of each where they have names."""
        return keras.tree.map_structure(lambda part: self.backend.rows(part, index), x)

    def _update(
        self,
        lanes: Lanes,
        values: SimpleNamespace,
        numbers: dict[int, dict[str, Any]],
        rate: Any,
        gradients: Sequence[Any],
    ) -> Lanes:
        """One call of the optimizer in every lane, in the order of `keras.optimizers.Optimizer.apply`."""
        before, done = lanes, lanes.calls
        steps: list[Any] = []  # masks of the lanes whose weights move now; none: all
        if "loss_scale" in self.structure:
            scale, good = lanes.scale
            gradients = [g / _against(scale, len(g.shape) - 1) for g in gradients]
            finite = _all_finite(gradients)
            steps.append(finite)
            lanes = lanes._replace(scale=_rescaled(scale, good, finite))
        if "accumulation" in self.structure:
            wait = values.gradient_accumulation_steps
            sums = tuple(s + g for s, g in zip(lanes.sums, gradients, strict=True))
            due = ops.equal(ops.mod(done + 1, wait), 0)
            steps.append(due)
            gradients = [s / _against(wait, len(s.shape) - 1) for s in sums]
            lanes = lanes._replace(sums=tuple(_choose(due, ops.zeros_like(s), s) for s in sums))
            done = ops.floor(done / wait)
        if self.structure.stages & _CLIPS:
            gradients = stages.clip(gradients, values)
        moved = self._apply_rule(lanes, values, numbers, rate, gradients, done + 1)
        for mask in steps:
            moved = keras.tree.map_structure(lambda new, old, m=mask: _choose(m, new, old), moved, _movable(lanes))
        lanes = lanes._replace(weights=moved[0], slots=moved[1], scalars=moved[2], calls=lanes.calls + 1)
        if "overwriting" in self.structure:
            lanes = self._overwrite(lanes, values, done)
        if "loss_scale" in self.structure:  # an overflow leaves everything but the scale as it was
            kept = keras.tree.map_structure(lambda new, old: _choose(finite, new, old), lanes, before)
            lanes = kept._replace(scale=lanes.scale, state=lanes.state)
        return lanes

    def _apply_rule(
        self,
        lanes: Lanes,
        values: SimpleNamespace,
        numbers: dict[int, dict[str, Any]],
        rate: Any,
        gradients: Sequence[Any],
        t: Any,
    ) -> tuple[Any, Any, Any]:
        own = {name: getattr(values, name) for name in self._own_names}
        arrays = list(zip(gradients, lanes.weights, lanes.slots, strict=True))
        h, scalars = self.rule.prepare(SimpleNamespace(**own, learning_rate=rate), lanes.scalars, t, _total(arrays))
        varying = {name: value for name, value in vars(h).items() if own.get(name) is not value}
        shaped = {
            rank: (SimpleNamespace(**fixed, **{k: _against(v, rank) for k, v in varying.items()}), _against(t, rank))
            for rank, fixed in numbers.items()
        }
        weights, slots = [], []
        for place, (gradient, weight, slot) in zip(self._places, arrays, strict=True):
            h, own_t = shaped[len(weight.shape) - 1]
            if self._decays:
                weight = stages.decay(weight, h.learning_rate, values.weight_decay)
            weight, slot = self.rule.update_at(place)(gradient, weight, slot, h, own_t)
            weights.append(weight)
            slots.append(slot)
        return tuple(weights), tuple(slots), scalars

    @property
    def _own_names(self) -> list[str]:
        return [h.carried_name for h in self.rule.hypers if h.name != "learning_rate"]

    def _overwrite(self, lanes: Lanes, values: SimpleNamespace, done: Any) -> Lanes:
        momentum = ops.where(done > 0, values.ema_momentum, 0.0)
        averages = tuple(stages.ema(*each, momentum) for each in zip(lanes.averages, lanes.weights, strict=True))
        # Keras asks after the step whether the number of updates, counted before it, plus one is due.
        due = ops.equal(ops.mod(done + 1, values.ema_overwrite_frequency), 0)
        weights = tuple(_choose(due, a, w) for a, w in zip(averages, lanes.weights, strict=True))
        return lanes._replace(averages=averages, weights=weights)

    # ---------------------------------------------------------------------------------------------- judging

    def _judge(self, lanes: Lanes, seeds: tuple[Any, ...], rows: Rows, order: Any, counts: Any) -> Any:
        """Each lane's sums over the judging rows of loss and metric, (2, lanes)."""

        def sums(_: Any, start: Any, size: int) -> Any:
            index = ops.slice(order, [start], [size])
            loss, outputs = self._outputs(lanes, seeds, rows, index)
            return ops.stack([loss, size * self._metric(self.backend.rows(rows.y, index), outputs)])

        totals = ops.zeros((2, lanes.calls.shape[0]), self.dtype)
        size = min(JUDGED_AT_ONCE, order.shape[0])
        return _in_batches(self.backend, sums, lambda _, totals, found: totals + found, totals, order, counts, size)

    def _outputs(self, lanes: Lanes, seeds: tuple[Any, ...], rows: Rows, index: Any) -> tuple[Any, Any]:
        """Of these rows: each lane's sum of losses, (lanes,), and its outputs, (lanes, rows, width).

        The loss of a lane is NaN when a number that it trains with is not finite.
        """
        x, y = self._taken(rows.x, index), self.backend.rows(rows.y, index)
        weight = None if rows.valid_weight is None else self.backend.rows(rows.valid_weight, index)

        def lane(slices: Any) -> Any:
            weights, state = slices
            return self.forward(weights, state, seeds, x, y, weight, training=False)[:2]

        held = (self.judged(lanes), lanes.state)
        loss, outputs = self.backend.stacked(lane, held) if self.strategy == "stacked" else _as_lane(lane(_only(held)))
        # What is NaN or infinite need not come to the loss: tanh(inf) is 1, and a part may be switched off.
        sound = _all_finite([*lanes.weights, *(slot for slots in lanes.slots for slot in slots)])
        return ops.where(sound, index.shape[0] * ops.cast(loss, self.dtype), np.nan), outputs

    def judged(self, lanes: Lanes) -> tuple[Any, ...]:
        """The weights to judge and to keep: those that are trained, or what the rule has averaged."""
        if self.rule.averaged is None:
            return lanes.weights
        number = self.rule.slots.index(self.rule.averaged)
        return tuple(slots[number] for slots in lanes.slots)

    def _metric(self, y: Any, outputs: Any) -> Any:
        if self.forward.metric is None:
            return ops.zeros(outputs.shape[0], self.dtype)
        mean = lambda lane: ops.cast(self.forward.mean_metric(y, lane), self.dtype)  # noqa: E731
        # A loop, because Keras' argmax has no stacked form on TensorFlow; judging is short.
        return self.backend.loop(mean, outputs) if self.strategy == "stacked" else _as_lane(mean(_only(outputs)))


def _in_batches(
    backend: Backend, of_batch: Callable, fold: Callable, carry: Any, order: Any, counts: Any, size: int
) -> Any:
    """Whole batches from the start of the order, then the short one; `counts` says how many of each.

    Parameters
    ----------
    of_batch : callable
        `of_batch(carry, start, size)` for the batch that starts there; its shapes do not depend on the size.
    fold : callable
        `fold(i, carry, of_batch)` is the carry after batch number `i`. Where the backend can choose within a loop, it
        stands in the program once for both sizes: half of what is to be compiled.
    """
    if order.shape[0] <= size:  # one batch needs no loop, see Feed
        return fold(0, carry, of_batch(carry, 0, order.shape[0]))
    rest = order.shape[0] % size

    def whole(i: Any, carry: Any) -> Any:
        return of_batch(carry, i * size, size)

    def short(_: Any, carry: Any) -> Any:
        return of_batch(carry, counts[0] * size, rest)

    def either(i: Any, carry: Any) -> Any:
        return backend.either(i < counts[0], partial(whole, i, carry), partial(short, i, carry))  # type: ignore[misc]

    def loop(first: Any, last: Any, of: Callable, carry: Any) -> Any:
        return ops.fori_loop(first, last, lambda i, carry: fold(i, carry, of(i, carry)), carry)

    total = counts[0] + counts[1]
    if rest and backend.either:
        return loop(0, total, either, carry)
    carry = loop(0, counts[0], whole, carry)
    return loop(counts[0], total, short, carry) if rest else carry


def _only(values: Any) -> Any:
    """The slice of the one lane there is."""
    return keras.tree.map_structure(lambda value: value[0], values)


def _as_lane(results: Any) -> Any:
    """What one lane returned, with the lane axis."""
    return keras.tree.map_structure(lambda value: value[None], results)


def _against(column: Any, rank: int) -> Any:
    """Numbers of shape (lanes,) shaped to meet arrays of shape (lanes, ...) with `rank` more axes."""
    return ops.reshape(column, (-1,) + (1,) * rank)


def _total(arrays: Sequence[tuple[Any, Any, Any]]) -> Total:
    """What `Rule.prepare` sums with, over gradients, weights and slots of stacked lanes; its sums are (lanes,)."""

    def total(term: Callable, h: SimpleNamespace) -> Any:
        sums = []
        for gradient, weight, slots in arrays:
            rank = len(weight.shape) - 1
            shaped = SimpleNamespace(**{name: _against(value, rank) for name, value in vars(h).items()})
            sums.append(ops.sum(term(gradient, weight, slots, shaped), axis=tuple(range(1, rank + 1))))
        return sum(sums)

    return total


def _choose(mask: Any, new: Any, old: Any) -> Any:
    """`new` in the lanes of the mask, else `old`."""
    return ops.where(_against(mask, len(old.shape) - 1), new, old)


def _movable(lanes: Lanes) -> tuple[Any, Any, Any]:
    return lanes.weights, lanes.slots, lanes.scalars


def _all_finite(arrays: Sequence[Any]) -> Any:
    """Of each lane whether all its numbers in these arrays are finite, (lanes,)."""
    each = [ops.all(ops.isfinite(a), axis=tuple(range(1, len(a.shape)))) for a in arrays]
    return ops.all(ops.stack(each), axis=0)


def _rescaled(scale: Any, good: Any, finite: Any) -> tuple[Any, Any]:
    grown = ops.equal(good, _GOOD_STEPS - 1)
    scale = ops.where(finite, ops.where(grown, 2.0 * scale, scale), 0.5 * scale)
    return scale, ops.where(ops.logical_and(finite, ops.logical_not(grown)), good + 1, ops.zeros_like(good))
