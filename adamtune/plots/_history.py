"""History: the value of every trial in the order in which they were asked, and the best so far."""

from __future__ import annotations

import numpy as np

from adamtune.plots import drawing
from adamtune.plots.drawing import Axis, Drawing, Line, Mark, edge, is_wide, padded, within
from adamtune.plots.reading import Seen, groups
from adamtune.summary import number


def make(seen: Seen) -> Drawing:
    """All trials by number."""
    values = np.array([trial.value for trial in seen.trials if trial.how != "diverged"])
    log = is_wide(values, seen.sign)
    worst = edge(values, seen.sign, log)
    marks: list[Mark] = [*_best_so_far(seen, worst)]
    for group in groups(seen, seen.trials):
        x = np.array([trial.number for trial in group.trials], float)
        y = np.array([worst if trial.how == "diverged" else trial.value for trial in group.trials])
        marks.append(group.points(seen, x, within(worst, y, seen.sign)))
    best = seen.best
    found = f"{seen.title(best)} with {seen.objective} {number(best.value)}" if best else "none with a finite loss"
    outliers = int(np.sum(seen.sign * values > seen.sign * worst))
    below = seen.name + (f"; worse trials at the edge: {outliers}" if outliers else "")
    ends = np.array([seen.trials[0].number, seen.trials[-1].number], float)
    across = Axis("trial", shown=padded(ends, log=False), whole=True)
    return Drawing(f"{len(seen.trials)} trials, {found}", below, across, Axis(seen.axis, log), marks)


def _best_so_far(seen: Seen, worst: float) -> list[Line]:
    finished = [trial for trial in seen.trials if trial.how == "finished"]
    if not finished:
        return []
    best = seen.sign * np.minimum.accumulate([seen.sign * trial.value for trial in finished])
    x = np.array([*(trial.number for trial in finished), seen.trials[-1].number], float)
    y = within(worst, np.array([*best, best[-1]]), seen.sign)
    return [Line("best so far", x, y, drawing.ORANGE, steps=True)]
