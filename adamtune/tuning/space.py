"""Space: which hypers of an optimizer a study searches, and between which bounds.

A hyper is searched under the name it is carried by: `one_minus_beta_1` on a log scale, never `beta_1`, because the
difference between 0.9 and 0.99 is as large as that between 0.99 and 0.999. How many hypers are free depends on the
budget (tiers): with few trials the learning rate alone, more as there are more trials to learn from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
    json_to_distribution,
)

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, SettingError, did_you_mean
from adamtune.hypers import Hyper, Value
from adamtune.optimizers import schedules
from adamtune.optimizers._rule import Rule

# Trials from which on a tier is searched: Godbole et al. 2023, "Deep Learning Tuning Playbook": below 10 trials the
# learning rate, from 25 on beta_1 and epsilon too, with substantially more beta_2 as well.
TIERS = {1: 0, 2: 25, 3: 60}
# A best value this near to a bound (as a share of the searched range, on its scale) may lie beyond it.
_NEAR = 0.05


@dataclass(frozen=True)
class Parameter:
    """One searched number: the hyper, whether it is searched as carried, and its distribution."""

    hyper: Hyper
    carried: bool
    distribution: BaseDistribution

    def value(self, sampled: Any) -> Value:
        """The hyper's value for a sampled number."""
        return self.hyper.uncarry(sampled) if self.carried else self.hyper.check(sampled)

    def sampled(self, value: Value) -> Any:
        """The number that would have been sampled for a value, moved into the bounds if it lies outside."""
        number: Any = self.hyper.carry(value) if self.carried else value
        if isinstance(self.distribution, CategoricalDistribution):
            known = [choice for choice in self.distribution.choices if choice == number]
            return known[0] if known else self.distribution.choices[0]
        low, high = self.distribution.low, self.distribution.high  # type: ignore[attr-defined]
        return min(max(number, low), high)


@dataclass(frozen=True)
class Space:
    """What a study searches.

    Parameters
    ----------
    rule : Rule
    free : dict of str to Parameter
        By the name Optuna knows them under.
    fixed : dict of str to value
        Hypers held at a value other than the default.
    """

    rule: Rule
    free: dict[str, Parameter]
    fixed: dict[str, Value]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What `study.ask` takes."""
        return {name: parameter.distribution for name, parameter in self.free.items()}

    def config(self, params: Mapping[str, Any]) -> OptimizerConfig:
        """The config of sampled numbers."""
        hypers: dict[str, Any] = dict(self.fixed)
        hypers |= {p.hyper.name: p.value(params[name]) for name, p in self.free.items()}
        return OptimizerConfig(self.rule.name, **hypers)

    def params(self, config: OptimizerConfig) -> dict[str, Any]:
        """The point of the space nearest to a config."""
        values = config.hypers
        return {name: p.sampled(values.get(p.hyper.name, p.hyper.default)) for name, p in self.free.items()}

    def near_bounds(self, config: OptimizerConfig) -> list[str]:
        """A sentence for each searched number within 5 % of a bound that could be moved."""
        return [
            sentence
            for name, parameter in self.free.items()
            if (sentence := _near_bound(name, parameter, self.params(config)[name]))
        ]

    def to_json(self) -> str:
        """What defines the space, for the stored study."""
        free = {name: json.loads(distribution_to_json(p.distribution)) for name, p in self.free.items()}
        return json.dumps({"optimizer": self.rule.name, "free": free, "fixed": self.fixed}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Space:
        """The space that `to_json` described; raises ConfigError for what no longer exists."""
        data = json.loads(text)
        rule = optimizers.get(data["optimizer"])
        wanted = {name: json_to_distribution(json.dumps(each)) for name, each in data["free"].items()}
        return space(rule, wanted | data["fixed"], n_trials=0)


def space(rule: Rule, given: Any, n_trials: int) -> Space:
    """The space for an optimizer and a budget.

    Parameters
    ----------
    given : "auto" or mapping
        "auto" frees the tiers that `n_trials` is enough for. A mapping frees and fixes hypers by name: values are
        fixed, (low, high) pairs and Optuna distributions are searched. A pair is searched on the hyper's own scale, in
        the hyper's own terms (`"beta_1": (0.8, 0.999)`); what is not named keeps its default.

    Raises
    ------
    SettingError, ConfigError
        For an unknown space, hyper or bound.
    """
    hypers = {hyper.name: hyper for hyper in rule.hypers + schedules.HYPERS}
    if given == "auto":
        free = [hyper for hyper in hypers.values() if n_trials >= TIERS[hyper.tier]]
        return Space(rule, {h.carried_name: Parameter(h, True, _distribution(h)) for h in free}, {})
    if not isinstance(given, Mapping):
        raise SettingError(
            f"space={given!r} is unknown: write 'auto' or a mapping such as "
            "{'learning_rate': (1e-4, 1e-1), 'beta_1': 0.9}. Published spaces by name are not there yet."
        )
    parameters: dict[str, Parameter] = {}
    fixed: dict[str, Value] = {}
    for name, wanted in given.items():
        hyper, carried = _named(name, hypers, rule)
        if isinstance(wanted, BaseDistribution):
            parameters[name] = Parameter(hyper, carried, wanted)
        elif isinstance(wanted, (tuple, list)):
            low, high = _bounds(hyper, carried, wanted)
            parameters[hyper.carried_name] = Parameter(hyper, True, _distribution(hyper, low, high))
        else:
            fixed[hyper.name] = (
                hyper.uncarry(wanted) if carried and hyper.scale == "complement" else hyper.check(wanted)
            )
    found = Space(rule, parameters, fixed)
    for name, parameter in parameters.items():
        _check_ends(name, parameter)
    if not parameters:
        raise SettingError(f"space={given!r} frees nothing: give at least one hyper a (low, high) pair.")
    return found


def _named(name: Any, hypers: dict[str, Hyper], rule: Rule) -> tuple[Hyper, bool]:
    for hyper in hypers.values():
        if name == hyper.name:
            return hyper, hyper.scale != "complement"
        if name == hyper.carried_name:
            return hyper, True
    raise ConfigError(
        f"space names {name!r}, which {rule.name!r} does not have.{did_you_mean(str(name), hypers)} "
        f"It has: {', '.join(hypers)}."
    )


def _distribution(hyper: Hyper, low: float | None = None, high: float | None = None) -> BaseDistribution:
    if hyper.scale == "flag":
        return CategoricalDistribution([False, True])
    return FloatDistribution(hyper.low if low is None else low, hyper.high if high is None else high, log=True)


def _bounds(hyper: Hyper, carried: bool, wanted: Any) -> tuple[float | None, float | None]:
    """The pair as bounds of the carried number."""
    if hyper.scale == "flag":
        if set(wanted) == {False, True}:
            return None, None
        raise SettingError(f"space[{hyper.name!r}]={wanted!r}: a flag is searched with (False, True).")
    if len(wanted) != 2:
        raise SettingError(f"space[{hyper.name!r}]={wanted!r}: expected a pair (low, high).")
    ends = [float(end) for end in wanted]
    if hyper.scale == "complement" and not carried:
        ends = [1.0 - end for end in ends]
    low, high = sorted(ends)
    if not 0 < low < high:
        raise SettingError(
            f"space[{hyper.name!r}]={wanted!r}: expected two different bounds, above 0 because the scale is "
            f"logarithmic{' in 1 - ' + hyper.name if hyper.scale == 'complement' else ''}."
        )
    return low, high


def _check_ends(name: str, parameter: Parameter) -> None:
    """Both ends of every range must be legal values of the hyper."""
    distribution = parameter.distribution
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


def _near_bound(name: str, parameter: Parameter, number: Any) -> str:
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return ""
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    scale = math.log if getattr(distribution, "log", False) else float
    place = (scale(number) - scale(low)) / (scale(high) - scale(low))
    end, bound = ("lower", low) if place < _NEAR else ("upper", high)
    if _NEAR <= place <= 1 - _NEAR or _is_natural(parameter, bound, low):
        return ""
    return f"{name}={number:.3g} lies within 5 % of its {end} bound {bound:g}: a better value may lie beyond."


def _is_natural(parameter: Parameter, bound: float, low: float) -> bool:
    """Whether a bound is an end of what there is rather than of what was searched.

    1 - beta = 1 is no memory at all; a decay or an epsilon at its lower bound is as good as none.
    """
    hyper = parameter.hyper
    return (hyper.scale == "complement" and parameter.carried and bound == 1.0) or (hyper.zero and bound == low)
