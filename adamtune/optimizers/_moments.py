"""Pieces that rules with moving averages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Scalars, Total

# Where epsilon is 0 this stands for it: above the least float32 (1e-38), below the roots of all the others (3e-23).
_LEAST_EPSILON = 1e-30
# Below this 1 - beta**t in float32, as Keras and optax have it, is off by more than 0.1 % (by about 6e-8 / (1 - beta)).
_NEAREST_BETA = 1e-4


def bias_correction(one_minus_beta: Any, t: Any) -> Any:
    """`1 - beta**t`, exact in float32 for a beta near one.

    Kingma & Ba 2015, arXiv 1412.6980, section 3. Formed as -expm1(t * log1p(-(1 - beta))): in float32 the plain form
    is off by 1.3 % at 1 - beta = 1e-6 and by 19 % at 1e-7 for every t, this one by less than 1e-6.
    Wants t >= 1 and 0 < 1 - beta <= 1.
    """
    return -ops.expm1(t * ops.log1p(-one_minus_beta))


def moments(g: Any, m: Any, v: Any, h: SimpleNamespace) -> tuple[Any, Any]:
    """Adam's two moments after one more gradient: moving averages of it and of its square."""
    return m + h.one_minus_beta_1 * (g - m), v + h.one_minus_beta_2 * (g * g - v)


def corrected_rate(h: SimpleNamespace, t: Any) -> tuple[Any, Any]:
    """The learning rate with Adam's two bias corrections in it, and the root of that of v: once a step for all weights.

    lr m_hat / (sqrt(v_hat) + epsilon) is rate m / (sqrt(v) + root epsilon), which is how a rule writes Algorithm 1 of
    Kingma & Ba 2015, arXiv 1412.6980, without correcting a moment. An epsilon that is added before the correction goes
    without the root.
    """
    root = ops.sqrt(bias_correction(h.one_minus_beta_2, t))
    return h.learning_rate * root / bias_correction(h.one_minus_beta_1, t), root


def correct(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """A `Rule.prepare`: both bias corrections, and epsilon after them as in Algorithm 1, once for all weights."""
    rate, root = corrected_rate(h, t)
    return SimpleNamespace(**vars(h), corrected_rate=rate, scaled_epsilon=floored(root * h.epsilon)), scalars


def floored(epsilon: Any) -> Any:
    """Epsilon, or where it is 0 so little that it changes no quotient but 0 / 0, which is 0 then.

    A weight that never had a gradient, such as the embedding of a word that has not come, is left where it is.
    """
    return ops.maximum(epsilon, _LEAST_EPSILON)


def without_epsilon(values: Mapping[str, Value], class_name: str) -> str:
    """Why a class of Keras, which does not do so, computes something else for these values, or ""."""
    if values["epsilon"]:
        return ""
    return f"keras.optimizers.{class_name} divides 0 by 0 where epsilon and all gradients so far are 0"


def too_near_one(values: Mapping[str, Value], what: str, corrected: Sequence[str] = ("beta_1", "beta_2")) -> str:
    """Why what keeps its betas in float32, as Keras and optax do, computes something else for these values, or "".

    `corrected` names the betas whose moments it corrects.
    """
    nearest = min(1 - values[beta] for beta in corrected)
    if nearest < _NEAREST_BETA:
        return f"a beta of 1 - {nearest:.1e} loses its bias correction in the float32 of {what}"
    return ""
