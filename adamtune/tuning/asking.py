"""Asking: the next trial of a study and the config it trains.

Configs that wait in the study come first. Then the wave, where there is one, and the design (`tuning.design`); then
the sampler, once there is enough to learn from. A design's point is handed to Optuna the way a sampler that looks at
all parameters hands over its own, so no parameter is ever drawn without the others of its point.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from adamtune.config import OptimizerConfig
from adamtune.tuning import design, policies, records, storage
from adamtune.tuning.policies import Sampler
from adamtune.tuning.space import Space

# What each sampler that begins with the design learns from; the one that never learns goes on with it.
_LEARNS_FROM = {"tpe": records.FINISHED, "gp": (TrialState.COMPLETE,), "qmc": ()}


class Asking:
    """The trials of a study, one after the other.

    Parameters
    ----------
    study : optuna.Study
        What it holds already decides what comes next: nothing else is remembered.
    sampler : str or optuna.samplers.BaseSampler
        An object is asked for everything but the wave.
    """

    def __init__(self, study: optuna.Study, space: Space, sampler: Sampler, seed: int) -> None:
        self._study, self._space, self._sampler, self._seed = study, space, sampler, seed
        # Trials that wait are the next to be asked; counting here saves a read of the whole study at each ask.
        stored = study.get_trials(deepcopy=False, states=[s for s in TrialState if s != TrialState.WAITING])
        self._numbers = itertools.count(len(stored))
        self._among: tuple[str, ...] | None = None if space.wave else tuple(space.parts)
        self._suggests = not (isinstance(sampler, str) and sampler in _LEARNS_FROM)

    @contextlib.contextmanager
    def several(self, count: int) -> Iterator[Iterator[tuple[optuna.Trial, OptimizerConfig]]]:
        """The next trials, at most `count`, made in one transaction; ask for them inside of the block."""
        # How many trials the wave has left is not known before they are asked.
        with storage.reserving(self._study, count if self._among is not None else 0):
            yield itertools.islice(iter(self.next, None), count)

    def next(self) -> tuple[optuna.Trial, OptimizerConfig] | None:
        """The next trial; None while there is none because the wave has to end first."""
        if self._among is None:
            trials = self._study.get_trials(deepcopy=False)
            self._among = design.survivors(self._space, trials, self._study.direction)
            if self._among is None:
                planned = design.wave(self._space, trials)
                waits = any(trial.state == TrialState.WAITING for trial in trials)
                return self._ask(planned, None) if planned or waits else None
        return self._ask(None, self._design())

    def _design(self, before: int | None = None) -> dict[str, Any] | None:
        """The next point, that of the design for a trial of that number; None where the sampler suggests one."""
        if self._suggests:
            return None
        assert isinstance(self._sampler, str) and self._among is not None
        trials, count = self._study.get_trials(deepcopy=False), _LEARNS_FROM[self._sampler]
        trials = [trial for trial in trials if before is None or trial.number < before]
        self._suggests = bool(count) and design.is_over(self._space, trials, self._among, count)
        return None if self._suggests else design.next_point(self._space, trials, self._among, self._seed)

    def _ask(
        self, planned: OptimizerConfig | None, point: dict[str, Any] | None
    ) -> tuple[optuna.Trial, OptimizerConfig]:
        rule = planned.optimizer if planned else None
        if planned:
            point = self._space.params(planned)
        self._study.sampler = self._source(rule, point, next(self._numbers))
        trial = self._study.ask()
        try:
            return trial, self._config_of(trial, planned, rule, point)
        except BaseException:  # nobody else knows of it yet
            self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise

    def _config_of(
        self, trial: optuna.Trial, planned: OptimizerConfig | None, rule: str | None, point: dict[str, Any] | None
    ) -> OptimizerConfig:
        """What the trial trains, its parameters suggested and stored."""
        # A starting config is trained exactly as given, also where the space can only come near it.
        if stored := trial.user_attrs.get("config"):
            planned = OptimizerConfig.from_json(stored)
            rule = planned.optimizer if self._space.wave else None

        def pick(missing: dict[str, BaseDistribution]) -> dict[str, Any]:
            return {name: trial._suggest(name, each) for name, each in missing.items()}

        params = self._space.walk(pick, rule=rule, among=self._among)
        if stored and planned:
            return planned
        # Somebody else may have lined up a point of their own.
        config = planned if planned and params == point else self._space.config(params, rule)
        records.asked(trial, config)
        return config

    def _source(self, rule: str | None, point: dict[str, Any] | None, number: int) -> optuna.samplers.BaseSampler:
        if point is not None:
            return _Handed(self._space, rule, self._among, point, policies.sampler_for("random", self._seed, number))
        if not isinstance(self._sampler, str):
            return self._sampler
        conditional = self._space.conditional
        own = policies.sampler_for(self._sampler, self._seed, number, conditional=conditional)
        if self._sampler != "tpe":
            return own
        return _ByChoice(own, self._space, self._among) if conditional else _Whole(own, self._space.distributions)


class _Handed(optuna.samplers.BaseSampler):
    """One point, handed over whole."""

    def __init__(
        self,
        space: Space,
        rule: str | None,
        among: tuple[str, ...] | None,
        point: dict[str, Any],
        otherwise: optuna.samplers.BaseSampler,
    ) -> None:
        self._point, self._otherwise = point, otherwise
        self._distributions: dict[str, BaseDistribution] = {}

        def pick(missing: dict[str, BaseDistribution]) -> dict[str, Any]:
            self._distributions |= missing
            return point

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
