"""What a shell offers after Tab: names of studies, of optimizers, and of what an option knows.

Somebody waits at a prompt, so Optuna and SQLAlchemy stay out of it where the database is a file, nothing is said, and
what takes longer than a breath is given up.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import typer

_BREATH = 1.0  # seconds
# Ours only, the newest first. Optuna's tables, as they are in every database that it writes.
_STAMPED = (
    "SELECT studies.study_name FROM studies JOIN study_user_attributes AS noted "
    "ON noted.study_id = studies.study_id WHERE noted.key = 'adamtune:schema' ORDER BY studies.study_id DESC"
)


def studies(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the stored studies, and what several of them begin with: the newest of these."""
    found: list[str] = []
    names = _within(_BREATH, lambda: _names(ctx.params.get("storage")))
    for name in names:
        prefix = name.rpartition("/")[0]
        # One that was run beside another has that one's name and a slash before its own.
        if not any(name.startswith(f"{other}/") for other in names):
            found += [each for each in (prefix, name) if each and each not in found]
    return [name for name in found if name.startswith(incomplete)]


def optimizers(incomplete: str) -> list[str]:
    """Names of optimizers; after a comma the next one."""
    from adamtune.optimizers import names

    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names() if name.startswith(begun)]


def among(*names: str) -> Callable[[str], list[str]]:
    """A completion that knows these names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _within(seconds: float, ask: Callable[[], list[str]]) -> list[str]:
    """What comes back in time; nothing from what fails or takes longer, such as a server that does not answer."""
    found: list[str] = []

    def run() -> None:
        with contextlib.suppress(Exception):
            found.extend(ask())

    asking = threading.Thread(target=run, daemon=True)  # the process does not wait for it
    asking.start()
    asking.join(seconds)
    return list(found)


def _names(storage: Any) -> list[str]:
    given = str(storage or os.environ.get("ADAMTUNE_STORAGE") or "sqlite:///adamtune.db")
    if file := _file(given):
        import sqlite3

        with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            return [name for (name,) in connection.execute(_STAMPED)]
    from adamtune.tuning.storage import looked_at

    with looked_at(given) as engine:
        if engine is None:
            return []
        with engine.connect() as connection:
            return [name for (name,) in connection.exec_driver_sql(_STAMPED)]


def _file(storage: str) -> Path | None:
    """The file of a SQLite database, as `tuning.storage.resolve_url` reads it; None for a server."""
    if storage.startswith("sqlite"):
        return Path(unquote(storage.partition(":///")[2].partition("?")[0]))
    return Path(storage).expanduser() if "://" not in storage else None
