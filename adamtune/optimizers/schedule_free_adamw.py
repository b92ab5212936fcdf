"""Schedule-Free AdamW: Adam without a schedule; an average of the weights takes the place of a falling rate.

Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky 2024, "The Road Less Scheduled", arXiv 2405.15682, Algorithm 1, as
the authors' code has it since version 1.3. There are three sequences. The gradient g is taken at y, which is what the
model holds while it is trained; z takes the steps; x, the mean of all z, is what is judged and kept:

    v = beta_2 v + (1 - beta_2) g^2
    z = z - lr (g / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay y)
    s_t = t^r max(lr_1, ..., lr_t)^weight_lr_power
    x = x + s_t / (s_1 + ... + s_t) (z - x)
    y = (1 - beta_1) z + beta_1 x

All three start at the weights there are. At a constant rate and r = 0 the share of the newest z is 1 / t; while a
warmup raises the rate, early steps count for less. x is a slot of its own here. Keras, optax and the authors keep z
alone and take x out of y, by dividing by beta_1, so a beta_1 of 0 (plain averaging of Adam's steps) is not possible
there. Since y is formed anew from z and x, a training also goes on when the model was given x in between.

What differs elsewhere:

- The paper (the authors' `AdamWScheduleFreePaper`) puts sqrt(1 - beta_2^t) into lr: epsilon then counts for less, the
  decay rises slowly, and so does s_t.
- Keras has the share 1 / t whatever the rate does, takes the decay off y alone, where the next y, formed without it,
  all but undoes it, and never puts x in place: a model of `keras.optimizers.ScheduleFreeAdamW` is judged and saved at
  y. On TensorFlow it also takes x out of y with the new z instead of the old one (3.15). So there is no class of Keras
  for this rule. On JAX, without decay and at a constant rate, y is the same.
- optax takes s_t from the rate of the next step; at a constant rate it is the same, decay included.

A warmup helps, a falling rate does not: x already moves less and less. Rates 1 to 10 times those of AdamW, and a beta_1
of 0.95 to 0.98 for long trainings, are the authors' advice.

>>> from adamtune.testing import three_steps  # y on 0.5 * w**2 from w = 1: the first step is Adam's with beta_1 = 0
>>> [round(w, 4) for w in three_steps("schedule_free_adamw", learning_rate=0.1)]
[0.9, 0.848, 0.7968]
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import fraction, positive
from adamtune.optimizers import gradients
from adamtune.optimizers._moments import bias_correction, floored
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The share of the newest z in x."""
    before, weights = scalars
    largest = ops.maximum(before, h.learning_rate)
    # The sum is kept in units of the newest weight but for t^r: a small rate to a high power would be 0 in float32. A
    # schedule may start at 0, and then `before` is 0 too.
    unit = before / ops.where(largest > 0, largest, ops.ones_like(largest))
    newest = ops.power(t, h.r)
    weights = weights * ops.power(unit, h.weight_lr_power) + newest
    correction = bias_correction(h.one_minus_beta_2, t)
    return SimpleNamespace(**vars(h), share=newest / weights, correction=correction, floor=floored(h.epsilon)), (
        largest,
        weights,
    )


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Schedule-Free AdamW."""
    z, v, x = slots
    is_first = ops.equal(t, 1)
    z, x = (ops.where(is_first, w, each) for each in (z, x))
    v = (1 - h.one_minus_beta_2) * v + h.one_minus_beta_2 * (g * g)
    z = z - h.learning_rate * (g / (ops.sqrt(v / h.correction) + h.floor) + h.weight_decay * w)
    x = x + h.share * (z - x)
    return x + h.one_minus_beta_1 * (z - x), (z, v, x)


RULE = Rule(
    name="schedule_free_adamw",
    class_name="ScheduleFreeAdamW",
    family="averaging",
    notes=__doc__,
    source="Defazio et al. 2024, arXiv 2405.15682, Algorithm 1; the authors' code since version 1.3",
    # Defaults: the authors' code and keras.optimizers.ScheduleFreeAdamW. Search bounds: the rate as Adam's, without
    # the smallest, since the authors' are the larger ones; beta_1 around their 0.9 to 0.98; beta_2 and epsilon as
    # Adam's; the decay as AdamW's (their submission to AlgoPerf has 0.08); r around the 0.75 of that submission, and
    # the power around their 2.
    hypers=(
        positive("learning_rate", 2.5e-3, low=1e-4, high=1e-1, tier=1, meaning="length of a step of z"),
        replace(gradients.WEIGHT_DECAY, high=1.0, tier=3),
        fraction("beta_1", 0.9, low=1e-2, high=0.2, tier=2, meaning="how near to the average the gradient is taken"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of the gradient's square"),
        positive("epsilon", 1e-8, low=1e-10, high=1e-1, tier=3, meaning="floor under the root", zero=True),
        positive("r", 0.0, low=0.1, high=5.0, tier=4, meaning="how much more later steps count, t^r", zero=True),
        positive(
            "weight_lr_power",
            2.0,
            low=0.5,
            high=8.0,
            tier=4,
            meaning="how much less the steps of a warmup count",
            zero=True,
        ),
    ),
    slots=("z", "velocity", "x"),
    update=update,
    scalars=(("largest_rate", 0.0), ("weight_sum", 0.0)),
    prepare=prepare,
    averaged="x",
    decays=True,
)
