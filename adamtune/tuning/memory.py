"""What a storage knows without a look into SQL: its own trials, and the rows that are not written yet."""

from __future__ import annotations

import datetime
import logging
import math
import os
import threading
from collections import defaultdict, deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from adamtune.tuning import bulk, leases

_logger = logging.getLogger(__name__)


@dataclass
class Reserve:
    """Trials of a study that will be asked: how many are not made yet, how many it may have in all, those made.

    And its turn: another object when trials have been made, so that what was seen before is not all there is.
    """

    left: int
    limit: int | None = None
    trials: deque[FrozenTrial] = field(default_factory=deque)
    turn: object = field(default_factory=object)


class Memory:
    """Whoever calls more than `write` holds `lock`."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine = engine
        self.lock = threading.RLock()
        self.rows: dict[Any, dict[tuple[int, Any], dict[str, Any]]] = {table: {} for table in bulk.KEYS}
        # Trials that have ended: state, and when in UTC.
        self.ends: dict[int, tuple[TrialState, datetime.datetime]] = {}
        self.unfinished: set[int] = set()  # trials that may be written to, as far as we know
        # Trials that this storage has begun, with their studies, as they are now; and all those studies.
        self.mine: dict[int, tuple[int, FrozenTrial]] = {}
        self.studies: set[int] = set()
        self.reserves: dict[int, Reserve] = {}
        self.given_back: dict[int, set[int]] = defaultdict(set)  # reserved trials that nobody has asked for, by study
        self._upserts = {
            table: bulk.upsert(engine.name, sqlalchemy.inspect(table).local_table, ["trial_id", key])
            for table, key in bulk.KEYS.items()
        }
        self._is_tried = False  # whether a write of what is here was begun, and may have been done
        self._thread = threading.local()
        self.worker, self._process = leases.worker(), os.getpid()
        self._keeper: leases.Keeper | None = None

    @property
    def moment(self) -> datetime.datetime | None:
        """When the trials end that this thread ends together; None while it ends each by itself."""
        return getattr(self._thread, "moment", None)

    @moment.setter
    def moment(self, moment: datetime.datetime | None) -> None:
        self._thread.moment = moment

    def begin(self, study_id: int, trial: FrozenTrial) -> None:
        """The trial is ours from now on."""
        self.unfinished.add(trial._trial_id)
        self.mine[trial._trial_id] = study_id, trial
        self.studies.add(study_id)
        if self._keeper is None:
            self._keeper = leases.Keeper(self.engine, self.worker)

    def close(self) -> None:
        """Write everything, and hold no trial any more."""
        with self.lock:
            try:
                self.write()
            finally:
                if self._keeper is not None:
                    self._keeper.stop()
                    self._keeper = None
                    try:
                        leases.drop(self.engine, self.worker)
                    except sqlalchemy.exc.SQLAlchemyError:  # they end by themselves, and what ended this matters more
                        _logger.debug("leases could not be given up", exc_info=True)

    def running(self, study_id: int) -> dict[int, FrozenTrial]:
        """Our trials of the study that have not ended, by id."""
        own = {trial_id: self.mine[trial_id] for trial_id in self.unfinished if trial_id in self.mine}
        return {trial_id: trial for trial_id, (its_study, trial) in own.items() if its_study == study_id}

    def ended(self, trial_ids: Set[int]) -> dict[int, FrozenTrial]:
        """Those of the trials that are ours and have ended, by id."""
        own = {trial_id: self.mine[trial_id][1] for trial_id in trial_ids if trial_id in self.mine}
        return {trial_id: trial for trial_id, trial in own.items() if trial.state.is_finished()}

    def note(self, trial_id: int, what: str, key: Any, value: Any) -> None:
        """Keep a running trial of ours as it is in SQL after the next write."""
        if trial_id in self.mine:
            getattr(self.mine[trial_id][1], what)[key] = value

    def end(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        """Keep the end of a trial until the next write; False where it has to be written by itself."""
        moment, (_, trial) = self.moment, self.mine.get(trial_id, (0, None))
        # NaN is no value. The refusal belongs to that call, not to a flush.
        if moment is None or trial is None or trial.state.is_finished() or any(map(math.isnan, values or ())):
            return False
        for objective, value in enumerate(values or ()):
            stored, kind = bulk.Objective.value_to_stored_repr(bulk.number(value))
            row = {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
            self.rows[bulk.Objective][trial_id, objective] = row
        self.ends[trial_id] = state, moment
        self.unfinished.discard(trial_id)
        trial.state, trial.datetime_complete = state, bulk.local(moment)
        if values is not None:
            trial.values = [bulk.number(value) for value in values]
        return True

    def finish(self) -> None:
        """Close for good, from wherever the storage was dropped: maybe inside of a transaction on the same file."""
        if os.getpid() != self._process:  # a fork of the process that holds the leases
            return
        if not threading.main_thread().is_alive():  # the process ends, and no thread begins any more
            self.close()
            return
        thread = threading.Thread(target=self.close)
        thread.start()
        thread.join(1.0)

    def forget(self, trial_id: int) -> None:
        """The trial has ended, or may be another's now."""
        self.unfinished.discard(trial_id)
        self.mine.pop(trial_id, None)

    def forget_study(self, study_id: int) -> None:
        """The study is going to be deleted, and SQLite gives the ids of its trials to new ones."""
        self.mine = {trial_id: own for trial_id, own in self.mine.items() if own[0] != study_id}
        self.unfinished &= self.mine.keys()
        self.studies.discard(study_id)
        if reserve := self.reserves.pop(study_id, None):
            reserve.trials.clear()

    def take(self, study_id: int) -> FrozenTrial:
        """A new trial, one of those reserved where there are such.

        Raises
        ------
        KeyError
            When there is no such study.
        leases.Enough
            When it may have no more.
        """
        reserve = self.reserves.get(study_id, Reserve(0))
        if not reserve.trials:
            count, reserve.left = max(reserve.left, 1), 0
            reserve.turn = object()  # trials of lower numbers may have come
            try:
                reserve.trials.extend(leases.claim(self.engine, study_id, count, self.worker, reserve.limit))
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise StorageInternalError("no trial could be made") from error
        return reserve.trials.popleft()

    def limit(self, study_id: int) -> int | None:
        """How many trials the study may have, as far as it was said."""
        reserve = self.reserves.get(study_id)
        return reserve.limit if reserve else None

    def reserved(self, study_id: int) -> set[int]:
        """The ids of trials that are made and not asked for."""
        reserve = self.reserves.get(study_id)
        return {trial._trial_id for trial in reserve.trials} if reserve else set()

    def write(self) -> None:
        """Write all rows and ends, in one transaction."""
        with self.lock:
            trials = {trial for rows in self.rows.values() for trial, _ in rows} | self.ends.keys()
            if not trials:
                return
            try:
                unfinished = bulk.transact(
                    self.engine, lambda connection: self._write(connection, trials), lasting=bool(self.ends)
                )
            except sqlalchemy.exc.SQLAlchemyError as error:
                message = "Reports could not be written; they are kept, and the next flush tries again."
                raise StorageInternalError(message) from error
            self._is_tried = False
            for rows in self.rows.values():
                rows.clear()
            self.ends.clear()
            if gone := trials - unfinished:
                for trial in gone:
                    self.forget(trial)
                _logger.warning("trials %s were ended elsewhere: their last reports are dropped", sorted(gone))

    def _write(self, connection: sqlalchemy.Connection, trials: Set[int]) -> set[int]:
        """Write what belongs to those of the trials that may be written to, and return them."""
        unfinished = bulk.lock_unfinished(connection, trials, change=bool(self.ends))
        # The connection may have been lost after everything was written.
        written = bulk.ended_as(connection, self.ends) if self._is_tried else set()
        self._is_tried = True
        for table, rows in self.rows.items():
            # In the order of trials, as they are locked. Within a trial as they came: parameters are read back in the
            # order of their rows.
            ordered = sorted(rows.items(), key=lambda item: item[0][0])
            if batch := [row for (trial, _), row in ordered if trial in unfinished]:
                connection.execute(self._upserts[table], batch)
        same = defaultdict(list)
        for trial in sorted(self.ends.keys() & unfinished):
            same[self.ends[trial]].append(trial)
        for (state, moment), ended in same.items():
            bulk.end(connection, ended, state, moment)
            leases.end(connection, ended)
        return unfinished | written
