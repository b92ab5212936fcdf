"""AdaBound: Adam whose rates are clipped between bounds that close in on the rate of an SGD.

Luo, Xiong, Liu & Sun 2019, "Adaptive Gradient Methods with Dynamic Bound of Learning Rate", ICLR, arXiv 1902.09843,
Algorithm 2 in the form of the authors' code (the paper also divides each rate by sqrt(t), and corrects no bias):

    m = m + (1 - beta_1) (g - m)
    v = v + (1 - beta_2) (g^2 - v)
    f = final_lr lr / (largest lr so far)
    low = f (1 - 1 / (gamma t + 1)),  high = f (1 + 1 / (gamma t))
    w = w - clip(lr sqrt(1 - beta_2^t) / (1 - beta_1^t) / (sqrt(v) + epsilon), low, high) m

So a training that is long against 1 / gamma ends as SGD with the rate final_lr along the mean m: final_lr has the scale
of an SGD's rate, not of an Adam's, and it follows the schedule of the learning rate. The authors divide by the rate of
the first step. That is the largest one unless the rate rises, and with a warmup it would be one close to 0: the final
rate would grow to a multiple of final_lr. Epsilon is added before the correction of v, as in `adam`.

A clipped step is proportional to the gradient: unlike Adam's, it sees the scale of the loss.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: Adam's steps while the bounds are wide
>>> [round(w, 4) for w in three_steps("adabound", learning_rate=0.1)]
[0.9, 0.8004, 0.7016]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.hypers import fraction, positive
from adamtune.optimizers._moments import corrected_rate, floored, moments
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """Adam's bias corrections, and the bounds of this step."""
    (largest,) = scalars
    largest = ops.maximum(largest, h.learning_rate)
    # A schedule of Keras may start at a rate of 0.
    final = h.final_lr * h.learning_rate / ops.where(largest > 0, largest, ops.ones_like(largest))
    openness = 1 / (h.gamma * t)
    # 1 - 1 / (gamma t + 1) is 1 / (1 + 1 / (gamma t)); as a difference it would lose four digits of seven.
    rate, _ = corrected_rate(h, t)
    low, high = final / (1 + openness), final * (1 + openness)
    return SimpleNamespace(**vars(h), corrected_rate=rate, low=low, high=high, floor=floored(h.epsilon)), (largest,)


def bounded(w: Any, m: Any, v: Any, h: SimpleNamespace) -> Any:
    """The weight after a step along m, with a rate for the second moment v that is clipped to the bounds."""
    rate = h.corrected_rate / (ops.sqrt(v) + h.floor)
    return w - ops.minimum(ops.maximum(rate, h.low), h.high) * m


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of AdaBound."""
    m, v = slots
    m, v = moments(g, m, v, h)
    return bounded(w, m, v, h), (m, v)


RULE = Rule(
    name="adabound",
    class_name="AdaBound",
    family="adaptive",
    notes=__doc__,
    source="Luo et al. 2019, arXiv 1902.09843, Algorithm 2 and the authors' code",
    # Defaults: the authors' code. Search bounds: final_lr and gamma as in Schmidt et al. 2021 (arXiv 2007.01547), but
    # upwards to SGD's 1 divided by 1 - beta_1 (a rate for the mean of the gradients, where momentum has their sum), and
    # to a gamma of 1 (small networks train for few steps, and 1 / gamma is a number of steps); the rest as Adam's.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step at the start"),
        positive("final_lr", 0.1, low=1e-3, high=10.0, tier=1, meaning="rate of the SGD it becomes"),
        positive(
            "gamma", 1e-3, low=1e-4, high=1.0, tier=2, meaning="how fast the bounds close: in about 1 / gamma steps"
        ),
        fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=3, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square"),
        positive("epsilon", 1e-8, low=1e-10, high=1e-1, tier=3, meaning="floor under the root", zero=True),
    ),
    slots=("momentum", "velocity"),
    update=update,
    scalars=(("largest_rate", 0.0),),
    prepare=prepare,
)
