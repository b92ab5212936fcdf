"""RAdam: Adam that trusts its second moment only once it has seen enough gradients, and steps shorter until it has all.

Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond", arXiv 1908.03265, Algorithm 2. rho is the
number of gradients that the second moment amounts to, of no more than rho_inf:

    rho_inf = 2 / (1 - beta_2) - 1
    rho = rho_inf - 2 t beta_2^t / (1 - beta_2^t)
    m = m + (1 - beta_1) (g - m)
    v = v + (1 - beta_2) (g^2 - v)
    where rho > threshold:
        r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
        w = w - lr r sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)
    else:
        w = w - lr m / (1 - beta_1^t)

The paper's threshold is 4, below which r does not exist (a smaller `threshold` counts as 4); its authors' code, PyTorch
and optax have 5. rho is a little less than t: from beta_2 = 0.85 up, 4 means Adam's step from t = 5 on and 5 from t = 6
on. PyTorch writes rho > 5, optax and the authors rho >= 5, which is one: rho rises from 1 towards rho_inf, and at no
whole t of a beta_2 in use it is 5.

Epsilon stands before the correction as in PyTorch and the authors' code; with `epsilon_after_correction` after it as in
optax, see `adamtune.optimizers.adam`.

Two pitfalls. The steps before are those of SGD with momentum, in proportion to the gradient: lr m, not lr. At a rate
that is right for Adam, large gradients make them very long. (The authors' code today makes none at all there, unless
told `degenerated_to_sgd`.) And with beta_2 <= 2/3, rho_inf is no more than 5: then this is SGD with momentum forever.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: lr times the corrected mean of the gradients
>>> [round(w, 4) for w in three_steps("radam", learning_rate=0.1)]
[0.9, 0.8053, 0.7158]
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune.hypers import count, fraction, positive
from adamtune.optimizers import adam
from adamtune.optimizers._moments import bias_correction, corrected_rate, floored, moments
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Scalars, Slots, Total

# Up to here the series below is used. Its first term left out is 5e-10 x^11, 3e-13 here; the difference that it stands
# for loses no more than a factor of 5 beyond.
_SHORT = 0.5


def length(one_minus_beta_2: Any, t: Any) -> Any:
    """rho, the number of gradients that the second moment amounts to; exact in float32 for a beta_2 near one.

    With x = -t log(beta_2), rho is 2 / (1 - beta_2) - 1 - 2 t / (e^x - 1). While x is small that is a difference of
    large numbers, off by 0.03 in float32 at 1 - beta_2 = 1e-5, where a rho of 5 decides. As 1 / (e^x - 1) is
    1 / x - 1/2 + bend(x), and rho is 1 at t = 1, rho is then t - 2 (t bend(x) - bend(x / t)).
    """
    forgetting = -ops.log1p(-one_minus_beta_2)
    x = t * forgetting
    early = t - 2 * (t * _bend(ops.minimum(x, _SHORT)) - _bend(ops.minimum(forgetting, _SHORT)))
    late = 2 / one_minus_beta_2 - 1 - 2 * t / ops.expm1(x)
    return ops.where(x < _SHORT, early, late)


def _bend(x: Any) -> Any:
    """1 / (e^x - 1) - 1 / x + 1/2, of which Bernoulli's numbers over factorials are the series."""
    square = x * x
    series = 1 / 30240 + square * (-1 / 1209600 + square * (1 / 47900160))
    return x * (1 / 12 + square * (-1 / 720 + square * series))


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The rate with r and the bias corrections in it, and whether this step divides by the root."""
    rho, limit = length(h.one_minus_beta_2, t), 2 / h.one_minus_beta_2 - 1
    divides = rho > ops.maximum(h.threshold, 4)
    # Both are 6 where r is not wanted, which makes it 1: there they may be such that it is no number.
    rho, limit = (ops.where(divides, each, 6 * ops.ones_like(each)) for each in (rho, limit))
    r = ops.sqrt((rho - 4) / (limit - 4) * ((rho - 2) / (limit - 2)) * (limit / rho))
    rate, root = corrected_rate(h, t)
    rate = ops.where(divides, r * rate, h.learning_rate / bias_correction(h.one_minus_beta_1, t))
    epsilon = h.epsilon * ops.where(h.epsilon_after_correction > 0, root, ops.ones_like(root))
    divides = ops.where(divides, ops.ones_like(rate), ops.zeros_like(rate))
    return SimpleNamespace(**vars(h), corrected_rate=rate, scaled_epsilon=floored(epsilon), divides=divides), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of RAdam."""
    m, v = slots
    m, v = moments(g, m, v, h)
    divisor = ops.where(h.divides > 0, ops.sqrt(v) + h.scaled_epsilon, ops.ones_like(v))
    return w - h.corrected_rate * m / divisor, (m, v)


RULE = Rule(
    name="radam",
    class_name="RAdam",
    family="adam",
    notes=__doc__,
    source="Liu et al. 2020, arXiv 1908.03265, Algorithm 2",
    # Defaults: PyTorch's, which are the authors'. Search bounds: as Adam's; that of beta_2 keeps rho_inf above 5. A
    # threshold of 6 is one step more than anybody's.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step, once it is Adam's"),
        fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square"),
        positive("epsilon", 1e-8, low=1e-10, high=1e-1, tier=2, meaning="floor under the root", zero=True),
        adam.RULE.hyper("epsilon_after_correction"),
        count("threshold", 5, low=4, high=6, tier=4, meaning="gradients to have seen before a step is Adam's"),
    ),
    slots=("momentum", "velocity"),
    update=update,
    prepare=prepare,
)
