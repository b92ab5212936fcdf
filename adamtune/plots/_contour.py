"""Contour: where two hypers are good, on the scales on which they were searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from adamtune import optimizers
from adamtune.errors import SettingError, StudyError, did_you_mean
from adamtune.plots.drawing import Axis, Drawing, Mark, Numbers, Surface, padded
from adamtune.plots.reading import Ended, Seen, groups, listed
from adamtune.tuning.parameter import Parameter

# Cells of the surface in each direction.
_CELLS = 80
# Trials from which on a surface is more than the trials themselves.
_FEWEST_FOR_SURFACE = 5
# What a contour is drawn against the learning rate by default: the memory that most optimizers have.
_MEMORIES = ("beta_1", "momentum")


def make(seen: Seen, x: str | None, y: str | None, optimizer: str | None, cells: int = _CELLS) -> Drawing:
    """The trials of an optimizer over two of its hypers; a surface of so many cells in each direction."""
    optimizer, trials, part = seen.of(optimizer)
    free = [each for each in part.free.values() if not isinstance(each.distribution, CategoricalDistribution)]
    order = [hyper.name for hyper in optimizers.get(optimizer).searchable]
    free.sort(key=lambda each: order.index(each.hyper.name))
    if len(free) < 2:
        raise StudyError(
            f"{seen.name} searches {listed(part.free.values())} of {optimizer}, and a contour needs two numbers: "
            "search more with space={'learning_rate': (1e-5, 1e-1), 'beta_1': (0.5, 0.999)}, or with more trials."
        )
    across = _searched("x", x or _first(("learning_rate",), free), free, optimizer)
    up = _searched("y", y or _first(_MEMORIES, [each for each in free if each is not across]), free, optimizer)
    if across is up:
        raise SettingError(f"x={x!r} and y={y!r} are the same hyper: name two of {listed(free)}.")
    # A hyper of a schedule is there only in trials of that schedule.
    trials = [each for each in trials if across.hyper.name in _hypers(each) and up.hyper.name in _hypers(each)]
    if not trials:
        raise StudyError(f"no trial of {seen.name} has ended that has {across.hyper.name} and {up.hyper.name} both.")
    place = {each.number: at for at, each in enumerate(trials)}
    columns = [np.array([_coordinate(each, parameter) for each in trials]) for parameter in (across, up)]
    axes = [_axis(parameter, column) for parameter, column in zip((across, up), columns, strict=True)]
    marks: list[Mark] = []
    if len(trials) >= _FEWEST_FOR_SURFACE:
        marks.append(_surface(columns, axes, seen.places(trials), cells))
    for group in groups(seen, trials):
        own = [place[each.number] for each in group.trials]
        marks.append(group.points(seen, columns[0][own], columns[1][own]))
    what = f"Where {optimizers.get(optimizer).class_name} is good: {across.hyper.name} and {up.hyper.name}"
    few = "" if len(trials) == len(seen.trials) else f" of {len(seen.trials)}"
    others = ", whatever their other hypers were" if len(part.free) > 2 else ""
    return Drawing(what, f"{seen.name}; {len(trials)}{few} trials{others}", axes[0], axes[1], marks)


def _searched(argument: str, name: str, free: Sequence[Parameter], optimizer: str) -> Parameter:
    for parameter in free:
        if name in (parameter.hyper.name, parameter.hyper.carried_name):
            return parameter
    known = [parameter.hyper.name for parameter in free]
    raise SettingError(
        f"{argument}={name!r} is no number that was searched for {optimizer}.{did_you_mean(str(name), known)} "
        f"Expected one of: {listed(free)}."
    )


def _first(wanted: Sequence[str], free: Sequence[Parameter]) -> str:
    names = [parameter.hyper.name for parameter in free]
    return next((name for name in wanted if name in names), names[0])


def _hypers(trial: Ended) -> dict[str, Any]:
    return trial.config.hypers if trial.config else {}


def _coordinate(trial: Ended, parameter: Parameter) -> float:
    """Where a trial stands on the axis of a parameter, in the terms it is searched in."""
    given = float(parameter.number(_hypers(trial)[parameter.hyper.name]))
    # An epsilon or a decay of zero has no logarithm: it stands at the lower bound.
    return given if given > 0 or not _is_log(parameter) else parameter.distribution.low  # type: ignore[attr-defined]


def _is_log(parameter: Parameter) -> bool:
    return bool(getattr(parameter.distribution, "log", False))


def _axis(parameter: Parameter, column: Numbers) -> Axis:
    """From bound to bound, and as far as the trials go; with some room, so that no symbol is cut."""
    log, bounds = _is_log(parameter), parameter.distribution
    ends = np.append(column, [bounds.low, bounds.high])  # type: ignore[attr-defined]
    low, high = padded(ends, log)
    carried = parameter.carried and parameter.hyper.scale == "complement"
    name = f"1 − {parameter.hyper.name}" if carried else parameter.hyper.name
    return Axis(f"{name} (log scale)" if log else name, log, (low, high))


def _surface(columns: Sequence[Numbers], axes: Sequence[Axis], places: Numbers, cells: int) -> Surface:
    """The kernel-weighted mean of the places; NaN where less is known than from a single trial two widths off."""
    width = len(places) ** (-1 / 6) / np.sqrt(12)  # Scott's, for points spread evenly over a unit square
    steps = np.linspace(0, 1, cells)
    grids, kernels = [], []
    for column, axis in zip(columns, axes, strict=True):
        assert axis.shown is not None
        low, high = np.log10(axis.shown) if axis.log else axis.shown
        grid = low + steps * (high - low)
        grids.append(10**grid if axis.log else grid)
        at = ((np.log10(column) if axis.log else column) - low) / (high - low)
        kernels.append(np.exp(-((steps[:, None] - at) ** 2) / (2 * width**2)))  # (cells, trials)
    across, up = kernels
    known = up @ across.T
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(known >= np.exp(-2), (up * places) @ across.T / known, np.nan)
    return Surface("trials that did better, %", grids[0], grids[1], z, _levels(z))


def _levels(z: Numbers) -> Numbers:
    """Round numbers around all values, between 4 and 10 steps of them unless all values are alike."""
    low, high = np.nanmin(z), np.nanmax(z)
    step = next(step for step in (10, 5, 2, 1) if step == 1 or high - low >= 4 * step)
    first = min(np.floor(low / step), 100 / step - 1)
    return step * np.arange(first, max(np.ceil(high / step), first + 1) + 1)
