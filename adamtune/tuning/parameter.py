"""One searched number: the hyper it is of, its distribution, and the way from one to the other and back."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from adamtune.errors import ConfigError, SettingError, did_you_mean
from adamtune.hypers import Hyper, Value
from adamtune.optimizers._rule import Rule

# A best value this near to a bound (as a share of the searched range, on its scale) may lie beyond it.
_NEAR = 0.05


@dataclass(frozen=True)
class Parameter:
    """One searched number: the hyper, whether it is searched as carried, and its distribution."""

    hyper: Hyper
    carried: bool
    distribution: BaseDistribution

    @property
    def name(self) -> str:
        """What it is called in a space of one optimizer."""
        return self.hyper.carried_name if self.carried else self.hyper.name

    def value(self, sampled: Any) -> Value:
        """The hyper's value for a sampled number."""
        return self.hyper.uncarry(sampled) if self.carried else self.hyper.check(sampled)

    def number(self, value: Value) -> Any:
        """A value in the terms it is searched in, wherever it lies."""
        return self.hyper.carry(value) if self.carried else value

    def sampled(self, value: Value) -> Any:
        """The number that would have been sampled for a value, moved into the bounds if it lies outside."""
        return nearest(self.distribution, self.number(value))


def nearest(distribution: BaseDistribution, number: Any) -> Any:
    """The value of a distribution nearest to a number; the first choice where there is no order."""
    if isinstance(distribution, CategoricalDistribution):
        known = [choice for choice in distribution.choices if choice == number]
        return known[0] if known else distribution.choices[0]
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    return min(max(number, low), high)


def at(distribution: BaseDistribution, share: float) -> Any:
    """The value below which that share of a distribution lies.

    >>> at(FloatDistribution(1.0, 3.0), 0.25), at(CategoricalDistribution([False, True]), 0.75)
    (1.5, True)
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None and not distribution.log:
        places = round((high - low) / step)
        value = low + step * min(int(share * (places + 1)), places)
        return value if isinstance(distribution, IntDistribution) else float(min(value, high))
    if isinstance(distribution, IntDistribution):
        value = math.exp(math.log(low) + share * (math.log(high + 1) - math.log(low)))
        return min(max(int(value), low), high)
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return min(max(value, low), high)


def named(name: Any, rule: Rule) -> tuple[Hyper, bool]:
    """The hyper of a name, and whether that name means the carried number; raises ConfigError."""
    for hyper in rule.searchable:
        if name == hyper.name:
            return hyper, hyper.scale != "complement"
        if name == hyper.carried_name:
            return hyper, True
    known = [hyper.name for hyper in rule.searchable]
    raise ConfigError(
        f"space names {name!r}, which {rule.name!r} does not have.{did_you_mean(str(name), known)} "
        f"There are: {', '.join([*known, 'schedule'])}."
    )


def whole(hyper: Hyper) -> Parameter:
    """The hyper between its own bounds."""
    return Parameter(hyper, True, _distribution(hyper))


def read(hyper: Hyper, carried: bool, wanted: Any) -> Parameter | Value:
    """What is wanted of a hyper: a parameter for a distribution or a pair, else the value it is fixed at.

    Parameters
    ----------
    carried : bool
        Whether it is meant as the carried number.

    Raises
    ------
    SettingError, ConfigError
        For bounds and values that are none of the hyper's.
    """
    if isinstance(wanted, BaseDistribution):
        return _checked(Parameter(hyper, carried, wanted))
    if isinstance(wanted, (tuple, list)):
        low, high = _bounds(hyper, carried, wanted)
        return _checked(Parameter(hyper, True, _distribution(hyper, low, high)))
    if wanted is None and hyper.default == math.inf:  # as Keras says that there is no limit
        return hyper.default
    of_complement = carried and hyper.scale == "complement" and _is_number(wanted)
    return hyper.check(hyper.uncarry(wanted) if of_complement else wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _distribution(hyper: Hyper, low: float | None = None, high: float | None = None) -> BaseDistribution:
    if hyper.scale == "flag":
        return CategoricalDistribution([False, True])
    low, high = hyper.low if low is None else low, hyper.high if high is None else high
    return IntDistribution(int(low), int(high)) if hyper.scale == "count" else FloatDistribution(low, high, log=True)


def _bounds(hyper: Hyper, carried: bool, wanted: Any) -> tuple[float | None, float | None]:
    """The pair as bounds of the carried number."""
    if hyper.scale == "flag":
        if set(wanted) == {False, True}:
            return None, None
        raise SettingError(f"space[{hyper.name!r}]={wanted!r}: a flag is searched with (False, True).")
    if len(wanted) != 2 or not all(_is_number(end) for end in wanted):
        raise SettingError(f"space[{hyper.name!r}]={wanted!r}: expected a pair (low, high).")
    ends = [float(end) for end in wanted]
    if hyper.scale == "complement" and not carried:
        ends = [1.0 - end for end in ends]
    low, high = sorted(ends)
    if hyper.scale == "count" and not all(end == int(end) for end in ends):
        raise SettingError(f"space[{hyper.name!r}]={wanted!r}: expected two whole numbers.")
    if not 0 < low < high:
        of = " in 1 - " + hyper.name if hyper.scale == "complement" else ""
        why = "" if hyper.scale == "count" else f" because the scale is logarithmic{of}"
        raise SettingError(f"space[{hyper.name!r}]={wanted!r}: expected two different bounds, above 0{why}.")
    return low, high


def _checked(parameter: Parameter) -> Parameter:
    """The parameter, if both ends of its range are legal values of the hyper."""
    name, distribution = parameter.name, parameter.distribution
    ends: Any = (
        distribution.choices
        if isinstance(distribution, CategoricalDistribution)
        else (distribution.low, distribution.high)  # type: ignore[attr-defined]
    )
    if distribution.single():
        raise SettingError(f"space[{name!r}] has one value only: write the value itself to fix it.")
    for end in ends:
        try:
            parameter.hyper.check(parameter.value(end))
        except ConfigError as error:
            raise SettingError(f"space[{name!r}] reaches {end!r}: {error}") from None
    return parameter


def near_bound(name: str, parameter: Parameter, number: Any) -> str:
    """A sentence on a number, in the terms it is searched in, that lies near a bound or outside; "" for all others."""
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return ""
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    scale = math.log if getattr(distribution, "log", False) else float
    # A zero that may be has no logarithm; it lies below every bound.
    place = (scale(number) - scale(low)) / (scale(high) - scale(low)) if number > 0 or scale is float else -math.inf
    end, bound = ("lower", low) if place < _NEAR else ("upper", high)
    if _NEAR <= place <= 1 - _NEAR or _is_natural(parameter, bound, low):
        return ""
    # A bound and the number that was sampled at it may differ in the last digit: 1 - (1 - x) is not x.
    if place < -1e-9 or place > 1 + 1e-9:
        return f"{name}={number:.3g} lies outside of what was searched ({low:g} to {high:g}): a starting config had it."
    return f"{name}={number:.3g} lies within 5 % of its {end} bound {bound:g}: a better value may lie beyond."


def _is_natural(parameter: Parameter, bound: float, low: float) -> bool:
    """Whether a bound is an end of what there is rather than of what was searched.

    1 - beta = 1 is no memory at all; a decay or an epsilon at its lower bound is as good as none; no share is above 1.
    """
    hyper = parameter.hyper
    if hyper.scale == "complement":
        return parameter.carried and bound == 1.0
    return (hyper.zero and bound == low) or bound == hyper.most
