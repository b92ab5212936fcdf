"""The door to Plotly: a `Drawing` as a figure for screens."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go

from adamtune.plots.drawing import Axis, Band, Bars, Drawing, Line, Mark, Points, Surface

# So many whole numbers have a tick each; among more, Plotly chooses whole ones by itself.
_FEW_TICKS = 12
_SHOWN_BY_TEXT = "%{hovertext}<extra></extra>"


def figure(drawing: Drawing) -> go.Figure:
    """The drawing as a plotly.graph_objects.Figure."""
    made = go.Figure([trace for mark in drawing.marks for trace in _traces(mark)])
    title = f"{_plain(drawing.title)}<br><sup>{_plain(drawing.below)}</sup>"
    bars = next((mark for mark in drawing.marks if isinstance(mark, Bars)), None)
    made.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0.01, "xanchor": "left"},
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0.0, "traceorder": "reversed"},
        margin={"l": 70, "r": 30, "t": 80, "b": 60},
        hovermode="closest",
    )
    made.update_xaxes(**_axis(drawing.x))
    made.update_yaxes(**_axis(drawing.y))
    if bars is not None:
        made.update_yaxes(autorange="reversed", automargin=True)
    return made


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {"title": {"text": _plain(axis.label)}, "zeroline": False, "automargin": True}
    if axis.log:
        found |= {"type": "log", "exponentformat": "power"}
    if axis.shown is not None:
        found["range"] = list(np.log10(axis.shown) if axis.log else axis.shown)
        if axis.whole and axis.shown[1] - axis.shown[0] < _FEW_TICKS:
            found["dtick"] = 1
    return found


def _traces(mark: Mark) -> list[Any]:
    if isinstance(mark, Points):
        return [_points(mark)]
    if isinstance(mark, Line):
        return [_line(mark)]
    if isinstance(mark, Band):
        return _band(mark)
    if isinstance(mark, Surface):
        return [_surface(mark)]
    return [_bars(mark)]


def _points(mark: Points) -> Any:
    marker = {
        "symbol": mark.symbol,
        "color": mark.colour,
        "size": mark.size,
        "line": {"color": "white", "width": 1},
    }
    texts = [_plain(text) for text in mark.texts]
    return go.Scatter(
        x=mark.x,
        y=mark.y,
        mode="markers",
        name=_plain(mark.label),
        marker=marker,
        hovertext=texts,
        hovertemplate=_SHOWN_BY_TEXT if texts else None,
    )


def _line(mark: Line) -> Any:
    line = {"color": mark.colour, "width": mark.width, "dash": mark.dash, "shape": "hv" if mark.steps else "linear"}
    hover = {"hovertext": _plain(mark.text), "hovertemplate": "%{y:.4g}<br>" + _SHOWN_BY_TEXT} if mark.text else {}
    return go.Scatter(x=mark.x, y=mark.y, mode="lines", name=_plain(mark.label), line=line, connectgaps=False, **hover)


def _band(mark: Band) -> list[Any]:
    """Two traces: the lower edge, and the upper one filled down to it."""
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": mark.label}
    low = go.Scatter(x=mark.x, y=mark.low, showlegend=False, **edge)
    fill = _faint(mark.colour)
    return [low, go.Scatter(x=mark.x, y=mark.high, name=_plain(mark.label), fill="tonexty", fillcolor=fill, **edge)]


def _surface(mark: Surface) -> Any:
    return go.Contour(
        x=mark.x,
        y=mark.y,
        z=mark.z,
        name=_plain(mark.label),
        colorscale="Viridis",
        opacity=0.75,
        contours={
            "start": mark.levels[0],
            "end": mark.levels[-1],
            "size": mark.levels[1] - mark.levels[0],
            "showlines": False,
        },
        zmin=mark.levels[0],
        zmax=mark.levels[-1],
        colorbar={"title": {"text": _plain(mark.label), "side": "right"}},
        hoverinfo="skip",
    )


def _bars(mark: Bars) -> Any:
    spread = {
        "type": "data",
        "symmetric": False,
        "array": mark.high - mark.values,
        "arrayminus": mark.values - mark.low,
        "color": "black",
    }
    return go.Bar(
        x=mark.values,
        y=[_plain(name) for name in mark.names],
        orientation="h",
        name=_plain(mark.label),
        marker={"color": mark.colour},
        error_x=spread,
        showlegend=True,
    )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.2)"


def _plain(text: str) -> str:
    """A text that Plotly shows as it is: the name of a study is no HTML."""
    return html.escape(text, quote=False).replace("\n", "<br>")
