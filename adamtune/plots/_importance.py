"""Importance: how much of how a trial fared is explained by each hyper alone."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from adamtune import optimizers
from adamtune.errors import StudyError
from adamtune.plots.drawing import BLUE, Axis, Bars, Drawing, Numbers
from adamtune.plots.reading import Ended, Seen, listed
from adamtune.tuning.space import OPTIMIZER

# Trees of the forest, and questions one after the other in each: a deeper tree of 1,000 trials takes seconds, and the
# shares of 64 trials differ by 0.01 from those of trees that are as deep as they like.
_TREES, _DEPTH = 32, 6
_FEWEST_FOR_IMPORTANCE = 8


def make(seen: Seen, optimizer: str | None) -> Drawing:
    """The hypers of an optimizer, the most important on top."""
    optimizer, trials, part = seen.of(optimizer)
    if len(part.free) < 2:
        raise StudyError(
            f"{seen.name} searches {listed(part.free.values())} of {optimizer}: there is nothing to compare it with."
        )
    if len(trials) < _FEWEST_FOR_IMPORTANCE:
        raise StudyError(
            f"{len(trials)} trials of {optimizer} have ended in {seen.name}: expected {_FEWEST_FOR_IMPORTANCE} or "
            "more, below which an importance is chance."
        )
    places = seen.places(trials)
    if np.ptp(places) == 0:
        raise StudyError(f"all trials of {optimizer} in {seen.name} diverged: no hyper made a difference.")
    found = _shares(trials, places)
    middle = {name: float(np.median(shares)) for name, shares in found.items()}
    names = sorted(middle, key=lambda name: -middle[name])
    low, high = (np.array([np.quantile(found[name], q) for name in names]) for q in (0.1, 0.9))
    values = np.array([middle[name] for name in names])
    bars = Bars("fANOVA: median and middle 80 % of the trees", names, values, low, high, BLUE)
    title = f"What decided how trials of {optimizers.get(optimizer).class_name} fared"
    if low[0] > high[1:].max(initial=0.0):
        title += f": {names[0]} most"
    below = f"{seen.name}; {len(trials)} trials, by their places in the ranking"
    return Drawing(
        title, below, Axis("share of the variance that it explains alone", shown=(0.0, 1.0)), Axis(""), [bars]
    )


def _shares(trials: Sequence[Ended], places: Numbers) -> dict[str, list[float]]:
    """The explained share by hyper, one of each tree; a tree is grown on its own draw of the trials."""
    points = [_on_its_scale(each) for each in trials]
    common = sorted(set.intersection(*(set(point) for point in points)))
    found: dict[str, list[float]] = {name: [] for name in common}
    with _silent():
        again = optuna.create_study()
        for point, place in zip(points, places, strict=True):
            params, distributions = ({name: point[name][which] for name in common} for which in (1, 0))
            again.add_trial(optuna.create_trial(params=params, distributions=distributions, value=float(place)))
        for seed in range(_TREES):
            tree = optuna.importance.FanovaImportanceEvaluator(n_trees=1, max_depth=_DEPTH, seed=seed)
            shares = optuna.importance.get_param_importances(again, evaluator=tree, normalize=False)
            for name, share in shares.items():
                found[name].append(float(share))
    return found


def _on_its_scale(trial: Ended) -> dict[str, tuple[BaseDistribution, Any]]:
    """The point of a trial, by the names of hypers; fANOVA itself measures a logarithmic range as an even one."""
    found: dict[str, tuple[BaseDistribution, Any]] = {}
    for full, value in trial.params.items():
        distribution: Any = trial.trial.distributions[full]
        name = full.removeprefix(f"{trial.optimizer}.").removeprefix("one_minus_")
        if name == OPTIMIZER:  # the same for all, and in a study of all optimizers its choices change
            continue
        if getattr(distribution, "log", False):
            low, high = np.log10([distribution.low, distribution.high])
            distribution, value = FloatDistribution(low, high), float(np.clip(np.log10(value), low, high))
        if not distribution.single():
            found[name] = distribution, value
    return found


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what Optuna has to say of a study that exists for a moment, and of an argument that it may change."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.setLevel(level)
