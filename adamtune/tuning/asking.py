"""Asking: the next trial of a study and the config it trains.

Configs that wait in the study come first. Then the wave, where there is one, and the design (`tuning.design`); then
the sampler, once there is enough to learn from. Beside both the prior (`tuning.prior`) has its say, where there is one.
A point of the prior or the design is handed to Optuna the way a sampler that looks at all parameters hands over its
own, so no parameter is ever drawn without the others of its point.

What a trial tries is decided once it has its number, and from the trials of lower numbers: of a study that several
processes ask, the number is a ticket, see `sharing`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from adamtune.config import OptimizerConfig
from adamtune.tuning import design, policies, records, sharing, storage
from adamtune.tuning.leases import Enough
from adamtune.tuning.policies import Sampler
from adamtune.tuning.prior import MARK, NOTHING, Prior
from adamtune.tuning.space import OPTIMIZER, Space

# What each sampler that begins with the design learns from; the one that never learns goes on with it.
_LEARNS_FROM = {"tpe": records.FINISHED, "gp": (TrialState.COMPLETE,), "qmc": ()}


@dataclass(frozen=True)
class _Deal:
    """What a trial tries: a config, where it is known, or whatever the source suggests."""

    source: optuna.samplers.BaseSampler
    config: OptimizerConfig | None = None
    rule: str | None = None  # of the wave: such a trial has no choice of optimizer among its parameters
    point: Mapping[str, Any] | None = None  # a wave's config counts only where these are the parameters
    is_near: bool = False  # to a config of the prior


class _WaveIsOver(Exception):
    """Another process has taken the last config of the wave."""


class Asking:
    """The trials of a study, one after the other.

    Parameters
    ----------
    study : optuna.Study
        What it holds already decides what comes next: nothing else is remembered.
    sampler : str or optuna.samplers.BaseSampler
        An object is asked for everything but the wave.
    prior : Prior, optional
        Only beside a sampler that learns, and that is ours.
    limit : int, optional
        Trials that the study may have, finished and running, whoever asks for them; holds within `several`.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        sampler: Sampler,
        seed: int,
        prior: Prior | None = None,
        limit: int | None = None,
    ) -> None:
        self._study, self._space, self._sampler, self._seed = study, space, sampler, seed
        self._limit = limit
        self._prior = prior if prior and isinstance(sampler, str) and policies.learns(sampler) else NOTHING
        self._among: tuple[str, ...] | None = None if space.wave else tuple(space.parts)
        self._suggests = not (isinstance(sampler, str) and sampler in _LEARNS_FROM)

    @contextlib.contextmanager
    def several(self, count: int) -> Iterator[Iterator[tuple[optuna.Trial, OptimizerConfig]]]:
        """The next trials, at most `count`, made in one transaction and written in another at the end of the block."""
        # How many trials the wave has left is not known before they are asked.
        known = count if self._among is not None else min(count, 1)
        with storage.reserving(self._study, known, self._limit):
            yield itertools.islice(iter(self.next, None), count)
        storage.flush(self._study._storage)  # others wait for the configs, and who is killed is tried again with them

    def next(self) -> tuple[optuna.Trial, OptimizerConfig] | None:
        """The next trial; None while there is none: the wave has to end first, or the study has enough of them."""
        if self._among is None:
            trials = self._study.get_trials(deepcopy=False)
            self._among = design.survivors(self._space, trials, self._study.direction)
            waits = any(trial.state == TrialState.WAITING for trial in trials)
            if self._among is None and not waits and design.wave(self._space, trials) is None:
                return None
        dealt = _Dealt(self)
        self._study.sampler = dealt if isinstance(self._sampler, str) or self._among is None else self._sampler
        try:
            trial = self._study.ask()
        except Enough:
            return None
        except _WaveIsOver:
            self._study._storage.set_trial_state_values(dealt.trial_id, TrialState.FAIL)
            return None
        try:
            return trial, self._config_of(trial, dealt)
        except BaseException:  # nobody else knows of it yet
            trial.set_user_attr(records.STOPPED, records.STOPS[0])
            self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise

    def decide(self, trial: FrozenTrial) -> _Deal:
        """What a trial tries that has its number, and maybe a config, but no parameters yet."""
        if given := self._given(trial):
            return given
        looks_back = self._among is None or not self._suggests
        trials = sharing.once_earlier_ask(self._study, trial) if looks_back else self._study.get_trials(deepcopy=False)
        retries = records.retries(trials)
        draw = records.draw(trial.number, retries)
        # In the order of an undisturbed study: a trial that is tried in place of another has the turn of that one.
        earlier = [each for each in trials if records.draw(each.number, retries) < draw] if looks_back else []
        if self._among is None:
            planned = design.wave(self._space, earlier)
            if planned is None:
                raise _WaveIsOver
            point = self._space.params(planned)
            return _Deal(self._handed(point, planned.optimizer), planned, planned.optimizer, point)
        if near := self._prior.point(self._study, self._space, self._among, self._seed, draw):
            return _Deal(self._handed(near, None, draw), is_near=True)
        if designed := self._design(earlier):
            return _Deal(self._handed(designed, None, draw))
        return _Deal(self._suggesting(draw))

    def _given(self, trial: FrozenTrial) -> _Deal | None:
        """A trial that waited with a config: it is trained exactly as given, also where the space only comes near."""
        if not (stored := trial.user_attrs.get("config")):
            return None
        config, fixed = OptimizerConfig.from_json(stored), trial.system_attrs.get("fixed_params", {})
        rule = config.optimizer if self._space.wave and OPTIMIZER not in fixed else None
        return _Deal(self._handed(fixed or self._space.params(config), rule), config, rule)

    def _design(self, earlier: list[FrozenTrial]) -> dict[str, Any] | None:
        """The next point of the design; None where the sampler suggests one."""
        if self._suggests:
            return None
        assert isinstance(self._sampler, str) and self._among is not None
        count = _LEARNS_FROM[self._sampler]
        self._suggests = bool(count) and design.is_over(self._space, earlier, self._among, count)
        return None if self._suggests else design.next_point(self._space, earlier, self._among, self._seed)

    def _config_of(self, trial: optuna.Trial, dealt: _Dealt) -> OptimizerConfig:
        """What the trial trains, its parameters suggested and stored."""
        deal = dealt.deal or self._given(self._study._storage.get_trial(trial._trial_id)) or _Deal(dealt)

        def pick(missing: dict[str, BaseDistribution]) -> dict[str, Any]:
            return {name: trial._suggest(name, each) for name, each in missing.items()}

        params = self._space.walk(pick, rule=deal.rule, among=self._among)
        # Somebody else may have lined up a point of their own.
        kept = deal.config if deal.point is None or params == deal.point else None
        config = kept or self._space.config(params, deal.rule)
        if deal.is_near:
            trial.set_user_attr(MARK, 1)
        if "config" not in trial.user_attrs:
            records.asked(trial, config)
        return config

    def _handed(self, point: Mapping[str, Any], rule: str | None, draw: int = 0) -> optuna.samplers.BaseSampler:
        otherwise = policies.sampler_for("random", self._seed, draw)
        return _Handed(self._space, rule, self._among, point, otherwise)

    def _suggesting(self, draw: int) -> optuna.samplers.BaseSampler:
        if not isinstance(self._sampler, str):
            return self._sampler
        conditional = self._space.conditional
        own = policies.sampler_for(self._sampler, self._seed, draw, conditional=conditional)
        if self._sampler != "tpe":
            return own
        return _ByChoice(own, self._space, self._among) if conditional else _Whole(own, self._space.distributions)


class _Dealt(optuna.samplers.BaseSampler):
    """Decides as soon as the trial has its number."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.deal: _Deal | None = None
        self.trial_id = -1

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.trial_id = trial._trial_id
        self.deal = self._asking.decide(trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._source.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._source.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._source.sample_independent(study, trial, param_name, param_distribution)

    @property
    def _source(self) -> optuna.samplers.BaseSampler:
        assert self.deal is not None  # Optuna tells of a trial before it asks for its parameters
        return self.deal.source


class _Handed(optuna.samplers.BaseSampler):
    """One point, handed over whole."""

    def __init__(
        self,
        space: Space,
        rule: str | None,
        among: tuple[str, ...] | None,
        point: Mapping[str, Any],
        otherwise: optuna.samplers.BaseSampler,
    ) -> None:
        self._point, self._otherwise = dict(point), otherwise
        self._distributions: dict[str, BaseDistribution] = {}

        def pick(missing: dict[str, BaseDistribution]) -> dict[str, Any]:
            self._distributions |= missing
            return self._point

        space.walk(pick, rule=rule, among=among)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._point

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        # Only for a trial that somebody else has lined up, of which a part is given.
        return self._otherwise.sample_independent(study, trial, param_name, param_distribution)


class _Whole(optuna.samplers.BaseSampler):
    """TPE for points that all have the same parameters, which it is told.

    Left to itself it reads all trials to find them, and after some hundreds that takes a third of an ask.
    """

    def __init__(self, tpe: optuna.samplers.BaseSampler, distributions: Mapping[str, BaseDistribution]) -> None:
        # Sorted as Optuna sorts them: the order decides which random number is whose.
        self._tpe, self._distributions = tpe, {k: v for k, v in sorted(distributions.items()) if not v.single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


class _ByChoice(optuna.samplers.BaseSampler):
    """TPE asked choice by choice: for the optimizer, then for the parameters of the one it chose alone.

    Asked at once, it would sample the parameters of every optimizer and, while the trial runs, keep others away from
    points that nobody tries.
    """

    def __init__(self, tpe: optuna.samplers.BaseSampler, space: Space, among: tuple[str, ...] | None) -> None:
        self._tpe, self._space, self._among = tpe, space, among

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        def pick(missing: dict[str, BaseDistribution]) -> Mapping[str, Any]:
            sampled = self._tpe.sample_relative(
                study, trial, {name: search_space[name] for name in missing if name in search_space}
            )
            # A single survivor is no choice, and no sampler is asked for it.
            only = {name: each.choices[0] for name, each in missing.items() if each.single()}  # type: ignore[attr-defined]
            return only | sampled

        point = self._space.walk(pick, among=self._among)
        return {name: value for name, value in point.items() if name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)
