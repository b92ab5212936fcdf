"""Space: which hypers of which optimizers a study searches, and between which bounds.

A hyper is searched under the name it is carried by: `one_minus_beta_1` on a log scale, never `beta_1`, because the
difference between 0.9 and 0.99 is as large as that between 0.99 and 0.999. How many hypers are free depends on the
budget (tiers): with few trials the learning rate alone, more as there are more trials to learn from.

With one optimizer a point of the space is `{"learning_rate": 0.01, "one_minus_beta_1": 0.1}`. With several it begins
with a choice, and the numbers carry the name of what was chosen: `{"optimizer": "sgd", "sgd.learning_rate": 0.1}`. The
schedule is a choice of the same kind where more than one is searched. So which parameters a point has depends on its
first ones; `Space.walk` is the one place that goes from choice to choice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
    json_to_distribution,
)

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, SettingError, did_you_mean
from adamtune.hypers import Value
from adamtune.optimizers import gradients, schedules
from adamtune.optimizers._rule import Rule
from adamtune.tuning import published
from adamtune.tuning.parameter import Parameter, named, near_bound, nearest, read, whole

# Trials from which on a tier is searched: Godbole et al. 2023, "Deep Learning Tuning Playbook": below 10 trials the
# learning rate, from 25 on beta_1 and epsilon too, with substantially more beta_2 as well. A tier that is not here is
# searched only when it is named.
TIERS = {1: 0, 2: 25, 3: 60}

# Trials of each optimizer before a sampler is asked that learns: as many as a good and a bad group of it have members.
# With fewer than 4 a model of one optimizer is little more than its prior.
STARTUP_EACH = 4

OPTIMIZER, SCHEDULE = "optimizer", "schedule"


@dataclass(frozen=True)
class Part:
    """What is searched of one optimizer.

    Parameters
    ----------
    schedules : tuple of str
        One is fixed, several are searched.
    free : dict of str to Parameter
        By the names of a space with this optimizer alone. A hyper of a schedule is active only with that one.
    fixed : dict of str to value
        Hypers held at a value other than the default.
    """

    schedules: tuple[str, ...]
    free: dict[str, Parameter]
    fixed: dict[str, Value]

    def active(self, schedule: str | None) -> dict[str, BaseDistribution]:
        """The parameters there are once the schedule is chosen, or (None) before."""
        found: dict[str, BaseDistribution] = {
            name: each.distribution for name, each in self.free.items() if self._has(each.hyper.name, schedule)
        }
        if len(self.schedules) > 1:
            found[SCHEDULE] = CategoricalDistribution(self.schedules)
        return found

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a config, for a point of this part."""
        schedule = params.get(SCHEDULE, self.schedules[0])
        fixed = {name: value for name, value in self.fixed.items() if self._has(name, schedule)}
        free = {self.free[name].hyper.name: self.free[name].value(params[name]) for name in params if name != SCHEDULE}
        return {"schedule": schedule, **fixed, **free}

    def _has(self, hyper: str, schedule: str | None) -> bool:
        owners = schedules.owners(hyper)
        return not owners or all(each in owners for each in ((schedule,) if schedule else self.schedules))


@dataclass(frozen=True)
class Wave:
    """A look at each of many optimizers, after which the better ones go on (see `tuning.design`).

    Parameters
    ----------
    each : int
        Trials of each optimizer: its default, and others that differ in the rate.
    staying : int
        How many optimizers go on.
    """

    each: int
    staying: int

    @classmethod
    def within(cls, n_trials: int, n_optimizers: int) -> Wave:
        """The wave for a budget: at most half of the trials, then the better half at most.

        Those that stay share the rest, and each has as many trials to learn from as it has to use what was learned,
        `STARTUP_EACH`. There is no less than one trial each, and one optimizer that stays.

        >>> Wave.within(64, 25), Wave.within(64, 5)
        (Wave(each=1, staying=4), Wave(each=4, staying=3))
        """
        each = min(max(n_trials // (2 * n_optimizers), 1), STARTUP_EACH)
        affordable = (n_trials - each * n_optimizers) // (2 * STARTUP_EACH)
        return cls(each, max(min(-(-n_optimizers // 2), affordable), 1))


@dataclass(frozen=True)
class Space:
    """What a study searches.

    Parameters
    ----------
    parts : dict of str to Part
        By the optimizer's name, in the order in which they are tried.
    wave : Wave or None
        What the study begins with, if it does. The trials of the wave do not carry the parameter "optimizer": Optuna
        refuses a choice whose options change within a study, and after the wave they are fewer.
    options : dict of str to value
        What every config has besides, see `OptimizerConfig.options`; a limit for gradients may be among them.
    """

    parts: dict[str, Part]
    wave: Wave | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def keeping(self, options: Mapping[str, Any]) -> Space:
        """The same space with these options too; what it searches or fixes itself goes before."""
        named = {parameter.hyper.name for parameter in self.free.values()}
        named |= {name for part in self.parts.values() for name in part.fixed}
        limits = {hyper.name for hyper in gradients.CLIPS}
        skipped = named | (limits if named & limits else set())  # only one limit can be
        return replace(self, options={**{n: v for n, v in options.items() if n not in skipped}, **self.options})

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The optimizers that are searched."""
        return tuple(optimizers.get(name) for name in self.parts)

    @property
    def several(self) -> bool:
        """Whether there is a choice of optimizer, and names carry it."""
        return len(self.parts) > 1

    @property
    def conditional(self) -> bool:
        """Whether some parameters are there only after some choices."""
        return self.several or any(len(part.schedules) > 1 for part in self.parts.values())

    @property
    def free(self) -> dict[str, Parameter]:
        """Every searched number by the name Optuna knows it under."""
        return {self.full(rule, name): each for rule, part in self.parts.items() for name, each in part.free.items()}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter that any point may have, choices included."""
        found: dict[str, BaseDistribution] = {OPTIMIZER: CategoricalDistribution(list(self.parts))}
        for rule, part in self.parts.items():
            found |= {self.full(rule, name): each.distribution for name, each in part.free.items()}
            if len(part.schedules) > 1:
                found[self.full(rule, SCHEDULE)] = CategoricalDistribution(part.schedules)
        return found if self.several else {name: found[name] for name in found if name != OPTIMIZER}

    def names(self, rule: str) -> list[str]:
        """The numbers of an optimizer, those of a choice not taken included, by the names they have in this space."""
        return [self.full(rule, name) for name in self.parts[rule].free]

    def walk(
        self,
        pick: Callable[[dict[str, BaseDistribution]], Mapping[str, Any]],
        *,
        rule: str | None = None,
        among: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """A point of the space, put together choice by choice.

        Parameters
        ----------
        pick : callable
            Given the parameters that have become active, by name, returns a value for each.
        rule : str, optional
            The optimizer, where it is settled and shall be no parameter of the point.
        among : sequence of str, optional
            The optimizers to choose from; default: all.
        """
        params: dict[str, Any] = {}
        while missing := {n: d for n, d in self._active(params, rule, among).items() if n not in params}:
            picked = pick(missing)
            params |= {name: picked[name] for name in missing}
        return params

    def config(self, params: Mapping[str, Any], rule: str | None = None) -> OptimizerConfig:
        """The config of a point; `rule` where the point does not carry its optimizer."""
        rule = rule or params.get(OPTIMIZER) or next(iter(self.parts))
        start = len(self.full(rule, ""))
        own = {name[start:]: value for name, value in params.items() if name != OPTIMIZER}
        return OptimizerConfig(rule, **self.options, **self.parts[rule].values(own))

    def params(self, config: OptimizerConfig) -> dict[str, Any]:
        """The point of the space nearest to a config.

        Raises
        ------
        SettingError
            When its optimizer is not searched.
        """
        if config.optimizer not in self.parts:
            raise SettingError(
                f"{config!r} is no config of this space, which searches {', '.join(self.parts)}: leave it out, or name "
                f"its optimizer too."
            )
        free, values = self.free, config.hypers

        def one(name: str, distribution: BaseDistribution) -> Any:
            if name in free:
                hyper = free[name].hyper
                return free[name].sampled(values.get(hyper.name, hyper.default))
            return nearest(distribution, config.optimizer if name == OPTIMIZER else config.schedule)

        def pick(missing: dict[str, BaseDistribution]) -> dict[str, Any]:
            return {name: one(name, distribution) for name, distribution in missing.items()}

        return self.walk(pick, rule=config.optimizer if self.wave else None)

    def holds(self, config: OptimizerConfig) -> bool:
        """Whether a config is a point of this space, and not only near to one."""
        part = self.parts.get(config.optimizer)
        if part is None:
            return False
        limits = {hyper.name for hyper in gradients.CLIPS}  # which are hypers of a config, wherever they come from
        others = {name: value for name, value in self.options.items() if name not in limits}
        # With a decay of 0 the rate is constant.
        there = {*part.schedules, *({"constant"} if "inverse_time" in part.schedules else ())}
        if config.schedule not in there or config.options != others:
            return False
        off = {hyper.name: hyper.default for hyper in gradients.HYPERS}
        own = {hyper.name: hyper.default for hyper in config.rule.hypers + schedules.HYPERS}
        limited = {name: value for name, value in self.options.items() if name in limits}
        fixed = off | own | part.fixed | limited
        free = {each.hyper.name: each for each in part.free.values()}
        return all(
            free[name].sampled(value) == free[name].number(value) if name in free else value == fixed[name]
            for name, value in (off | config.hypers).items()
        )

    def defaults(self) -> list[OptimizerConfig]:
        """Each optimizer's default config, with what the space fixes: to be tried first."""
        found = []
        for name, part in self.parts.items():
            values = part.values({SCHEDULE: part.schedules[0]})
            if values["schedule"] == "inverse_time" and not values.get("decay"):
                values["schedule"] = "constant"  # which it is, and what people compare with
            found.append(OptimizerConfig(name, **self.options, **values))
        return found

    def near_bounds(self, config: OptimizerConfig) -> list[str]:
        """A sentence for each searched number within 5 % of a bound that could be moved, or outside of its range."""
        if config.optimizer not in self.parts:
            return []
        values = config.hypers
        sentences = (
            near_bound(self.full(config.optimizer, name), parameter, parameter.number(values[parameter.hyper.name]))
            for name, parameter in self.parts[config.optimizer].free.items()
            if parameter.hyper.name in values
        )
        return [sentence for sentence in sentences if sentence]

    def structure(self) -> set[str]:
        """Names of the gradient hypers (decay of weights, clipping) that some config of the space has switched on."""
        off = {hyper.name: hyper.default for hyper in gradients.HYPERS}
        found = ({parameter.hyper.name for parameter in self.free.values()} | set(self.options)) & set(off)
        for rule in self.rules:
            values = {hyper.name: hyper.default for hyper in rule.hypers} | self.parts[rule.name].fixed
            found |= {name for name, value in values.items() if name in off and value != off[name]}
        return found

    def to_json(self) -> str:
        """What defines the space, for the stored study."""

        def plain(part: Part) -> dict[str, Any]:
            free = {name: json.loads(distribution_to_json(each.distribution)) for name, each in part.free.items()}
            return {"schedules": part.schedules, "free": free, "fixed": part.fixed}

        parts = [{"optimizer": name, **plain(part)} for name, part in self.parts.items()]
        wave = asdict(self.wave) if self.wave else False
        return json.dumps({"parts": parts, "all": wave, "options": self.options}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Space:
        """The space that `to_json` described; raises ConfigError for what no longer exists."""
        try:
            data = json.loads(text)
            parts = {}
            for each in data["parts"]:
                rule = optimizers.get(each["optimizer"])
                chosen = tuple(schedules.get(name).name for name in each["schedules"])
                free = {
                    name: Parameter(*named(name, rule), json_to_distribution(json.dumps(given)))
                    for name, given in each["free"].items()
                }
                fixed = {named(name, rule)[0].name: value for name, value in each["fixed"].items()}
                parts[rule.name] = Part(chosen, free, fixed)
            wave = Wave(**data["all"]) if data["all"] else None
            return cls(parts, wave, dict(data["options"]))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"the stored space is not one of this version of adamtune: {error!r}.") from None

    def full(self, rule: str, name: str) -> str:
        """The name in this space of a parameter of an optimizer."""
        return f"{rule}.{name}" if self.several else name

    def _active(
        self, params: Mapping[str, Any], rule: str | None, among: Sequence[str] | None
    ) -> dict[str, BaseDistribution]:
        """The parameters that a point which begins with `params` has."""
        found: dict[str, BaseDistribution] = {}
        if rule is None and self.several:
            found[OPTIMIZER] = CategoricalDistribution(list(self.parts) if among is None else among)
            if OPTIMIZER not in params:
                return found
            rule = params[OPTIMIZER]
        rule = rule or next(iter(self.parts))
        own = self.parts[rule].active(params.get(self.full(rule, SCHEDULE)))
        return found | {self.full(rule, name): distribution for name, distribution in own.items()}


def space(rules: Rule | Sequence[Rule], given: Any, n_trials: int, *, all_of_them: bool = False) -> Space:
    """The space for one or several optimizers and a budget.

    Parameters
    ----------
    rules : Rule or sequence of Rule
    given : "auto", name of a published space, or mapping
        "auto" frees the tiers that `n_trials` (shared evenly by the optimizers that stay) is enough for. A name is one
        of `adamtune.tuning.published.names()`. A mapping frees and fixes hypers by name: values are fixed, (low,
        high) pairs and Optuna distributions are searched. A pair is searched on the hyper's own scale, in the
        hyper's own terms (`"beta_1": (0.8, 0.999)`); what is not named keeps its default. `"schedule"` takes a name, or
        a list of names to choose from. A hyper is meant for every optimizer that has it; an optimizer's name as a key
        holds what is meant for that one alone, and goes before what is meant for all.
    all_of_them : bool
        Whether to begin with a wave that fits `n_trials`, see `Wave`; one optimizer alone needs none.

    Raises
    ------
    SettingError, ConfigError
        For an unknown space, hyper or bound.
    """
    searched = (rules,) if isinstance(rules, Rule) else tuple(rules)
    # A budget may be numpy's number, which JSON does not know.
    wave = Wave.within(int(n_trials), len(searched)) if all_of_them and len(searched) > 1 else None
    staying = wave.staying if wave else len(searched)
    wanted = _by_rule(searched, given)
    parts = {rule.name: _part(rule, wanted[rule.name], n_trials // staying) for rule in searched}
    if len(parts) < len(searched):
        raise SettingError(f"optimizer={[rule.name for rule in searched]} names one twice: leave one of the two out.")
    found = Space(parts, wave)
    if not found.distributions:
        raise SettingError(f"space={given!r} frees nothing: give at least one hyper a (low, high) pair.")
    return found


def _by_rule(rules: Sequence[Rule], given: Any) -> dict[str, Any]:
    """What is wanted of each optimizer: "auto", the name of a published space, or a mapping by hyper."""
    if isinstance(given, str):
        return {rule.name: given for rule in rules}
    if not isinstance(given, Mapping):
        _refuse(given)
    names = {rule.name for rule in rules}
    own = {name: wanted for name, wanted in given.items() if name in names}
    shared = {name: wanted for name, wanted in given.items() if name not in names}
    _check_known(shared, rules)
    found: dict[str, Any] = {}
    for rule in rules:
        alone = own.get(rule.name, {})
        if not isinstance(alone, Mapping):
            found[rule.name] = alone
            continue
        taken = {named(name, rule)[0].name if name != SCHEDULE else name for name in alone}
        common = {
            name: wanted
            for name, wanted in shared.items()
            if (name == SCHEDULE and name not in taken) or (_has(rule, name) and named(name, rule)[0].name not in taken)
        }
        # An optimizer of which nothing is said beside what is said of others is searched as without a mapping.
        found[rule.name] = common | dict(alone) if shared or rule.name in own or not given else "auto"
    return found


def _check_known(shared: Mapping[Any, Any], rules: Sequence[Rule]) -> None:
    for name in shared:
        if name == SCHEDULE or any(_has(rule, name) for rule in rules):
            continue
        known = list(dict.fromkeys(hyper.name for rule in rules for hyper in rule.searchable))
        owners = " or ".join(repr(rule.name) for rule in rules)
        raise ConfigError(
            f"space names {name!r}, which {owners} does not have.{did_you_mean(str(name), known)} "
            f"There are: {', '.join([*known, SCHEDULE])}."
        )


def _refuse(given: Any) -> None:
    hint = did_you_mean(given, ["auto", *published.names()]) if isinstance(given, str) else ""
    raise SettingError(
        f"space={given!r} is unknown.{hint} Write 'auto', the name of a published space "
        f"({', '.join(published.names())}) or a mapping such as {{'learning_rate': (1e-4, 1e-1), 'beta_1': 0.9}}."
    )


def _part(rule: Rule, wanted: Any, n_trials: int) -> Part:
    if wanted == "auto":
        return _automatic(rule, n_trials)
    if isinstance(wanted, str):
        if wanted not in published.names():
            _refuse(wanted)
        return _part(rule, published.get(wanted, rule, n_trials), n_trials)
    if not isinstance(wanted, Mapping):
        _refuse(wanted)
    free: dict[str, Parameter] = {}
    fixed: dict[str, Value] = {}
    said: dict[str, str] = {}
    for name, each in wanted.items():
        if name == SCHEDULE:
            continue
        hyper, carried = named(name, rule)
        if hyper.name in said:
            raise SettingError(
                f"space gives {hyper.name!r} twice, as {said[hyper.name]!r} and as {name!r}: leave one of the two out."
            )
        said[hyper.name] = name
        meant = read(hyper, carried, each)
        if isinstance(meant, Parameter):
            free[meant.name] = meant
        else:
            fixed[hyper.name] = meant
    part = Part(_schedules(wanted.get(SCHEDULE), said), free, fixed)
    for schedule in part.schedules:  # what does not go together, such as two ways of clipping, is refused here
        some = {name: free[name].sampled(free[name].hyper.default) for name in part.active(schedule) if name in free}
        OptimizerConfig(rule.name, **part.values({SCHEDULE: schedule, **some}))
    return part


def _automatic(rule: Rule, n_trials: int) -> Part:
    tiers = [tier for tier, least in TIERS.items() if n_trials >= least]
    decays = schedules.DECAY.tier in tiers
    schedule = "inverse_time" if decays else "constant"
    free = {
        hyper.carried_name: whole(hyper)
        for hyper in rule.searchable
        if hyper.tier in tiers and schedule in (schedules.owners(hyper.name) or [schedule])
    }
    return Part((schedule,), free, {})


def _schedules(given: Any, said: Mapping[str, str]) -> tuple[str, ...]:
    """The schedules that are meant, by name or by the hypers that are named."""
    if given is not None:
        if not given or not isinstance(given, (str, tuple, list)):
            raise SettingError(f"space['schedule']={given!r}: write a name, or a list of names to choose from.")
        chosen = tuple(dict.fromkeys([given] if isinstance(given, str) else given))
        for name in chosen:
            schedules.get(name)
        for hyper in said:
            if (owners := schedules.owners(hyper)) and not set(owners) & set(chosen):
                raise SettingError(
                    f"space names {hyper!r}, which a schedule of {' or '.join(chosen)} does not have: write "
                    f"'schedule': {owners[0]!r} or leave it out."
                )
        return chosen
    owned = [set(owners) for hyper in said if (owners := schedules.owners(hyper))]
    if not owned:
        return ("constant",)
    common = [name for name in schedules.names() if all(name in owners for owners in owned)]
    if len(common) != 1:
        named = " and ".join(repr(hyper) for hyper in said if schedules.owners(hyper))
        one_of = ", ".join(repr(name) for name in common or sorted(set.union(*owned)))
        raise SettingError(
            f"space names {named} but no schedule: write 'schedule' with one of {one_of}, or a list of them."
        )
    return tuple(common)


def _has(rule: Rule, name: Any) -> bool:
    return any(name in (hyper.name, hyper.carried_name) for hyper in rule.searchable)
