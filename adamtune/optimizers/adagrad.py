"""Adagrad: the gradient divided by the root of the sum of all its squares until now.

Duchi, Hazan & Singer 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 12,
the diagonal form of Figure 1:

    n = n + g^2                     (n starts at initial_accumulator_value)
    w = w - lr g / sqrt(n + epsilon)
    epsilon_outside_root:  w = w - lr g / (sqrt(n) + epsilon)

The paper's n starts at 0 and its delta stands outside the root, as in PyTorch (its epsilon: 1e-10) and Keras 2. Keras 3
and optax start n at 0.1 and have epsilon inside, where 1e-7 is a floor of 3e-4. The start matters more than epsilon:
from 0 the first step is lr whatever the gradient, from 0.1 a gradient of 0.01 moves a weight by 0.03 lr. Keras' rate of
1e-3 is small for a method whose steps only shrink (Keras 2 and PyTorch: 0.01); the search goes up to 1.

With n = 0 and epsilon = 0 a gradient of 0 is a step of 0, as in optax; Keras divides 0 by 0 there.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1, by hand: lr, then lr w / sqrt(1 + w^2)
>>> [round(w, 4) for w in three_steps("adagrad", learning_rate=0.1, initial_accumulator_value=0.0)]
[0.9, 0.8331, 0.7805]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, flag, positive
from adamtune.optimizers._moments import floored, without_epsilon
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Scalars, Slots, Total, without

EPSILON_OUTSIDE_ROOT = flag(
    "epsilon_outside_root", tier=4, meaning="add epsilon to the root, as PyTorch and Keras 2 do, not under it"
)


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """What epsilon adds under the root and what it adds to the root: one of them is 0."""
    nothing = ops.zeros_like(h.epsilon)
    outside = h.epsilon_outside_root > 0
    under = ops.where(outside, nothing, h.epsilon)
    after = ops.where(outside, h.epsilon, nothing)
    return SimpleNamespace(**vars(h), epsilon_under=under, epsilon_after=floored(after)), scalars


def divided(g: Any, square: Any, h: SimpleNamespace) -> Any:
    """The gradient divided by the root of `square`, with epsilon at its place."""
    return g / (ops.sqrt(square + h.epsilon_under) + h.epsilon_after)


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adagrad."""
    (n,) = slots
    n = ops.where(ops.equal(t, 1), h.initial_accumulator_value, n) + g * g
    return w - h.learning_rate * divided(g, n, h), (n,)


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Adagrad would compute something else for these values."""
    if values["epsilon_outside_root"]:
        return "keras.optimizers.Adagrad adds epsilon under the root, not to it"
    return "" if values["initial_accumulator_value"] else without_epsilon(values, "Adagrad")


RULE = Rule(
    name="adagrad",
    class_name="Adagrad",
    family="adaptive",
    notes=__doc__,
    source="Duchi, Hazan & Singer 2011, JMLR 12, Figure 1",
    # Defaults: keras.optimizers.Adagrad. Search bounds: from Keras' rate up to 1, which holds the middle half of
    # Sivaprasad et al. 2020 (arXiv 1910.11758); the accumulator lies inside TaskSet's 1e-10 to 1e3 (Metz et al. 2020,
    # arXiv 2002.11887).
    hypers=(
        positive("learning_rate", 1e-3, low=1e-3, high=1.0, tier=1, meaning="length of the first steps"),
        positive(
            "initial_accumulator_value",
            0.1,
            low=1e-8,
            high=1.0,
            tier=2,
            meaning="where the sum of squares starts; large makes the start like SGD",
            zero=True,
        ),
        positive("epsilon", 1e-7, low=1e-10, high=1e-3, tier=3, meaning="floor under the root", zero=True),
        EPSILON_OUTSIDE_ROOT,
    ),
    slots=("accumulator",),
    update=update,
    prepare=prepare,
    builtin=Builtin("Adagrad", unlike_builtin, without("epsilon_outside_root")),
)
