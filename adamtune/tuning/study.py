"""Opening a study: a new one with a name of its own, or a stored one to go on with.

A study is stamped with what it is when it is made. Going on with it needs the same task, optimizer, space and seed;
what was resolved then (lanes, strategy, seed, space) is used again, so that later trials can be compared with earlier
ones.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import optuna

from adamtune.config import OptimizerConfig
from adamtune.errors import StorageError, StudyError, did_you_mean
from adamtune.tuning import leases, records, recovery
from adamtune.tuning.records import Stamp
from adamtune.tuning.space import Space

if TYPE_CHECKING:  # a study is found and read without Keras
    from adamtune.tasks.task import Direction

# Seconds. To make a study takes some hundredths; who takes so much longer was killed on the way.
_MADE_WITHIN, _POLL = 10.0, 0.01
# What is added to a study's name for the one that is run beside it for comparison, see `tuning.run.baselines`.
BESIDE = "/learning-rate-alone"


def names(storage: optuna.storages.BaseStorage) -> list[str]:
    """Names of the stored studies, oldest first, without those that were run beside another."""
    # Studies that were made later have higher ids.
    stored = [study.study_name for study in sorted(storage.get_all_studies(), key=lambda study: study._study_id)]
    return [name for name in stored if not is_beside(name, stored)]


def is_beside(name: str, stored: Collection[str]) -> bool:
    """Whether a study of that name was run beside another of those that are stored."""
    return BESIDE in name and name.partition(BESIDE)[0] in stored


def find(storage: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    """The stored study of that name, or the newest whose name begins with it and a slash.

    A study that was run beside another is found by its full name only.

    Raises
    ------
    StudyError
        When there is none; names those there are.
    """
    with contextlib.suppress(KeyError):
        return optuna.load_study(study_name=name, storage=storage)
    known = names(storage)
    matching = [each for each in known if each.startswith(f"{name}/")]
    if not matching:
        near = did_you_mean(name, [*known, *(each.rpartition("/")[0] for each in known)])
        shown = ", ".join(repr(each) for each in known[-5:]) or "none"
        raise StudyError(f"there is no study {name!r}.{near} The newest of {len(known)} stored: {shown}.")
    return optuna.load_study(study_name=matching[-1], storage=storage)


def create(
    storage: optuna.storages.BaseStorage,
    prefix: str,
    direction: Direction,
    stamp: Stamp,
    exact: bool = False,
    *,
    space: Space | None = None,
    starting: Sequence[OptimizerConfig] = (),
) -> optuna.Study:
    """A new study with a name that begins with the prefix, or is it when `exact`.

    Parameters
    ----------
    space, starting
        The configs to be tried first, as points of the space. A study has them before it has its stamp: one that is
        stamped is whole.

    Raises
    ------
    StorageError
        When the database refuses to be written.
    """
    name = prefix if exact else records.unique_name(prefix)
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        records.set_note(study, "maker", leases.worker())
        if space is not None:
            enqueue(study, space, starting)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([stamp.objective])
        records.write_stamp(study, stamp)
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(f"the study cannot be written: {error.__cause__ or error}") from error
    return study


def whole(study: optuna.Study) -> optuna.Study | None:
    """The study, once whoever makes it has made it; None for one whose maker died: that one is removed."""
    seen: object = study  # no maker yet
    while True:
        try:
            if records.is_stamped(study):
                return study
            trials, maker = study.get_trials(deepcopy=False), records.get_note(study, "maker")
            attrs = study.user_attrs
        except KeyError:  # somebody else has removed it
            return None
        ours = all(trial.state == optuna.trial.TrialState.WAITING and "config" in trial.user_attrs for trial in trials)
        if not ours or any(not name.startswith(records.PREFIX) for name in attrs):
            return study  # somebody else's, with something in it
        if maker != seen:
            seen, deadline = maker, time.monotonic() + _MADE_WITHIN
        if time.monotonic() > deadline or leases.is_gone(str(maker)):
            with contextlib.suppress(KeyError):
                study._storage.delete_study(study._study_id)
            return None
        time.sleep(_POLL)


def resume(storage: optuna.storages.BaseStorage, name: str, direction: Direction, stamp: Stamp) -> optuna.Study:
    """A stored study, after a check that it is the one asked for.

    Trials of processes that died are told to have failed, what was cut off is tried again (`recovery`), and what was
    concluded from the trials so far is taken back. Another sampler, pruner or number of lanes is welcome, and noted.

    Raises
    ------
    StudyError
        When there is none, or its task, optimizer, space, seed or direction is another.
    """
    study = find(storage, name)
    if stamp != check(study, direction, stamp):
        records.write_stamp(study, stamp)
    take_back(study)
    records.set_note(study, "stop", None)
    recovery.recover(study, stopped=True, unleased=True)
    return study


def take_back(study: optuna.Study) -> None:
    """Forget what was concluded from the trials so far: there will be more."""
    for note in ("winner", "comparison", "warnings"):
        if records.get_note(study, note) is not None:
            records.set_note(study, note, None)


def check(study: optuna.Study, direction: Direction, stamp: Stamp) -> Stamp:
    """The stamp of a stored study, after a check that it is the one that another stamp says.

    Raises
    ------
    StudyError
        When its task, optimizer, space, seed or direction is another.
    """
    stored = records.read_stamp(study)
    if study.direction.name.lower() != direction:
        _refuse(study, "direction", study.direction.name.lower(), direction)
    for field in (
        "seed",
        "optimizer",
        "space",
        "objective",
        "epochs",
        "batch_size",
        "passes",
        "patience",
        "fingerprint",
    ):
        wanted = getattr(stamp, field)
        if wanted != getattr(stored, field):
            _refuse(study, field, getattr(stored, field), wanted)
    return stored


def starting(study: optuna.Study) -> list[OptimizerConfig]:
    """The configs that were lined up to be tried first."""
    trials = study.get_trials(deepcopy=False)
    return [records.config_of(trial) for trial in trials if records.is_lined_up(trial) and "config" in trial.user_attrs]


def _refuse(study: optuna.Study, field: str, stored: object, wanted: object) -> None:
    what = "task (data, model, loss, metric or budget)" if field == "fingerprint" else field
    raise StudyError(
        f"study {study.study_name!r} was made for another {what}: stored {stored!r}, asked {wanted!r}. "
        "Nothing was changed. Write resume=False or another study_name to start a new one."
    )


def enqueue(study: optuna.Study, space: Space, configs: Sequence[OptimizerConfig]) -> None:
    """Line up configs to be tried first, each exactly as given."""
    for config in configs:
        study.enqueue_trial(space.params(config), user_attrs={"config": config.to_json()})
