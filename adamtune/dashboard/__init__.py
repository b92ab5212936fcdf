"""The dashboard: leaderboard, studies, tasks and recommendations in a browser, and optuna-dashboard beside them.

    adamtune dashboard --storage sqlite:///runs.db

`database` reads, `pages` shows, `routes` says under which path, `guard` who may ask. It only reads, and answers this
machine alone, unless it is told otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import secrets
import socket
import threading
import webbrowser
from typing import TYPE_CHECKING, Any

from optuna.artifacts import FileSystemArtifactStore

from adamtune import presenting
from adamtune.errors import SettingError
from adamtune.tuning import storage as storages

if TYPE_CHECKING:
    from adamtune.dashboard.database import Database
    from adamtune.dashboard.guard import Application

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Answers are made in threads: while one of them reads a large study, others go on.
_THREADS = 8
# Seconds in which a thread that still reads may come to its end when the server does.
_LEAVING = 10.0


def serve(
    storage: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    writable: bool = False,
    open_browser: bool = True,
) -> None:
    """Serve the dashboard of a database until Ctrl-C.

    Parameters
    ----------
    storage : str, optional
        Whatever `AdamTuner` takes; the database has to be there. Default: `$ADAMTUNE_STORAGE`, else adamtune.db here.
    host : str
        The address to listen at. Other machines need the token that is printed when it is not a loopback address;
        `$ADAMTUNE_DASHBOARD_TOKEN` sets it.
    port : int
        0: any that is free.
    writable : bool
        Whether studies may be renamed, deleted and annotated from the browser.
    open_browser : bool
        Open the first page, unless it needs the token: every user of this machine can read how a browser was started.

    Raises
    ------
    StorageError
        When there is no such database, or it cannot be read.
    SettingError
        When the port is taken, or a package is missing that only the dashboard needs.
    """
    token = None if host in _LOOPBACK else os.environ.get("ADAMTUNE_DASHBOARD_TOKEN") or secrets.token_urlsafe(24)
    app, database = make(storage, hosts=names_of(host), token=token, writable=writable)
    warming = threading.Thread(target=_warm, args=(database,), daemon=True)
    warming.start()
    try:
        server = _listen(app, host, port)
        shown = f"[{host}]" if ":" in host else host
        port = server.effective_port
        address = f"http://{'localhost' if host in _LOOPBACK else shown}:{port}/" + (f"?token={token}" if token else "")
        print(f"adamtune dashboard of {storages.redact(database.url)}")
        print(f"  {address}")
        print(f"  {'Studies can be changed from there' if writable else 'It only reads'}; Ctrl-C ends it.", flush=True)
        if open_browser and token is None:
            webbrowser.open(address)
        try:
            server.run()
        finally:
            server.close()
    finally:
        # A thread that is in the middle of an import can hold up the end of the process for good.
        warming.join(_LEAVING)
        database.close()


def make(
    storage: str | None, *, hosts: tuple[str, ...] = _LOOPBACK, token: str | None = None, writable: bool = False
) -> tuple[Application, Database]:
    """The WSGI application and its database, for a server of one's own.

    Parameters
    ----------
    hosts : tuple of str
        Names under which it may be asked; a request with another Host header is refused.

    Returns
    -------
    application, Database

    Raises
    ------
    SettingError
        When optuna-dashboard or bottle is not installed.
    """
    try:
        from adamtune.dashboard import guard, routes
        from adamtune.dashboard.database import Database
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("bottle", "optuna_dashboard"):
            raise
        raise SettingError(
            f"the dashboard needs {error.name}, which is not installed: run `pip install 'adamtune[dashboard]'`."
        ) from None
    database = Database(storage)
    folder = presenting.artifacts_folder(database.url)
    artifacts = FileSystemArtifactStore(folder) if folder and folder.is_dir() else None
    return guard.guarded(routes.application(database, artifacts), hosts, token, writable), database


def names_of(host: str) -> tuple[str, ...]:
    """The names under which a server at that address is asked."""
    if host in _LOOPBACK:
        return _LOOPBACK
    own = socket.gethostname()
    found = {*_LOOPBACK, host, own, socket.getfqdn()}
    with contextlib.suppress(ValueError, OSError):  # no address, or a machine that does not know its own name
        if ipaddress.ip_address(host).is_unspecified:
            found |= {str(info[4][0]) for info in socket.getaddrinfo(own, None)}
    return tuple(sorted(found))


def _warm(database: Database) -> None:
    """While the browser starts, read what it will ask for."""
    from adamtune.dashboard import routes

    with contextlib.suppress(Exception):  # whoever asks for it is told
        routes.warm(database)


def _listen(app: Any, host: str, port: int) -> Any:
    try:
        import waitress.server
    except ModuleNotFoundError:
        raise SettingError(
            "the dashboard needs waitress, which is not installed: run `pip install 'adamtune[dashboard]'`."
        ) from None
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        return waitress.server.create_server(app, host=host, port=port, threads=_THREADS, ident=None)
    except OSError as error:
        why = "it is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise SettingError(
            f"host={host!r}, port={port}: cannot listen there, {why}. Write another, such as --port {port + 1}."
        ) from None
