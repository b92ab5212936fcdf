"""Trials that begin and end together: the same rows as one by one, in fewer transactions."""

import contextlib
import logging
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState

from adamtune.tuning import bulk
from adamtune.tuning.storage import close, flush, open_storage

COMPLETE, PRUNED, FAIL, RUNNING, WAITING = (
    getattr(TrialState, name) for name in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
)


@pytest.fixture
def study(database_url):
    """A study on each kind of database."""
    storage = open_storage(database_url)
    yield optuna.create_study(study_name="study", storage=storage)
    close(storage)


@pytest.fixture
def local(url):
    """A study on SQLite."""
    storage = open_storage(url)
    yield optuna.create_study(study_name="study", storage=storage)
    close(storage)


def reserving(study, count):
    return study._storage._backend.reserving(study._study_id, count)


def together(study):
    return study._storage._backend.together()


def seen_by_others(study):
    """The trials as plain Optuna reads them over a connection of its own."""
    url = study._storage._backend.engine.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name=study.study_name, storage=RDBStorage(url)).get_trials()


def states(trials):
    return [trial.state for trial in trials]


def train(trials):
    """Give the trials parameters, attributes and reports of every kind."""
    for trial in trials:
        trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        trial.suggest_int("warmup", 1, 9, step=2)
        trial.suggest_categorical("nesterov", [True, None, "å", 0.5])
        trial.set_user_attr("config", '{"optimizer": "adam"}')
        trial.storage.set_trial_system_attr(trial._trial_id, "fixed", {"x": [1, None]})
        for step, value in enumerate([0.1 + 0.2, math.inf, -math.inf, 5e-324, -0.0, 1.7976931348623157e308]):
            trial.report(value, step)


def end(study, trials):
    values = [0.1 + 0.2, math.inf, -math.inf, -0.0, 1 / 3]
    for index, trial in enumerate(trials):
        state = (COMPLETE, COMPLETE, PRUNED, FAIL)[index % 4]
        study.tell(trial, values[index % 5] if state is COMPLETE else None, state=state)


def rows(study):
    """All tables; ids and moments aside, which no two studies share."""
    found = {}
    with study._storage._backend.engine.connect() as connection:
        for table in models.BaseModel.metadata.sorted_tables:
            if table.name.startswith("trial"):
                texts = connection.execute(table.select().order_by(*table.primary_key)).mappings()
                found[table.name] = [
                    {
                        name: value is None if name.startswith("datetime") else repr(value)
                        for name, value in row.items()
                        if name not in {column.name for column in table.primary_key} | {"study_id"}
                    }
                    for row in texts
                ]
    return found


def test_the_rows_are_those_of_optuna_writing_one_by_one(study, tmp_path, database_url):
    plain = optuna.create_study(
        study_name="plain", storage=optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'p.db'}")
    )
    study.sampler, plain.sampler = (optuna.samplers.RandomSampler(seed=0) for _ in range(2))
    with reserving(study, 9):
        trials = [study.ask() for _ in range(9)]
    train(trials)
    with together(study):
        end(study, trials)
    trials = [plain.ask() for _ in range(9)]
    train(trials)
    end(plain, trials)
    ours, theirs = rows(study), rows(plain)
    assert ours.keys() == theirs.keys()
    for name in ours:
        key = lambda row: (row.get("trial_id") or row["number"], row.get("step", ""), row.get("key", ""))  # noqa: E731
        assert sorted(ours[name], key=key) == sorted(plainly(theirs[name]), key=key), name
    assert len(ours["trial_values"]) == 7  # of two in four, and a report of one more


def plainly(found):
    # PostgreSQL alone keeps the sign of zero, and nobody shall see it in one place and not in the other.
    return [{name: "0.0" if value == "-0.0" else value for name, value in row.items()} for row in found]


def test_trials_that_ended_together_are_read_without_sql_and_as_they_are_stored(study):
    with reserving(study, 8):
        trials = [study.ask() for _ in range(8)]
    train(trials)
    with together(study):
        end(study, trials)
    statements = []
    sqlalchemy.event.listen(study._storage._backend.engine, "before_execute", lambda *_: statements.append(_))
    cached = [study.get_trials(), study.get_trials(), [study._storage.get_trial(trial._trial_id) for trial in trials]]
    assert len(statements) == 2  # a look for trials of others, each
    bare = study._storage._backend.get_all_trials(study._study_id)
    fresh = seen_by_others(study)
    for known in (*cached, bare):
        assert known == fresh
        assert repr(in_order(known)) == repr(in_order(fresh))  # the sign of a zero, the type of a number


def in_order(trials):
    return [(t.values, t.params, sorted(t.intermediate_values.items()), sorted(t.user_attrs.items())) for t in trials]


def test_moments_are_kept_as_precisely_as_the_column_does(study):
    with reserving(study, 1):
        trial = study.ask()
    with together(study):
        study.tell(trial, 1.0)
    (ours,), (theirs,) = study.get_trials(), seen_by_others(study)
    assert (ours.datetime_start, ours.datetime_complete) == (theirs.datetime_start, theirs.datetime_complete)
    assert ours.datetime_start <= ours.datetime_complete


def test_64_trials_end_and_64_begin_in_two_transactions(local):
    study, commits = local, []
    with reserving(study, 64):
        old = [study.ask() for _ in range(64)]
    train(old)
    flush(study._storage)
    sqlalchemy.event.listen(study._storage._backend.engine, "commit", commits.append)
    for trial in old:
        trial.report(0.5, 9)
    with together(study):
        end(study, old)
    with reserving(study, 64):
        new = [study.ask() for _ in range(64)]
    assert len(commits) == 2
    assert [trial.number for trial in new] == list(range(64, 128))
    assert states(seen_by_others(study)) == [COMPLETE, COMPLETE, PRUNED, FAIL] * 16 + [RUNNING] * 64


# ------------------------------------------------------------------------------------------------------------ reserving

WORKER = """
import sys, optuna
from adamtune.tuning.storage import close, open_storage
storage = open_storage(sys.argv[1])
study = optuna.load_study(study_name="study", storage=storage)
print("ready", flush=True)
input()
for count in (8, 1, 3, 8):
    with storage._backend.reserving(study._study_id, count):
        trials = [study.ask() for _ in range(count)]
    for trial in trials:
        trial.report(0.5, 1)
    with storage._backend.together():
        for trial in trials:
            study.tell(trial, trial.number)
print(*[trial.number for trial in study.trials])
close(storage)
"""


def test_processes_that_reserve_at_once_get_numbers_of_their_own(study, database_url):
    command = [sys.executable, "-c", WORKER, database_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    one_by_one = [study.ask().number for _ in range(10)]
    for worker in workers:
        worker.communicate(timeout=120)
        assert worker.returncode == 0
    found = seen_by_others(study)
    assert [trial.number for trial in found] == list(range(70))
    assert [trial._trial_id for trial in found] == sorted(trial._trial_id for trial in found)
    assert [t.number for t in found if t.state is RUNNING] == one_by_one
    assert all(trial.value == trial.number for trial in found if trial.state is COMPLETE)
    assert study.get_trials() == found


def test_what_waits_is_asked_first_and_no_trial_too_many_is_made(local):
    study = local
    for rate in (0.1, 0.2):
        study.enqueue_trial({"learning_rate": rate})
    with reserving(study, 5):
        trials = [study.ask() for _ in range(5)]
    assert [trial.suggest_float("learning_rate", 0.0, 1.0) for trial in trials][:2] == [0.1, 0.2]
    assert states(study.get_trials()) == states(seen_by_others(study)) == [RUNNING] * 5
    with together(study):
        for trial in trials:
            study.tell(trial, 1.0)
        assert states(seen_by_others(study)) == [RUNNING] * 5  # also those that waited end with the others
    assert states(seen_by_others(study)) == [COMPLETE] * 5


def test_a_reserved_trial_is_seen_when_it_is_asked_for(local):
    study = local
    with reserving(study, 3):
        study.ask()
        assert len(study.get_trials()) == len(study._storage._backend.get_all_trials(study._study_id)) == 1
        assert len(seen_by_others(study)) == 3
        study.ask()
        assert len(study.get_trials()) == 2
        study.ask()
    assert study.get_trials() == seen_by_others(study)


@pytest.mark.parametrize("ends", ["together", "alone"])
def test_a_reserved_trial_that_is_asked_after_later_ones_have_ended_is_not_overlooked(local, ends):
    study = local
    with reserving(study, 2):
        study.ask()
        with optuna_elsewhere(study) as other:
            other.tell(other.ask(), 1.0)
        assert states(study.get_trials()) == [RUNNING, COMPLETE]
        late = study.ask()
    with together(study) if ends == "together" else contextlib.nullcontext():
        study.tell(late, 2.0)
    assert [trial.value for trial in study.get_trials()] == [None, 2.0, 1.0]


@contextlib.contextmanager
def optuna_elsewhere(study):
    url = study._storage._backend.engine.url.render_as_string(hide_password=False)
    yield optuna.load_study(study_name=study.study_name, storage=RDBStorage(url))


def test_what_nobody_asked_for_waits_for_whoever_asks_next(study):
    with pytest.raises(ZeroDivisionError), reserving(study, 4):
        taken = study.ask()
        raise ZeroDivisionError
    assert states(study.get_trials()) == states(seen_by_others(study)) == [RUNNING, WAITING, WAITING, WAITING]
    with optuna_elsewhere(study) as other:
        assert other.ask().number == 1
    assert [study.ask().number for _ in range(3)] == [2, 3, 4]
    assert taken.number == 0


def test_more_than_were_reserved_are_made_one_by_one(local):
    with reserving(local, 2):
        assert [local.ask().number for _ in range(4)] == [0, 1, 2, 3]
    assert local.get_trials() == seen_by_others(local)


def test_a_study_that_is_deleted_takes_its_reserve_with_it(local):
    storage = local._storage
    with reserving(local, 3):
        local.ask()
        storage.delete_study(local._study_id)
        heir = optuna.create_study(storage=storage)
        trials = [heir.ask() for _ in range(3)]  # SQLite gives the ids again
    assert states(heir.get_trials()) == states(seen_by_others(heir)) == [RUNNING] * 3
    assert [trial.number for trial in trials] == [0, 1, 2]


KILLED = """
import os, signal, sys, optuna
from adamtune.tuning.storage import flush, open_storage
storage = open_storage(sys.argv[1])
study = optuna.load_study(study_name="study", storage=storage)
with storage._backend.reserving(study._study_id, 4):
    trials = [study.ask(), study.ask()]
    trials[0].report(0.5, 1)
    flush(storage)
    with storage._backend.together():
        study.tell(trials[0], 1.0)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_process_leaves_running_trials_and_nothing_else(study, database_url):
    killed = subprocess.run([sys.executable, "-c", KILLED, database_url], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    found = study.get_trials()
    assert states(found) == [RUNNING] * 4
    assert [(trial.values, trial.intermediate_values) for trial in found] == [(None, {1: 0.5})] + [(None, {})] * 3
    assert study.ask().number == 4


# ------------------------------------------------------------------------------------------------------------- together


@pytest.fixture
def three(study):
    """A study with three running trials that have reported, and those."""
    with reserving(study, 3):
        trials = [study.ask() for _ in range(3)]
    for trial in trials:
        trial.report(0.5, 1)
    return study, trials


def test_trials_have_ended_for_every_reader_as_soon_as_they_are_told(three):
    study, trials = three
    backend = study._storage._backend
    with together(study):
        for index, trial in enumerate(trials):
            told = study.tell(trial, float(index))
            assert told.value == study._storage.get_trial(trial._trial_id).value == index
            with pytest.raises(UpdateFinishedTrialError):
                study._storage.set_trial_user_attr(trial._trial_id, "late", 1)
            with pytest.raises(ValueError, match="COMPLETE"):
                study.tell(trial, 5.0)
        assert study.best_trial.number == 0
        assert states(study.get_trials()) == states(backend.get_all_trials(study._study_id)) == [COMPLETE] * 3
    assert study.get_trials() == seen_by_others(study)


def test_an_error_in_the_block_loses_nothing_that_was_told(three):
    study, trials = three
    with pytest.raises(ZeroDivisionError), together(study):
        study.tell(trials[0], 1.0)
        raise ZeroDivisionError
    assert states(seen_by_others(study)) == [COMPLETE, RUNNING, RUNNING]
    study.tell(trials[1], 2.0)  # by itself again
    assert states(seen_by_others(study)) == [COMPLETE, COMPLETE, RUNNING]


def test_a_trial_that_another_process_ended_keeps_what_that_one_said(three, caplog):
    study, trials = three
    flush(study._storage)
    with caplog.at_level(logging.WARNING, "adamtune"), together(study):
        for trial in trials:
            trial.report(0.25, 2)
            study.tell(trial, 1.0)
        with optuna_elsewhere(study) as other:
            other.tell(1, state=FAIL)
    assert f"[{trials[1]._trial_id}]" in caplog.text
    found = seen_by_others(study)
    assert states(found) == [COMPLETE, FAIL, COMPLETE]
    assert found[1].values is None
    assert [trial.intermediate_values for trial in found] == [{1: 0.5, 2: 0.25}, {1: 0.5}, {1: 0.5, 2: 0.25}]
    assert study.get_trials() == found
    assert [study._storage.get_trial(trial._trial_id) for trial in trials] == found


def test_what_another_process_ended_meanwhile_is_never_shown_as_told_by_us(three):
    study, trials = three
    with together(study):
        study.tell(trials[0], 1.0)
        with optuna_elsewhere(study) as other:
            other.tell(0, state=FAIL)
        assert states(study.get_trials()) == [FAIL, RUNNING, RUNNING]


def test_ends_that_could_not_be_written_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "_WAITS", (0.01, 0.01))
    url = f"sqlite:///{tmp_path / 'test.db'}"
    study = optuna.create_study(study_name="study", storage=open_storage(url + "?timeout=0"))
    trials = [study.ask(), study.ask()]
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageInternalError, match="kept"), together(study):
            study.tell(trials[0], 1.0)
        assert study._storage.get_trial(trials[0]._trial_id).value == 1.0
    study.tell(trials[1], 2.0)
    assert [trial.value for trial in seen_by_others(study)] == [1.0, 2.0]
    assert study.get_trials() == seen_by_others(study)
    close(study._storage)


def test_another_thread_ends_its_trials_at_once(three):
    study, trials = three
    with together(study):
        study.tell(trials[0], 1.0)
        thread = threading.Thread(target=study.tell, args=(trials[1], 2.0))
        thread.start()
        thread.join()
        assert seen_by_others(study)[1].value == 2.0
    assert [trial.value for trial in seen_by_others(study)] == [1.0, 2.0, None]


@pytest.mark.parametrize("database_url", ["mysql"], indirect=True)
def test_a_value_that_a_database_refuses_fails_where_it_is_told(three):
    study, trials = three
    with together(study):
        study.tell(trials[0], 1.0)
        with pytest.raises(StorageInternalError):
            study._storage.set_trial_state_values(trials[1]._trial_id, COMPLETE, [math.nan])
        study.tell(trials[2], 3.0)
    assert [trial.value for trial in seen_by_others(study)] == [1.0, None, 3.0]


def test_one_block_may_stand_in_another(three):
    study, trials = three
    with together(study):
        study.tell(trials[0], 1.0)
        with together(study):
            study.tell(trials[1], 2.0)
        assert states(seen_by_others(study)) == [COMPLETE, COMPLETE, RUNNING]
        study.tell(trials[2], 3.0)
        assert states(seen_by_others(study)) == [COMPLETE, COMPLETE, RUNNING]
    assert states(seen_by_others(study)) == [COMPLETE] * 3


def test_every_kind_of_parameter_is_read_as_it_is_stored(local):
    distributions = {
        "float": FloatDistribution(-1.0, 1.0),
        "log": FloatDistribution(1e-8, 1.0, log=True),
        "step": FloatDistribution(0.0, 1.0, step=0.1),
        "int": IntDistribution(1, 64, log=True),
        "choice": CategoricalDistribution([None, True, 1, 2.5, "å"]),
    }
    with reserving(local, 5):
        trials = [local.ask(distributions) for _ in range(5)]
    with together(local):
        for trial in trials:
            local.tell(trial, 1.0)
    assert repr([t.params for t in local.get_trials()]) == repr([t.params for t in seen_by_others(local)])
    assert local.get_trials() == seen_by_others(local)


# ------------------------------------------------------------------------------------------------------- a power cut


def test_what_has_ended_waits_for_the_disk_and_nothing_else_does(local):
    engine, synced = local._storage._backend.engine, []

    def committed(connection):
        synced.append(connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2)  # FULL

    with reserving(local, 2):
        trials = [local.ask() for _ in range(2)]
    sqlalchemy.event.listen(engine, "commit", committed)
    for trial in trials:
        trial.report(0.5, 1)
    flush(local._storage)
    assert synced and not any(synced)
    synced.clear()
    with together(local):
        for trial in trials:
            local.tell(trial, 1.0)
    assert any(synced)
    synced.clear()
    local.ask()
    assert synced and not any(synced)


def test_a_file_that_cannot_be_in_wal_waits_for_the_disk_always(local, monkeypatch):
    engine, seen = local._storage._backend.engine, []
    engine.dispose()
    sqlalchemy.event.listen(engine, "checkout", lambda connection, record, proxy: record.info.pop("wal", None))
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    local.tell(local.ask(), 1.0)
    assert any("BEGIN IMMEDIATE" in statement for statement in seen)
    assert not any("PRAGMA synchronous" in statement for statement in seen)
