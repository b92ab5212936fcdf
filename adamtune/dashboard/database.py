"""The database behind the dashboard: its studies, what they say, and whether anything has changed since."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import optuna

from adamtune import recommending, summary
from adamtune.errors import StudyError
from adamtune.recommending import store
from adamtune.summary import Summary
from adamtune.tuning import bulk, curves, storage
from adamtune.tuning import study as studies

_Value = TypeVar("_Value")


class Database:
    """A storage that is opened once, and what was read of it.

    Many threads ask at a time. What is worked out of a study is kept until the study changes.

    Parameters
    ----------
    url : str
        Whatever `tuning.storage.resolve_url` takes; the database has to be there.
    """

    def __init__(self, url: str | None) -> None:
        self.url = storage.there(url)
        self.storage = storage.open_storage(self.url)
        engine = curves.database_of(self.storage)
        assert engine is not None
        self._engine = engine
        self._names: dict[int, str] = {}
        self._kept: dict[Any, tuple[str, Any]] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the connections."""
        storage.close(self.storage)

    def names(self) -> dict[int, str]:
        """The names of the studies by id, oldest first, without those that were run beside another."""
        named = bulk.study_names(self._engine)
        with self._lock:
            # Another study with the id of a deleted one: Optuna's cache would show the trials of the old one.
            gone = {study_id for study_id, name in self._names.items() if named.get(study_id) != name}
            self._names = named
        for study_id in gone:
            storage.forget(self.storage, study_id)
        return {
            study_id: named[study_id] for study_id in named if not studies.is_beside(named[study_id], named.values())
        }

    def study(self, study_id: int) -> optuna.Study:
        """A study by its id.

        Raises
        ------
        StudyError
            When there is none.
        """
        if study_id not in self._names:
            self.names()
        try:
            return optuna.load_study(study_name=self._names[study_id], storage=self.storage)
        except KeyError:
            raise StudyError(f"there is no study {study_id} in this database.") from None

    def version(self, study_id: int | None = None) -> str:
        """What is another text when a trial has begun or ended, or a study has come to its end."""
        return hashlib.sha256(repr(bulk.marks(self._engine, study_id)).encode()).hexdigest()[:16]

    def kept(self, study_id: int, what: str, make: Callable[[optuna.Study], _Value]) -> _Value:
        """What `make` makes of a study, made once for each version of it."""
        key = (study_id, what)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # two who ask for the same: the second gets what the first one made
            version = self.version(study_id)
            if key not in self._kept or self._kept[key][0] != version:
                self._kept[key] = version, make(self.study(study_id))
            found: _Value = self._kept[key][1]
            return found

    def summary(self, study_id: int) -> Summary | None:
        """What a study says; None where adamtune did not make it."""
        return self.kept(study_id, "summary", _summary)

    def tasks(self) -> list[store.Entry]:
        """The tasks that were studied here."""
        return recommending.own(self.url)

    def recommended(self, study_name: str | None) -> list[store.Recommended]:
        """The list that was recommended to a study, and what came of it."""
        return [] if study_name is None else store.recommended(self._engine, study_name)


def _summary(study: optuna.Study) -> Summary | None:
    try:
        return summary.of_study(study)
    except StudyError:
        return None
