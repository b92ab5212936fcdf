"""Yogi: Adam whose second moment grows and shrinks by the same share of the gradient's square.

Zaheer, Reddi, Sachan, Kale & Kumar 2018, "Adaptive Methods for Nonconvex Optimization", NeurIPS, Algorithm 2:

    m = m + (1 - beta_1) (g - m)
    v = v - (1 - beta_2) sign(v - g^2) g^2      (v starts at initial_accumulator_value)
    w = w - lr m / (sqrt(v) + epsilon)

Adam's v falls by a share of itself when gradients become small, and with it the floor under the steps; Yogi's falls by
a share of g^2, so a long calm does not make the next steps large. Once v is large it stays so for long.

The paper corrects no bias. With `bias_correction` the rule is optax's, all of it: both moments are divided by their
1 - beta^t, though the start of v is no bias towards 0 (1e-6 counts as 1e-3 at t = 1), and m starts at
initial_accumulator_value like v, which moves a weight a little even without gradients. TensorFlow Addons has a third
form: it starts m at 0 and corrects with epsilon before the correction, as `adam` does.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: first lr 0.1 / (sqrt(0.001) + 0.001)
>>> [round(w, 4) for w in three_steps("yogi")]
[0.9694, 0.9279, 0.8795]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.hypers import flag, fraction, positive
from adamtune.optimizers._moments import corrected_rate, floored
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The rate, epsilon and the start of m, as the paper has them or as optax."""
    corrected = h.bias_correction > 0
    rate, root = corrected_rate(h, t)
    rate = ops.where(corrected, rate, h.learning_rate)
    epsilon = h.epsilon * ops.where(corrected, root, ops.ones_like(root))
    start = ops.where(corrected, h.initial_accumulator_value, ops.zeros_like(h.initial_accumulator_value))
    return SimpleNamespace(**vars(h), corrected_rate=rate, scaled_epsilon=floored(epsilon), initial_mean=start), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Yogi."""
    m, v = slots
    is_first = ops.equal(t, 1)
    m = ops.where(is_first, h.initial_mean, m)
    v = ops.where(is_first, h.initial_accumulator_value, v)
    square = g * g
    m = m + h.one_minus_beta_1 * (g - m)
    v = v - h.one_minus_beta_2 * ops.sign(v - square) * square
    return w - h.corrected_rate * m / (ops.sqrt(v) + h.scaled_epsilon), (m, v)


RULE = Rule(
    name="yogi",
    class_name="Yogi",
    family="adaptive",
    notes=__doc__,
    source="Zaheer et al. 2018, NeurIPS, Algorithm 2",
    # Defaults: the paper's, as TensorFlow Addons and optax have them. Search bounds: as Adam's, the rate and
    # epsilon a decade or more higher, as the defaults are.
    hypers=(
        positive("learning_rate", 1e-2, low=1e-4, high=1e-1, tier=1, meaning="length of a step"),
        fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square"),
        positive("epsilon", 1e-3, low=1e-6, high=1e-1, tier=1, meaning="floor under the root", zero=True),
        positive(
            "initial_accumulator_value",
            1e-6,
            low=1e-8,
            high=1e-1,
            tier=3,
            meaning="where the second moment starts",
            zero=True,
        ),
        flag("bias_correction", tier=4, meaning="correct and start both moments as optax does"),
    ),
    slots=("momentum", "velocity"),
    update=update,
    prepare=prepare,
)
