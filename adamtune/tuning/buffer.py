"""A storage that writes in bulk and knows its own trials.

With lanes training is fast, and then a study waits for SQL, because Optuna commits every reported value on its own and
reads running trials again and again. `BufferedRDBStorage` keeps parameters, reports and attributes in memory and
writes them in one transaction before anybody could miss them: before a trial changes its state, before a read of what
is stored, on `flush`, on `close` and at exit. That is what Optuna's caching storage promises, and a killed process
loses only the latest reports of trials that were not finished. Trials that it has begun itself it reads from memory:
nobody else writes to them while they run, and nobody at all when they have ended.

Who begins or ends many trials at a time says so, and it is one transaction too:

    with storage.reserving(study_id, 64):  # the next 64 trials that are asked
        trials = [study.ask() for _ in range(64)]
    with storage.together():  # everything that is told in here, with its reports
        for trial, value in zip(trials, train(trials)):
            study.tell(trial, value)

A tick of 64 lanes, measured on two cores, one by one and in bulk: SQLite in WAL 41 and 1.0 ms, PostgreSQL 15 113 and
3.5 ms, MariaDB 10.11 129 and 2.5 ms. A trial of ten reports in 32 lanes, all of asking and telling included: on SQLite
8.3 ms when only its reports are in bulk, 1.3 ms when it also begins and ends so, and 0.75 ms without SQL.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, _CachedStorage
from optuna.storages._rdb.models import TrialModel as _Trial  # private, as in `bulk`
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from adamtune.tuning import bulk, curves, leases, records
from adamtune.tuning.memory import Memory, Reserve

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# No trial has a higher id: it is what an INTEGER column holds at most, and PostgreSQL takes no more for one.
_BEYOND = 2**31 - 1
# Seconds between looks at what other processes do, while trials are asked. Each takes several queries, and every ask
# would look three times.
_GLANCE = 0.03
# Seconds for which a change to WAL is tried again.
_MODE_WITHIN = 2.0


class BufferedRDBStorage(RDBStorage):
    """Optuna's `RDBStorage` with parameters, reports and attributes written in bulk.

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
        del state["_memory"]
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
        self._memory = Memory(self.engine)
        weakref.finalize(self, self._memory.finish)  # at exit, or when dropped without `close`

    @property
    def worker(self) -> str:
        """The name under which this storage holds leases."""
        return self._memory.worker

    def flush(self) -> None:
        """Write what is in memory, in one transaction.

        Raises
        ------
        optuna.exceptions.StorageInternalError
            When the database refuses. Nothing is lost, the next flush tries again.
        """
        self._memory.write()

    def close(self) -> None:
        """Write what is in memory, let go of the trials that run, and end the connections."""
        self._memory.close()
        self.remove_session()
        if self.engine.name == "sqlite":
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.engine.dispose()

    @contextlib.contextmanager
    def reserving(self, study_id: int, count: int, limit: int | None = None) -> Iterator[None]:
        """Make the new trials that are asked in this block in one transaction.

        What waits in the study is asked first and counts; what comes to wait later waits until the block is over. As
        long as a trial is not asked for, this storage does not show it, and others see one more that runs. What other
        processes do in the study is seen here some hundredths of a second later than outside of the block. What nobody
        has asked for at the end waits for whoever asks next; only a process that is killed in here leaves it running,
        like the trials that it was training.

        Parameters
        ----------
        study_id : int
        count : int
            Trials that will be asked in this block; those beyond are made one by one.
        limit : int, optional
            Trials that the study may have, finished and running. However many processes ask at the same moment, none
            gets one beyond it: `leases.Enough` is raised instead.
        """
        reserve = Reserve(count, limit)
        with self._memory.lock:
            self._memory.reserves[study_id] = reserve
        try:
            yield
        finally:
            with self._memory.lock:
                if self._memory.reserves.get(study_id) is reserve:
                    del self._memory.reserves[study_id]
                left = [trial._trial_id for trial in reserve.trials]
                self._memory.given_back[study_id] |= set(left)
                try:
                    leases.give_back(self.engine, left, self.worker)
                except sqlalchemy.exc.SQLAlchemyError:  # a warning, so as not to hide what ended the block
                    _logger.warning("trials %s are nobody's and run on: they could not be put to wait", left)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what ends in this block in one transaction at its end, with everything that was reported before.

        Of this thread alone, and of trials that this storage has begun; the moment at which they end is that of the
        block. All reads through this storage see them as they have been told. If another process has ended one
        meanwhile, that one keeps what the other said, with a warning.

        Raises
        ------
        optuna.exceptions.StorageInternalError
            When the database refuses. Nothing is lost, the next flush tries again.
        """
        outer = self._memory.moment
        self._memory.moment = bulk.now(self.engine)
        try:
            yield
        finally:
            self._memory.moment = outer
            self.flush()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write an attribute of the study, at once."""
        bulk.patiently(lambda: super(BufferedRDBStorage, self).set_study_user_attr(study_id, key, value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write an attribute of a sampler or pruner, at once."""
        bulk.patiently(lambda: super(BufferedRDBStorage, self).set_study_system_attr(study_id, key, value))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The attributes of the study."""
        return bulk.patiently(lambda: super(BufferedRDBStorage, self).get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """The attributes that samplers and pruners keep of the study."""
        return bulk.patiently(lambda: super(BufferedRDBStorage, self).get_study_system_attrs(study_id))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Keep a report until the next flush."""
        if not -(2**31) <= step < 2**31:  # beyond what every column holds: the error belongs to this call
            self.flush()
            with self._memory.lock:
                self._memory.mine.pop(trial_id, None)  # to be read again
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        value = bulk.number(intermediate_value)
        stored, kind = bulk.Value.intermediate_value_to_stored_repr(value)
        row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        with self._memory.lock:
            self._check_unfinished(trial_id)
            self._memory.rows[bulk.Value][trial_id, step] = row
            self._memory.note(trial_id, "intermediate_values", step, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep an attribute until the next flush."""
        if not self._keep(bulk.Attr, trial_id, key, value):
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep an attribute of a sampler or pruner until the next flush."""
        if not self._keep(bulk.System, trial_id, key, value):
            super().set_trial_system_attr(trial_id, key, value)

    def _keep(self, table: Any, trial_id: int, key: str, value: Any) -> bool:
        """Keep an attribute; False when it does not fit everywhere: the error belongs to that call, not to a flush."""
        with self._memory.lock:
            self._check_unfinished(trial_id)
            text = json.dumps(value)
            if not _fits(key, text):
                self.flush()
                self._memory.mine.pop(trial_id, None)  # to be read again
                return False
            self._memory.rows[table][trial_id, key] = {"trial_id": trial_id, "key": key, "value_json": text}
            self._memory.note(trial_id, "user_attrs" if table is bulk.Attr else "system_attrs", key, json.loads(text))
            return True

    def _check_unfinished(self, trial_id: int) -> None:
        # SQL once a trial, and never for a trial that this storage has made itself.
        if trial_id not in self._memory.unfinished:
            self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
            self._memory.unfinished.add(trial_id)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change the state, after everything reported before is written; in `together`, with it."""
        with self._memory.lock:
            if state.is_finished() and self._memory.end(trial_id, state, values):
                return True
            self.flush()
            self._memory.forget(trial_id)
            if state is TrialState.RUNNING and values is None:
                return self._begin_waiting(trial_id)
            return super().set_trial_state_values(trial_id, state, values)

    def _begin_waiting(self, trial_id: int) -> bool:
        """Take a trial that waits; False when somebody else has it."""
        try:
            study_id, found = leases.begin(self.engine, trial_id, self._memory.worker, self._memory.limit)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise StorageInternalError("the trial could not be begun") from error
        self.check_trial_is_updatable(trial_id, found)
        if found is not TrialState.WAITING:
            return False
        self._memory.begin(study_id, super().get_trial(trial_id))
        if reserve := self._memory.reserves.get(study_id):
            reserve.left -= 1
            reserve.turn = object()
        return True

    def delete_study(self, study_id: int) -> None:
        """Delete a study and forget its trials: SQLite gives their ids to new ones."""
        with self._memory.lock:
            self.flush()
            self._memory.forget_study(study_id)
            curves.forget(self, study_id)
            super().delete_study(study_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial with everything reported so far."""
        with self._memory.lock:
            if trial_id in self._memory.mine:
                return _copied(self._memory.mine[trial_id][1])
            self.flush()
            return super().get_trial(trial_id)

    def get_trial_user_attrs(self, trial_id: int) -> dict[str, Any]:
        """The user attributes with everything set so far."""
        self.flush()
        return super().get_trial_user_attrs(trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """The attributes of samplers and pruners with everything set so far."""
        self.flush()
        return super().get_trial_system_attrs(trial_id)

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
        value = bulk.number(param_value_internal)
        given = (trial_id, param_name, value, distribution, previous_distribution)
        text = distribution_to_json(distribution)
        with self._memory.lock:
            # The first of its name in the study is compared with what is stored, and that takes SQL.
            if previous_distribution is None or not _fits(param_name, text):
                self.flush()
                super()._set_trial_param(*given)
            else:
                self._check_unfinished(trial_id)
                check_distribution_compatibility(previous_distribution, distribution)
                row = {"trial_id": trial_id, "param_name": param_name, "param_value": value}
                self._memory.rows[bulk.Param][trial_id, param_name] = row | {"distribution_json": text}
            self._memory.note(trial_id, "params", param_name, distribution.to_external_repr(value))
            self._memory.note(trial_id, "distributions", param_name, distribution)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        with self._memory.lock:
            if self._memory.ends:  # not all of them may be ours to end
                self.flush()
            hidden = self._memory.reserved(study_id)
            # Hidden until now: a cache that has seen later ones would not ask for them.
            included_trial_ids = included_trial_ids | self._memory.given_back.pop(study_id, set())
            if states is not None or study_id not in self._memory.studies:
                self.flush()
                found = self._read(study_id, states, included_trial_ids, trial_id_greater_than)
                return [trial for trial in found if trial._trial_id not in hidden]
            # Most often nothing but our own trials has changed, and a look at the ids tells. It comes last: whoever
            # sees that a trial was lost sees what is tried in its place.
            found = self._of_others(study_id, included_trial_ids - hidden)
            later = sqlalchemy.select(_Trial.trial_id).where(
                _Trial.study_id == study_id, _Trial.trial_id > trial_id_greater_than
            )
            ids = {*self._look(lambda connection: connection.scalars(later).all())} - hidden
            found += self._of_others(study_id, ids - included_trial_ids)
            running, ended = self._memory.running(study_id), self._memory.ended(ids | included_trial_ids)
            return sorted([*found, *ended.values(), *map(_copied, running.values())], key=lambda trial: trial._trial_id)

    def _get_own(self, study_id: int, ended_ids: set[int]) -> list[FrozenTrial]:
        """Our trials that run, and those of the given ones that are ours and have ended; from memory."""
        with self._memory.lock:
            if self._memory.ends:  # not all of them may be ours to end
                self.flush()
            own = {**self._memory.ended(ended_ids), **self._memory.running(study_id)}
            return [*map(_copied, own.values())]

    def _turn(self, study_id: int) -> object | None:
        """An object while trials of the study are asked in `reserving`: another one when more have been made."""
        reserve = self._memory.reserves.get(study_id)
        return reserve.turn if reserve else None

    def _of_others(self, study_id: int, ids: set[int]) -> list[FrozenTrial]:
        """Those of the trials that are not ours, read anew."""
        others = ids - self._memory.running(study_id).keys() - self._memory.ended(ids).keys()
        if not others:
            return []
        self.flush()
        return self._read(study_id, None, others, _BEYOND)

    def _read(self, study_id: int, states: Any, ids: set[int], after: int) -> list[FrozenTrial]:
        return self._look(lambda connection: bulk.read(connection, study_id, states, ids, after))

    def _look(self, query: Callable[[sqlalchemy.Connection], _Result]) -> _Result:
        """What a query returns, asked again after what passes by itself."""

        def once() -> _Result:
            with self.engine.connect() as connection:
                return query(connection)

        try:
            return bulk.patiently(once)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise StorageInternalError("the trials could not be read") from error

    def forget(self, study_id: int) -> None:
        """Keep nothing of a study that another process has deleted: SQLite gives its id and its trials' to new ones."""
        with self._memory.lock:
            self._memory.forget_study(study_id)

    def _get_best_trial_id(self, study_id: int, direction: StudyDirection) -> int:
        self.flush()
        return super()._get_best_trial_id(study_id, direction)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        if template_trial is None:
            with self._memory.lock:
                trial = self._memory.take(study_id)
                self._memory.begin(study_id, _copied(trial))
            return trial
        trial = super()._create_new_trial(study_id, template_trial)
        if not trial.state.is_finished():
            with self._memory.lock:
                self._memory.unfinished.add(trial._trial_id)
        return trial

    def _may_wait(self, study_id: int) -> bool:
        """Whether a trial waits in the study; not looked at again while there are reserved ones to be asked."""
        if self._memory.reserved(study_id):
            return False
        waits = sqlalchemy.select(_Trial.trial_id).filter_by(study_id=study_id, state=TrialState.WAITING).limit(1)
        return self._look(lambda connection: connection.scalar(waits)) is not None


class Cache(_CachedStorage):
    """Optuna's cache, less one read of the whole study an ask: the one that only looks for a trial that waits.

    And while trials are asked in `BufferedRDBStorage.reserving` it looks at those of others now and then only.
    """

    _backend: BufferedRDBStorage

    def __init__(self, backend: BufferedRDBStorage) -> None:
        super().__init__(backend)
        self._looks: dict[int, tuple[object, float]] = {}  # of each study: in which turn it was read, and when

    def _read_trials_from_remote_storage(self, study_id: int) -> None:  # private in Optuna: every read begins with it
        turn, (last, when) = self._backend._turn(study_id), self._looks.get(study_id, (None, -math.inf))
        if turn and turn is last and time.monotonic() - when < _GLANCE:
            with self._lock:
                if study := self._studies.get(study_id):
                    own = self._backend._get_own(study_id, study.unfinished_trial_ids)
                    self._add_trials_to_cache(study_id, own)
                    return
        super()._read_trials_from_remote_storage(study_id)
        self._looks[study_id] = turn, time.monotonic()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A new trial; read again until it has ended, however much later than its neighbours it is asked for."""
        trial_id = super().create_new_trial(study_id, template_trial)
        with self._lock:
            self._studies[study_id].unfinished_trial_ids.add(trial_id)
        return trial_id

    def forget(self, study_id: int) -> None:
        """Keep nothing of a study."""
        self._backend.forget(study_id)
        with self._lock:
            self._studies.pop(study_id, None)
            for key in [key for key in self._study_id_and_number_to_trial_id if key[0] == study_id]:
                self._trial_id_to_study_id_and_number.pop(self._study_id_and_number_to_trial_id.pop(key), None)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials, sorted by number; those that wait, in the order in which they should have been trained."""
        if states == (TrialState.WAITING,):
            if not self._backend._may_wait(study_id):
                return []
            # What is tried in place of another has the turn of that one.
            trials = super().get_all_trials(study_id, deepcopy=False)
            retries = records.retries(trials)
            waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
            waiting.sort(key=lambda trial: records.draw(trial.number, retries))
            return copy.deepcopy(waiting) if deepcopy else waiting
        return super().get_all_trials(study_id, deepcopy, states)


def _copied(trial: FrozenTrial) -> FrozenTrial:
    """The trial with mappings of its own: whoever asked for it may write into them."""
    copied = copy.copy(trial)
    for name in ("params", "distributions", "intermediate_values", "user_attrs", "system_attrs"):
        setattr(copied, name, dict(getattr(trial, name)))
    return copied


def _fits(key: str, text: str) -> bool:
    """Whether a row fits into the columns of every database: Optuna's keys and MySQL's TEXT."""
    return len(text) < 2**16 and len(key) <= 512 and key.isascii() and "\0" not in key


def _use_wal(connection: Any, record: Any) -> None:
    # Some file systems cannot, and without WAL a power cut under NORMAL may cost the file.
    if _journal_mode(connection) == ("wal",):
        connection.execute("PRAGMA synchronous=NORMAL")  # but for what has to last, see `bulk.transact`
        record.info["wal"] = True


def _journal_mode(connection: Any) -> Any:
    """Change to WAL. While others write SQLite refuses at once, whatever the timeout: they may be making a new file."""
    began = time.monotonic()
    while True:
        try:
            return connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() - began > _MODE_WITHIN:
                raise
            time.sleep(random.uniform(0.01, 0.1))
