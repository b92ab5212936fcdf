"""SQL over many trials at once, the same on SQLite, PostgreSQL, MySQL and MariaDB.

Optuna's tables and Optuna's rows: whatever reads a study cannot tell that its trials were written together.
"""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import sqlalchemy
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


def transact(engine: sqlalchemy.Engine, work: Callable[[sqlalchemy.Connection], _Result]) -> _Result:
    """What `work(connection)` returns, in one transaction, where rows that are read with a lock stay as they are.

    Servers end a deadlock of several workers by refusing one of them, who has to begin again.
    """
    for wait in (0.02, 0.05, 0.1, 0.2, 0.5, None):
        try:
            with engine.begin() as connection:
                # SQLite has no locks on rows, and by itself takes its lock only at the first write.
                if engine.name == "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                return work(connection)
        except sqlalchemy.exc.OperationalError as error:
            if wait is None or not _is_deadlock(error):
                raise
            time.sleep(random.uniform(wait / 2, wait))
    raise AssertionError  # the last wait is None


def _is_deadlock(error: sqlalchemy.exc.OperationalError) -> bool:
    # MySQL's number, PostgreSQL's state.
    codes = (*getattr(error.orig, "args", ())[:1], getattr(error.orig, "sqlstate", None))
    return 1213 in codes or "40P01" in codes


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


def create(engine: sqlalchemy.Engine, study_id: int, count: int) -> list[FrozenTrial]:
    """New running trials with the next numbers of the study; none where there is no such study."""
    started = now(engine)

    def insert(connection: sqlalchemy.Connection) -> Sequence[Any]:
        # As Optuna does it: whoever holds the row of the study gives the next numbers.
        study = sqlalchemy.select(_studies.c.study_id).where(_studies.c.study_id == study_id).with_for_update()
        if connection.scalar(study) is None:
            return []
        of_study = _trials.c.study_id == study_id
        first = connection.execute(sqlalchemy.select(sqlalchemy.func.count()).where(of_study)).scalar_one()
        row = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": started}
        connection.execute(_trials.insert(), [row | {"number": first + index} for index in range(count)])
        made = sqlalchemy.select(_trials.c.trial_id, _trials.c.number).where(of_study, _trials.c.number >= first)
        return connection.execute(made.order_by(_trials.c.number)).all()

    return [
        FrozenTrial(
            number=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=local(started),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=trial_id,
        )
        for trial_id, number in transact(engine, insert)
    ]


def enqueue(engine: sqlalchemy.Engine, trial_ids: Collection[int]) -> None:
    """Let running trials wait for whoever asks next."""
    if not trial_ids:
        return
    these = sqlalchemy.update(_trials).where(_trials.c.trial_id.in_(trial_ids), _trials.c.state == TrialState.RUNNING)
    transact(engine, lambda connection: connection.execute(these.values(state=TrialState.WAITING, datetime_start=None)))
