"""Opening a study: a new one with a name of its own, or a stored one to go on with.

A study is stamped with what it is when it is made. Going on with it needs the same task, optimizer, space and seed;
what was resolved then (lanes, strategy, seed, space) is used again, so that later trials can be compared with earlier
ones.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import optuna

from adamtune.config import OptimizerConfig
from adamtune.errors import StorageError, StudyError, did_you_mean
from adamtune.tuning import records
from adamtune.tuning.records import Stamp
from adamtune.tuning.space import Space

if TYPE_CHECKING:  # a study is found and read without Keras
    from adamtune.tasks.task import Direction

_State = optuna.trial.TrialState


# What is added to a study's name for the one that is run beside it for comparison, see `tuning.run.baselines`.
BESIDE = "/learning-rate-alone"


def names(storage: optuna.storages.BaseStorage) -> list[str]:
    """Names of the stored studies, oldest first, without those that were run beside another."""
    # Studies that were made later have higher ids.
    stored = [study.study_name for study in sorted(storage.get_all_studies(), key=lambda study: study._study_id)]
    return [name for name in stored if BESIDE not in name or name.partition(BESIDE)[0] not in stored]


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
    storage: optuna.storages.BaseStorage, prefix: str, direction: Direction, stamp: Stamp, exact: bool = False
) -> optuna.Study:
    """A new study with a name that begins with the prefix, or is it when `exact`.

    Raises
    ------
    StorageError
        When the database refuses to be written.
    """
    name = prefix if exact else records.unique_name(prefix)
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        records.write_stamp(study, stamp)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([stamp.objective])
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(f"the study cannot be written: {error.__cause__ or error}") from error
    return study


def resume(
    storage: optuna.storages.BaseStorage, name: str, direction: Direction, stamp: Stamp, space: Space
) -> optuna.Study:
    """A stored study, after a check that it is the one asked for.

    Trials that a killed process left running are told to have failed: nobody will finish them. Starting configs that
    were cut off are lined up again, and what was concluded from the trials so far is taken back. Another sampler,
    pruner or number of lanes is welcome, and noted.

    Raises
    ------
    StudyError
        When there is none, or its task, optimizer, space, seed or direction is another.
    """
    study = find(storage, name)
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
    for trial in study.get_trials(deepcopy=False, states=(_State.RUNNING,)):
        study.tell(trial.number, state=_State.FAIL)
    if stamp != stored:
        records.write_stamp(study, stamp)
    for note in ("winner", "comparison", "warnings"):
        if records.get_note(study, note) is not None:
            records.set_note(study, note, None)
    enqueue(study, space, _cut_off(study))
    return study


def starting(study: optuna.Study) -> list[OptimizerConfig]:
    """The configs that were lined up to be tried first."""
    return [records.config_of(trial) for trial in _lined_up(study)]


def _lined_up(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if "fixed_params" in trial.system_attrs and "config" in trial.user_attrs]


def _cut_off(study: optuna.Study) -> list[OptimizerConfig]:
    """Starting configs whose trials failed and were not tried again."""
    lost, kept = (
        [records.config_of(trial) for trial in _lined_up(study) if (trial.state == _State.FAIL) is failed]
        for failed in (True, False)
    )
    return [config for number, config in enumerate(lost) if config not in kept and config not in lost[:number]]


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
