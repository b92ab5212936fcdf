"""Time to target: after how many epochs trials are as good as a value, of all and of those that are named."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import optuna

from adamtune.errors import SettingError, StudyError
from adamtune.plots import _curves, drawing
from adamtune.plots.drawing import Axis, Band, Drawing, Line, Mark, Numbers, Points, few, padded
from adamtune.plots.reading import Ended, Seen
from adamtune.summary import number

_BEST = 5
_MOST_PLACES = 250
_BEYOND = 1.03
# Curves are stored as float32: a trial reaches its own last value.
_ROUNDING = 1e-6


def make(study: optuna.Study, seen: Seen, target: float | None) -> Drawing:
    """The share of the trials that have reached a target by epoch."""
    lines = _curves.read(study, seen)
    trials = [trial for trial in seen.trials if trial.number in lines]
    target, what = _target(seen, trials, lines, target)
    reached = {trial.number: _reached(lines[trial.number], target, seen.sign) for trial in trials}
    when = np.array([reached[trial.number] for trial in trials])
    # How long it is known of a trial that it has not reached the target: of one that was pruned, until then. One that
    # trained to its end, or diverged, will not reach it.
    known = np.array([len(lines[each.number]) if each.how == "pruned" else np.inf for each in trials])
    longest = float(max(map(len, lines.values())))
    # Beyond the end, so that what was reached in the last epoch is a level too.
    x = np.unique([0.0, *when[np.isfinite(when)], _BEYOND * longest])
    x = x[few(len(x), _MOST_PLACES)]
    of_all = 100 * np.array([np.mean(when <= epoch) for epoch in x])
    at_most = 100 * _kaplan_meier(when, known, x)
    cut = int(np.sum(np.isfinite(known) & ~np.isfinite(when)))
    marks: list[Mark] = []
    if cut:
        label = f"had the {cut} pruned before gone on like the rest"
        corner = np.repeat(x, 2)[1:]  # a band has no steps of its own
        low, high = (np.repeat(share, 2)[:-1] for share in (of_all, at_most))
        marks.append(Band(label, corner, low, high, drawing.SKY))
    marks.append(Line(f"{len(trials)} trials", x, of_all, drawing.BLUE, width=2.5, steps=True))
    marks += _named(seen, trials, lines, reached, x, of_all)
    n_reached = int(np.isfinite(when).sum())
    return Drawing(
        f"How soon {n_reached} of {len(trials)} trials reached {seen.objective} {number(target)}",
        f"{seen.name}; the target is {what}",
        Axis(f"epoch{_curves.which(seen)}", shown=padded(np.array([0.0, longest]), log=False), whole=True),
        Axis("trials that have reached it, %", shown=padded(np.array([0.0, at_most[-1] or 100.0]), log=False)),
        marks,
    )


def _target(seen: Seen, trials: list[Ended], lines: Mapping[int, Numbers], target: float | None) -> tuple[float, str]:
    """The value to reach, and what it is."""
    if target is not None:
        if isinstance(target, bool) or not isinstance(target, (int, float, np.number)) or not np.isfinite(target):
            raise SettingError(f"target={target!r}: expected a finite number, a value of {seen.objective}.")
        return float(target), "as asked for"
    finished = {trial.number: _counted(lines[trial.number], seen) for trial in trials if trial.how == "finished"}
    for at, called in seen.defaults.items():
        if called == "default Adam" and at in finished:
            return finished[at], "what default Adam came to"
    if not finished:
        raise StudyError(
            f"no trial of {seen.name} has trained to its end, so there is no value to reach: name one, "
            "time_to_target(study, target=...)."
        )
    return float(np.median(list(finished.values()))), "what half of the finished trials came to"


def _counted(line: Numbers, seen: Seen) -> float:
    """What a finished trial counts as: its last value, with patience its best."""
    return float(line[-1] if seen.stamp.patience is None else seen.sign * np.nanmin(seen.sign * line))


def _reached(line: Numbers, target: float, sign: float) -> float:
    """The first epoch after which the objective is as good as the target; infinity when there is none."""
    good = sign * line <= sign * target + _ROUNDING * abs(target)
    return float(np.argmax(good) + 1) if good.any() else np.inf


def _kaplan_meier(when: Numbers, known: Numbers, x: Numbers) -> Numbers:
    """The share that has reached the target by each of `x`, where those that were cut off go on like the others.

    Kaplan & Meier 1958, "Nonparametric Estimation from Incomplete Observations", JASA 53. It takes for granted that
    who is cut off is like who is not. Trials are pruned because they are worse: the truth lies below.

    Parameters
    ----------
    when, known : array of shape (trials,)
        The epoch at which each reached the target, and until which it is known that it did not; infinity: never.
    x : array of shape (n,)
        Epochs, in order.
    """
    events = np.unique(when[np.isfinite(when)])
    at_risk = np.array([np.sum(np.minimum(when, known) >= epoch) for epoch in events])
    left = np.cumprod([1 - np.sum(when == epoch) / risk for epoch, risk in zip(events, at_risk, strict=True)])
    return 1 - np.concatenate([[1.0], left])[np.searchsorted(events, x, side="right")]


def _named(
    seen: Seen,
    trials: list[Ended],
    lines: Mapping[int, Numbers],
    reached: Mapping[int, float],
    x: Numbers,
    share: Numbers,
) -> list[Mark]:
    """The best few and the defaults, each at its place on the line; who never reached the target, where it ended."""
    place = {each.number: min(reached[each.number], float(len(lines[each.number]))) for each in trials}

    def points(label: str, shown: list[Ended], symbol: drawing.Symbol, colour: str, size: float) -> Points:
        at = np.array([place[each.number] for each in shown])
        y = share[np.searchsorted(x, at, side="right") - 1]
        return Points(label, at, y, symbol, colour, [seen.text(each) for each in shown], size)

    def told(called: str, trial: Ended) -> str:
        is_there = np.isfinite(reached[trial.number])
        return f"{called}: {'' if is_there else 'not by '}epoch {place[trial.number]:.0f}"

    of_number = {trial.number: trial for trial in trials}
    best = of_number.get(seen.best.number) if seen.best else None
    ranked = [each for each in seen.ranked if each.number in of_number and each is not best]
    others = [each for each in ranked[: _BEST - 1] if np.isfinite(reached[each.number])]
    marks: list[Mark] = []
    if others:
        marks.append(points(f"the next best {len(others)}", others, "circle", drawing.GREEN, 9))
    for at, called in seen.defaults.items():
        if at in of_number:
            default = of_number[at]
            marks.append(points(told(f"{called}, trial {at}", default), [default], "diamond", drawing.BLACK, 11))
    if best is not None:
        marks.append(points(told(seen.title(best), best), [best], "star", drawing.ORANGE, 16))
    return marks
