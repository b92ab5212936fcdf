"""AMSBound: AdaBound that divides by the largest second moment so far.

Luo, Xiong, Liu & Sun 2019, "Adaptive Gradient Methods with Dynamic Bound of Learning Rate", ICLR, arXiv 1902.09843,
in the form of the authors' code:

    m, v and the bounds as AdaBound, see `adamtune.optimizers.adabound`
    v_max = max(v_max, v)
    w = w - clip(lr sqrt(1 - beta_2^t) / (1 - beta_1^t) / (sqrt(v_max) + epsilon), low, high) m

The maximum is taken over the raw v, before the correction, as AMSGrad does in `adam`. The bounds close as in AdaBound,
so both end as the same SGD.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: v grows, and with it its maximum
>>> [round(w, 4) for w in three_steps("amsbound", learning_rate=0.1)]
[0.9, 0.8004, 0.7016]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.optimizers import adabound
from adamtune.optimizers._moments import moments
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Slots


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of AMSBound."""
    m, v, v_max = slots
    m, v = moments(g, m, v, h)
    v_max = ops.maximum(v_max, v)
    return adabound.bounded(w, m, v_max, h), (m, v, v_max)


RULE = Rule(
    name="amsbound",
    class_name="AMSBound",
    family="adaptive",
    notes=__doc__,
    source="Luo et al. 2019, arXiv 1902.09843, and the authors' code",
    hypers=adabound.RULE.hypers,
    slots=(*adabound.RULE.slots, "velocity_hat"),
    update=update,
    scalars=adabound.RULE.scalars,
    prepare=adabound.prepare,
)
