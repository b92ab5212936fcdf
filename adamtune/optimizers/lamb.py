"""LAMB: Adam's direction, in every weight as long as the weight itself.

You et al. 2020, "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", arXiv 1904.00962, Algorithm
2 with the identity for phi:

    m = m + (1 - beta_1) (g - m)
    v = v + (1 - beta_2) (g^2 - v)
    u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay w
    w = w - lr |w| / |u| u          (w - lr u where |w| or |u| is 0)

The norms are those of a whole weight, a kernel or a bias; a scalar is a weight too. So the rate is the share of its
norm by which a weight moves, whatever its gradient, and whatever the loss is multiplied by. That share stays the same
near the minimum: only a falling rate ends the training there. Biases that start at 0 take Adam's step first.

Epsilon is added after the correction, in the paper, in Keras and in optax alike, unlike `adam`. The decay stands inside
of the norm that is divided by, in the paper and in optax: it turns the step and does not lengthen it, and a weight that
never gets a gradient shrinks by lr a step, however small the decay. Keras takes it off the weight before the step, as
in AdamW, so its class computes the same without a decay only.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: each step takes 10 % off
>>> [round(w, 4) for w in three_steps("lamb", learning_rate=0.1)]
[0.9, 0.81, 0.729]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, fraction, positive
from adamtune.optimizers import gradients
from adamtune.optimizers._moments import bias_correction, floored, moments, too_near_one, without_epsilon
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Scalars, Slots, Total, own_axes


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """Both bias corrections in what m and epsilon are multiplied with, once a step instead of once a weight."""
    root = ops.sqrt(bias_correction(h.one_minus_beta_2, t))
    scale = root / bias_correction(h.one_minus_beta_1, t)
    return SimpleNamespace(**vars(h), scale=scale, scaled_epsilon=floored(h.epsilon * root)), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of LAMB."""
    m, v = slots
    m, v = moments(g, m, v, h)
    u = h.scale * m / (ops.sqrt(v) + h.scaled_epsilon) + h.weight_decay * w
    axes = own_axes(w, h.learning_rate)
    norm_w, norm_u = (ops.sqrt(ops.sum(x * x, axis=axes, keepdims=True)) for x in (w, u))
    is_sound = ops.logical_and(norm_w > 0, norm_u > 0)
    one = ops.ones_like(norm_u)
    trust = ops.where(is_sound, norm_w, one) / ops.where(is_sound, norm_u, one)
    return w - h.learning_rate * trust * u, (m, v)


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Lamb would compute something else for these values."""
    if values["weight_decay"]:
        return "keras.optimizers.Lamb takes the weight decay off outside of the trust ratio, the paper inside"
    return without_epsilon(values, "Lamb") or too_near_one(values, "keras.optimizers.Lamb")


RULE = Rule(
    name="lamb",
    class_name="Lamb",
    family="layerwise",
    notes=__doc__,
    source="You et al. 2020, arXiv 1904.00962, Algorithm 2",
    # Defaults: keras.optimizers.Lamb. Search bounds: AlgoPerf's LAMB (Dahl et al. 2023, arXiv 2306.07179), with rates
    # up to ten times and decays down to a tenth of those; beta_2 and epsilon as Adam's.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-4, high=1e-1, tier=1, meaning="share of its norm a weight moves by"),
        fraction("beta_1", 0.9, low=5e-2, high=0.5, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square"),
        positive("epsilon", 1e-7, low=1e-10, high=1e-1, tier=3, meaning="floor under the root", zero=True),
        replace(
            gradients.WEIGHT_DECAY,
            low=1e-4,
            high=1.0,
            tier=1,
            meaning="share of the weights in the direction of a step; 0 is none",
        ),
    ),
    slots=("momentum", "velocity"),
    update=update,
    prepare=prepare,
    builtin=Builtin("Lamb", unlike_builtin),
    decays=True,
)
