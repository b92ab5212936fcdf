"""The whole learning curve of every trial, one compressed row a trial.

Optuna's tables hold a few reports of a trial: each is a row of its own, and a dashboard draws them all. What a trial
did in every epoch of every pass stands here, in one table of our own beside Optuna's in the same database, which
Optuna never looks at.

The column `curve` is zlib over little-endian float32: all training losses, then all validation losses, then all values
of the metric where there is one. A noisy curve of three columns took 13.1 bytes an epoch with 10 epochs, 10.0 with 100
and 7.4 with 10,000, where Optuna needs a row an epoch for one number. 16 MiB, which is what MySQL's column holds, are
more than a million epochs.

A deleted study leaves its curves behind unless `forget` is called, and SQLite gives the ids of deleted trials to new
ones. So a row also says when its trial started, and is read only for a trial that started then.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import sqlalchemy
from numpy.typing import NDArray
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models  # private, as in `buffer`
from sqlalchemy.dialects import mysql

from adamtune.errors import StorageError, StudyError
from adamtune.tuning import bulk

if TYPE_CHECKING:  # the engine loads a backend, and who only reads a study should not wait for that
    from adamtune.engine.stream import Report

_VERSION = 1
_FLOAT = np.dtype("<f4")

_Trial = models.TrialModel
# No foreign key: to add one, a server would lock Optuna's table against those who use it.
_TABLE = sqlalchemy.Table(
    "adamtune_curves",
    sqlalchemy.MetaData(),
    sqlalchemy.Column("trial_id", sqlalchemy.Integer, primary_key=True, autoincrement=False),
    sqlalchemy.Column("study_id", sqlalchemy.Integer, nullable=False),
    # Of MySQL: no coarser than Optuna's column may ever be, today whole seconds; and a BLOB ends at 64 KiB.
    sqlalchemy.Column("started", sqlalchemy.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql"), nullable=False),
    sqlalchemy.Column("version", sqlalchemy.Integer, nullable=False),
    sqlalchemy.Column("epochs", sqlalchemy.Integer, nullable=False),
    sqlalchemy.Column("curve", sqlalchemy.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql"), nullable=False),
)
# Curves of storages that are no database, by study id and trial number: kept as long as the storage.
_in_memory: weakref.WeakKeyDictionary[BaseStorage, dict[tuple[int, int], Curve]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Curve:
    """What a trial did in every epoch, all passes one after the other.

    Two curves are equal when all their numbers are; NaN equals NaN.

    Parameters
    ----------
    train_loss, val_loss : array of shape (epochs,)
        Kept as float32 that cannot be written to. NaN and infinity are allowed.
    metric : array of shape (epochs,) or None
        None where the task has no metric.

    Raises
    ------
    ValueError
        When the columns differ in length, have no epoch, or are no columns.

    Examples
    --------
    >>> curve = Curve([0.9, 0.5], [1.0, 0.75])
    >>> curve.epochs, curve.val_loss
    (2, array([1.  , 0.75], dtype=float32))
    """

    train_loss: NDArray[np.float32]
    val_loss: NDArray[np.float32]
    metric: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for name, given in vars(self).items():
            if given is not None:
                with np.errstate(over="ignore"):  # a loss that is too large for float32 is infinite
                    column = np.array(given, np.float32)
                column.flags.writeable = False
                object.__setattr__(self, name, column)
        shapes = {column.shape for column in self._columns()}
        if len(shapes) > 1 or self.train_loss.ndim != 1 or not self.train_loss.size:
            raise ValueError(f"columns of shape {sorted(shapes)} are no curve: expected (epochs,), the same for all.")

    @classmethod
    def of(cls, reports: Sequence[Report]) -> Curve:
        """The curve of a trial's reports, one an epoch, in their order."""
        metrics = [report.metric for report in reports]
        return cls(
            np.array([report.train_loss for report in reports]),
            np.array([report.val_loss for report in reports]),
            None if None in metrics else np.array(metrics),
        )

    @property
    def epochs(self) -> int:
        """How many epochs the trial trained, all passes together."""
        return len(self.train_loss)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Curve):
            return NotImplemented
        mine, theirs = self._columns(), other._columns()
        return len(mine) == len(theirs) and all(map(_same, mine, theirs))

    def _columns(self) -> list[NDArray[np.float32]]:
        return [column for column in (self.train_loss, self.val_loss, self.metric) if column is not None]


def write(study: optuna.Study, curves: Mapping[int, Curve]) -> None:
    """Store the curves of trials, in one transaction; those that are there already are overwritten.

    Parameters
    ----------
    study : optuna.Study
        What is in no database keeps its curves in memory, for this process alone.
    curves : mapping of int to Curve
        Trial number -> its curve.

    Raises
    ------
    KeyError
        When the study has no trial of a number.
    StudyError
        When a trial has not started, or is gone.
    StorageError
        When the database refuses; then nothing is stored.
    """
    if not curves:
        return
    storage = study._storage
    number_of = {storage.get_trial_id_from_study_id_trial_number(study._study_id, number): number for number in curves}
    engine = database_of(storage)
    if engine is None:
        kept = _in_memory.setdefault(storage, {})
        kept |= {(study._study_id, number): curve for number, curve in curves.items()}
        return
    try:
        try:
            _write(engine, study, number_of, curves)
        except sqlalchemy.exc.DBAPIError:  # most often the first write: there is no table yet
            _create(engine)
            _write(engine, study, number_of, curves)
    except sqlalchemy.exc.SQLAlchemyError as error:
        message = f"Learning curves of study {study.study_name!r} could not be written to the database."
        raise StorageError(message) from error


def read(study: optuna.Study, numbers: Collection[int] | None = None) -> dict[int, Curve]:
    """The stored curves of a study, by trial number, in its order.

    Parameters
    ----------
    study : optuna.Study
    numbers : collection of int, optional
        The trials to read; default: all. Those without a curve are left out.

    Raises
    ------
    StudyError
        When a row is damaged or written by a newer adamtune.
    """
    engine = database_of(study._storage)
    if engine is None:
        kept = _in_memory.get(study._storage, {})
        found = {number: curve for (its_study, number), curve in kept.items() if its_study == study._study_id}
        return {number: found[number] for number in sorted(found) if numbers is None or number in numbers}
    if not _exists(engine):
        return {}
    query = (
        sqlalchemy.select(_Trial.number, _TABLE.c.version, _TABLE.c.epochs, _TABLE.c.curve)
        .join(_TABLE, (_TABLE.c.trial_id == _Trial.trial_id) & (_TABLE.c.started == _Trial._datetime_start_utc))
        .where(_Trial.study_id == study._study_id)
        .order_by(_Trial.number)
    )
    if numbers is not None:
        query = query.where(_Trial.number.in_(list(numbers)))
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return {number: _unpack(study, number, *row) for number, *row in rows}


def forget(storage: BaseStorage, study_id: int) -> None:
    """Delete the curves of a study, before the study is: for who deletes it."""
    engine = database_of(storage)
    if engine is None:
        kept = _in_memory.get(storage, {})
        for key in [key for key in kept if key[0] == study_id]:
            del kept[key]
    elif _exists(engine):
        with engine.begin() as connection:
            connection.execute(_TABLE.delete().where(_TABLE.c.study_id == study_id))


def database_of(storage: BaseStorage) -> sqlalchemy.Engine | None:
    """The database of a storage; None when it is none."""
    backend = getattr(storage, "_backend", storage)
    return backend.engine if isinstance(backend, RDBStorage) else None


def _exists(engine: sqlalchemy.Engine) -> bool:
    return sqlalchemy.inspect(engine).has_table(_TABLE.name)


def _create(engine: sqlalchemy.Engine) -> None:
    try:
        _TABLE.create(engine, checkfirst=True)
    except sqlalchemy.exc.DBAPIError:  # another worker makes it in this moment
        if not _exists(engine):
            raise


def _write(
    engine: sqlalchemy.Engine, study: optuna.Study, number_of: Mapping[int, int], curves: Mapping[int, Curve]
) -> None:
    started = sqlalchemy.select(_Trial.trial_id, _Trial._datetime_start_utc).where(
        _Trial.trial_id.in_(list(number_of)),
        _Trial.study_id == study._study_id,
        _Trial._datetime_start_utc.is_not(None),
    )

    def insert(connection: sqlalchemy.Connection) -> None:
        # In the order of trials: workers then wait for one another, and never in a circle.
        begun = sorted(connection.execute(started).all())
        if missing := sorted(set(curves) - {number_of[trial] for trial, _ in begun}):
            raise StudyError(
                f"trials {missing} of study {study.study_name!r} have not started or are deleted: expected trials that "
                "have trained."
            )
        rows = [
            {"trial_id": trial, "study_id": study._study_id, "started": start, **_pack(curves[number_of[trial]])}
            for trial, start in begun
        ]
        connection.execute(bulk.upsert(engine.name, _TABLE, ["trial_id"]), rows)

    bulk.transact(engine, insert)


def _pack(curve: Curve) -> dict[str, Any]:
    content = zlib.compress(np.concatenate(curve._columns()).astype(_FLOAT).tobytes())
    return {"version": _VERSION, "epochs": curve.epochs, "curve": content}


def _unpack(study: optuna.Study, number: int, version: int, epochs: int, content: bytes) -> Curve:
    whose = f"the learning curve of trial {number} in study {study.study_name!r}"
    if version > _VERSION:
        raise StudyError(
            f"{whose} has format {version}, and this adamtune reads up to {_VERSION}: install a newer one."
        )
    most = 3 * epochs * _FLOAT.itemsize
    unzip = zlib.decompressobj()
    try:
        # A byte more than is right and no further: a row may claim little and unfold to much.
        plain = unzip.decompress(content, max(most, 0) + 1)
    except zlib.error:
        plain = b""
    if epochs < 1 or not unzip.eof or len(plain) not in (most * 2 // 3, most):
        raise StudyError(f"{whose} is damaged: expected {epochs} epochs. Read the others with `numbers`.")
    return Curve(*np.frombuffer(plain, _FLOAT).reshape(-1, epochs))


def _same(mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> bool:
    return np.array_equal(mine, theirs, equal_nan=True)
