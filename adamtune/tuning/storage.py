"""Where studies live: SQL databases, named by URLs and opened here; `buffer` says how they are written.

storage = open_storage("runs.db")
study = optuna.create_study(storage=storage)  # ask, report and tell as ever
flush(storage)  # after every tick
close(storage)  # runs.db is complete without runs.db-wal
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage

from adamtune.errors import StorageError
from adamtune.tuning.buffer import BufferedRDBStorage, Cache

# What people write -> dialect, driver, extra. Optuna has upserts for "mysql", none for "mariadb".
_DIALECTS = {
    "sqlite": ("sqlite", "", ""),  # the driver is Python's own
    "postgres": ("postgresql", "psycopg", "postgres"),
    "postgresql": ("postgresql", "psycopg", "postgres"),
    "mysql": ("mysql", "pymysql", "mysql"),
    "mariadb": ("mysql", "pymysql", "mysql"),
}
_EXPECTED = (
    "Expected 'memory', a file like 'runs.db', or a URL like 'sqlite:///runs.db', "
    "'postgresql://USER:PASSWORD@HOST/DATABASE' or 'mysql://USER:PASSWORD@HOST/DATABASE'."
)

# What a driver says -> what to do about it. The first that fits is told.
_FIXES = {
    "not a database|malformed": "It is no SQLite database: name another file.",
    "No such file or directory": "Its folder does not exist: make the folder first.",
    "unable to open database|readonly database|Read-only file|Permission denied": (
        "The file or its folder cannot be written: check the path and its permissions."
    ),
    "database is locked": "Another program keeps the file locked: end it, then try again.",
    "storage upgrade": "An older Optuna wrote it: copy it, then run `optuna storage upgrade --storage URL`.",
    "no longer compatible": "A newer Optuna wrote it: run `pip install -U optuna`.",
    "authentication failed|Access denied|role .* does not exist|no password supplied": (
        "The server refuses this user or password: check both, and write special characters of a password as URLs do, "
        "'@' as %40, '/' as %2F, '%' as %25."
    ),
    "database .* does not exist|Unknown database": "The server has no such database: make it with CREATE DATABASE.",
    "permission denied for|command denied": "This user may not make tables there: GRANT it CREATE.",
    "disk is full|[Dd]isk full|No space left|table .* is full": (
        "The disk is full: make room, then go on with the study by its name and resume=True. What was written is kept."
    ),
    "too many clients|connection slots|Too many connections": (
        "The server takes no more connections, of which each worker has two: raise its max_connections, put a pooler "
        "like PgBouncer before it, or end some workers."
    ),
    "refused|resolve host|getaddrinfo|Can't connect|timed out|timeout expired": (
        "No server answers there: check host and port, and that it runs."
    ),
}
# Two workers open a new database at once: one of them meets the tables that the other is making.
_RACE = re.compile("already exists|Duplicate entry|UNIQUE constraint")

_SECRET = re.compile("pas|pw|psw|secret|token|key|credential", re.IGNORECASE)  # also pasword, sslkey, api_key
# A value ends where the next `&key=` begins: a password with a bare `&` is hidden whole.
_QUERY = re.compile("([?&][^=&?]*=)(.*?)(?=&[^&=]*=|$)", re.DOTALL)
# Up to the last `@`, because a host hidden too much is better than half a password; and with no `@` at all, what
# stands where a port should and is no number: somebody forgot the host.
_PASSWORD = re.compile(r"(://[^:/]*:(?=.*@)|://[^:/@[]*:(?!\d*(?:[/?]|$)))(?:.*(?=@)|[^/?]*)", re.DOTALL)


def resolve_url(storage: str | os.PathLike[str] | None = None) -> str:
    """The database URL that `storage` means, with the driver that is tested.

    Parameters
    ----------
    storage : str or path, optional
        None is `$ADAMTUNE_STORAGE`, else `sqlite:///adamtune.db` in this folder. "memory" writes nothing. A path that
        ends in .db, .sqlite or .sqlite3 is a SQLite file. Everything else is a SQLAlchemy URL.

    Returns
    -------
    str
        "memory", or a URL that holds its password: show it through `redact` only.

    Raises
    ------
    StorageError
        For what is no URL, an unknown kind of database, or a driver that is not installed.

    Examples
    --------
    >>> resolve_url("runs.db")
    'sqlite:///runs.db'
    >>> resolve_url("postgresql://ada@localhost/studies")
    'postgresql+psycopg://ada@localhost/studies'
    """
    name = "storage"
    if storage is None:
        name = "ADAMTUNE_STORAGE"
        storage = os.environ.get(name) or "sqlite:///adamtune.db"
    text = str(storage)
    given = f"{name}={redact(text)!r}"
    if text == "memory":
        return text
    if re.search("[\ud800-\udfff]", text):  # a name that is no UTF-8, as the system hands it over
        raise StorageError(f"{given} is no text in UTF-8: rename the file. {_EXPECTED}")
    if "://" not in text and Path(text).suffix in {".db", ".sqlite", ".sqlite3"}:
        try:
            file = Path(text).expanduser()
        except (RuntimeError, ValueError):
            raise StorageError(
                f"{given} begins with the home folder of a user that does not exist: write the whole path, and './~' "
                "where '~' is part of a name."
            ) from None
        return sqlalchemy.URL.create("sqlite", database=str(file)).render_as_string()
    url = None
    with contextlib.suppress(sqlalchemy.exc.ArgumentError, ValueError):  # the second for a port like 54x2
        url = sqlalchemy.make_url(text)
    if url is None:  # raised out here, so that it does not carry an error that quotes the password
        raise StorageError(f"{given} is not a database URL. {_EXPECTED}")
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DIALECTS:
        raise StorageError(f"{given} is an unknown kind of database, {backend!r}. {_EXPECTED}")
    if url.password == "***":
        raise StorageError(
            f"{given} has lost its password, which an estimator leaves out where it is pickled. Give the whole URL "
            "again with set_params(storage=...); or leave storage out and set $ADAMTUNE_STORAGE, which other processes "
            "read too."
        )
    dialect, usual, extra = _DIALECTS[backend]
    if dialect == "sqlite" and url.database in (None, "", ":memory:"):
        return "memory"
    if dialect != "sqlite" and "@" in f"{url.host}{url.database}":  # what follows the first one would be shown
        raise StorageError(f"{given} has an '@' too many: in a password, write it as %40.")
    if dialect == "mysql" and not url.database:
        raise StorageError(f"{given} names no database. {_EXPECTED}")
    driver = driver or usual
    url = url.set(drivername=f"{dialect}+{driver}" if driver else dialect)
    try:
        url.get_dialect().import_dbapi()
    # The last two where what is named is a part of SQLAlchemy and no driver, or is several.
    except (ImportError, sqlalchemy.exc.NoSuchModuleError, AttributeError, ValueError) as error:
        fix = f"run `pip install 'adamtune[{extra}]'`" if driver == usual else f"write {dialect}:// for the tested one"
        raise StorageError(f"{given} needs the driver {driver!r}, which is not installed: {fix}.") from error
    return url.render_as_string(hide_password=False)


def redact(url: object) -> str:
    """The URL as it may be shown: no password, no secret in its query. Never raises.

    >>> redact("postgresql://ada:s3cret@host/studies?sslpassword=x&sslmode=require")
    'postgresql://ada:***@host/studies?sslpassword=***&sslmode=require'
    """
    text, shown = str(url), ""
    while part := _QUERY.search(text):
        is_secret = bool(_SECRET.search(unquote(part[1])))
        shown += text[: part.end(1)]
        if is_secret:  # with an `@` where it held one: what stands before the last one is taken for a password
            shown += "***@***" if "@" in part[2] else "***"
        text = text[part.end(2 if is_secret else 1) :]
    return _PASSWORD.sub(r"\1***", shown + text)


class Discreet(str):
    """A URL that is itself to whoever connects by it, and `redact`ed where it is shown or pickled.

    Whatever shows an estimator, such as a Pipeline around it or a notebook, asks its parameters for their `repr`.

    >>> Discreet("postgresql://ada:s3cret@host/studies")
    'postgresql://ada:***@host/studies'
    """

    __slots__ = ()

    @classmethod
    def of(cls, given: Any) -> Any:
        """What was given, as it may be shown: only a text with something to hide becomes another object."""
        return cls(given) if type(given) is str and redact(given) != given else given

    def __repr__(self) -> str:
        return repr(redact(self))

    def __reduce__(self) -> tuple:
        return str, (redact(self),)

    def __copy__(self) -> Discreet:
        return self

    def __deepcopy__(self, memo: dict) -> Discreet:
        return self


def open_storage(url: str) -> BaseStorage:
    """The storage at a URL, with its tables made where they are missing.

    SQLite runs in WAL with `synchronous=NORMAL`, and with FULL where trials end, so that a power cut costs none of
    them. It waits up to 30 s for a lock (`?timeout=` in the URL says otherwise), and makes a new file readable by its
    owner only. With 8 processes on one study the longest wait was 0.14 s, and 2.2 s without WAL.

    Parameters
    ----------
    url : str
        Whatever `resolve_url` takes.

    Returns
    -------
    optuna.storages.BaseStorage
        Optuna's in-memory storage, or a `BufferedRDBStorage` in Optuna's cache. End with `close`.

    Raises
    ------
    StorageError
        When it cannot be opened: says what to do, and never a password.
    """
    url = resolve_url(url)
    if url == "memory":
        return InMemoryStorage()
    kwargs: dict[str, Any] = {} if "timeout=" in url.partition("?")[2] else {"connect_args": {"timeout": 30}}
    if not url.startswith("sqlite"):  # servers and firewalls hang up on connections that idle while a tick trains
        kwargs = {"pool_pre_ping": True, "pool_recycle": 1800}
    for _ in range(20):  # MySQL makes 14 tables one by one, and each can be another worker's
        try:
            _create_private_file(url)
            # Optuna runs str.format over the URL, and SQLAlchemy 2.0 leaves braces in a file's name.
            return Cache(BufferedRDBStorage(url.replace("{", "{{").replace("}", "}}"), kwargs))
        except Exception as error:
            problem, cause = _explain(url, error)
            if not _RACE.search(str(error)):
                break
        time.sleep(random.uniform(0.05, 0.2))
    raise problem from cause  # out here: inside `except`, Python would add the error that quotes the password


@contextlib.contextmanager
def existing(storage: str | None = None) -> Iterator[BaseStorage]:
    """The storage that `storage` means if it is there already, closed at the end: looking makes no new file.

    Raises
    ------
    StorageError
        When there is none, or it cannot be opened.
    """
    with opened(there(storage)) as database:
        yield database


def there(storage: str | None = None) -> str:
    """The URL that `storage` means, of a database that is there already.

    Raises
    ------
    StorageError
        When there is none.
    """
    url = resolve_url(storage)
    shown = f"storage={redact(url)!r}"
    if url == "memory":
        raise StorageError(f"{shown} keeps nothing after a program has ended: name a file or a server.")
    file = sqlite_file(url)
    if file and not file.exists():
        raise StorageError(
            f"{shown} does not exist. The first study makes it, try `adamtune demo`; or name another with --storage."
        )
    return url


@contextlib.contextmanager
def looked_at(storage: str | os.PathLike[str] | None = None) -> Iterator[sqlalchemy.Engine | None]:
    """The database that `storage` means, for reading what is there; None where nothing is.

    Optuna is not asked, so nothing is made, changed or checked in it.

    Raises
    ------
    StorageError
        When it is there and cannot be read.
    """
    url = resolve_url(storage)
    file = sqlite_file(url)
    if url == "memory" or (file and not file.exists()):
        yield None
        return
    engine = sqlalchemy.create_engine(url)
    with _explained(url, sqlalchemy.exc.SQLAlchemyError):
        try:
            yield engine
        finally:
            engine.dispose()


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for every other."""
    # Parsed, because a URL writes a `?` in a file's name as %3F.
    path = sqlalchemy.make_url(url).database if url.startswith("sqlite") else None
    return Path(path) if path and not path.startswith("file:") else None


def flush(storage: BaseStorage) -> None:
    """Write what a storage of `open_storage` keeps in memory; nothing for any other storage."""
    if backend := _buffered(storage):
        backend.flush()


def reserving(study: optuna.Study, count: int, limit: int | None = None) -> contextlib.AbstractContextManager[None]:
    """A block that asks `count` trials of a study: the new ones are made in one transaction.

    With a limit to how many it may have, finished and running, `leases.Enough` is raised instead of one beyond it.
    """
    backend = _buffered(study._storage) if count else None
    return backend.reserving(study._study_id, count, limit) if backend else contextlib.nullcontext()


def together(study: optuna.Study) -> contextlib.AbstractContextManager[None]:
    """A block that tells trials: they end in one transaction, with all that is not written yet."""
    backend = _buffered(study._storage)
    return backend.together() if backend else contextlib.nullcontext()


def worker(storage: BaseStorage) -> str:
    """The name under which a storage holds leases; empty for one that holds none."""
    backend = _buffered(storage)
    return backend.worker if backend else ""


def forget(storage: BaseStorage, study_id: int) -> None:
    """Read a study anew: the one that had this id is gone, and another process may have made another."""
    if isinstance(storage, Cache):
        storage.forget(study_id)


def close(storage: BaseStorage) -> None:
    """Flush and end the connections. A SQLite file is then complete without its `-wal`.

    A closed storage that is used again opens again by itself.
    """
    if backend := _buffered(storage):
        backend.close()


@contextlib.contextmanager
def opened(url: str) -> Iterator[BaseStorage]:
    """The storage at a URL for as long as the block lasts.

    Raises
    ------
    StorageError
        When it cannot be opened, or fails within the block beyond what passes by itself.
    """
    database = open_storage(url)
    with _explained(url, StorageInternalError, "has failed"):
        try:
            yield database
        finally:
            close(database)


def absolute(url: str) -> str:
    """The URL of the same database from any other folder.

    >>> absolute("postgresql://ada@localhost/studies")
    'postgresql://ada@localhost/studies'
    """
    file = sqlite_file(url)
    if file is None:
        return url
    return sqlalchemy.make_url(url).set(database=str(file.absolute())).render_as_string(hide_password=False)


def _buffered(storage: BaseStorage) -> BufferedRDBStorage | None:
    backend = getattr(storage, "_backend", storage)
    return backend if isinstance(backend, BufferedRDBStorage) else None


def _create_private_file(url: str) -> None:
    """Make a new SQLite file before SQLite does, with mode 0600; its -wal and -shm get the same."""
    if path := sqlite_file(url):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@contextlib.contextmanager
def _explained(url: str, kind: type[Exception], what: str = "cannot be opened") -> Iterator[None]:
    """A block in which errors of that kind are told as `_explain` tells them."""
    try:
        yield
    except kind as error:
        problem, cause = _explain(url, error, what)
    else:
        return
    raise problem from cause  # out here: inside `except`, Python would add the error that quotes the password


def _explain(url: str, error: Exception, what: str = "cannot be opened") -> tuple[StorageError, Exception | None]:
    """What to tell about a storage that fails, and the cause unless it quotes a password."""
    told = ""
    link: BaseException | None = error
    while link is not None:
        told += f"{link}\n"
        link = link.__cause__ or link.__context__
    parsed = sqlalchemy.make_url(url)
    secrets = [url, parsed.password or url]
    for key, values in parsed.normalized_query.items():
        secrets += values if _SECRET.search(key) else ()
    leaks = any(secret in told for secret in secrets)
    says = "" if leaks else f"The driver says: {getattr(error, 'orig', error)}"
    fix = next((fix for words, fix in _FIXES.items() if re.search(words, told)), says).strip()
    return StorageError(f"storage={redact(url)!r} {what}. {fix}"), None if leaks else error
