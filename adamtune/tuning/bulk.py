"""SQL over many trials at once, the same on SQLite, PostgreSQL, MySQL and MariaDB.

Optuna's tables and Optuna's rows: whatever reads a study cannot tell that its trials were written together.
"""

from __future__ import annotations

import datetime
import functools
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models  # private: the tables, the same since Optuna 3.2
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import mysql, postgresql, sqlite

Param, Value, Attr = models.TrialParamModel, models.TrialIntermediateValueModel, models.TrialUserAttributeModel
System, Objective = models.TrialSystemAttributeModel, models.TrialValueModel
# Table -> the column that is unique in it within a trial.
KEYS = {Param: "param_name", Value: "step", Attr: "key", System: "key", Objective: "objective"}
_Result = TypeVar("_Result")
_trials, _studies = models.TrialModel.__table__, models.StudyModel.__table__
# Built once: with its list of trials it would be built anew every tick, which takes as long as its answer. In the order
# of trials: workers then wait for one another, and never in a circle.
_unfinished = (
    sqlalchemy.select(_trials.c.trial_id)
    .where(
        _trials.c.trial_id.in_(sqlalchemy.bindparam("trials", expanding=True)),
        _trials.c.state.in_([state for state in TrialState if not state.is_finished()]),
    )
    .order_by(_trials.c.trial_id)
)


# Seconds between tries of a transaction: about half a minute in all, which a server takes to start again; and after
# which there is no other try, because some waited long by themselves.
_WAITS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_LONGEST = 40.0
# What passes by itself. MySQL's numbers: a row that has changed since it was read, a lock not granted in time, a
# deadlock; a server that takes no more connections, stops, or is not there (two); a connection that is gone (three).
# PostgreSQL's states: a deadlock, a serialization failure, a lock not granted, a server that stops or starts; those
# that begin with 08 are of connections.
_PASSING = {
    *(1020, 1205, 1213, 1040, 1053, 2002, 2003, 2006, 2013, 4031),
    *("40P01", "40001", "55P03", "57P01", "57P02", "57P03"),
}
# SQLite has no numbers that tell locks apart, and psycopg none for a server that cannot be reached.
_PASSING_WORDS = re.compile(
    "database is locked|Connection refused|Connection reset|server closed the connection|timeout expired"
    "|No route to host|Network is unreachable|could not translate host name|failed to resolve host"
    "|too many clients|connection slots"
    "|database system is (starting up|shutting down|in recovery mode|not yet accepting connections)"
)


def transact(
    engine: sqlalchemy.Engine, work: Callable[[sqlalchemy.Connection], _Result], *, lasting: bool = False
) -> _Result:
    """What `work(connection)` returns, in one transaction, where rows that are read with a lock stay as they are.

    What passes by itself is tried again, see `patiently`.

    Parameters
    ----------
    lasting : bool
        Whether it, and all that was written before, has to outlast a power cut too. Servers see to that by themselves.
        SQLite waits for the disk then: 2.7 ms a transaction instead of 0.1, measured on a virtual disk.
    """

    def once() -> _Result:
        with engine.begin() as connection:
            # SQLite has no locks on rows, and by itself takes its lock only at the first write.
            if engine.name == "sqlite":
                if connection.info.get("wal") and lasting:
                    connection.exec_driver_sql("PRAGMA synchronous=FULL")
                elif connection.info.get("wal"):
                    connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            return work(connection)

    return patiently(once)


def patiently(work: Callable[[], _Result]) -> _Result:
    """What `work()` returns, tried again after what passes by itself: a deadlock, a lock, a lost connection.

    So the work has to be one that may be done twice, because a connection can be lost after everything is written.
    """
    began = time.monotonic()
    for wait in (*_WAITS, None):
        try:
            return work()
        except (sqlalchemy.exc.DBAPIError, StorageInternalError) as error:
            if wait is None or not _passes(error) or time.monotonic() - began + wait > _LONGEST:
                raise
            time.sleep(random.uniform(wait / 2, wait))
    raise AssertionError  # the last wait is None


def _passes(told: Exception) -> bool:
    error = told.__cause__ if isinstance(told, StorageInternalError) else told  # Optuna wraps what a driver says
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return False
    codes = (*getattr(error.orig, "args", ())[:1], getattr(error.orig, "sqlstate", None) or "")
    return (
        error.connection_invalidated
        or any(isinstance(code, (int, str)) and (code in _PASSING or str(code).startswith("08")) for code in codes)
        or bool(_PASSING_WORDS.search(str(error.orig)))
    )


def now(engine: sqlalchemy.Engine) -> datetime.datetime:
    """The moment in UTC, as the columns of Optuna keep it: in whole seconds on MySQL, which rounds others up."""
    moment = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    return moment if engine.name in ("sqlite", "postgresql") else moment.replace(microsecond=0)


def number(value: float) -> float:
    """The number as it is read back: Python's own, and without the sign of zero, which SQLite and MariaDB drop."""
    return float(value) + 0.0


def local(moment: datetime.datetime) -> datetime.datetime:
    """A stored moment as Optuna's trials show it."""
    return moment.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)


def lock_unfinished(connection: sqlalchemy.Connection, trial_ids: Collection[int], change: bool) -> set[int]:
    """Those of the trials that may be written to; none of them ends, by others, before the transaction does.

    Parameters
    ----------
    change : bool
        Whether the trials themselves are going to change, and not only what belongs to them.
    """
    locked = _unfinished.with_for_update(read=not change)
    return set(connection.scalars(locked, {"trials": list(trial_ids)}))


def upsert(dialect: str, table: sqlalchemy.Table, key: Sequence[str]) -> Any:
    """An INSERT of rows that overwrites what is there under that key, as each database says it."""
    columns = [column.name for column in table.columns if column.name not in key and not column.primary_key]
    if dialect == "mysql":  # MariaDB too, see `storage`
        insert = mysql.insert(table)
        return insert.on_duplicate_key_update({column: insert.inserted[column] for column in columns})
    insert = {"sqlite": sqlite, "postgresql": postgresql}[dialect].insert(table)
    return insert.on_conflict_do_update(index_elements=list(key), set_={c: insert.excluded[c] for c in columns})


def end(
    connection: sqlalchemy.Connection, trial_ids: Collection[int], state: TrialState, moment: datetime.datetime
) -> None:
    """Give all these trials one final state and the moment they came to it."""
    these = sqlalchemy.update(_trials).where(_trials.c.trial_id.in_(trial_ids))
    connection.execute(these.values(state=state, datetime_complete=moment))


def ended_as(connection: sqlalchemy.Connection, ends: Mapping[int, tuple[TrialState, datetime.datetime]]) -> set[int]:
    """Those of the trials that have come to that state at that moment."""
    columns = sqlalchemy.select(_trials.c.trial_id, _trials.c.state, _trials.c.datetime_complete)
    rows = connection.execute(columns.where(_trials.c.trial_id.in_(list(ends)))).all()
    return {trial_id for trial_id, state, moment in rows if (state, moment) == ends[trial_id]}


# Notes of a study that are written when it ends, see `records`.
_CONCLUSIONS = tuple(f"adamtune:{name}" for name in ("winner", "comparison", "seconds", "warnings"))
# Trials that are named in a query one by one; SQLite takes 32,766 values, and for more all are read and sifted.
_MOST_NAMED = 1000
_distribution: Callable[[str], BaseDistribution] = functools.lru_cache(1024)(json_to_distribution)


def read(
    connection: sqlalchemy.Connection,
    study_id: int,
    states: Collection[TrialState] | None,
    ids: Collection[int],
    after: int,
) -> list[FrozenTrial]:
    """Trials of a study by id, as Optuna reads them, without an object for each row.

    Of 4,000 trials that takes a fifth of the time.

    Parameters
    ----------
    states : collection of TrialState or None
        None: whatever their state.
    ids : collection of int
        Read these, and those with a higher id than `after`.

    Raises
    ------
    KeyError
        When there is no such study.
    """
    wanted = _trials.c.study_id == study_id
    if states is not None:
        wanted &= _trials.c.state.in_(states)
    named = {trial_id for trial_id in ids if trial_id <= after}
    if after >= 0 and len(named) <= _MOST_NAMED:
        wanted &= (_trials.c.trial_id > after) | _trials.c.trial_id.in_(named)
    if connection.scalar(sqlalchemy.select(_studies.c.study_id).where(_studies.c.study_id == study_id)) is None:
        raise KeyError(models.NOT_FOUND_MSG)
    found = read_where(connection, wanted)
    return [trial for trial in found if trial._trial_id > after or trial._trial_id in named]


def read_where(connection: sqlalchemy.Connection, wanted: sqlalchemy.ColumnElement[bool]) -> list[FrozenTrial]:
    """The trials for which that holds, by id."""
    # First the trials, then what belongs to them: of one that has ended by then, everything is there.
    rows = connection.execute(sqlalchemy.select(_trials).where(wanted).order_by(_trials.c.trial_id)).all()
    parts = {table: _parts(connection, table, wanted) for table in KEYS}
    return [_frozen(row, parts) for row in rows]


def attrs(connection: sqlalchemy.Connection, study_id: int, key: str) -> dict[int, Any]:
    """A system attribute of the trials of a study, by number; those that have none are left out."""
    table = System.__table__
    query = sqlalchemy.select(_trials.c.number, table.c.value_json).join(
        _trials, _trials.c.trial_id == table.c.trial_id
    )
    rows = connection.execute(query.where(_trials.c.study_id == study_id, table.c.key == key))
    return {number: json.loads(text) for number, text in rows}


def set_attrs(connection: sqlalchemy.Connection, model: Any, rows: Sequence[tuple[int, str, Any]]) -> None:
    """Write attributes of trials: (trial_id, key, value) each, into the table of users or of the system."""
    if rows:
        written = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for trial_id, key, value in rows]
        connection.execute(upsert(connection.engine.name, model.__table__, ["trial_id", "key"]), written)


def study_names(engine: sqlalchemy.Engine) -> dict[int, str]:
    """The names of the studies by id, oldest first."""
    query = sqlalchemy.select(_studies.c.study_id, _studies.c.study_name).order_by(_studies.c.study_id)
    with engine.connect() as connection:
        return {row.study_id: row.study_name for row in connection.execute(query)}


def marks(engine: sqlalchemy.Engine, study_id: int | None = None) -> list[tuple[Any, ...]]:
    """How many trials of each state there are, and what each study ended with: other rows when something has happened.

    Three queries that no number of reports makes slow, for who asks every few seconds.
    """
    attributes = models.StudyUserAttributeModel.__table__
    count = sqlalchemy.select(_trials.c.study_id, _trials.c.state, sqlalchemy.func.count()).group_by(
        _trials.c.study_id, _trials.c.state
    )
    notes = sqlalchemy.select(attributes.c.study_id, attributes.c.key, attributes.c.value_json).where(
        attributes.c.key.in_(_CONCLUSIONS)
    )
    names = sqlalchemy.select(_studies.c.study_id, _studies.c.study_name)
    found: list[tuple[Any, ...]] = []
    with engine.connect() as connection:
        for query, table in ((count, _trials), (notes, attributes), (names, _studies)):
            own = query if study_id is None else query.where(table.c.study_id == study_id)
            found += sorted(map(tuple, connection.execute(own)), key=repr)
    return found


def _parts(connection: sqlalchemy.Connection, model: Any, wanted: Any) -> dict[int, list[Any]]:
    """The rows of a table by trial, without their own ids and in the order in which they were written."""
    table = model.__table__
    own, *_ = table.primary_key
    columns = [column for column in table.columns if column.name not in (own.name, "trial_id")]
    query = sqlalchemy.select(table.c.trial_id, *columns).join(_trials, _trials.c.trial_id == table.c.trial_id)
    found = defaultdict(list)
    for trial_id, *row in connection.execute(query.where(wanted).order_by(own)).all():
        found[trial_id].append(row)
    return found


def _frozen(trial: Any, parts: dict[Any, dict[int, list[Any]]]) -> FrozenTrial:
    own = {table: rows.get(trial.trial_id, ()) for table, rows in parts.items()}
    distributions = {name: _distribution(text) for name, _, text in own[Param]}
    values = {at: Objective.stored_repr_to_value(value, kind) for at, value, kind in own[Objective]}
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=[values[at] for at in sorted(values)] or None,
        datetime_start=trial.datetime_start and local(trial.datetime_start),
        datetime_complete=trial.datetime_complete and local(trial.datetime_complete),
        params={name: distributions[name].to_external_repr(value) for name, value, _ in own[Param]},
        distributions=distributions,
        user_attrs={key: json.loads(text) for key, text in own[Attr]},
        system_attrs={key: json.loads(text) for key, text in own[System]},
        intermediate_values={
            step: Value.stored_repr_to_intermediate_value(value, kind) for step, value, kind in own[Value]
        },
        trial_id=trial.trial_id,
    )
