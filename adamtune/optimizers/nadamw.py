"""NAdamW: AdamW that looks one gradient ahead, with a momentum that stays.

Choi et al. 2019, "On Empirical Comparisons of Optimizers for Deep Learning", arXiv 1910.05446, Table 1 (NAdam), with
the decoupled decay of Loshchilov & Hutter 2019, arXiv 1711.05101; as in TaskSet (Metz et al. 2020, arXiv 2002.11887),
AlgoPerf (Dahl et al. 2023, arXiv 2306.07179) and timm:

    w = w - lr weight_decay w
    m = m + (1 - beta_1) (g - m)
    v = v + (1 - beta_2) (g^2 - v)
    m_hat = (beta_1 m + (1 - beta_1) g) / (1 - beta_1^t)
    w = w - lr m_hat / (sqrt(v / (1 - beta_2^t)) + epsilon)

Without `nesterov` m_hat is m / (1 - beta_1^t), and this is AdamW with the epsilon of Adam's Algorithm 1. With
weight_decay=0 it is the simple NAdam, at beta_1 = 0 as well RMSprop with a bias correction: one family for a search.

This is not Nadam with a weight decay, which is PyTorch's NAdam(decoupled_weight_decay=True) and Keras'
Nadam(weight_decay=): there the momentum of the look ahead grows from half of beta_1 on a schedule, and each of the two
parts of m_hat is corrected for itself. For that write `nadam` and its weight_decay. Here beta_1 acts at once, and m_hat
is corrected as m is though it holds more of the newest gradient: the first step has the length (1 + beta_1) lr.
optax.nadam is a third form, with corrections for t + 1 and t.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: 1.9 lr at first
>>> [round(w, 4) for w in three_steps("nadamw", learning_rate=0.1, weight_decay=0.0)]
[0.81, 0.6741, 0.5568]
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import flag, fraction, positive
from adamtune.optimizers import gradients
from adamtune.optimizers._moments import correct, moments
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Slots


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of NAdamW; its decay comes before, see `gradients.decay`."""
    m, v = slots
    m, v = moments(g, m, v, h)
    # Ahead is where m would be after the same gradient once more.
    ahead = ops.where(h.nesterov > 0, m + h.one_minus_beta_1 * (g - m), m)
    return w - h.corrected_rate * ahead / (ops.sqrt(v) + h.scaled_epsilon), (m, v)


RULE = Rule(
    name="nadamw",
    class_name="NAdamW",
    family="adam",
    notes=__doc__,
    source="Choi et al. 2019, arXiv 1910.05446, Table 1; Loshchilov & Hutter 2019, arXiv 1711.05101",
    # Defaults: timm's NAdamW. Search bounds: as Nadam's; the decay's from TaskSet below to AlgoPerf above, in tier 1 as
    # AdamW's.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        replace(gradients.WEIGHT_DECAY, default=1e-2, high=1.0, tier=1),
        fraction("beta_1", 0.9, low=4e-3, high=0.5, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square"),
        positive("epsilon", 1e-8, low=1e-10, high=1e-1, tier=2, meaning="floor under the root", zero=True),
        flag("nesterov", True, tier=3, meaning="look ahead along the mean of the gradients"),
    ),
    slots=("momentum", "velocity"),
    update=update,
    prepare=correct,
)
