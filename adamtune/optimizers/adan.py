"""Adan: Adam with Nesterov's look ahead, told by the difference of successive gradients.

Xie et al. 2022, "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models", arXiv 2208.06677,
Algorithm 1, with the bias corrections of the authors' code and its betas (what is kept; the paper's are 1 minus these):

    d = g - last g                  (0 at t = 1)
    m = beta_1 m + (1 - beta_1) g
    v = beta_2 v + (1 - beta_2) d
    n = beta_3 n + (1 - beta_3) (g + beta_2 d)^2
    u = (m / (1 - beta_1^t) + beta_2 v / (1 - beta_2^t)) / (sqrt(n / (1 - beta_3^t)) + epsilon)
    w = (w - lr u) / (1 + lr weight_decay)      (no_prox: (1 - lr weight_decay) w - lr u)

The decay is a proximal step: implicit, so that even a huge one ends at 0 and not beyond; `no_prox` is AdamW's. The
authors advise rates 5 to 10 times larger than AdamW's and a decay of 0.02. Adan remembers four arrays per weight, one
of them the last gradient.

optax 0.2.8 puts 1 - beta_2 where beta_2 stands before d and v, as if the paper's formula were in the code's betas: by
default 0.08 instead of 0.92, so that hardly anything of the look ahead is left (google-deepmind/optax#1715). It also
adds 1e-8 inside the root.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: about lr per step, then less
>>> [round(w, 4) for w in three_steps("adan", learning_rate=0.1)]
[0.9, 0.8008, 0.7021]
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import flag, fraction, positive
from adamtune.optimizers import gradients
from adamtune.optimizers._moments import bias_correction, floored
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The three bias corrections in what m, v and epsilon are multiplied with, once a step instead of once a weight."""
    root = ops.sqrt(bias_correction(h.one_minus_beta_3, t))
    prepared = {
        "m_scale": root / bias_correction(h.one_minus_beta_1, t),
        "v_scale": root * (1 - h.one_minus_beta_2) / bias_correction(h.one_minus_beta_2, t),
        "scaled_epsilon": floored(root * h.epsilon),
    }
    return SimpleNamespace(**vars(h), **prepared), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adan, with AdamW's decay where `h.no_prox` is 1."""
    m, v, n, last = slots
    beta_1, beta_2, beta_3 = 1 - h.one_minus_beta_1, 1 - h.one_minus_beta_2, 1 - h.one_minus_beta_3
    d = g - ops.where(ops.equal(t, 1), g, last)
    ahead = g + beta_2 * d
    m = beta_1 * m + h.one_minus_beta_1 * g
    v = beta_2 * v + h.one_minus_beta_2 * d
    n = beta_3 * n + h.one_minus_beta_3 * (ahead * ahead)
    u = (h.m_scale * m + h.v_scale * v) / (ops.sqrt(n) + h.scaled_epsilon)
    step, share = h.learning_rate * u, h.learning_rate * h.weight_decay
    w = ops.where(h.no_prox > 0, (1 - share) * w - step, (w - step) / (1 + share))
    return w, (m, v, n, g)


RULE = Rule(
    name="adan",
    class_name="Adan",
    family="adam",
    notes=__doc__,
    source="Xie et al. 2022, arXiv 2208.06677, Algorithm 1",
    # Defaults: the authors' code. Search bounds: Adam's rates, and a factor of 4 to 10 around the betas; the decay as
    # around every rule.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        fraction("beta_1", 0.98, low=5e-3, high=0.2, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.92, low=2e-2, high=0.5, tier=3, meaning="memory of its differences, and their weight"),
        fraction("beta_3", 0.99, low=1e-3, high=0.1, tier=2, meaning="memory of the square of both"),
        positive("epsilon", 1e-8, low=1e-10, high=1e-1, tier=4, meaning="floor under the root", zero=True),
        replace(
            gradients.WEIGHT_DECAY,
            tier=3,
            meaning="share of the weights, times the rate, that each update takes off, implicitly; 0 is none",
        ),
        flag("no_prox", tier=4, meaning="take the decay off as AdamW does"),
    ),
    slots=("momentum", "difference", "velocity", "last_gradient"),
    update=update,
    prepare=prepare,
    decays=True,
)
