"""Comparison: the best so far of several studies, over the epochs that all their trials have trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adamtune.errors import StudyError
from adamtune.plots import drawing
from adamtune.plots.drawing import Axis, Dash, Drawing, Line, Numbers, edge, is_wide, padded, within
from adamtune.plots.reading import Seen
from adamtune.summary import number

_LOOKS: tuple[tuple[str, Dash], ...] = (
    (drawing.BLUE, "solid"),
    (drawing.VERMILION, "dash"),
    (drawing.GREEN, "dashdot"),
    (drawing.PURPLE, "dot"),
    (drawing.ORANGE, "solid"),
    (drawing.SKY, "dash"),
)


def make(studies: Sequence[Seen]) -> Drawing:
    """A line a study."""
    told = {(seen.summary.objective, seen.sign) for seen in studies}
    if len(told) > 1:
        objectives = ", ".join(sorted(f"{seen.objective} ({seen.summary.direction})" for seen in studies))
        raise StudyError(
            f"these studies are judged by different things: {objectives}. Compare studies of one objective."
        )
    lines = [_line(seen) for seen in studies]
    sign = studies[0].sign
    values = np.concatenate([best for _, best in lines])
    if not len(values):
        raise StudyError("no trial of these studies has finished: there is nothing to compare.")
    log = is_wide(values, sign)
    worst = edge(values, sign, log)
    marks = [
        Line(f"{seen.name}: {number(best[-1]) if len(best) else 'none finished'}", x, within(worst, best, sign), *look)
        for seen, (x, best), look in zip(studies, lines, _LOOKS, strict=False)
    ]
    longest = max((x[-1] for x, _ in lines if len(x)), default=1.0)
    ends = np.array([worst, sign * np.min(sign * values)])
    return Drawing(
        f"Best so far of {len(studies)} studies",
        "by the epochs that all trials together have trained",
        Axis("epochs trained", shown=padded(np.array([0.0, longest]), log=False)),
        Axis(studies[0].axis, log, padded(ends, log)),
        [Line(mark.label, mark.x, mark.y, mark.colour, mark.dash, steps=True) for mark in marks],
    )


def _line(seen: Seen) -> tuple[Numbers, Numbers]:
    """Epochs trained until a trial had finished, and the best value by then."""
    spent = np.cumsum([trial.epochs for trial in seen.trials])
    full = [at for at, trial in enumerate(seen.trials) if trial.how == "finished"]
    if not full:
        return np.array([]), np.array([])
    best = seen.sign * np.minimum.accumulate([seen.sign * seen.trials[at].value for at in full])
    return np.append(spent[full], spent[-1]).astype(float), np.append(best, best[-1])
