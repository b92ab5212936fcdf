"""Adafactor: the gradient over the root of a second moment of which a matrix keeps rows and columns only.

Shazeer & Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", arXiv 1804.04235, Algorithms 4
and 5, without momentum. For a matrix, with means along rows and columns for the sums of the paper (the same v):

    beta = 1 - t^(-decay_rate)
    r = beta r + (1 - beta) mean of each row of (g^2 + epsilon_1)
    c = beta c + (1 - beta) mean of each column of (g^2 + epsilon_1)
    v = r / mean(r) c
    u = g / sqrt(v)
    w = w - max(epsilon_2, RMS(w)) rho u / max(1, RMS(u) / clip_threshold)

RMS is the root of the mean square of the whole weight, and rho is min(lr, 1 / sqrt(t)), or lr alone with
`relative_step=False`. A weight of more axes is a stack of matrices, the last two axes; one of fewer keeps all of v
(v = beta v + (1 - beta) (g^2 + epsilon_1)). beta is 0 at t = 1, so nothing needs a bias correction. A kernel of 100 by
100 keeps 200 numbers, where Adam keeps 20,000.

The rate is a share of the weight's own RMS, and of epsilon_2 for weights near 0: biases that start at 0 move slowly.
With a decay_rate of 1 the means are over all steps alike.

Keras writes it so too, with `beta_2_decay` for -decay_rate, but

- it forms v before its root. Where an input was never on and a unit never active, as the edge of an image and a ReLU,
  r and c are both epsilon_1, float32 cannot hold their product, and 0 / 0 makes the whole weight NaN. Here each is
  under a root of its own, as in optax; and `epsilon_1` from 1e-15 on is safe in Keras.
- its `relative_step=False` changes nothing, and it keeps all of v beside r and c.

PyTorch adds no epsilon_1 to g^2, but keeps v above its square at the end; optax factors from 128 rows and columns on
and leaves the relative step to a schedule.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: about 10 % off per step
>>> [round(w, 4) for w in three_steps("adafactor", learning_rate=0.1)]
[0.9, 0.8142, 0.7399]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, flag, positive
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Place, Rule, Scalars, Shape, Slots, Total, own_axes

# From here on the product of two means of epsilon_1 is a float32 (1.2e-38 is the least) for gradients up to 1e3.
_LEAST_IN_KERAS = 1e-15


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The rate and 1 - beta of this step, once a step instead of once a weight."""
    rho = ops.where(h.relative_step > 0, ops.minimum(h.learning_rate, 1 / ops.sqrt(t)), h.learning_rate)
    return SimpleNamespace(**vars(h), rho=rho, one_minus_beta=t**-h.decay_rate), scalars


def shapes(place: Place) -> tuple[Shape, ...]:
    """Of the rows' means, the columns' means and of all of v; what a weight has no use for has one element."""
    shape, least = place.shape, (1,) * len(place.shape)
    if len(shape) < 2:
        return least, least, shape
    return (*shape[:-1], 1), (*shape[:-2], 1, shape[-1]), least


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adafactor."""
    r, c, v = slots
    axes = own_axes(w, h.learning_rate)
    square = g * g + h.epsilon_1

    def recent(old: Any, new: Any) -> Any:
        return (1 - h.one_minus_beta) * old + h.one_minus_beta * new

    if len(axes) < 2:
        v = recent(v, square)
        u = g / ops.sqrt(v)
    else:
        r, c = recent(r, mean(square, (-1,))), recent(c, mean(square, (-2,)))
        # In this order nothing leaves float32: g is at most of r's size, and u is 0 where g is.
        u = g / ops.sqrt(r) * ops.sqrt(mean(r, (-2,))) / ops.sqrt(c)
    u = u / ops.maximum(1.0, root_mean_square(u, axes) / h.clip_threshold)
    return w - ops.maximum(h.epsilon_2, root_mean_square(w, axes)) * h.rho * u, (r, c, v)


def mean(x: Any, axes: tuple[int, ...]) -> Any:
    """The mean along the axes, which stay; `ops.mean` leaves float64 on JAX."""
    return ops.sum(x, axis=axes, keepdims=True) / math.prod(x.shape[axis] for axis in axes)


def root_mean_square(x: Any, axes: tuple[int, ...]) -> Any:
    """The root of the mean square along the axes, which stay."""
    return ops.sqrt(mean(x * x, axes))


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Adafactor would compute something else for these values."""
    if not values["relative_step"]:
        return (
            "keras.optimizers.Adafactor takes the smaller of learning_rate and 1 / sqrt(t) with relative_step=False too"
        )
    if values["epsilon_1"] < _LEAST_IN_KERAS:
        return (
            f"with epsilon_1={values['epsilon_1']:g} below {_LEAST_IN_KERAS:g} keras.optimizers.Adafactor divides 0 by "
            "0 in float32 where neither a row nor a column of a weight has had a gradient"
        )
    return ""


def builtin_arguments(values: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments of keras.optimizers.Adafactor, which names the decay's exponent with its sign."""
    others = {name: value for name, value in values.items() if name != "decay_rate"}
    return others | ({"beta_2_decay": -values["decay_rate"]} if "decay_rate" in values else {})


RULE = Rule(
    name="adafactor",
    class_name="Adafactor",
    family="adaptive",
    notes=__doc__,
    source="Shazeer & Stern 2018, arXiv 1804.04235, Algorithms 4 and 5",
    # Defaults: keras.optimizers.Adafactor, whose numbers but the rate (0.01) are those of the paper. Search bounds:
    # AlgoPerf's rates (Dahl et al. 2023, arXiv 2306.07179), widened to 0.1 for small networks; the decay up to
    # the mean over all steps alike; the others around their defaults.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-4, high=1e-1, tier=1, meaning="share of its size a weight moves by"),
        positive("decay_rate", 0.8, low=0.5, high=1.0, tier=3, meaning="how fast the memory of the square grows"),
        positive("epsilon_1", 1e-30, low=1e-30, high=1e-3, tier=4, meaning="added to the square of the gradient"),
        positive("epsilon_2", 1e-3, low=1e-5, high=1e-1, tier=4, meaning="least size of a weight", zero=True),
        positive("clip_threshold", 1.0, low=0.1, high=10.0, tier=3, meaning="largest root mean square of a step"),
        flag("relative_step", True, tier=4, meaning="hold the rate below 1 / sqrt(t)"),
    ),
    slots=("rows", "columns", "velocity"),
    update=update,
    prepare=prepare,
    shapes=shapes,
    builtin=Builtin("Adafactor", unlike_builtin, builtin_arguments),
)
