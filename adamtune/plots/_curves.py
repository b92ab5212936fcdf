"""Curves: the objective of trials epoch by epoch, the best few and the default before the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import optuna

from adamtune.errors import StudyError
from adamtune.plots import drawing
from adamtune.plots.drawing import Axis, Band, Drawing, Line, Mark, Numbers, Points, edge, few, is_wide, padded, within
from adamtune.plots.reading import Ended, Seen, groups
from adamtune.summary import number
from adamtune.tuning import curves
from adamtune.tuning.records import Stamp

_BEST = 5
# Curves of the others that are drawn themselves, and epochs of each: more is a grey area, and a heavy figure.
_MOST_LINES, _MOST_EPOCHS = 100, 250
# A quartile of fewer trials than this is a trial.
_FEWEST_FOR_BAND = 4
_LOOKS: tuple[tuple[str, drawing.Dash], ...] = (
    (drawing.BLUE, "solid"),
    (drawing.VERMILION, "dash"),
    (drawing.GREEN, "dashdot"),
    (drawing.PURPLE, "dot"),
    (drawing.ORANGE, "dash"),
)


def make(study: optuna.Study, seen: Seen, most_lines: int = _MOST_LINES) -> Drawing:
    """The curves that are stored of a study; of the others at most so many themselves."""
    lines = read(study, seen)
    drawn = [trial for trial in seen.trials if trial.number in lines]
    ranked = [trial for trial in dict.fromkeys([seen.best, *seen.ranked]) if trial in drawn]
    best = [trial for trial in ranked if trial][:_BEST]
    defaults = [trial for trial in drawn if trial.number in seen.defaults and trial not in best]
    rest = [trial for trial in drawn if trial not in best and trial not in defaults]
    values = np.concatenate(list(lines.values()))
    values = values[np.isfinite(values)]
    log = is_wide(values, seen.sign)
    worst = edge(values, seen.sign, log)
    marks = _rest(seen, rest, lines, worst, most_lines)
    marks += [mark for trial in defaults for mark in _default(seen, trial, lines[trial.number], worst)]
    looks = list(zip(best, _LOOKS, strict=False))
    for trial, look in reversed(looks):  # the best above all others
        marks.append(_highlighted(seen, trial, lines[trial.number], *look, 3.5 if trial is seen.best else 2.0))
    longest = max(map(len, lines.values()))
    ends = np.array([worst, seen.sign * np.min(seen.sign * values, initial=seen.sign * worst)])
    return Drawing(
        f"Learning curves of {len(lines)} trials",
        seen.name,
        Axis(f"epoch{which(seen)}", shown=padded(np.array([1.0, longest]), log=False), whole=True),
        Axis(seen.axis, log, padded(ends, log)),
        marks,
    )


def read(study: optuna.Study, seen: Seen) -> dict[int, Numbers]:
    """The objective by epoch, by trial; NaN where it was no finite number.

    Raises
    ------
    StudyError
        When no curves are stored.
    """
    found, of_number = {}, {trial.number: trial for trial in seen.trials}
    for at, curve in curves.read(study, [trial.number for trial in seen.trials]).items():
        column = curve.val_loss if seen.summary.objective == "val_loss" else curve.metric
        if column is not None:
            line = _of_one_pass(column.astype(float), seen.stamp, of_number[at])
            found[at] = np.where(np.isfinite(line), line, np.nan)
    if not found:
        raise StudyError(
            f"{seen.name} has no learning curves: they are stored beside the trials while these train, and those of a "
            "study in memory are gone with its process."
        )
    return found


def _of_one_pass(column: Numbers, stamp: Stamp, trial: Ended) -> Numbers:
    """What `which` says; of a trial that came to the end of no pass, what there is."""
    if stamp.patience is not None:
        return column[: trial.trial.user_attrs.get("best_epoch", stamp.epochs) + stamp.patience][: stamp.epochs]
    whole = len(column) // stamp.epochs
    return column[: whole * stamp.epochs].reshape(whole, stamp.epochs).mean(axis=0) if whole else column


def which(seen: Seen) -> str:
    """Of which passes a curve is. With patience they differ in length, and a mean of them would jump."""
    if seen.stamp.passes == 1:
        return ""
    return " of the first pass" if seen.stamp.patience is not None else " (mean of the passes that were trained whole)"


def _rest(seen: Seen, rest: Sequence[Ended], lines: Mapping[int, Numbers], worst: float, most_lines: int) -> list[Mark]:
    """The others: some of them as thin lines, where they ended, their middle half and median."""
    if not rest:
        return []
    longest = max(len(lines[trial.number]) for trial in rest)
    table = np.full((len(rest), longest), np.nan)
    for row, trial in zip(table, rest, strict=True):
        row[: len(lines[trial.number])] = lines[trial.number]
    epochs = few(longest, _MOST_EPOCHS)
    table = table[:, epochs]
    x = (epochs + 1).astype(float)
    some = table[few(len(rest), most_lines)]
    gap = np.full((len(some), 1), np.nan)  # between one line and the next
    label = f"{len(rest)} others" if len(some) == len(rest) else f"{len(some)} of {len(rest)} others"
    marks: list[Mark] = [
        Line(
            label,
            np.concatenate([np.tile(x, (len(some), 1)), gap], axis=1).ravel(),
            np.concatenate([some, gap], axis=1).ravel(),
            "#C8C8C8",
            width=0.8,
        )
    ]
    enough = np.isfinite(table).sum(axis=0) >= _FEWEST_FOR_BAND
    if enough.any():
        low, middle, high = np.nanquantile(table[:, enough], [0.25, 0.5, 0.75], axis=0)
        marks.append(Band("their middle half, of those still training", x[enough], low, high, drawing.SKY))
        marks.append(Line("their median", x[enough], middle, drawing.SKY, width=2.5))
    for group in groups(seen, [trial for trial in rest if trial.how != "finished"], marked=False):
        ends = [_end(lines[trial.number], worst, trial.how == "diverged") for trial in group.trials]
        at, y = np.array(ends).T
        marks.append(group.points(seen, at, within(worst, y, seen.sign)))
    return marks


def _end(line: Numbers, worst: float, diverged: bool) -> tuple[float, float]:
    """Where a curve ends; one that diverged ends at the edge."""
    return float(len(line)), worst if diverged else float(line[-1])


def _default(seen: Seen, trial: Ended, line: Numbers, worst: float) -> list[Mark]:
    """The curve of a default, and where it was cut off: it may have come to one epoch alone."""
    marks: list[Mark] = [_highlighted(seen, trial, line, drawing.BLACK, "dot", 2.5)]
    if trial.how != "finished":
        x, y = _end(line, worst, trial.how == "diverged")
        at = within(worst, np.array([y]), seen.sign)
        label = f"{seen.defaults[trial.number]} {'was pruned' if trial.how == 'pruned' else 'diverged'} here"
        marks.append(Points(label, np.array([x]), at, "diamond", drawing.BLACK, [seen.text(trial)], 9))
    return marks


def _highlighted(seen: Seen, trial: Ended, line: Numbers, colour: str, dash: drawing.Dash, width: float) -> Line:
    named = seen.title(trial) if trial is seen.best else f"trial {trial.number}"
    also = [seen.defaults[trial.number]] if trial.number in seen.defaults else []
    value = "diverged" if trial.how == "diverged" else number(trial.value)
    cut = " (pruned)" if trial.how == "pruned" else ""
    epochs = few(len(line), _MOST_EPOCHS)
    label = f"{', '.join([named, *also])}: {value}{cut}"
    return Line(label, (epochs + 1).astype(float), line[epochs], colour, dash, width, text=seen.text(trial))
