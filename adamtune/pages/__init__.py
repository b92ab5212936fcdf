"""Pages: what people see in a browser, of one study in a report or of a whole database in the dashboard.

`study`, `tasks`, `leaderboard` and `comparison` say what a page shows, as plain values; templates/ says how, and
static/ how it looks and what moves. A template escapes whatever it is given, because names, notes and labels are
somebody's text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adamtune import summary
from adamtune.errors import SettingError

_HERE = Path(__file__).resolve().parent
STATIC = _HERE / "static"
_TEMPLATES = _HERE / "templates"


def render(name: str, **values: Any) -> str:
    """The template of that name as HTML.

    Raises
    ------
    SettingError
        When bottle, which reads templates, is not installed.
    """
    try:
        import bottle
    except ModuleNotFoundError:
        raise SettingError("pages need bottle, which is not installed: run `pip install 'adamtune[report]'`.") from None
    shared = {"number": summary.number, "printable": summary.printable, "shown": summary.shown, "quoted": quoted}
    return str(bottle.template(name, template_lookup=[str(_TEMPLATES)], **(shared | values)))


def quoted(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends the element or begins a comment."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
