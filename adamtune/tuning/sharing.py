"""A study of which many processes take trials: the first one makes it, the others join, and each asks in turn.

Who asks at the same moment as another sees the same trials, and would be told to try the same point. So the number of a
trial is a ticket: what it tries is decided once every trial of a lower number has a config, and with one process or
many a study tries no point twice.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import time
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from adamtune.errors import StudyError
from adamtune.tuning import bulk, curves, records, recovery
from adamtune.tuning import study as studies
from adamtune.tuning.pruning import Asha
from adamtune.tuning.records import Stamp
from adamtune.tuning.space import Space

if TYPE_CHECKING:  # as in `study`
    from adamtune.tasks.task import Direction

# Seconds. To ask takes some hundredths; who takes so much longer was killed on the way.
_ASKED_WITHIN = 10.0
_POLL = 0.01
# Between looks at what other processes do: whether one has stopped the study and what has ended, and whether one died.
_LOOK, _RECOVER = 2.0, 15.0
# Who waits for trials of others for so long says so. One may have been asked by hand, and nobody trains it.
_SAY = 30.0
_SAME = ("fingerprint", "optimizer", "space", "objective", "epochs", "batch_size", "steps", "seed")


def join(
    storage: optuna.storages.BaseStorage,
    name: str,
    direction: Direction,
    stamp: Stamp,
    space: Space,
    whatever: Collection[str],
) -> tuple[optuna.Study, Stamp]:
    """The study of exactly that name, made with this stamp where there is none, and the stamp it was made with.

    Parameters
    ----------
    space : Space
        Its default configs are lined up in a new study.
    whatever : collection of str
        Fields in which the stamp of a stored study may be another.

    Raises
    ------
    StudyError
        When the stored study is another one than this stamp and direction say.
    StorageError
        When the database refuses to be written.
    """
    while (study := _load(storage, name)) is None:
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):  # another process makes it in this moment
            studies.create(storage, name, direction, stamp, True, space=space, starting=space.defaults())
    stored = records.read_stamp(study)
    differing = [field for field in _SAME if field not in whatever and getattr(stored, field) != getattr(stamp, field)]
    if differing:
        field = differing[0]
        _refuse(study, field, getattr(stored, field), getattr(stamp, field))
    if study.direction.name.lower() != direction:
        _refuse(study, "direction", study.direction.name.lower(), direction)
    # Optuna lets a sampler say that there is nothing left to try in its own loop only, which nobody runs here.
    study._thread_local.in_optimize_loop = True
    return study, stored


def _load(storage: optuna.storages.BaseStorage, name: str) -> optuna.Study | None:
    """The stored study, once whoever makes it has made it; None where there is none."""
    try:
        return studies.whole(optuna.load_study(study_name=name, storage=storage))
    except KeyError:
        return None


def _refuse(study: optuna.Study, field: str, stored: object, wanted: object) -> None:
    if field == "fingerprint":
        raise StudyError(f"study {study.study_name!r} is one of an AdamTuner, not of loops: write another name.")
    raise StudyError(
        f"study {study.study_name!r} was made for another {field}: stored {stored!r}, given {wanted!r}. All trials "
        "have the same, so that they compare: write what is stored, or another name for a new study."
    )


def once_earlier_ask(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """All trials, once each of a lower number has a config, or has had the time for it."""
    deadline, wait = time.monotonic() + _ASKED_WITHIN, _POLL
    while True:
        trials = study.get_trials(deepcopy=False)
        before = [other for other in trials if other.number < trial.number]
        asking = [other for other in before if other.state == TrialState.RUNNING and "config" not in other.user_attrs]
        if all(_is_older(other, trial) for other in asking) or time.monotonic() > deadline:
            return trials
        time.sleep(wait)
        wait = min(2 * wait, 10 * _POLL)


def _is_older(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Whether it began so long before that nobody is asking for it any more."""
    assert other.datetime_start is not None and trial.datetime_start is not None  # they run
    return trial.datetime_start - other.datetime_start > datetime.timedelta(seconds=_ASKED_WITHIN)


class Others:
    """What other processes do in a study while this one trains.

    Parameters
    ----------
    study : optuna.Study
        One that is in no database has no others.
    pruner : Asha or None
        Is told what finished trials reached, those of others and of earlier runs.

    Attributes
    ----------
    own : set of int
        Numbers of the trials of this process.
    n_finished : int
        Trials of the study that had finished at the last look, whoever trained them.
    is_over : bool
        Whether everybody has been told to stop at once.
    """

    def __init__(self, study: optuna.Study, pruner: Asha | None) -> None:
        self._study, self._pruner = study, pruner
        self._stored = curves.database_of(study._storage) is not None
        self._known: set[int] = set()
        self._wait = _POLL
        self._waits_since: float | None = None
        self.own: set[int] = set()
        self.is_over = False
        self._see()
        self._looked = self._recovered = time.monotonic()

    def look(self, at_once: bool = False) -> int:
        """See what has happened, unless the last look was a moment ago; returns how many of their trials have ended."""
        if not self._stored or (time.monotonic() - self._looked < _LOOK and not at_once):
            return 0
        self._looked = time.monotonic()
        if told := bulk.patiently(lambda: records.get_note(self._study, "stop")):
            self._study._stop_flag, self.is_over = True, told == "now"
        if self._looked - self._recovered >= _RECOVER:
            self._recovered = self._looked
            recovery.recover(self._study, stopped=True)
        return self._see()

    def has_ended(self, trial: optuna.Trial) -> bool:
        """Whether a trial that trains here was ended by others."""
        return self._stored and self._study._storage.get_trial(trial._trial_id).state.is_finished()

    def may_need_help(self, n_trials: int | None) -> bool:
        """Whether the study wants so many trials and they are not finished, after a moment's rest.

        For who has nothing to train: others train the last ones, and one of them may die.
        """
        if not self._stored or n_trials is None or self._study._stop_flag or self.n_finished >= n_trials:
            return False
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        elif time.monotonic() - self._waits_since > _SAY:
            self._waits_since = math.inf  # once
            self._say_whom()
        time.sleep(self._wait)
        self._wait = min(2 * self._wait, _LOOK / 4)
        return True

    def _say_whom(self) -> None:
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if numbers := [trial.number for trial in running if trial.number not in self.own]:
            warnings.warn(
                f"study {self._study.study_name!r} waits for its trials {numbers}, which were asked elsewhere and run. "
                "If nobody trains one, as after a study.ask() by hand, end it: "
                f"study.tell({numbers[0]}, state=optuna.trial.TrialState.FAIL).",
                UserWarning,
                stacklevel=2,
            )

    def _see(self) -> int:
        ended = self._study.get_trials(deepcopy=False, states=records.FINISHED)
        self.n_finished = len(ended)
        new = [trial for trial in ended if trial.number not in self._known and trial.number not in self.own]
        self._known |= {trial.number for trial in new}
        if self._pruner is not None:
            self._pruner.learn(new)
        return len(new)
