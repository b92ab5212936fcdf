"""What is tried before there is anything to learn from: a design over the whole space, and the wave of "all".

The design is a scrambled Sobol sequence for each optimizer (Owen 1998, "Scrambling Sobol' and Niederreiter-Xing
points"): its points fill the space evenly however many are taken, which independent draws do not. Optimizers take
turns, and so do the schedules of one, so that after a few trials every choice has been seen.

The wave is for many optimizers: a few trials of each, its default and rates spread over its range; then the better ones
go on, the survivors, at most half of them (Schmidt, Schneider & Hennig 2021, "Descending through a Crowded Valley",
arXiv 2007.01547: several optimizers untuned do about as well as one that is tuned, so each deserves a look and few
deserve a search). How many trials each has and how many survive follows from the budget, see `tuning.space.Wave`.

Everything here is a function of the space, the seed and the stored trials, so a resumed study goes on as an undisturbed
one. A trial that was cut off (FAIL) does not count: its turn comes again.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from adamtune.config import OptimizerConfig
from adamtune.tuning import records
from adamtune.tuning.parameter import at
from adamtune.tuning.space import OPTIMIZER, SCHEDULE, STARTUP_EACH, Space

# Finished trials before a sampler is asked that learns: Optuna's own default for TPE. With several optimizers it may
# have to be more, see STARTUP_EACH.
STARTUP = 10

_GONE = (TrialState.FAIL, TrialState.WAITING)


def is_over(space: Space, trials: Sequence[FrozenTrial], among: Sequence[str], count: Sequence[TrialState]) -> bool:
    """Whether there is enough to learn from.

    That is when enough trials have finished, and among them one of every optimizer with every schedule. The second is
    what lets TPE sample all parameters of a point together: it knows only what finished trials have, and draws
    anything else on its own. The wave's trials count where they are of a survivor: of the others nothing is asked.

    Parameters
    ----------
    among : sequence of str
        The optimizers that can still be chosen.
    count : sequence of TrialState
        What the sampler learns from.
    """
    finished = [trial for trial in trials if trial.state in count and records.rule_of(trial) in among]
    if len(finished) < max(STARTUP, STARTUP_EACH * len(among)):
        return False
    seen = {_branch(space, trial.params) for trial in finished}
    return all((rule, schedule) in seen for rule in among for schedule in space.parts[rule].schedules)


def next_point(space: Space, trials: Sequence[FrozenTrial], among: Sequence[str], seed: int) -> dict[str, Any]:
    """The design's next point: of the optimizer, and of its schedule, that has had the fewest trials so far."""
    alive = Counter(_branch(space, trial.params) for trial in trials if trial.state not in _GONE)
    rule = min(among, key=lambda name: sum(alive[name, schedule] for schedule in space.parts[name].schedules))
    part = space.parts[rule]
    schedule = min(part.schedules, key=lambda name: alive[rule, name])
    # Those that were cut off count here: the sequence goes on, it does not fill gaps.
    index = sum(
        (_branch(space, trial.params) or ("",))[0] == rule and "fixed_params" not in trial.system_attrs
        for trial in trials
        if trial.params or trial.state != TrialState.FAIL  # or it was lost before it had its point
    )
    names = space.names(rule)
    unit = dict(zip(names, _sobol(len(names), index, [seed, 1, list(space.parts).index(rule)]), strict=True))

    def pick(missing: Mapping[str, BaseDistribution]) -> dict[str, Any]:
        settled = {OPTIMIZER: rule, space.full(rule, SCHEDULE): schedule}
        return {name: settled[name] if name in settled else at(each, unit[name]) for name, each in missing.items()}

    return space.walk(pick, among=among)


def wave(space: Space, trials: Sequence[FrozenTrial]) -> OptimizerConfig | None:
    """The config of the wave that comes next; None when all have begun, or are somebody's turn."""
    alive = _of_wave(trials, lambda state: state != TrialState.FAIL)
    begun = [records.config_of(trial) for trial in alive if "config" in trial.user_attrs]
    # A trial that was lost before it had its config is tried again, and that takes the first one that is left.
    ahead = sum("config" not in trial.user_attrs and "fixed_params" not in trial.system_attrs for trial in alive)
    assert space.wave is not None
    columns = [_rates(space, default, space.wave.each) for default in space.defaults()]
    rows = itertools.zip_longest(*columns)  # every optimizer's default first
    left = (config for row in rows for config in row if config is not None and config not in begun)
    return next(itertools.islice(left, ahead, None), None)


def survivors(
    space: Space, trials: Sequence[FrozenTrial], direction: optuna.study.StudyDirection
) -> tuple[str, ...] | None:
    """The optimizers that did best in the wave, in the order of the space; None before it is over."""
    for trial in trials:  # once a choice is stored it stays: Optuna knows no other in this study
        if isinstance(chosen := trial.distributions.get(OPTIMIZER), CategoricalDistribution):
            return tuple(str(choice) for choice in chosen.choices)
    if wave(space, trials) is not None or _of_wave(trials, lambda state: not state.is_finished()):
        return None
    ended = _of_wave(trials, lambda state: state in records.FINISHED)
    ranked = [records.rule_of(trial) for trial in records.rank(ended, direction)]
    # Those of which every trial diverged come last.
    order = list(dict.fromkeys([*(rule for rule in ranked if rule in space.parts), *space.parts]))
    assert space.wave is not None
    staying = order[: space.wave.staying]
    return tuple(rule for rule in space.parts if rule in staying)


def _rates(space: Space, default: OptimizerConfig, count: int) -> list[OptimizerConfig]:
    """The default config, and the same with other rates: `count` in all, spread over the range that is searched.

    The range is cut into as many equal stretches, on its scale. The default has one (the upper one where two meet), the
    others are tried in the middle.
    """
    rate = space.parts[default.optimizer].free.get("learning_rate")
    if rate is None:
        return [default]
    ends = [rate.value(at(rate.distribution, k / count)) for k in range(1, count)]
    # Many defaults are the middle of their range, and rounding shall not decide.
    taken = sum(end < default.learning_rate or math.isclose(end, default.learning_rate) for end in ends)
    spread = [rate.value(at(rate.distribution, (k + 0.5) / count)) for k in range(count) if k != taken]
    given: dict[str, Any] = {**default.hypers, **default.options, "schedule": default.schedule}
    return [default, *(OptimizerConfig(default.optimizer, **{**given, "learning_rate": each}) for each in spread)]


def _of_wave(trials: Sequence[FrozenTrial], wanted: Callable[[TrialState], bool]) -> list[FrozenTrial]:
    return [trial for trial in trials if OPTIMIZER not in trial.params and wanted(trial.state)]


def _branch(space: Space, params: Mapping[str, Any]) -> tuple[str, str] | None:
    """The optimizer and schedule of a point; None for one of the wave, or one that does not say."""
    rule = params.get(OPTIMIZER) if space.several else next(iter(space.parts))
    if rule not in space.parts:
        return None
    schedules = space.parts[rule].schedules
    schedule = params.get(space.full(rule, SCHEDULE)) if len(schedules) > 1 else schedules[0]
    return (rule, schedule) if schedule else None


def _sobol(dimensions: int, index: int, seed: Sequence[int]) -> list[float]:
    """Point number `index` of the scrambled sequence with that seed."""
    if not dimensions:
        return []
    # Takes most of a second, and who only reads a space should not wait for it.
    from scipy.stats import qmc  # type: ignore[import-untyped]

    sequence = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    if index:
        sequence.fast_forward(index)
    return [float(share) for share in sequence.random(1)[0]]
