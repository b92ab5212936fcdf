"""Nadam: Adam that looks ahead as Nesterov's momentum does, with a momentum that grows.

Dozat 2016, "Incorporating Nesterov Momentum into Adam", ICLR workshop, Algorithm 2 with the momentum's schedule of its
experiments, in the form of Keras and PyTorch (whose mean of the gradients keeps beta_1; only its use is scheduled):

    mu_t = beta_1 (1 - 0.5 * 0.96^(t psi))
    m = m + (1 - beta_1) (g - m)
    v = v + (1 - beta_2) (g^2 - v)
    m_hat = mu_{t+1} m / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g / (1 - mu_1 ... mu_t)
    w = w - lr m_hat / (sqrt(v / (1 - beta_2^t)) + epsilon)

psi is `schedule_decay`, 0.004 as in the paper, in Keras 2 and in PyTorch (its `momentum_decay`). Keras 3 has no such
argument and computes with psi = 1: there mu is within 1 % of beta_1 after 96 steps, here after 24,000. At psi = 0 mu
stays at half of beta_1. Epsilon is added after the correction, as in Algorithm 1 of Adam and unlike `adam`.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: the first step is a little longer than lr
>>> [round(w, 4) for w in three_steps("nadam", learning_rate=0.1)]
[0.8944, 0.82, 0.7527]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, fraction, positive
from adamtune.optimizers._moments import bias_correction, floored, moments, too_near_one, without_epsilon
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Scalars, Slots, Total, without


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The momentum of this step and of the next, the product of all until now, and the correction of v."""

    def momentum(step: Any) -> Any:
        return (1 - h.one_minus_beta_1) * (1 - 0.5 * ops.exp(math.log(0.96) * h.schedule_decay * step))

    (product,) = scalars
    mu = momentum(t)
    product = product * mu
    prepared = {
        "mu": mu,
        "next_mu": momentum(t + 1),
        "mu_product": product,
        "correction": bias_correction(h.one_minus_beta_2, t),
        "floor": floored(h.epsilon),
    }
    return SimpleNamespace(**vars(h), **prepared), (product,)


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Nadam."""
    m, v = slots
    m, v = moments(g, m, v, h)
    ahead = h.next_mu * m / (1 - h.mu_product * h.next_mu)
    m_hat = ahead + (1 - h.mu) * g / (1 - h.mu_product)
    return w - h.learning_rate * m_hat / (ops.sqrt(v / h.correction) + h.floor), (m, v)


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Nadam would compute something else for these values."""
    psi = values["schedule_decay"]
    if psi != 1:
        return f"keras.optimizers.Nadam has no schedule_decay and computes with 1, not with {psi:g}"
    return without_epsilon(values, "Nadam") or too_near_one(values, "keras.optimizers.Nadam")


RULE = Rule(
    name="nadam",
    class_name="Nadam",
    family="adam",
    notes=__doc__,
    source="Dozat 2016, ICLR workshop, Algorithm 2",
    # Defaults: keras.optimizers.Nadam; schedule_decay: the paper, Keras 2, PyTorch. Search bounds: as Adam's; beta_1
    # from AlgoPerf's NAdamW (Dahl et al. 2023, arXiv 2306.07179), widened; schedule_decay from hardly any growth within
    # a training to the 1 of Keras 3.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        fraction("beta_1", 0.9, low=4e-3, high=0.5, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square"),
        positive("epsilon", 1e-7, low=1e-10, high=1e-1, tier=2, meaning="floor under the root", zero=True),
        positive(
            "schedule_decay",
            4e-3,
            low=1e-4,
            high=1.0,
            tier=3,
            meaning="how fast the look ahead grows from half of beta_1 to all of it; Keras 3 has 1",
            zero=True,
        ),
    ),
    slots=("momentum", "velocity"),
    update=update,
    scalars=(("mu_product", 1.0),),
    prepare=prepare,
    builtin=Builtin("Nadam", unlike_builtin, without("schedule_decay")),
)
