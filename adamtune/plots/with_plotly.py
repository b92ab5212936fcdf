"""The door to Plotly: a `Drawing` as a figure for screens, or as the text of one."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
import plotly.offline

from adamtune.plots.drawing import Axis, Band, Bars, Drawing, Line, Mark, Points, Surface

_TEMPLATE = "plotly_white"
# So many whole numbers have a tick each; among more, Plotly chooses whole ones by itself.
_FEW_TICKS = 12
_SHOWN_BY_TEXT = "%{hovertext}<extra></extra>"


def figure(drawing: Drawing) -> go.Figure:
    """The drawing as a plotly.graph_objects.Figure."""
    return go.Figure(_data(drawing), _layout(drawing) | {"template": _TEMPLATE})


def text(drawing: Drawing) -> str:
    """The same figure as JSON of few characters, for Plotly in a browser.

    Arrays are float32 in base64, which Plotly takes since its version 2.35 (2024). No figure is made for it, which
    takes 30 ms.
    """
    layout = _layout(drawing)
    layout["template"] = plotly.io.templates[_TEMPLATE].to_plotly_json()
    # It has half the width of a page, and there a legend of usual size leaves the figure little room.
    layout["font"], layout["title"]["font"], layout["legend"]["font"] = {"size": 11}, {"size": 14}, {"size": 10}
    layout["margin"] = {"l": 50, "r": 20, "t": 60, "b": 40}
    said = {"data": _data(drawing), "layout": layout}
    return json.dumps(_packed(said), separators=(",", ":"), allow_nan=False)


def _packed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _packed(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(each) for each in value]
    if not isinstance(value, np.ndarray):
        return value
    found = {"dtype": "f4", "bdata": base64.b64encode(value.astype("<f4").tobytes()).decode()}
    return found | ({"shape": ", ".join(map(str, value.shape))} if value.ndim > 1 else {})


def _data(drawing: Drawing) -> list[dict[str, Any]]:
    return [trace for mark in drawing.marks for trace in _traces(mark)]


def _layout(drawing: Drawing) -> dict[str, Any]:
    title = f"{_plain(drawing.title)}<br><sup>{_plain(drawing.below)}</sup>"
    up = _axis(drawing.y)
    if any(isinstance(mark, Bars) for mark in drawing.marks):
        up["autorange"] = "reversed"
    return {
        "title": {"text": title, "x": 0.01, "xanchor": "left"},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0.0, "traceorder": "reversed"},
        "margin": {"l": 70, "r": 30, "t": 80, "b": 60},
        "hovermode": "closest",
        "xaxis": _axis(drawing.x),
        "yaxis": up,
    }


def script() -> str:
    """The JavaScript that draws figures."""
    return str(plotly.offline.get_plotlyjs())


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {"title": {"text": _plain(axis.label)}, "zeroline": False, "automargin": True}
    if axis.log:
        found |= {"type": "log", "exponentformat": "power"}
    if axis.shown is not None:
        found["range"] = [float(end) for end in (np.log10(axis.shown) if axis.log else axis.shown)]
        if axis.whole and axis.shown[1] - axis.shown[0] < _FEW_TICKS:
            found["dtick"] = 1
    return found


def _traces(mark: Mark) -> list[dict[str, Any]]:
    if isinstance(mark, Points):
        return [_points(mark)]
    if isinstance(mark, Line):
        return [_line(mark)]
    if isinstance(mark, Band):
        return _band(mark)
    if isinstance(mark, Surface):
        return [_surface(mark)]
    return [_bars(mark)]


def _points(mark: Points) -> dict[str, Any]:
    marker = {
        "symbol": mark.symbol,
        "color": mark.colour,
        "size": mark.size,
        "line": {"color": "white", "width": 1},
    }
    texts = [_plain(text) for text in mark.texts]
    hover = {"hovertext": texts, "hovertemplate": _SHOWN_BY_TEXT} if texts else {}
    return _scatter(mark.x, mark.y, mode="markers", name=_plain(mark.label), marker=marker, **hover)


def _line(mark: Line) -> dict[str, Any]:
    line = {"color": mark.colour, "width": mark.width, "dash": mark.dash, "shape": "hv" if mark.steps else "linear"}
    hover = {"hovertext": _plain(mark.text), "hovertemplate": "%{y:.4g}<br>" + _SHOWN_BY_TEXT} if mark.text else {}
    return _scatter(mark.x, mark.y, mode="lines", name=_plain(mark.label), line=line, connectgaps=False, **hover)


def _band(mark: Band) -> list[dict[str, Any]]:
    """Two traces: the lower edge, and the upper one filled down to it."""
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": mark.label}
    fill = _faint(mark.colour)
    return [
        _scatter(mark.x, mark.low, showlegend=False, **edge),
        _scatter(mark.x, mark.high, name=_plain(mark.label), fill="tonexty", fillcolor=fill, **edge),
    ]


def _scatter(x: Any, y: Any, **look: Any) -> dict[str, Any]:
    return {"type": "scatter", "x": x, "y": y, **look}


def _surface(mark: Surface) -> dict[str, Any]:
    return {
        "type": "contour",
        "x": mark.x,
        "y": mark.y,
        "z": mark.z,
        "name": _plain(mark.label),
        "colorscale": "Viridis",
        "opacity": 0.75,
        "contours": {
            "start": float(mark.levels[0]),
            "end": float(mark.levels[-1]),
            "size": float(mark.levels[1] - mark.levels[0]),
            "showlines": False,
        },
        "zmin": float(mark.levels[0]),
        "zmax": float(mark.levels[-1]),
        "colorbar": {"title": {"text": _plain(mark.label), "side": "right"}},
        "hoverinfo": "skip",
    }


def _bars(mark: Bars) -> dict[str, Any]:
    spread = {
        "type": "data",
        "symmetric": False,
        "array": mark.high - mark.values,
        "arrayminus": mark.values - mark.low,
        "color": "black",
    }
    return {
        "type": "bar",
        "x": mark.values,
        "y": [_plain(name) for name in mark.names],
        "orientation": "h",
        "name": _plain(mark.label),
        "marker": {"color": mark.colour},
        "error_x": spread,
        "showlegend": True,
    }


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.2)"


def _plain(text: str) -> str:
    """A text that Plotly shows as it is: the name of a study is no HTML."""
    return html.escape(text, quote=False).replace("\n", "<br>")
