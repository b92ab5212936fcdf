"""Where results go: a table to a terminal, plain lines to a pipe, JSON by itself.

A terminal gets what fits its width, with bold and colour unless `NO_COLOR` is set or it is dumb. A pipe gets each row
of a table, and each paragraph, in one line however long, for grep and awk; colour only with `FORCE_COLOR`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNFOLDED = 100_000  # columns that no line comes to


def is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def show(what: RenderableType) -> None:
    """Print for people, or for other programs where there is no terminal."""
    from rich.console import Console

    # For rich, NO_COLOR leaves bold and italic: these are codes too.
    console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto")
    if is_terminal():
        console.print(what)
        return
    console.width = _UNFOLDED
    with console.capture() as captured:
        console.print(what)
    # Flushed, so that a reader who has gone (`| head -1`) is noticed here and not when Python ends.
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)


def show_json(data: Any) -> None:
    """Print data as JSON that every reader takes: what is not finite is null."""
    print(json.dumps(_finite(data), indent=2, allow_nan=False), flush=True)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def talk(as_json: bool) -> contextlib.AbstractContextManager[Any]:
    """Where progress goes: standard output is left to the JSON."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
