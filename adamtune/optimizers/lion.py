"""Lion: steps of one length in every element, along the sign of a mean of the gradient.

Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675, Algorithm 2; so also in Keras, in
optax and in the authors' code:

    w = w - lr sign(beta_1 m + (1 - beta_1) g)
    m = beta_2 m + (1 - beta_2) g

The mean is moved on after the step and with a beta of its own, so the step sees more of the newest gradient than the
mean keeps. There is no epsilon, no bias correction and no second moment; sign(0) is 0. With both betas 0 this is the
descent along the sign of the gradient.

Every element moves by lr, however small its gradient, and at a constant rate goes on doing so at the minimum. The
authors advise a rate 3 to 10 times smaller than AdamW's and a decay as many times larger. The decay of
Algorithm 2 is that of `gradients.decay`, taken off in the same step. Keras refuses a beta_1 of 0, optax decays by
default.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: lr per step
>>> [round(w, 4) for w in three_steps("lion", learning_rate=0.1)]
[0.9, 0.8, 0.7]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, fraction, positive
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Slots


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Lion."""
    (m,) = slots
    # Not as m + (1 - beta_1) (g - m): what rounding leaves there where beta_1 is 0 has another sign than g.
    direction = ops.sign((1 - h.one_minus_beta_1) * m + h.one_minus_beta_1 * g)
    m = (1 - h.one_minus_beta_2) * m + h.one_minus_beta_2 * g
    return w - h.learning_rate * direction, (m,)


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Lion would compute something else for these values."""
    return "" if values["beta_1"] else "keras.optimizers.Lion refuses beta_1=0"


RULE = Rule(
    name="lion",
    class_name="Lion",
    family="sign",
    notes=__doc__,
    source="Chen et al. 2023, arXiv 2302.06675, Algorithm 2",
    # Defaults: keras.optimizers.Lion. Search bounds: Adam's rates, ten times smaller as the authors advise; around the
    # betas of the paper (0.9 and 0.99; 0.95 and 0.98 where the training is not stable).
    hypers=(
        positive("learning_rate", 1e-3, low=1e-6, high=1e-2, tier=1, meaning="length of a step in every element"),
        fraction("beta_1", 0.9, low=1e-2, high=0.5, tier=2, meaning="share of the mean in the step"),
        fraction("beta_2", 0.99, low=1e-3, high=0.2, tier=3, meaning="memory of the gradient's mean"),
    ),
    slots=("momentum",),
    update=update,
    builtin=Builtin("Lion", unlike_builtin),
)
