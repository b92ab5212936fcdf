"""A prior: configs that are believed to be good, near to which trials are drawn, ever more seldom.

Where they come from is not known here. The n-th trial is drawn from the prior with probability b / (b + n), so what a
study finds itself soon counts more, as in piBO (Hvarfner et al. 2022, arXiv 2204.11051, who divide by n); a draw is a
config of the prior moved a little, as in PriorBand (Mallik et al. 2023, arXiv 2306.12370). Where the first trials show
that the prior is no better than chance, it is dropped, so a wrong one costs a few trials.

Every draw is a function of the seed, the trial's number and the stored trials: a resumed study goes on as an
undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from adamtune.config import OptimizerConfig
from adamtune.tuning import records
from adamtune.tuning.parameter import nearest
from adamtune.tuning.space import OPTIMIZER, Space

# b: after five trials the prior has half of the say.
_STRENGTH = 5.0
# How far a draw is moved: decades where a number is searched on a log scale, else a share of its range.
_DECADES, _SHARE = 0.3, 0.1
# What a trial that was drawn from the prior carries.
MARK = "prior"
# Trials of each kind, the prior's and others, before they are compared.
_COMPARED = 4


@dataclass(frozen=True)
class Prior:
    """Configs that are believed to be good, in no order.

    Parameters
    ----------
    configs : tuple of OptimizerConfig
        Of the space that is searched. None draw nothing.
    """

    configs: tuple[OptimizerConfig, ...] = ()

    def point(
        self, study: optuna.Study, space: Space, among: Sequence[str], seed: int, number: int
    ) -> dict[str, Any] | None:
        """A point of the space near one of the configs; None where the trial of that number is not the prior's."""
        usable = [config for config in self.configs if config.optimizer in among]
        if not usable:
            return None
        random = np.random.default_rng([seed, 2, number])
        # Whether it misleads is asked only where it matters: that reads all trials.
        if random.random() >= _STRENGTH / (_STRENGTH + number) or _misleads(study):
            return None
        chosen = usable[random.integers(len(usable))]
        near = {OPTIMIZER: chosen.optimizer} | space.params(chosen)  # a space with a wave leaves its optimizer out

        def pick(missing: Mapping[str, BaseDistribution]) -> dict[str, Any]:
            return {name: _moved(each, near[name], random) for name, each in missing.items()}

        return space.walk(pick, among=among)


NOTHING = Prior()


def _moved(distribution: BaseDistribution, value: Any, random: np.random.Generator) -> Any:
    """A value near this one."""
    away = random.normal()
    if isinstance(distribution, CategoricalDistribution) or not isinstance(distribution, FloatDistribution):
        return value
    if distribution.log:
        return nearest(distribution, math.exp(math.log(value) + math.log(10) * _DECADES * away))
    return nearest(distribution, value + _SHARE * (distribution.high - distribution.low) * away)


def _misleads(study: optuna.Study) -> bool:
    """Whether the configs that were lined up, or drawn near to them, did worse than all others."""
    ended = study.get_trials(deepcopy=False, states=records.FINISHED)
    place = {trial.number: rank for rank, trial in enumerate(records.rank(ended, study.direction))}
    places: dict[bool, list[int]] = {True: [], False: []}
    for trial in ended:  # those that diverged have no rank, and come last
        is_ours = records.is_lined_up(trial) or MARK in trial.user_attrs
        places[is_ours].append(place.get(trial.number, len(ended)))
    ours, others = places[True], places[False]
    return min(len(ours), len(others)) >= _COMPARED and bool(np.median(ours) > np.median(others))
