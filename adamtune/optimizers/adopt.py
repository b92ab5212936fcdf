"""ADOPT: Adam that divides each gradient by a second moment which has not seen it, so that any beta_2 converges.

Taniguchi et al. 2024, "ADOPT: Modified Adam Can Converge with Any beta_2 with the Optimal Rate", arXiv 2411.02853,
Algorithm 2, with the clipping that its authors recommend. With v_0 = g_1^2, so that the first step is spent on looking
and moves nothing:

    n = clip(g / max(sqrt(v_{t-1}), epsilon), -c_t, c_t)        c_t = (t - 1)^(1/4)
    m = m + (1 - beta_1) (n - m)
    w = w - lr m
    v_t = v_{t-1} + (1 - beta_2) (g^2 - v_{t-1})

Adam's second moment knows the gradient that it divides: the two depend on each other, and where beta_2 is small rare
large gradients are divided by themselves and count too little (`amsgrad` is another answer). Here they do not, so
beta_2 can be anything and its default lies nearer to one. There is no bias correction, because v starts at a square
that was seen. A small gradient first and a large one then make n huge: that is what the clipping is for, which lets
more pass as v learns. optax computes the same; Keras and PyTorch have no ADOPT.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: no step, then n = 1, m = 0.1, then m = 0.189
>>> [round(w, 4) for w in three_steps("adopt", learning_rate=0.1)]
[1.0, 0.99, 0.9711]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.hypers import fraction, positive
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """How much of a normalised gradient passes in this step: nothing in the first."""
    return SimpleNamespace(**vars(h), clip=ops.power(t - 1, 0.25)), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of ADOPT."""
    m, v = slots
    n = g / ops.maximum(ops.sqrt(v), h.epsilon)
    n = ops.minimum(ops.maximum(n, -h.clip), h.clip)
    m = m + h.one_minus_beta_1 * (n - m)
    v = ops.where(ops.equal(t, 1), g * g, v + h.one_minus_beta_2 * (g * g - v))
    return w - h.learning_rate * m, (m, v)


RULE = Rule(
    name="adopt",
    class_name="ADOPT",
    family="adam",
    source="Taniguchi et al. 2024, arXiv 2411.02853, Algorithm 2",
    notes=__doc__,
    # Defaults: the authors' code. Search bounds: as Adam's, with a beta_2 that may be small and an epsilon that is a
    # floor and not a summand.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=2, meaning="memory of the normalised gradient's mean"),
        fraction("beta_2", 0.9999, low=1e-5, high=0.5, tier=3, meaning="memory of the gradient's square"),
        positive("epsilon", 1e-6, low=1e-8, high=1e-2, tier=3, meaning="least root that divides"),
    ),
    slots=("momentum", "velocity"),
    update=update,
    prepare=prepare,
)
