"""Recovery: trials of workers that died are told to have failed, and what was cut off is tried again.

A trial is tried again as another one, with the same point and the same chance: a study of one lane goes on as an
undisturbed one. One that was lost with its process is tried again once, because its config could be what ended it; one
that was stopped by somebody, whenever the study goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb import models  # private, as in `bulk`
from optuna.trial import FrozenTrial, TrialState

from adamtune.tuning import bulk, curves, leases, prior, records, storage

_trials = models.TrialModel.__table__
_OPEN = (TrialState.RUNNING, TrialState.FAIL)
# What goes over from a trial to the one that is tried in its place.
_KEPT = ("config", prior.MARK)


def recover(study: optuna.Study, *, stopped: bool, unleased: bool = False) -> list[int]:
    """End the trials of dead workers and line up again what was cut off; returns the numbers of those that were lost.

    Of several that do so at the same moment one does it.

    Parameters
    ----------
    stopped : bool
        Whether trials that somebody stopped are lined up too, and not only those that were lost.
    unleased : bool
        Whether what runs without a lease is lost, see `leases.stale`.
    """
    engine = curves.database_of(study._storage)
    if engine is None:  # in this process alone: what still runs is nobody's
        return _recover_in_memory(study, stopped) if unleased else []

    def work(connection: sqlalchemy.Connection) -> list[int]:
        study_id = study._study_id
        leases.lock_study(connection, study_id)
        trials = bulk.read_where(connection, (_trials.c.study_id == study_id) & _trials.c.state.in_(_OPEN))
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        lost = leases.stale(connection, running, storage.worker(study._storage), unleased)
        # A worker that was only slow may have ended one since we read it.
        held = bulk.lock_unfinished(connection, [trial._trial_id for trial in lost], change=True) if lost else ()
        lost = [trial for trial in lost if trial._trial_id in held]
        if lost:
            ids = [trial._trial_id for trial in lost]
            bulk.end(connection, ids, TrialState.FAIL, bulk.now(engine))
            bulk.set_attrs(connection, bulk.Attr, [(trial_id, records.STOPPED, records.LOST) for trial_id in ids])
            leases.end(connection, ids)
        numbers = {trial.number for trial in lost}
        cut = [trial for trial in trials if trial.state is TrialState.FAIL or trial.number in numbers]
        why = {
            trial.number: records.LOST if trial.number in numbers else trial.user_attrs.get(records.STOPPED)
            for trial in cut
        }
        waiting = _again(cut, why, _tried_again(connection, study_id), stopped)
        made = leases.new_rows(
            connection, study_id, [{"study_id": study_id, "state": TrialState.WAITING}] * len(waiting)
        )
        for table, attrs in ((bulk.Attr, "user_attrs"), (bulk.System, "system_attrs")):
            rows = [
                (trial_id, key, value)
                for (trial_id, _), each in zip(made, waiting, strict=True)
                for key, value in each[attrs].items()
            ]
            bulk.set_attrs(connection, table, rows)
        return sorted(numbers)

    try:
        return leases.with_table(engine, work)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StorageInternalError("trials of dead workers could not be looked for") from error


def _tried_again(connection: sqlalchemy.Connection, study_id: int) -> dict[int, dict[str, Any]]:
    found = bulk.attrs(connection, study_id, records.RETRY)
    return {number: retry for number, value in found.items() if (retry := records.retry_in(value))}


def _recover_in_memory(study: optuna.Study, stopped: bool) -> list[int]:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        study._storage.set_trial_user_attr(trial._trial_id, records.STOPPED, records.LOST)
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    cut = [trial for trial in trials if trial.state is TrialState.FAIL]
    why = {trial.number: trial.user_attrs.get(records.STOPPED) for trial in cut}
    for attrs in _again(cut, why, records.retries(trials), stopped):
        study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, **attrs))  # type: ignore[arg-type]
    return [trial.number for trial in running]


def _again(
    cut: Sequence[FrozenTrial], why: Mapping[int, str | None], retries: Mapping[int, Mapping[str, Any]], stopped: bool
) -> list[dict[str, dict[str, Any]]]:
    """Attributes of the trials that are tried in place of those that were cut off.

    Parameters
    ----------
    cut, why
        The trials, and why each was, by number.
    retries : mapping
        What is said of the trials that were themselves tried in place of others, by number; see `records.RETRY`.
    """
    over = {retry["of"] for retry in retries.values()}
    made = []
    for trial in cut:
        earlier = retries.get(trial.number, {})
        lost = earlier.get("lost", 0) + (why[trial.number] == records.LOST)
        wanted = lost == 1 if why[trial.number] == records.LOST else stopped and why[trial.number] in records.STOPS
        if trial.number in over or not wanted:
            continue
        system: dict[str, Any] = {
            records.RETRY: {
                "of": trial.number,
                "draw": records.draw(trial.number, retries),
                "lined_up": earlier.get("lined_up", records.is_lined_up(trial)),
                "lost": lost,
            }
        }
        user = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
        # Without a config it was lost before anybody knew what it would try, unless somebody had lined it up.
        if fixed := trial.system_attrs.get("fixed_params") or (trial.params if "config" in user else None):
            system["fixed_params"] = fixed
        made.append({"user_attrs": user, "system_attrs": system})
    return made
