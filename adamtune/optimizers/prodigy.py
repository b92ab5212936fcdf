"""Prodigy: Adam that estimates its own learning rate, from how far the weights have come along the gradients.

Mishchenko & Defazio 2023, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner", arXiv 2306.06101, Algorithm 4,
as the authors' code has it. w_0 are the weights before the first step, d the estimate of how far the minimum is from
them, d_0 its start; sums are over all weights of the model, beta_3 = sqrt(beta_2):

    rate = d lr                     (bias_correction: d lr sqrt(1 - beta_2^t) / (1 - beta_1^t))
    n = beta_3 n + d / d_0 rate sum(g (w_0 - w))
    s = beta_3 s + d / d_0 rate g   (safeguard_warmup: d / d_0 d g)
    m = beta_1 m + (1 - beta_1) d g
    v = beta_2 v + (1 - beta_2) d^2 g^2
    d' = the largest of d_0 and all d_coef n / sum(|s|) until now, but no more than growth_rate d
    w = w - rate (m / (sqrt(v) + d' epsilon) + weight_decay w)

and d' is the d of the next step. So it is in the authors' code and in optax: only epsilon is multiplied by the new d.
They differ in the bias correction, which the authors leave off and optax always makes; `bias_correction` is that
choice. optax has no growth_rate. It is 1 or more; as the authors have it, it limits no growth from d_0, which may
be smaller by many orders. While all gradients have been 0 there is nothing to divide by: d stays here, the authors make
no step at all, and optax divides 0 by 0.

Leave lr at 1, for a schedule to bring down, and tune d_coef: that is the authors' advice. d never falls. In a warmup
the small rates make s small and d too large, unless safeguard_warmup takes the rate out of s. Where the loss is convex
and d_coef is 1, d never exceeds the largest |w_0 - minimum| of an element.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: steps of 3.16 d, and d from 1e-6 up
>>> [f"{1 - w:.3g}" for w in three_steps("prodigy")]
['3.16e-06', '7.41e-06', '1.52e-05']
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import flag, fraction, positive
from adamtune.optimizers import gradients
from adamtune.optimizers._moments import corrected_rate
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The next estimate of the distance."""
    d, largest, numerator = scalars
    is_first = ops.equal(t, 1)
    d, largest = (ops.where(is_first, h.d0, each) for each in (d, largest))
    corrected, _ = corrected_rate(h, t)
    rate = d * ops.where(h.bias_correction > 0, corrected, h.learning_rate)
    beta_3 = ops.sqrt(1 - h.one_minus_beta_2)
    pull = d / h.d0 * ops.where(h.safeguard_warmup > 0, d, rate)
    h = SimpleNamespace(**vars(h), d=d, rate=rate, beta_3=beta_3, pull=pull)

    def pulled(g: Any, w: Any, slots: Slots, h: SimpleNamespace) -> Any:
        # Where t is 1 the weight is where it started.
        return g * (slots[_START] - w)

    numerator = beta_3 * numerator + d / h.d0 * rate * ops.where(is_first, 0.0 * d, total(pulled, h))
    denominator = total(lambda g, w, slots, h: ops.abs(_pulls(g, slots, h)), h)
    is_known = denominator > 0
    estimate = h.d_coef * numerator / ops.where(is_known, denominator, ops.ones_like(denominator))
    estimate = ops.where(is_known, estimate, d)
    largest = ops.maximum(largest, estimate)
    grown = ops.where(ops.equal(d, h.d0), largest, d * h.growth_rate)
    next_d = ops.minimum(largest, grown)
    return SimpleNamespace(**vars(h), floor=next_d * h.epsilon), (next_d, largest, numerator)


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Prodigy."""
    m, v, _, start = slots
    start = ops.where(ops.equal(t, 1), w, start)
    m = (1 - h.one_minus_beta_1) * m + h.one_minus_beta_1 * h.d * g
    v = (1 - h.one_minus_beta_2) * v + h.one_minus_beta_2 * ops.square(h.d * g)
    w = w - h.rate * (m / (ops.sqrt(v) + h.floor) + h.weight_decay * w)
    return w, (m, v, _pulls(g, slots, h), start)


def _pulls(g: Any, slots: Slots, h: SimpleNamespace) -> Any:
    """The weighted sum of a weight's gradients until now, s."""
    return h.beta_3 * slots[_SUM] + h.pull * g


_SLOTS = ("momentum", "velocity", "gradient_sum", "start")
_SUM, _START = _SLOTS.index("gradient_sum"), _SLOTS.index("start")

RULE = Rule(
    name="prodigy",
    class_name="Prodigy",
    family="parameter-free",
    notes=__doc__,
    source="Mishchenko & Defazio 2023, arXiv 2306.06101, Algorithm 4; the authors' code",
    # Defaults: the authors' code. Search bounds: d_coef wider than the 0.5 to 2 that the authors name; the rate is not
    # searched; beta_2 up to their 0.999, since it is also the memory of the estimate; the decay as AdamW's; growth_rate
    # from the 1.02 that they name to a doubling.
    hypers=(
        positive("learning_rate", 1.0, low=0.1, high=10.0, tier=4, meaning="factor on the estimated rate"),
        replace(gradients.WEIGHT_DECAY, high=1.0, tier=3),
        positive("d_coef", 1.0, low=0.25, high=8.0, tier=1, meaning="factor on each estimate of the distance"),
        fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=3, meaning="memory of the gradient's mean"),
        fraction(
            "beta_2", 0.999, low=1e-3, high=0.1, tier=2, meaning="memory of its square; its root: of the estimate"
        ),
        positive("epsilon", 1e-8, low=1e-10, high=1e-2, tier=4, meaning="floor under the root, times the distance"),
        positive("d0", 1e-6, low=1e-8, high=1e-3, tier=4, meaning="first estimate of the distance, too small a one"),
        positive(
            "growth_rate", math.inf, low=1.02, high=2.0, tier=4, meaning="most that a step multiplies the estimate with"
        ),
        flag("bias_correction", tier=4, meaning="undo that the moments start at 0, as optax does"),
        flag("safeguard_warmup", tier=4, meaning="estimate as if there were no warmup"),
    ),
    slots=_SLOTS,
    update=update,
    scalars=(("d", 0.0), ("largest_d", 0.0), ("numerator", 0.0)),
    prepare=prepare,
    decays=True,
)
