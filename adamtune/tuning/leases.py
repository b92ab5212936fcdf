"""Leases: which process trains a trial, so that those of a process that died are found and tried again.

Optuna's heartbeats do nothing where trials are asked and told one by one, so each trial that this package begins has a
row in one table of our own, which Optuna never looks at. It comes to be in the transaction that begins the trial, and
its process renews it for as long as it lives. All moments are the database's, so clocks of other machines do not
matter.

    name = worker()
    claim(engine, study_id, 8, name)  # eight new running trials, leased
    keeper = Keeper(engine, name)  # says every ten seconds that the worker lives
    stale(connection, running)  # whoever comes by sees whose worker is dead; `recovery` says what becomes of them
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.storages._rdb import models  # private, as in `bulk`
from optuna.trial import FrozenTrial, TrialState

from adamtune.tuning import bulk, records

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# Seconds between renewals, and without one after which a trial counts as lost. A process that the system holds up for
# less keeps its trials. On its own machine a dead process is known at once.
BEAT, GRACE = 10.0, 60.0

_trials, _studies = models.TrialModel.__table__, models.StudyModel.__table__
_TABLE = sqlalchemy.Table(
    "adamtune_leases",
    sqlalchemy.MetaData(),
    sqlalchemy.Column("trial_id", sqlalchemy.Integer, primary_key=True, autoincrement=False),
    sqlalchemy.Column("worker", sqlalchemy.String(255), nullable=False, index=True),
    sqlalchemy.Column("renewed", sqlalchemy.DateTime, nullable=False),
)
_NOW: dict[str, Any] = {
    "sqlite": sqlalchemy.func.current_timestamp(),
    "postgresql": sqlalchemy.func.timezone("utc", sqlalchemy.func.clock_timestamp(), type_=sqlalchemy.DateTime),
    "mysql": sqlalchemy.func.utc_timestamp(type_=sqlalchemy.DateTime),
}


# Databases that are known to have the table.
_ready: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()


class Enough(Exception):
    """A study has as many trials, finished and running, as it may have."""


# ---------------------------------------------------------------------------------------------- who holds a lease


def worker() -> str:
    """A name for this process, and for one storage in it: the machine, the process, when it was born, and a number.

    >>> worker() == worker()
    False
    """
    return "/".join([_machine(), str(os.getpid()), _born(os.getpid()) or "", secrets.token_hex(4)])


def is_gone(name: str) -> bool:
    """Whether that worker was a process of this machine that is not there any more; False where nobody can know."""
    machine, process, born, *_ = [*name.split("/"), "", "", ""]
    if machine != _machine() or not process.isdecimal() or not born:
        return False
    if (now := _born(int(process))) is not None:
        return now != born
    try:  # /proc may show nothing of other users' processes
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is there and somebody else's, or no number of a process
        pass
    return False


@functools.cache
def _machine() -> str:
    """The machine since it was started, and what of its processes can be seen from here."""
    boot, seen = "", ""
    with contextlib.suppress(OSError):  # Linux only: elsewhere the dead are known by their silence
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        seen = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()[:120]}:{boot}:{seen}".replace("/", "|")


def _born(process: int) -> str | None:
    """When a process of this machine began, in ticks of the system; empty where it has ended, None if none is seen."""
    try:
        # After the name, which may hold anything, stand the state and 19 numbers later the moment.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]


class Keeper:
    """A thread that renews the leases of a worker until it is stopped."""

    def __init__(self, engine: sqlalchemy.Engine, name: str) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=_keep, args=(engine, name, self._stopped), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)


def _keep(engine: sqlalchemy.Engine, name: str, stopped: threading.Event) -> None:
    own = _TABLE.update().where(_TABLE.c.worker == name).values(renewed=_NOW[engine.name])
    while not stopped.wait(BEAT):
        try:
            with engine.begin() as connection:
                connection.execute(own)
        except sqlalchemy.exc.SQLAlchemyError:  # the next beat tries again, and there are some before the grace ends
            _logger.debug("a lease could not be renewed", exc_info=True)


def drop(engine: sqlalchemy.Engine, name: str) -> None:
    """A worker trains no more: what it has not ended is lost from now on."""
    own, open_ = _TABLE.c.worker == name, (TrialState.RUNNING, TrialState.WAITING)

    def work(connection: sqlalchemy.Connection) -> None:
        held = list(connection.scalars(sqlalchemy.select(_TABLE.c.trial_id).where(own)))
        these = sqlalchemy.select(_trials.c.trial_id).where(_trials.c.trial_id.in_(held), _trials.c.state.in_(open_))
        end(connection, set(held) - set(connection.scalars(these)))
        connection.execute(_TABLE.update().where(own).values(renewed=datetime.datetime(1970, 1, 1)))

    bulk.transact(engine, work)


# ---------------------------------------------------------------------------------------------- beginning trials


def claim(
    engine: sqlalchemy.Engine, study_id: int, count: int, name: str, limit: int | None = None
) -> list[FrozenTrial]:
    """New running trials with the next numbers of the study, leased to a worker.

    Parameters
    ----------
    limit : int, optional
        Trials that the study may have, finished and running: no more are made, whoever asks at the same moment.

    Raises
    ------
    KeyError
        When there is no such study.
    Enough
        When it has so many already.
    """
    started = bulk.now(engine)
    tried: list[int] = []  # the number from which the first try began

    def insert(connection: sqlalchemy.Connection) -> Sequence[Any]:
        lock_study(connection, study_id)
        if tried and (made := _claimed(connection, study_id, tried[0], name)):
            return made  # the connection was lost after everything was written
        tried.append(_n_trials(connection, study_id))
        # What waits comes first: it may be lined up since this process has looked.
        room = count if limit is None else min(count, limit - _n_taken(connection, study_id, TrialState.WAITING))
        if room <= 0:
            raise Enough
        row = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": started}
        made = new_rows(connection, study_id, [row] * room)
        _lease(connection, [trial_id for trial_id, _ in made], name)
        return made

    return [
        FrozenTrial(
            number=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=bulk.local(started),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=trial_id,
        )
        for trial_id, number in with_table(engine, insert)
    ]


def begin(
    engine: sqlalchemy.Engine, trial_id: int, name: str, limits: Callable[[int], int | None]
) -> tuple[int, TrialState]:
    """Begin a trial that waits, and lease it; returns its study, and the state in which it was found.

    Parameters
    ----------
    limits : callable
        The limit of a study, as for `claim`; a trial beyond it stays as it is.

    Raises
    ------
    KeyError
        When there is no such trial.
    Enough
        When its study has as many trials as it may have.
    """
    tried: list[int] = []
    query = sqlalchemy.select(_trials.c.study_id).where(_trials.c.trial_id == trial_id)

    def find() -> int | None:
        with engine.connect() as connection:
            return connection.scalar(query)

    # Apart from the transaction, which on MySQL sees for ever what was there at its first read: it has to begin with
    # the lock.
    study_id = bulk.patiently(find)
    if study_id is None:
        raise KeyError(models.NOT_FOUND_MSG)

    def update(connection: sqlalchemy.Connection) -> tuple[int, TrialState]:
        lock_study(connection, study_id)
        now = sqlalchemy.select(_trials.c.state).where(_trials.c.trial_id == trial_id).with_for_update()
        state: TrialState = connection.execute(now).scalar_one()
        if tried and trial_id in holds(connection, [trial_id], name):
            return study_id, TrialState.WAITING  # the connection was lost after everything was written
        tried.append(1)
        if state is TrialState.WAITING:
            limit = limits(study_id)
            if limit is not None and _n_taken(connection, study_id) >= limit:
                raise Enough
            this = _trials.update().where(_trials.c.trial_id == trial_id)
            connection.execute(this.values(state=TrialState.RUNNING, datetime_start=bulk.now(engine)))
            _lease(connection, [trial_id], name)
        return study_id, state

    return with_table(engine, update)


def give_back(engine: sqlalchemy.Engine, trial_ids: Collection[int], name: str) -> None:
    """Let trials that a worker has begun wait for whoever asks next."""
    if not trial_ids:
        return

    def work(connection: sqlalchemy.Connection) -> None:
        ours = holds(connection, trial_ids, name)  # at a second try others may have begun them already
        these = _trials.update().where(_trials.c.trial_id.in_(ours), _trials.c.state == TrialState.RUNNING)
        connection.execute(these.values(state=TrialState.WAITING, datetime_start=None))
        end(connection, ours)

    bulk.transact(engine, work)


def lock_study(connection: sqlalchemy.Connection, study_id: int) -> None:
    """Keep others from giving numbers in a study until the transaction ends, as Optuna does."""
    row = sqlalchemy.select(_studies.c.study_id).where(_studies.c.study_id == study_id).with_for_update()
    if connection.scalar(row) is None:
        raise KeyError(models.NOT_FOUND_MSG)


def new_rows(connection: sqlalchemy.Connection, study_id: int, rows: Sequence[dict[str, Any]]) -> Sequence[Any]:
    """Insert trials with the next numbers of a locked study; returns their (trial_id, number)."""
    if not rows:
        return []
    of_study, first = _trials.c.study_id == study_id, _n_trials(connection, study_id)
    connection.execute(_trials.insert(), [row | {"number": first + index} for index, row in enumerate(rows)])
    made = sqlalchemy.select(_trials.c.trial_id, _trials.c.number).where(of_study, _trials.c.number >= first)
    return connection.execute(made.order_by(_trials.c.number)).all()


def holds(connection: sqlalchemy.Connection, trial_ids: Collection[int], name: str) -> set[int]:
    """Those of the trials that are leased to a worker."""
    own = sqlalchemy.select(_TABLE.c.trial_id).where(_TABLE.c.trial_id.in_(trial_ids), _TABLE.c.worker == name)
    return set(connection.scalars(own))


def _claimed(connection: sqlalchemy.Connection, study_id: int, first: int, name: str) -> Sequence[Any]:
    """The trials from that number on that are leased to a worker."""
    ours = sqlalchemy.select(_trials.c.trial_id, _trials.c.number).join(_TABLE, _TABLE.c.trial_id == _trials.c.trial_id)
    these = ours.where(_trials.c.study_id == study_id, _trials.c.number >= first, _TABLE.c.worker == name)
    return connection.execute(these.order_by(_trials.c.number)).all()


def _n_trials(connection: sqlalchemy.Connection, study_id: int) -> int:
    query = sqlalchemy.select(sqlalchemy.func.count()).where(_trials.c.study_id == study_id)
    return int(connection.execute(query).scalar_one())


def _n_taken(connection: sqlalchemy.Connection, study_id: int, *others: TrialState) -> int:
    """How many trials of a study are finished, or run with a lease: who trains others without one is not waited for.

    Trials of other states are counted too where they are given.
    """
    leased = _trials.c.trial_id.in_(sqlalchemy.select(_TABLE.c.trial_id))
    taken = _trials.c.state.in_([*records.FINISHED, *others]) | ((_trials.c.state == TrialState.RUNNING) & leased)
    query = sqlalchemy.select(sqlalchemy.func.count()).where(_trials.c.study_id == study_id, taken)
    return int(connection.execute(query).scalar_one())


def _lease(connection: sqlalchemy.Connection, trial_ids: Collection[int], name: str) -> None:
    rows = [{"trial_id": trial_id, "worker": name, "renewed": _moment(connection)} for trial_id in trial_ids]
    connection.execute(bulk.upsert(connection.engine.name, _TABLE, ["trial_id"]), rows)


def _moment(connection: sqlalchemy.Connection) -> datetime.datetime:
    """Now, by the clock of the database."""
    moment: datetime.datetime = connection.execute(sqlalchemy.select(_NOW[connection.engine.name])).scalar_one()
    return moment


def with_table(engine: sqlalchemy.Engine, work: Callable[[sqlalchemy.Connection], _Result]) -> _Result:
    """What `work` returns in one transaction, the table of leases being there."""
    if engine not in _ready:
        try:
            _TABLE.create(engine, checkfirst=True)
        except sqlalchemy.exc.DBAPIError:  # another worker makes it in this moment
            if not sqlalchemy.inspect(engine).has_table(_TABLE.name):
                raise
        _ready.add(engine)
    return bulk.transact(engine, work)


def stale(
    connection: sqlalchemy.Connection, running: Sequence[FrozenTrial], own: str, unleased: bool = False
) -> list[FrozenTrial]:
    """Those of the running trials whose worker is dead.

    Parameters
    ----------
    own : str
        The worker who asks: it is not dead, however long its machine has slept.
    unleased : bool
        Whether a trial without a lease is one of them: another program, or an older version, has begun it.
    """
    ids = [trial._trial_id for trial in running]
    query = sqlalchemy.select(_TABLE).where(_TABLE.c.trial_id.in_(ids))
    leases = {trial_id: (name, renewed) for trial_id, name, renewed in connection.execute(query)} if ids else {}
    silent = _moment(connection) - datetime.timedelta(seconds=GRACE)

    def is_lost(trial: FrozenTrial) -> bool:
        if trial._trial_id not in leases:
            return unleased
        name, renewed = leases[trial._trial_id]
        return name != own and (renewed < silent or is_gone(name))

    return [trial for trial in running if is_lost(trial)]


def end(connection: sqlalchemy.Connection, trial_ids: Collection[int]) -> None:
    """Nobody holds these trials any more."""
    connection.execute(_TABLE.delete().where(_TABLE.c.trial_id.in_(trial_ids)))
