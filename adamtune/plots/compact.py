"""Compact: a figure as a text of few characters, for a place where whoever reads the study reads the figure too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import optuna
from numpy.typing import NDArray

from adamtune.plots import _contour, _curves, _history, _importance, _time_to_target, drawing
from adamtune.plots.drawing import Drawing, Line, Mark, Numbers, Points, few
from adamtune.plots.reading import Seen

# Half the width of a page shows no more.
_CELLS, _LINES, _EPOCHS = 41, 25, 60
# What is left out, step by step, until a text is short enough: lines of what is said of a trial, and trials of a kind.
_STEPS = ((3, 1000), (2, 1000), (0, 1000), (0, 200))

_MADE: dict[str, Callable[[optuna.Study, Seen], Drawing]] = {
    "curves": lambda study, seen: _curves.make(study, seen, _LINES),
    "contour": lambda study, seen: _contour.make(seen, None, None, None, _CELLS),
    "importance": lambda study, seen: _importance.make(seen, None),
    "time_to_target": lambda study, seen: _time_to_target.make(study, seen, None),
    "history": lambda study, seen: _history.make(seen),
}
KINDS = tuple(_MADE)


def text(study: optuna.Study, seen: Seen, kind: str, most: int) -> str:
    """A figure as JSON of Plotly.

    Parameters
    ----------
    study : optuna.Study
    seen : Seen
        The study, as `reading.read` read it.
    kind : str
        One of `KINDS`.
    most : int
        Characters, 50,000 or more: into so many any study fits.

    Raises
    ------
    SettingError
        When Plotly is not installed.
    StudyError
        When the study holds too little for it.
    """
    made = _MADE[kind](study, seen)
    for lines, symbols in _STEPS:
        marks = [_thinned(mark, lines, symbols) for mark in made.marks]
        found = drawing.plotly_text(dataclasses.replace(made, marks=marks))
        if len(found) <= most:
            break
    return found


def _thinned(mark: Mark, lines: int, symbols: int) -> Mark:
    if isinstance(mark, Points):
        kept = few(len(mark.x), symbols)
        label = mark.label if len(kept) == len(mark.x) else f"{len(kept)} of {len(mark.x)} {mark.label}"
        texts = ["\n".join(mark.texts[at].split("\n")[:lines]) for at in kept] if lines and mark.texts else []
        return dataclasses.replace(mark, label=label, x=mark.x[kept], y=mark.y[kept], texts=texts)
    if isinstance(mark, Line) and not mark.steps:
        places = _places(mark.x)
        return dataclasses.replace(mark, x=mark.x[places], y=mark.y[places])
    return mark


def _places(x: Numbers) -> NDArray[np.int64]:
    """Indices of few places of each line, where NaN stands between several."""
    pieces = np.split(np.arange(len(x)), np.flatnonzero(np.isnan(x)) + 1)
    return np.concatenate([piece[few(len(piece), _EPOCHS)] for piece in pieces if len(piece)])
