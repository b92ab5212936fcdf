"""RMSprop: the gradient divided by the root of its recent mean square; with momentum, and centered as a mask.

Tieleman & Hinton 2012, "Neural Networks for Machine Learning", lecture 6.5; centered and with momentum: Graves 2013,
"Generating Sequences With Recurrent Neural Networks", arXiv 1308.0850, equations 38 to 41, which is also how Keras,
TensorFlow and optax write it: epsilon inside the root, the learning rate inside the momentum:

    v = rho v + (1 - rho) g^2
    a = rho a + (1 - rho) g
    d = v                           (centered: v - a^2)
    u = momentum u + lr g / sqrt(d + epsilon)           (epsilon_outside_root: lr g / (sqrt(d) + epsilon))
    w = w - u

Inside the root an epsilon of 1e-7 is a floor of 3e-4; in Keras 2 and PyTorch, where it stands outside, it is one of
1e-7. (PyTorch also has the learning rate outside the momentum, which differs where the rate changes.) There is no bias
correction: the first step has the length lr / sqrt(1 - rho). v - a^2 is no less than 0 but for rounding, and is taken
as 0 then (Keras takes the root of what rounding left, NaN where epsilon does not cover it).

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: the first step is 0.01 / sqrt(0.1)
>>> [round(w, 4) for w in three_steps("rmsprop", learning_rate=0.01)]
[0.9684, 0.9458, 0.9271]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, flag, fraction, positive
from adamtune.optimizers import adagrad
from adamtune.optimizers._moments import without_epsilon
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Slots, without


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of RMSprop, around the mean gradient where `h.centered` is 1."""
    v, a, u = slots
    # Not as v + (1 - rho) (g^2 - v): where rho is small, rounding would leave of the old v what should be gone.
    rho = 1 - h.one_minus_rho
    v = rho * v + h.one_minus_rho * (g * g)
    a = rho * a + h.one_minus_rho * g
    # `maximum` hands a NaN on.
    d = ops.where(h.centered > 0, ops.maximum(v - a * a, 0), v)
    u = (1 - h.one_minus_momentum) * u + h.learning_rate * adagrad.divided(g, d, h)
    return w - u, (v, a, u)


def unused(values: Mapping[str, Value]) -> list[str]:
    """The mean gradient serves the centered form alone, the last step the momentum."""
    needs = {"average_gradient": values["centered"], "momentum": values["momentum"]}
    return [slot for slot, needed in needs.items() if not needed]


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.RMSprop would compute something else for these values."""
    if values["epsilon_outside_root"]:
        return "keras.optimizers.RMSprop adds epsilon under the root, not to it"
    return without_epsilon(values, "RMSprop")


RULE = Rule(
    name="rmsprop",
    class_name="RMSprop",
    family="adaptive",
    notes=__doc__,
    source="Tieleman & Hinton 2012, Coursera lecture 6.5; centered: Graves 2013, arXiv 1308.0850",
    # Defaults: keras.optimizers.RMSprop. Search bounds: as Adam's, whose beta_2 is rho here; the momentum down to
    # none at all, as for SGD.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        fraction("rho", 0.9, low=1e-3, high=0.5, tier=2, meaning="memory of the gradient's square"),
        fraction("momentum", 0.0, low=1e-2, high=1.0, tier=3, meaning="share of the last step kept"),
        positive("epsilon", 1e-7, low=1e-10, high=1e-1, tier=3, meaning="floor under the root", zero=True),
        flag("centered", tier=3, meaning="divide by the gradient's spread, not by its size"),
        adagrad.EPSILON_OUTSIDE_ROOT,
    ),
    slots=("velocity", "average_gradient", "momentum"),
    update=update,
    prepare=adagrad.prepare,
    builtin=Builtin("RMSprop", unlike_builtin, without("epsilon_outside_root")),
    unused=unused,
)
