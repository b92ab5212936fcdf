"""Small tools to try a rule on: its values as it takes them, one step, a path of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from adamtune.config import OptimizerConfig
from adamtune.hypers import Value
from adamtune.optimizers import gradients as around
from adamtune.optimizers import schedules
from adamtune.optimizers._rule import Place, Rule

Values = Mapping[str, Value]


def carried(
    rule: Rule, values: Values | Sequence[Values], dtype: str = "float64", rank: int = 0, steps: int | None = None
) -> SimpleNamespace:
    """Values as `Rule.update` takes them, as scalars, or with a list of values as arrays of shape (lanes, 1, ..., 1).

    Parameters
    ----------
    values : mapping from name to value, or sequence of such
        What is left out has its default. "schedule" may name one; without it, it is inverse time, whose default is a
        constant rate.
    rank : int
        Number of axes of the weights, lanes included.
    steps : int, optional
        Number of updates of the training, for the schedule.
    """
    from keras import ops

    lanes = [values] if isinstance(values, Mapping) else values
    shape = () if isinstance(values, Mapping) else (len(lanes),) + (1,) * (rank - 1)
    configs = [SimpleNamespace(schedule=lane.get("schedule", "inverse_time"), hypers=lane) for lane in lanes]
    rows = np.array([rule.row(config, steps) for config in configs])
    return SimpleNamespace(
        **{
            name: ops.reshape(ops.convert_to_tensor(column, dtype=dtype), shape)
            for name, column in zip(rule.columns, rows.T, strict=True)
        }
    )


def path(
    rule: Rule,
    values: Values | Sequence[Values],
    gradient: Callable[[Any, int], Any],
    start: Any,
    steps: int,
    dtype: str = "float64",
) -> np.ndarray:
    """The weights after each of `steps` updates from `start`, of shape (steps, *start.shape).

    Parameters
    ----------
    values : mapping from name to value, or sequence of such
        Of one run, or of one lane each: then the first axis of `start` is the lanes'.
    gradient : callable
        `gradient(w, t)`, called with the weights and t = 1, 2, ...
    start : array
    """
    from keras import ops

    alone = isinstance(values, Mapping)
    lanes: Sequence[Values] = [values] if isinstance(values, Mapping) else values
    w = ops.convert_to_tensor(np.asarray(start)[None] if alone else start, dtype=dtype)
    slots = empty(rule, w, len(lanes))
    scalars = tuple(ops.full((len(lanes),), value, dtype=dtype) for _, value in rule.scalars)
    h = carried(rule, lanes, dtype, rank=1, steps=steps)
    weights = []
    for t in range(1, steps + 1):
        now = ops.full((len(lanes),), float(t), dtype=dtype)
        h_now = SimpleNamespace(**vars(h) | {"learning_rate": schedules.learning_rate(h, now - 1)})
        g = ops.convert_to_tensor(gradient(w[0] if alone else w, t), dtype=dtype)
        g = ops.reshape(g, w.shape) if alone else g
        w, slots, scalars = step(rule, h_now, g, w, slots, scalars, now)
        weights.append(ops.convert_to_numpy(w[0] if alone else w))
    return np.stack(weights)


def step(rule: Rule, h: SimpleNamespace, g: Any, w: Any, slots: Any, scalars: Any, t: Any) -> tuple[Any, Any, Any]:
    """One step of one weight, compiled, with all that stands around it in Keras: clipping and decay.

    Parameters
    ----------
    h : namespace
        As `carried` makes it, of rank 0 without lanes or of rank 1 with them.
    g, w : array of shape shape, or (lanes, *shape)
    slots : sequence of arrays
        As `empty` makes them.
    scalars : sequence of arrays of shape (), or (lanes,)
        As `first` makes them.
    t : array of shape (), or (lanes,)
        The number of the step, from 1.

    Returns
    -------
    weight, slots, scalars
        Of the same shapes.
    """
    return compiled_step(rule)(vars(h), g, w, tuple(slots), tuple(scalars), t)


@cache
def compiled_step(rule: Rule) -> Callable[..., tuple[Any, Any, Any]]:
    """The rule's step as a function that the backend compiles once for all values of the same shape and dtype.

    It takes what `step` takes, but the hypers as a mapping.
    """
    import keras

    from adamtune.engine.plan import BACKENDS

    return BACKENDS[keras.backend.backend()]().compiled(partial(_plain_step, rule))


def _plain_step(rule: Rule, h: Any, g: Any, w: Any, slots: Any, scalars: Any, t: Any) -> tuple[Any, Any, Any]:
    """All that happens to one weight in a step, in the order of Keras."""
    from keras import ops

    h = SimpleNamespace(**h)
    lanes = len(t.shape)
    if lanes:
        (g,) = around.clip([g], h)
    shape = (-1,) + (1,) * (len(w.shape) - 1) if lanes else ()

    def shaped(h: SimpleNamespace) -> SimpleNamespace:
        return SimpleNamespace(**{name: ops.reshape(number, shape) for name, number in vars(h).items()})

    def total(term: Any, h: SimpleNamespace) -> Any:
        return ops.sum(term(g, w, slots, shaped(h)), axis=tuple(range(lanes, len(w.shape))))

    h, scalars = rule.prepare(h, scalars, t, total)
    h = shaped(h)
    decayed = w if rule.decays else around.decay(w, h.learning_rate, h.weight_decay)
    update = rule.update_at(place(tuple(w.shape[lanes:])))
    weight, slots = update(g, decayed, slots, h, ops.reshape(t, shape))
    return weight, slots, scalars


def compiled_apply(optimizer: Any, variables: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
    """`optimizer.apply` of gradients to these variables, many steps of which take little time.

    On TensorFlow it is compiled: 100 eager steps of four weights take 1 s, of a graph 0.2 s. JAX, whose compiled
    functions cannot assign, goes step by step.
    """
    import keras

    from adamtune.engine.plan import BACKENDS

    def apply(gradients: Sequence[Any]) -> None:
        optimizer.apply(gradients, variables)

    optimizer.build(variables)
    backend = keras.backend.backend()
    return BACKENDS[backend]().compiled(apply) if backend == "tensorflow" else apply


def place(shape: tuple[int, ...]) -> Place:
    """Of a weight somewhere within a model."""
    return Place("model/layer/kernel", shape)


def empty(rule: Rule, w: Any, n_lanes: int | None = None) -> tuple[Any, ...]:
    """The slots of a weight before its first step."""
    from keras import ops

    lanes = () if n_lanes is None else (n_lanes,)
    shapes = rule.slot_shapes(place(tuple(w.shape)[len(lanes) :]))
    return tuple(ops.zeros((*lanes, *shape), w.dtype) for shape in shapes)


def first(rule: Rule, dtype: str) -> tuple[Any, ...]:
    """The rule's scalars before the first step of one run."""
    from keras import ops

    return tuple(ops.convert_to_tensor(value, dtype=dtype) for _, value in rule.scalars)


def three_steps(optimizer: str, **hypers: Any) -> list[float]:
    """The first three weights on 0.5 * w**2 from w = 1 (the gradient is w), in float64."""
    config = OptimizerConfig(optimizer, **hypers)
    return [float(w) for w in path(config.rule, config.hypers, lambda w, t: w, 1.0, steps=3)]


@contextmanager
def floatx(dtype: str) -> Iterator[None]:
    """Keras' default float type for a while, of what optimizers keep and of what layers compute in."""
    import keras

    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)  # Keras keeps the policy that it was asked for first
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)
