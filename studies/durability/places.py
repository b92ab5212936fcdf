"""Databases for the studies of durability: a SQLite file and a new database on each server, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy

from adamtune.tuning.storage import resolve_url
from tests.servers import SERVERS, new_database


@contextlib.contextmanager
def databases(given: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """URLs of empty databases by kind: on the servers that are given, or on all there are."""
    urls = list(given) or ["sqlite", *(os.environ[name] for name in SERVERS.values() if name in os.environ)]
    with contextlib.ExitStack() as cleanup:
        yield dict(cleanup.enter_context(_database(url)) for url in urls)


@contextlib.contextmanager
def _database(given: str) -> Iterator[tuple[str, str]]:
    if given == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield "SQLite", f"sqlite:///{Path(folder, 'study.db')}"
        return
    server = sqlalchemy.make_url(resolve_url(given))
    with new_database(server) as url:
        yield ("PostgreSQL" if server.get_backend_name() == "postgresql" else "MariaDB"), url
