"""Adadelta: the gradient times the ratio of two roots: of the recent squares of the steps, and of its own.

Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method", arXiv 1212.5701, Algorithm 1:

    n = rho n + (1 - rho) g^2
    d = g sqrt((x + epsilon) / (n + epsilon))
    x = rho x + (1 - rho) d^2
    w = w - lr d

Keras, PyTorch, TensorFlow and optax compute the same; x gathers d and not lr d in all of them. The numbers differ: the
paper has lr = 1, rho = 0.95, epsilon = 1e-6; PyTorch lr = 1, rho = 0.9, epsilon = 1e-6; Keras, whose defaults these
are, lr = 1e-3, with which a training practically stands still. Give it 1 (standalone Keras 2 had that).

It is epsilon that sets the pace of the start, not the rate: x is 0, so the first step is g sqrt(epsilon / ((1 - rho)
g^2 + epsilon)), which for all but tiny gradients is sqrt(epsilon / (1 - rho)), 0.0014 at the defaults and lr = 1. So
epsilon is searched from the first trial on. It must be above 0: from 0 no step is ever made.

H2O's ADADELTA (`adaptive_rate=True`) has these equations with rho = 0.99 and epsilon = 1e-8, and so is a choice of
values: `learning_rate=1.0, rho=0.99, epsilon=1e-8`. It takes an approximate root (off by up to 5 %), and for a bias the
mean of g^2 over the weights into that neuron. While `adaptive_rate` is on, its `rate`, `rate_annealing` and momentum
options do nothing: nothing there is a learning rate, and rho plays the part of Adam's beta_2, for gradients and steps.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: the first step is sqrt(0.01 / (0.05 + 0.01))
>>> [round(w, 4) for w in three_steps("adadelta", learning_rate=1.0, epsilon=0.01)]
[0.5918, 0.2992, 0.1378]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.hypers import fraction, positive
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Slots


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adadelta."""
    n, x = slots
    # Not as n + (1 - rho) (g^2 - n): where rho is small, rounding would leave of the old n what should be gone.
    rho = 1 - h.one_minus_rho
    n = rho * n + h.one_minus_rho * (g * g)
    d = g * ops.sqrt((x + h.epsilon) / (n + h.epsilon))
    x = rho * x + h.one_minus_rho * (d * d)
    return w - h.learning_rate * d, (n, x)


RULE = Rule(
    name="adadelta",
    class_name="Adadelta",
    family="adaptive",
    notes=__doc__,
    source="Zeiler 2012, arXiv 1212.5701, Algorithm 1",
    # Defaults: keras.optimizers.Adadelta. Search bounds: the rate from Keras' to ten times the paper's; rho and epsilon
    # hold H2O's recommended 0.9 to 0.999 and 1e-10 to 1e-4, epsilon widened, because small networks want larger steps.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-3, high=10.0, tier=1, meaning="factor of a step; the paper has 1"),
        fraction("rho", 0.95, low=1e-3, high=0.3, tier=2, meaning="memory of the squares of gradients and steps"),
        positive("epsilon", 1e-7, low=1e-10, high=1e-2, tier=1, meaning="sets how fast the steps grow from nothing"),
    ),
    slots=("accumulated_grad", "accumulated_delta_var"),
    update=update,
    builtin=Builtin("Adadelta"),
)
