"""SGD: steps down the gradient, with momentum (0 is plain SGD) and Nesterov's look ahead as a mask.

Robbins & Monro 1951; momentum: Polyak 1964; Nesterov's in the form of Sutskever, Martens, Dahl & Hinton, "On the
importance of initialization and momentum in deep learning", ICML 2013, equations 1 to 4, as Keras writes it (the
learning rate is inside the velocity, so after a change of rate the old steps keep their old length; PyTorch's is
outside):

    u = momentum u - lr g
    w = w + u                       (Nesterov: w + momentum u - lr g)

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: each step takes 10 % off
>>> [round(w, 4) for w in three_steps("sgd", learning_rate=0.1)]
[0.9, 0.81, 0.729]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.hypers import flag, fraction, positive
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Slots


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of SGD with momentum, looking ahead where `h.nesterov` is 1."""
    (u,) = slots
    momentum = 1 - h.one_minus_momentum
    push = h.learning_rate * g
    u = momentum * u - push
    return w + ops.where(h.nesterov > 0, momentum * u - push, u), (u,)


RULE = Rule(
    name="sgd",
    class_name="SGD",
    family="momentum",
    notes=__doc__,
    source="Robbins & Monro 1951; Polyak 1964; Sutskever et al. 2013 (ICML), equations 1-4",
    # Defaults: keras.optimizers.SGD. Search bounds: AlgoPerf's momentum space (Dahl et al. 2023, arXiv 2306.07179),
    # widened to smaller rates and to no momentum at all.
    hypers=(
        positive("learning_rate", 1e-2, low=1e-4, high=1.0, tier=1, meaning="length of a step per gradient"),
        fraction("momentum", 0.0, low=5e-3, high=1.0, tier=1, meaning="share of the last step kept"),
        flag("nesterov", tier=2, meaning="look ahead along the velocity"),
    ),
    slots=("momentum",),
    update=update,
    builtin=Builtin("SGD"),
    unused=lambda values: () if values["momentum"] else ("momentum",),
)
