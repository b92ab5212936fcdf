"""AdaBelief: Adam that divides by how far gradients are from their mean, not by how large they are.

Zhuang et al. 2020, "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients", NeurIPS, arXiv
2010.07468, Algorithm 2 in the form of the authors' code, which adds epsilon twice:

    m = m + (1 - beta_1) (g - m)
    s = beta_2 s + (1 - beta_2) (g - m)^2 + epsilon         (the new m; epsilon stays in s, step after step)
    w = w - lr m / (1 - beta_1^t) / (sqrt(s / (1 - beta_2^t)) + epsilon)

After t steps the epsilons in s are epsilon (1 - beta_2^t) / (1 - beta_2), so the corrected root never falls below
sqrt(epsilon / (1 - beta_2)): 3e-7 at the defaults. An epsilon here does about what its root does in Adam. The authors
advise 1e-8 where SGD does better than Adam, 1e-12 to 1e-16 where it does worse. optax is the same where its `eps` and
`eps_root` are both epsilon, as they are by default. The authors' code also has the rectified start of RAdam and
decoupled decay, both on by default: the first is not here, the second is the `weight_decay` around every rule.

Where gradients stay the same, belief becomes certainty and s fades to the epsilons: steps grow far beyond lr, up to
lr g / sqrt(epsilon / (1 - beta_2)). That is the design; a large epsilon or a small 1 - beta_2 is what holds it back. In
float32 m stops some 1e-7 g short of g, so an epsilon far below 1e-14 g^2 is not what the steps end at. The first g - m
is beta_1 g, so the first step has the length lr / beta_1.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: the first step is 0.09 / 0.9
>>> [round(w, 4) for w in three_steps("adabelief", learning_rate=0.09)]
[0.9, 0.7954, 0.6867]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.hypers import fraction, positive
from adamtune.optimizers._moments import correct
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Slots


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of AdaBelief."""
    m, s = slots
    change = g - m
    m = m + h.one_minus_beta_1 * change
    # g - m with the new m, without the rounding of a difference of two numbers that may be all but equal.
    surprise = (1 - h.one_minus_beta_1) * change
    s = (1 - h.one_minus_beta_2) * s + h.one_minus_beta_2 * (surprise * surprise) + h.epsilon
    return w - h.corrected_rate * m / (ops.sqrt(s) + h.scaled_epsilon), (m, s)


RULE = Rule(
    name="adabelief",
    class_name="AdaBelief",
    family="adaptive",
    notes=__doc__,
    source="Zhuang et al. 2020, arXiv 2010.07468, Algorithm 2 and the authors' code",
    # Defaults: the authors' code. Search bounds: as Adam's; epsilon is the square of Adam's, as the
    # authors advise, beta_1 has some memory, because without any there is no surprise, and beta_2 from AlgoPerf up.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        fraction("beta_1", 0.9, low=1e-2, high=0.5, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-4, high=0.3, tier=3, meaning="memory of its distance from the mean"),
        positive(
            "epsilon",
            1e-16,
            low=1e-16,
            high=1e-2,
            tier=1,
            meaning="floor under the root; its root is Adam's",
            zero=True,
        ),
    ),
    slots=("momentum", "velocity"),
    update=update,
    prepare=correct,
)
