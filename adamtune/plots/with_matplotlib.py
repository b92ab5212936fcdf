"""The door to matplotlib: a `Drawing` as a figure for paper."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from adamtune.plots.drawing import Band, Bars, Drawing, Line, Mark, Points, Surface

_INCHES = (7.2, 4.8)
_LETTERS = 90  # of the small print, in a line beside a colour bar
_SYMBOLS = {"circle": "o", "triangle-down": "v", "x": "X", "diamond": "D", "star": "*"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def figure(drawing: Drawing) -> Figure:
    """The drawing as a matplotlib.figure.Figure that no window and no list of open figures holds on to."""
    made = Figure(figsize=_INCHES, layout="constrained")
    axes = made.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    for order, mark in enumerate(drawing.marks, start=3):
        _draw(made, axes, mark, order)
    for scale, limits, axis in (
        (axes.set_xscale, axes.set_xlim, drawing.x),
        (axes.set_yscale, axes.set_ylim, drawing.y),
    ):
        if axis.shown is not None:
            limits(*axis.shown)
        if axis.log:
            scale("log")
    if drawing.x.whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_plain(drawing.x.label))
    axes.set_ylabel(_plain(drawing.y.label))
    made.suptitle(_plain(drawing.title), x=0.01, ha="left", fontsize=12)
    below = textwrap.fill(_plain(drawing.below), _LETTERS, break_long_words=False, break_on_hyphens=False)
    axes.set_title(below, loc="left", fontsize=8, color="#555555")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    shown = {"ncols": 3, "fontsize": 8, "frameon": False}
    made.legend(handles[::-1], labels[::-1], loc="outside lower left", **shown)
    return made


def _draw(made: Figure, axes: Axes, mark: Mark, order: int) -> None:
    common: dict[str, Any] = {"label": _plain(mark.label), "zorder": order}
    if isinstance(mark, Points):
        # Plotly gives the width of a symbol in pixels, matplotlib its area in points.
        look: dict[str, Any] = {"marker": _SYMBOLS[mark.symbol], "s": mark.size**2, "color": mark.colour}
        axes.scatter(mark.x, mark.y, edgecolors="white", linewidths=0.6, **look, **common)
    elif isinstance(mark, Line):
        drawstyle = "steps-post" if mark.steps else "default"
        style: dict[str, Any] = {"color": mark.colour, "linestyle": _DASHES[mark.dash], "linewidth": mark.width * 0.75}
        axes.plot(mark.x, mark.y, drawstyle=drawstyle, **style, **common)
    elif isinstance(mark, Band):
        axes.fill_between(mark.x, mark.low, mark.high, color=mark.colour, alpha=0.2, linewidth=0, **common)
    elif isinstance(mark, Surface):
        filled = axes.contourf(mark.x, mark.y, mark.z, levels=mark.levels, cmap="viridis", alpha=0.75)
        made.colorbar(filled, ax=axes, label=_plain(mark.label))
    else:
        _bars(axes, mark, common)


def _bars(axes: Axes, mark: Bars, common: dict[str, Any]) -> None:
    spread = [mark.values - mark.low, mark.high - mark.values]
    axes.barh([_plain(name) for name in mark.names], mark.values, color=mark.colour, xerr=spread, capsize=3, **common)
    axes.invert_yaxis()


def _plain(text: str) -> str:
    """A text that matplotlib shows as it is: a dollar begins no mathematics."""
    return text.replace("$", r"\$")
