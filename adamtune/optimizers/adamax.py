"""Adamax: Adam whose second moment is a maximum, the largest recent gradient.

Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, Algorithm 2 (section 7.1), in the form
of Keras, which adds epsilon to the quotient (the paper has none):

    m = m + (1 - beta_1) (g - m)
    u = max(beta_2 u, |g|)
    w = w - lr / (1 - beta_1^t) * m / (u + epsilon)

PyTorch and optax put epsilon into the maximum, max(beta_2 u, |g| + epsilon), and divide by u alone: the mask
`epsilon_in_maximum`. There it is part of what is remembered, so it adds to each large gradient for as long as that one
lasts. Both keep a weight that never had a gradient from dividing by 0.

A maximum that starts at 0 has no bias, so only m is corrected. A step is no longer than lr, says the paper; exactly,
than (1 - beta_1) / (1 - beta_1 / beta_2) times lr, 1.01 lr by default, and without bound where beta_2 <= beta_1.

The pitfall is a single large gradient. u takes up all of it, v of Adam 1 - beta_2 of its square: after one that is 100
times as large as the others, once m has forgotten it, the steps are 1/100 as long (in Adam 1/3), and it takes
log(100) / (1 - beta_2) updates, 4,600 by default, until they are lr again.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: u stays near 1, so a step is lr m_hat
>>> [round(w, 4) for w in three_steps("adamax", learning_rate=0.1)]
[0.9, 0.8052, 0.7155]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, flag, fraction, positive
from adamtune.optimizers._moments import bias_correction, floored, too_near_one, without_epsilon
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Scalars, Slots, Total, without


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The bias correction in the rate, and epsilon in one of its two places."""
    none = ops.zeros_like(h.epsilon)
    inside = ops.where(h.epsilon_in_maximum > 0, h.epsilon, none)
    outside = ops.where(h.epsilon_in_maximum > 0, none, h.epsilon)
    rate = h.learning_rate / bias_correction(h.one_minus_beta_1, t)
    return SimpleNamespace(**vars(h), corrected_rate=rate, inside=inside, outside=floored(outside)), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adamax."""
    m, u = slots
    m = m + h.one_minus_beta_1 * (g - m)
    u = ops.maximum((1 - h.one_minus_beta_2) * u, ops.abs(g) + h.inside)
    return w - h.corrected_rate * m / (u + h.outside), (m, u)


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Adamax would compute something else for these values."""
    if values["epsilon_in_maximum"] and values["epsilon"]:
        return "keras.optimizers.Adamax adds epsilon to the quotient, not in the maximum"
    return without_epsilon(values, "Adamax") or too_near_one(values, "keras.optimizers.Adamax", corrected=("beta_1",))


RULE = Rule(
    name="adamax",
    class_name="Adamax",
    family="adam",
    notes=__doc__,
    source="Kingma & Ba 2015, arXiv 1412.6980, Algorithm 2",
    # Defaults: keras.optimizers.Adamax; the paper and PyTorch have a rate of 2e-3. Search bounds: as Adam's; epsilon's
    # from Sivaprasad et al. 2020 (arXiv 1910.11758), only when named, because the paper does without.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its largest size"),
        positive("epsilon", 1e-7, low=1e-8, high=1.0, tier=4, meaning="floor under the largest size", zero=True),
        flag("epsilon_in_maximum", tier=4, meaning="epsilon on each gradient's size, as in PyTorch and optax"),
    ),
    slots=("momentum", "norm"),
    update=update,
    prepare=prepare,
    builtin=Builtin("Adamax", unlike_builtin, without("epsilon_in_maximum")),
)
