"""A study of which many processes take trials: the first one makes it, the others join, and each asks in turn.

Who asks at the same moment as another sees the same trials, and would be told to try the same point. So the number of a
trial is a ticket: what it tries is decided once every trial of a lower number has a config, and with one process or
many a study tries no point twice.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from adamtune.errors import StudyError
from adamtune.tuning import records
from adamtune.tuning import study as studies
from adamtune.tuning.asking import Asking
from adamtune.tuning.records import Stamp
from adamtune.tuning.space import Space

if TYPE_CHECKING:  # as in `study`
    from adamtune.tasks.task import Direction

# Seconds. To make a study, or to ask, takes some hundredths; who takes so much longer was killed on the way.
_MADE_WITHIN, _ASKED_WITHIN = 10.0, 5.0
_POLL = 0.01
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
    study = _load(storage, name)
    if study is None:
        try:
            study = studies.create(storage, name, direction, stamp, exact=True)
        except optuna.exceptions.DuplicatedStudyError:  # another process has made it in this moment
            study = _load(storage, name)
            assert study is not None
        else:
            studies.enqueue(study, space, space.defaults())
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
    """The stored study, once whoever makes it has stamped it; None where there is none."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None
    deadline = time.monotonic() + _MADE_WITHIN
    while not records.is_stamped(study) and not study.get_trials(deepcopy=False) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return study


def _refuse(study: optuna.Study, field: str, stored: object, wanted: object) -> None:
    if field == "fingerprint":
        raise StudyError(f"study {study.study_name!r} is one of an AdamTuner, not of loops: write another name.")
    raise StudyError(
        f"study {study.study_name!r} was made for another {field}: stored {stored!r}, given {wanted!r}. All trials "
        "have the same, so that they compare: write what is stored, or another name for a new study."
    )


class InTurn(Asking):
    """The trials of a study that other processes ask too."""

    def _design(self, before: int | None = None) -> dict[str, Any] | None:
        # Without a number it is not this trial's turn yet: see `_Ticket`.
        return None if before is None else super()._design(before)

    def _source(self, rule: str | None, point: dict[str, Any] | None, number: int) -> optuna.samplers.BaseSampler:
        # An object of Optuna's sees to this itself, as it does in Optuna's own loop.
        return _Ticket(self) if isinstance(self._sampler, str) else self._sampler

    def source_of(self, number: int) -> optuna.samplers.BaseSampler:
        """What suggests the trial of that number, once it is its turn."""
        return super()._source(None, self._design(number), number)


class _Ticket(optuna.samplers.BaseSampler):
    """Waits for its turn before it suggests."""

    def __init__(self, asking: InTurn) -> None:
        self._asking = asking
        self._source: optuna.samplers.BaseSampler | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._served(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._served(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._served(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def _served(self, study: optuna.Study, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if self._source is None:
            _wait_for_earlier(study, trial)
            self._source = self._asking.source_of(trial.number)
        return self._source


def _wait_for_earlier(study: optuna.Study, trial: FrozenTrial) -> None:
    """Wait until every trial of a lower number has a config, or has had the time for it."""
    deadline = time.monotonic() + _ASKED_WITHIN
    while time.monotonic() < deadline and any(
        other.number < trial.number and "config" not in other.user_attrs and not _is_older(other, trial)
        for other in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    ):
        time.sleep(_POLL)


def _is_older(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Whether it began so long before that nobody is asking for it any more."""
    assert other.datetime_start is not None and trial.datetime_start is not None  # they run
    return trial.datetime_start - other.datetime_start > datetime.timedelta(seconds=_ASKED_WITHIN)
