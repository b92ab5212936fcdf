"""What is done around every rule: clipping before it, decoupled decay of the weights, the moving average after it.

These are Keras' own stages as pure functions for lanes, in the same order and with the same results for numbers that
are not finite. Their hypers are values: what means "none" (a decay of 0, a limit of infinity) is a number too, so lanes
with and without share one program, and a config that has none holds nothing.

Options are the other kind: they change the program, so all lanes of one program share them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

from adamtune.errors import ConfigError, short
from adamtune.hypers import MOST_COUNT, Hyper, positive
from adamtune.optimizers._ops import ops

# Search bounds: of the decay Sivaprasad et al. 2020 (arXiv 1910.11758) and TaskSet's nadamw (Metz et al. 2020, arXiv
# 2002.11887), which agree. Nobody publishes bounds for a limit, because the right one is the 90th percentile of the
# norms that occur (Godbole et al. 2023, tuning playbook); these span what networks of a few layers show.
WEIGHT_DECAY = positive(
    "weight_decay",
    0.0,
    low=1e-5,
    high=1e-1,
    tier=4,
    meaning="share of the weights, times the rate, that each update takes off; 0 is none",
    zero=True,
)
CLIPVALUE = positive(
    "clipvalue", math.inf, low=1e-3, high=10.0, tier=4, meaning="largest absolute value of a gradient's element"
)
CLIPNORM = positive("clipnorm", math.inf, low=1e-2, high=1e2, tier=4, meaning="largest norm of one weight's gradient")
GLOBAL_CLIPNORM = positive(
    "global_clipnorm", math.inf, low=1e-2, high=1e2, tier=4, meaning="largest norm of all gradients together"
)
CLIPS: tuple[Hyper, ...] = (CLIPVALUE, CLIPNORM, GLOBAL_CLIPNORM)
HYPERS: tuple[Hyper, ...] = (WEIGHT_DECAY, *CLIPS)


@dataclass(frozen=True)
class Option:
    """One argument of every Keras optimizer that changes the program.

    Parameters
    ----------
    name : str
        Keras' name of the argument.
    default : bool, float or None
        Keras' default.
    kind : {"flag", "share", "count", "positive"}
        Legal are yes and no, numbers from 0 to 1, whole numbers from `least`, or numbers above 0.
    least : int
        Of a count.
    meaning : str
        One line for people.
    """

    name: str
    default: bool | float | None
    kind: Literal["flag", "share", "count", "positive"]
    meaning: str
    least: int = 1

    @property
    def expected(self) -> str:
        """The legal values in words."""
        return {
            "flag": "True or False",
            "share": f"0 <= {self.name} <= 1",
            "count": f"a whole number from {self.least} on, below 2**63, or None",
            "positive": f"{self.name} > 0, or None",
        }[self.kind]

    def check(self, value: Any) -> bool | float | None:
        """The value as a plain bool, int, float or None; raises ConfigError."""
        if value is None and self.default is None:
            return None
        if self.kind == "flag" and isinstance(value, bool):
            return value
        if self.kind == "count" and type(value) is int and self.least <= value <= MOST_COUNT:
            return value
        if self.kind in ("share", "positive"):
            number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
            if 0 <= number <= 1 if self.kind == "share" else 0 < number <= sys.float_info.max:
                return float(number)
        raise ConfigError(
            f"{self.name}={short(value)} is out of range: expected {self.expected}. "
            f"The default is {self.name}={self.default}."
        )


OPTIONS: tuple[Option, ...] = (
    Option("use_ema", False, "flag", "keep a moving average of the weights, and use it after the training"),
    Option("ema_momentum", 0.99, "share", "share of the average that each update keeps"),
    Option("ema_overwrite_frequency", None, "count", "updates after which the average replaces the weights"),
    Option("gradient_accumulation_steps", None, "count", "batches whose mean gradient makes one update", least=2),
    Option("loss_scale_factor", None, "positive", "what the loss is multiplied with before its gradient is taken"),
)


def one_clip(given: Mapping[str, Any]) -> None:
    """Raise ConfigError where more than one limit is given, as Keras does."""
    limits = [hyper.name for hyper in CLIPS if given.get(hyper.name, math.inf) != math.inf]
    if len(limits) > 1:
        raise ConfigError(f"{' and '.join(limits)} are given, but gradients are clipped in one way: leave one only.")


def clip(gradients: Sequence[Any], h: SimpleNamespace) -> list[Any]:
    """The gradients of all weights, each lane clipped as its one limit says, or not at all.

    Parameters
    ----------
    gradients : sequence of arrays of shape (lanes, *shape)
        All the gradients of a model: the global norm is over all of them.
    h : namespace
        `clipvalue`, `clipnorm` and `global_clipnorm`, each of shape (lanes,); infinity is no limit.

    Notes
    -----
    `clipnorm` scales one weight's gradient to that norm where it is longer, `global_clipnorm` all of them together. As
    in Keras, a gradient of zeros stays one; a NaN anywhere in a norm makes all that is scaled by it NaN, and so does an
    infinite global norm. A lane that has no such limit is left alone even then.
    """
    is_on, scale = _global_scale(gradients, h.global_clipnorm)
    scaled = [ops.where(_against(is_on, g), g * _against(scale, g), g) for g in gradients]
    return [_clip_value(_clip_norm(g, h.clipnorm), h.clipvalue) for g in scaled]


def decay(weight: Any, learning_rate: Any, weight_decay: Any) -> Any:
    """The weight after decoupled decay in Keras' form, `w - w * weight_decay * learning_rate`, before the rule's step.

    Loshchilov & Hutter 2019, arXiv 1711.05101, who leave the learning rate out of it (only the schedule's factor
    counts); Keras, PyTorch and optax all have it in. Numbers are (lanes,) or broadcast against the weight.
    """
    rate, share = _against(learning_rate, weight), _against(weight_decay, weight)
    return ops.where(share > 0, weight - weight * share * rate, weight)


def ema(average: Any, weight: Any, momentum: Any) -> Any:
    """The moving average of a weight after one more update: `momentum * average + (1 - momentum) * weight`.

    Keras lets the average start at the first weights there are: give that update a momentum of 0, and the old average
    counts for nothing, whatever it is. Numbers are (lanes,) or broadcast against the weight.
    """
    momentum = _against(momentum, weight)
    return ops.where(momentum > 0, momentum * average + (1 - momentum) * weight, weight)


def _against(column: Any, array: Any) -> Any:
    """A number per lane, shaped to broadcast against an array of lanes; what does so already stays as it is."""
    rank, own = len(array.shape), len(getattr(column, "shape", ()))
    return column if own in (0, rank) else ops.reshape(column, (-1,) + (1,) * (rank - 1))


def _is_limit(limit: Any) -> tuple[Any, Any]:
    """Where there is a limit, and a limit that can be computed with elsewhere too (infinity times 0 is NaN)."""
    is_on = limit < math.inf
    return is_on, ops.where(is_on, limit, ops.ones_like(limit))


def _square_sum(gradient: Any) -> Any:
    """The sum of squares of each lane, of shape (lanes,)."""
    return ops.sum(ops.square(gradient), axis=tuple(range(1, len(gradient.shape))))


def _clip_norm(gradient: Any, limit: Any) -> Any:
    is_on, limit = (_against(each, gradient) for each in _is_limit(limit))
    norm = ops.sqrt(_against(_square_sum(gradient), gradient))
    return ops.where(is_on, gradient * limit / ops.maximum(norm, limit), gradient)


def _clip_value(gradient: Any, limit: Any) -> Any:
    is_on, limit = (_against(each, gradient) for each in _is_limit(limit))
    return ops.where(is_on, ops.minimum(ops.maximum(gradient, -limit), limit), gradient)


def _global_scale(gradients: Sequence[Any], limit: Any) -> tuple[Any, Any]:
    """Where there is a global limit, and what it multiplies all gradients with, as `clip_by_global_norm` of Keras."""
    is_on, limit = _is_limit(limit)
    total = _square_sum(gradients[0])
    for gradient in gradients[1:]:
        total = total + _square_sum(gradient)
    norm = ops.sqrt(total)
    # norm - norm is 0, or NaN where the norm is not finite.
    return is_on, limit * ops.minimum(1 / norm, 1 / limit) + (norm - norm)
