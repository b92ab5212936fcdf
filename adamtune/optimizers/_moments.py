"""Pieces that rules with moving averages share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamtune.hypers import Value
from adamtune.optimizers._ops import ops

# Below this Keras' 1 - beta**t in float32 is off by more than 0.1 % (error about 6e-8 / (1 - beta)).
_NEAREST_BETA = 1e-4


def bias_correction(one_minus_beta: Any, t: Any) -> Any:
    """`1 - beta**t`, exact in float32 for a beta near one.

    Kingma & Ba 2015, arXiv 1412.6980, section 3. Formed as -expm1(t * log1p(-(1 - beta))): in float32 the plain form
    is off by 1.3 % at 1 - beta = 1e-6 and by 19 % at 1e-7 for every t, this one by less than 1e-6.
    Wants t >= 1 and 0 < 1 - beta <= 1.
    """
    return -ops.expm1(t * ops.log1p(-one_minus_beta))


def too_near_one(values: Mapping[str, Value], class_name: str) -> str:
    """Why a class of Keras, which keeps its betas in float32, computes something else for these values, or ""."""
    nearest = min(1 - values["beta_1"], 1 - values["beta_2"])
    if nearest < _NEAREST_BETA:
        return f"a beta of 1 - {nearest:.1e} loses its bias correction in keras.optimizers.{class_name}'s float32"
    return ""
