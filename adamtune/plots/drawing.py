"""Drawing: what a figure shows, as numbers and words, before any library draws it.

A figure is made once, as a `Drawing` of marks, and drawn by whichever library is asked for: what is seen on a screen
and its twin on paper hold the same numbers. Marks that mean different things differ in symbol or dash too, never in
colour alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adamtune.errors import SettingError

Numbers = NDArray[np.float64]
Symbol = Literal["circle", "triangle-down", "x", "diamond", "star"]
Dash = Literal["solid", "dash", "dot", "dashdot"]

# Okabe & Ito 2008, "Color Universal Design": told apart with any kind of colour vision.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8C8C8C"


@dataclass(frozen=True)
class Axis:
    """One axis: what it says, its scale, the ends of what is shown (None: all there is), and whether it counts."""

    label: str
    log: bool = False
    shown: tuple[float, float] | None = None
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Points:
    """Symbols at places of shape (n,), each with a text for who points at it."""

    label: str
    x: Numbers
    y: Numbers
    symbol: Symbol
    colour: str
    texts: Sequence[str] = ()
    size: float = 7.0


@dataclass(frozen=True, eq=False)
class Line:
    """A line through places of shape (n,); NaN interrupts it. With `steps` it is level up to the next place."""

    label: str
    x: Numbers
    y: Numbers
    colour: str
    dash: Dash = "solid"
    width: float = 2.0
    steps: bool = False
    text: str = ""


@dataclass(frozen=True, eq=False)
class Band:
    """The area between two lines of shape (n,)."""

    label: str
    x: Numbers
    low: Numbers
    high: Numbers
    colour: str


@dataclass(frozen=True, eq=False)
class Surface:
    """Values `z` of shape (len(y), len(x)) as filled contours at `levels`; NaN stays empty."""

    label: str
    x: Numbers
    y: Numbers
    z: Numbers
    levels: Numbers


@dataclass(frozen=True, eq=False)
class Bars:
    """Horizontal bars of shape (n,), the first on top, each with an interval from `low` to `high`."""

    label: str
    names: Sequence[str]
    values: Numbers
    low: Numbers
    high: Numbers
    colour: str


Mark = Points | Line | Band | Surface | Bars


@dataclass(frozen=True)
class Drawing:
    """A figure: a title in words, a line below it, two axes, and marks, those behind first and last in its legend."""

    title: str
    below: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]


def is_wide(values: Numbers, sign: float) -> bool:
    """Whether values want a logarithmic axis: losses, all above 0, of more than one order of magnitude.

    >>> is_wide(np.array([0.05, 2.3]), 1.0), is_wide(np.array([0.05, 0.98]), -1.0)
    (True, False)
    """
    return bool(sign > 0 and len(values) and values.min() > 0 and values.max() > 10 * values.min())


def edge(values: Numbers, sign: float, log: bool) -> float:
    """The worst value that is shown: some outliers would press all others flat.

    Parameters
    ----------
    values : array of shape (n,)
        Finite; without any the edge is 1.
    sign : float
        1 where smaller is better, else -1.
    log : bool
        Whether the axis is logarithmic.
    """
    if not len(values):
        return 1.0
    # Twice as far from the best as nine in ten are.
    heights = sign * (np.log10(values) if log else values)
    best, most, worst = heights.min(), np.quantile(heights, 0.9), heights.max()
    shown = sign * (min(worst, best + 2 * (most - best)) if most > best else worst)
    return float(10**shown if log else shown)


def within(worst: float, values: Numbers, sign: float) -> Numbers:
    """The values, those beyond the edge moved to it."""
    return np.minimum(values, worst) if sign > 0 else np.maximum(values, worst)


def few(count: int, most: int) -> NDArray[np.int64]:
    """Indices of at most `most` of so many, spread evenly, the first and the last among them.

    >>> few(5, 3), few(3, 5)
    (array([0, 2, 4]), array([0, 1, 2]))
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def padded(ends: Numbers, log: bool) -> tuple[float, float]:
    """What to show of an axis: a little more than what there is."""
    low, high = (np.log10(ends) if log else ends).min(), (np.log10(ends) if log else ends).max()
    room = 0.04 * (high - low) or 0.5
    shown = np.array([low - room, high + room])
    low, high = 10**shown if log else shown
    return float(low), float(high)


def draw(drawing: Drawing, backend: str) -> Any:
    """The figure of a library: plotly.graph_objects.Figure or matplotlib.figure.Figure.

    Raises
    ------
    SettingError
        When there is no such backend, or it is not installed.
    """
    if backend not in ("plotly", "matplotlib"):
        raise SettingError(f"backend={backend!r} is unknown: write 'plotly' or 'matplotlib'.")
    with _installed(backend):
        if backend == "plotly":
            from adamtune.plots import with_plotly

            return with_plotly.figure(drawing)
        from adamtune.plots import with_matplotlib

        return with_matplotlib.figure(drawing)


def plotly_text(drawing: Drawing) -> str:
    """The figure of Plotly as JSON of few characters.

    Raises
    ------
    SettingError
        When Plotly is not installed.
    """
    with _installed("plotly"):
        from adamtune.plots import with_plotly

        return with_plotly.text(drawing)


def plotly_script() -> str:
    """Plotly's JavaScript, 5 MB of it: what draws its figures in a browser.

    Raises
    ------
    SettingError
        When Plotly is not installed.
    """
    with _installed("plotly"):
        from adamtune.plots import with_plotly

        return with_plotly.script()


@contextlib.contextmanager
def _installed(backend: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != backend:
            raise
        other = "matplotlib" if backend == "plotly" else "plotly"
        raise SettingError(
            f"backend={backend!r} needs {backend}, which is not installed: run `pip install 'adamtune[report]'`, or "
            f"write backend={other!r} if that is there."
        ) from None
