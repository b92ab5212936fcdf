"""Where studies live: SQL databases, written in bulk.

With lanes training is fast, and then a study waits for SQL, because Optuna commits every reported value on its own.
`BufferedRDBStorage` keeps parameters, reports and user attributes in memory and writes them in one transaction before
anybody could miss them: before a trial changes its state, before a read, on `flush`, on `close` and at exit. That is
what Optuna's caching storage promises, and a killed process loses only the latest reports of trials that were not
finished.

A tick of 64 lanes, measured on two cores, one by one and in bulk: SQLite in WAL 41 and 1.0 ms, PostgreSQL 15 113 and
3.5 ms, MariaDB 10.11 129 and 2.5 ms.

    storage = open_storage("runs.db")
    study = optuna.create_study(storage=storage)  # ask, report and tell as ever
    flush(storage)  # after every tick
    close(storage)  # runs.db is complete without runs.db-wal
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sqlalchemy
from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage, _CachedStorage
from optuna.storages._rdb import models  # private: the tables, the same since Optuna 3.2
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import mysql, postgresql, sqlite

from adamtune.errors import StorageError

_logger = logging.getLogger(__name__)

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
_PASSWORD = re.compile(r"(://[^:/@[]*:)(?:.*(?=@)|(?!\d*(?:[/?]|$))[^/?]*)", re.DOTALL)

_Trial, _Value, _Attr = models.TrialModel, models.TrialIntermediateValueModel, models.TrialUserAttributeModel
_Param = models.TrialParamModel
# Buffered table -> the column that is unique in it within a trial.
_KEYS = {_Param: "param_name", _Value: "step", _Attr: "key"}


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
    if "://" not in text and Path(text).suffix in {".db", ".sqlite", ".sqlite3"}:
        return sqlalchemy.URL.create("sqlite", database=str(Path(text).expanduser())).render_as_string()
    url = None
    with contextlib.suppress(sqlalchemy.exc.ArgumentError, ValueError):  # the second for a port like 54x2
        url = sqlalchemy.make_url(text)
    if url is None:  # raised out here, so that it does not carry an error that quotes the password
        raise StorageError(f"{given} is not a database URL. {_EXPECTED}")
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DIALECTS:
        raise StorageError(f"{given} is an unknown kind of database, {backend!r}. {_EXPECTED}")
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
    except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
        fix = f"run `pip install 'adamtune[{extra}]'`" if driver == usual else f"write {dialect}:// for the tested one"
        raise StorageError(f"{given} needs the driver {driver!r}, which is not installed: {fix}.") from error
    return url.render_as_string(hide_password=False)


def redact(url: object) -> str:
    """The URL as it may be shown: no password, no secret in its query. Never raises.

    >>> redact("postgresql://ada:s3cret@host/studies?sslpassword=x&sslmode=require")
    'postgresql://ada:***@host/studies?sslpassword=***&sslmode=require'
    """
    text = _PASSWORD.sub(r"\1***", str(url))
    return _QUERY.sub(lambda part: part[1] + ("***" if _SECRET.search(unquote(part[1])) else part[2]), text)


def open_storage(url: str) -> BaseStorage:
    """The storage at a URL, with its tables made where they are missing.

    SQLite runs in WAL with `synchronous=NORMAL`, waits up to 30 s for a lock, and makes a new file readable by its
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
    kwargs: dict[str, Any] = {"connect_args": {"timeout": 30}}
    if not url.startswith("sqlite"):  # servers and firewalls hang up on connections that idle while a tick trains
        kwargs = {"pool_pre_ping": True, "pool_recycle": 1800}
    for _ in range(20):  # MySQL makes 14 tables one by one, and each can be another worker's
        try:
            _create_private_file(url)
            # Optuna runs str.format over the URL, and SQLAlchemy 2.0 leaves braces in a file's name.
            return _Cache(BufferedRDBStorage(url.replace("{", "{{").replace("}", "}}"), kwargs))
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
    url = resolve_url(storage)
    shown = f"storage={redact(url)!r}"
    if url == "memory":
        raise StorageError(f"{shown} keeps nothing after a program has ended: name a file or a server.")
    file = sqlite_file(url)
    if file and not file.exists():
        raise StorageError(
            f"{shown} does not exist. The first study makes it, try `adamtune demo`; or name another with --storage."
        )
    opened = open_storage(url)
    try:
        yield opened
    finally:
        close(opened)


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for every other."""
    # Parsed, because a URL writes a `?` in a file's name as %3F.
    path = sqlalchemy.make_url(url).database if url.startswith("sqlite") else None
    return Path(path) if path and not path.startswith("file:") else None


def flush(storage: BaseStorage) -> None:
    """Write what a storage of `open_storage` keeps in memory; nothing for any other storage."""
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, BufferedRDBStorage):
        backend.flush()


def close(storage: BaseStorage) -> None:
    """Flush and end the connections. A SQLite file is then complete without its `-wal`.

    A closed storage that is used again opens again by itself.
    """
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, BufferedRDBStorage):
        backend.flush()
        backend.remove_session()
        if backend.engine.name == "sqlite":
            with backend.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        backend.engine.dispose()


class BufferedRDBStorage(RDBStorage):
    """Optuna's `RDBStorage` with parameters, reports and user attributes written in bulk.

    It keeps Optuna's contract, for threads and pickles too. One thing is late: when *another* process ends a trial of
    ours, our reports since the last flush are dropped with a warning, and the next one raises
    `optuna.exceptions.UpdateFinishedTrialError`.

    Parameters
    ----------
    url, engine_kwargs, **kwargs
        As for `optuna.storages.RDBStorage`; the database is SQLite, PostgreSQL, MySQL or MariaDB.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(url, engine_kwargs, **kwargs)
        self._begin()

    def __getstate__(self) -> dict[Any, Any]:
        self.flush()
        state = super().__getstate__()
        del state["_buffer"]
        return state

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._begin()

    def _begin(self) -> None:
        if self.engine.name == "sqlite":
            sqlalchemy.event.listen(self.engine, "connect", _use_wal)
            self.engine.dispose()  # the connection that looked at the tables is older than the listener
            with self.engine.connect() as connection:  # a file that cannot be written fails here, not in a trial
                connection.exec_driver_sql("UPDATE version_info SET schema_version = schema_version")  # never committed
        self._buffer = _Buffer(self.engine)
        weakref.finalize(self, self._buffer.write)  # at exit, or when dropped without `close`

    def flush(self) -> None:
        """Write what is in memory, in one transaction.

        Raises
        ------
        optuna.exceptions.StorageInternalError
            When the database refuses. Nothing is lost, the next flush tries again.
        """
        self._buffer.write()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Keep a report until the next flush."""
        stored, kind = _Value.intermediate_value_to_stored_repr(float(intermediate_value))
        row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        with self._buffer.lock:
            self._check_unfinished(trial_id)
            self._buffer.rows[_Value][trial_id, step] = row

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep an attribute until the next flush."""
        with self._buffer.lock:
            self._check_unfinished(trial_id)
            text = json.dumps(value)
            if _fits(key, text):
                self._buffer.rows[_Attr][trial_id, key] = {"trial_id": trial_id, "key": key, "value_json": text}
            else:  # the error belongs to this call, not to a flush
                self.flush()
                super().set_trial_user_attr(trial_id, key, value)

    def _check_unfinished(self, trial_id: int) -> None:
        # SQL once a trial, and never for a trial that this storage has made itself.
        if trial_id not in self._buffer.unfinished:
            self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
            self._buffer.unfinished.add(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change the state, after everything reported before is written."""
        with self._buffer.lock:
            self.flush()
            self._buffer.unfinished.discard(trial_id)
            return super().set_trial_state_values(trial_id, state, values)

    def delete_study(self, study_id: int) -> None:
        """Delete a study and forget its trials: SQLite gives their ids to new ones."""
        with self._buffer.lock:
            self.flush()
            self._buffer.unfinished.clear()
            super().delete_study(study_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial with everything reported so far."""
        self.flush()
        return super().get_trial(trial_id)

    def get_trial_user_attrs(self, trial_id: int) -> dict[str, Any]:
        """The user attributes with everything set so far."""
        self.flush()
        return super().get_trial_user_attrs(trial_id)

    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        """The parameter as it is stored, with everything set so far."""
        self.flush()
        return super().get_trial_param(trial_id, param_name)

    # Private in Optuna: through these three its cache writes parameters, reads trials and makes them.

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        given = (trial_id, param_name, param_value_internal, distribution, previous_distribution)
        text = distribution_to_json(distribution)
        with self._buffer.lock:
            # The first of its name in the study is compared with what is stored, and that takes SQL.
            if previous_distribution is None or not _fits(param_name, text):
                self.flush()
                super()._set_trial_param(*given)
                return
            self._check_unfinished(trial_id)
            check_distribution_compatibility(previous_distribution, distribution)
            row = {"trial_id": trial_id, "param_name": param_name, "param_value": param_value_internal}
            self._buffer.rows[_Param][trial_id, param_name] = row | {"distribution_json": text}

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        self.flush()
        return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        trial = super()._create_new_trial(study_id, template_trial)
        if not trial.state.is_finished():
            with self._buffer.lock:
                self._buffer.unfinished.add(trial._trial_id)
        return trial


class _Cache(_CachedStorage):
    """Optuna's cache, less one read of the whole study an ask: the one that only looks for a trial that waits."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states == (TrialState.WAITING,):
            waits = sqlalchemy.select(_Trial.trial_id).filter_by(study_id=study_id, state=TrialState.WAITING).limit(1)
            with self._backend.engine.connect() as connection:
                if connection.scalar(waits) is None:
                    return []
        return super().get_all_trials(study_id, deepcopy, states)


class _Buffer:
    """The rows that are not in SQL yet, and how they get there."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine = engine
        self.lock = threading.RLock()
        self.rows: dict[Any, dict[tuple[int, Any], dict[str, Any]]] = {table: {} for table in _KEYS}
        self.unfinished: set[int] = set()  # trials that may be written to, as far as we know

    def write(self) -> None:
        with self.lock:
            trials = {trial for rows in self.rows.values() for trial, _ in rows}
            if not trials:
                return
            try:
                with self.engine.begin() as connection:
                    unfinished = set(connection.scalars(_select_unfinished(trials)))
                    for table, rows in self.rows.items():
                        # In the order of trials: workers then wait for one another, and never in a circle. Within a
                        # trial as they came: parameters are read back in the order of their rows.
                        ordered = sorted(rows.items(), key=lambda item: item[0][0])
                        if batch := [row for (trial, _), row in ordered if trial in unfinished]:
                            connection.execute(_upsert(self.engine.name, table, batch[0]), batch)
            except sqlalchemy.exc.SQLAlchemyError as error:
                message = "Reports could not be written; they are kept, and the next flush tries again."
                raise StorageInternalError(message) from error
            for rows in self.rows.values():
                rows.clear()
            if ended := trials - unfinished:
                self.unfinished -= ended
                _logger.warning("trials %s were ended elsewhere: their last reports are dropped", sorted(ended))


def _select_unfinished(trials: set[int]) -> Any:
    """Which of these trials may be written to; locked, so that none ends before its rows are in."""
    states = [state for state in TrialState if not state.is_finished()]
    query = sqlalchemy.select(_Trial.trial_id).where(_Trial.trial_id.in_(trials), _Trial.state.in_(states))
    return query.with_for_update(read=True)


def _fits(key: str, text: str) -> bool:
    """Whether a row fits into the columns of every database: Optuna's keys and MySQL's TEXT."""
    return len(text) < 2**16 and len(key) <= 512 and key.isascii()


def _upsert(dialect: str, table: Any, row: dict[str, Any]) -> Any:
    """An INSERT of rows like this one that overwrites what is there, as each database says it."""
    key = ["trial_id", _KEYS[table]]
    columns = [column for column in row if column not in key]
    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(table)
        return insert.on_duplicate_key_update({column: insert.inserted[column] for column in columns})
    insert = {"sqlite": sqlite, "postgresql": postgresql}[dialect].insert(table)
    return insert.on_conflict_do_update(index_elements=key, set_={c: insert.excluded[c] for c in columns})


def _use_wal(connection: Any, _: Any) -> None:
    # Some file systems cannot, and without WAL a power cut under NORMAL may cost the file.
    if connection.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous=NORMAL")


def _create_private_file(url: str) -> None:
    """Make a new SQLite file before SQLite does, with mode 0600; its -wal and -shm get the same."""
    if path := sqlite_file(url):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _explain(url: str, error: Exception) -> tuple[StorageError, Exception | None]:
    """What to tell about a storage that does not open, and the cause unless it quotes a password."""
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
    return StorageError(f"storage={redact(url)!r} cannot be opened. {fix}"), None if leaks else error
