"""What a database does to a study that it should not: nothing is lost then, and nothing is there twice."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import psycopg
import pymysql
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState

from adamtune.errors import StorageError
from adamtune.tuning import bulk, curves, records
from adamtune.tuning import storage as storages
from adamtune.tuning.buffer import BufferedRDBStorage
from adamtune.tuning.storage import close, flush, open_storage, reserving, together
from tests.servers import SERVERS, on_server
from tests.tuning import dying

ASSETS = Path(__file__).parent.parent / "assets"
COMPLETE, RUNNING, WAITING = TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING
TOLD = (StorageError, StorageInternalError)
HELD = 0.3  # seconds that a lock of others is held

everywhere = pytest.mark.parametrize("made", ["sqlite", *SERVERS], indirect=True)
only_servers = pytest.mark.parametrize("made", SERVERS, indirect=True)
only_sqlite = pytest.mark.parametrize("made", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Tries that follow each other quickly, for as long as a lock may be held here."""
    monkeypatch.setattr(bulk, "_WAITS", (0.01, 0.02, 0.05, *[0.1] * 20))


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """One database of each kind for all that is here: to make one takes longer than a test."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('faults') / 'test.db'}"
        close(open_storage(url))
        yield url
        return
    with on_server(request.param) as url:
        close(open_storage(url))
        yield url


class Opened(BufferedRDBStorage):
    """Opened a tenth as long, because its tables are known to be there."""

    def __init__(self, url, engine_kwargs):
        super().__init__(url, engine_kwargs, skip_compatibility_check=True, skip_table_creation=True)


@pytest.fixture
def database_url(made, monkeypatch):
    """The URL of a database with empty tables."""
    monkeypatch.setattr(storages, "BufferedRDBStorage", Opened)
    engine = sqlalchemy.create_engine(made, poolclass=sqlalchemy.NullPool)
    there = set(sqlalchemy.inspect(engine).get_table_names()) - {"alembic_version", "version_info"}
    known = [table.name for table in reversed(models.BaseModel.metadata.sorted_tables)]
    with engine.begin() as connection:
        for name in sorted(there, key=lambda name: known.index(name) if name in known else -1):
            connection.exec_driver_sql(f"DELETE FROM {name}")
    return made


@contextlib.contextmanager
def opened(url):
    storage = open_storage(url)
    try:
        yield storage
    finally:
        close(storage)


@pytest.fixture
def study(database_url):
    """A study with three running trials that have each reported once, not written yet."""
    with opened(database_url) as storage:
        yield with_three_trials(storage)


def with_three_trials(storage):
    study = optuna.create_study(study_name="study", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    with reserving(study, 3):
        study.trials_held = [study.ask() for _ in range(3)]
    for trial in study.trials_held:
        trial.report(0.5, 0)
    return study


def engine_of(study):
    return study._storage._backend.engine


def tell_all(study):
    with together(study):
        for trial in study.trials_held:
            study.tell(trial, float(trial.number))


def write_curves(study):
    curves.write(study, {trial.number: curve_of(trial.number) for trial in study.trials_held})


def curve_of(number):
    return curves.Curve(np.array([number, 0.5]), np.array([number, 0.25]))


def tell_alone(study):
    study.tell(study.trials_held[0], 0.0)


def begin_more(study):
    with reserving(study, 2):
        study.more = [study.ask() for _ in range(2)]


def begin_what_waits(study):
    study.more = [study.ask()]


def annotate(study):
    study.set_user_attr("note", "kept")


def insist(act, study):
    """Do it; when it is told that it was not done, flush and do it again."""
    with contextlib.suppress(ValueError):  # Optuna's word for a trial that has ended already
        try:
            act(study)
        except TOLD:
            flush(study._storage)
            act(study)


def seen_by_others(study):
    url = engine_of(study).url.render_as_string(hide_password=False).partition("?")[0]
    checks = {"skip_compatibility_check": True, "skip_table_creation": True}
    storage = RDBStorage(url, {"poolclass": sqlalchemy.NullPool}, **checks)
    return optuna.load_study(study_name=study.study_name, storage=storage).get_trials()


def assert_whole(study, ended=(0, 1, 2), reports=1, n_trials=3):
    """All is there, once, for whoever reads; and the file is sound."""
    found = seen_by_others(study)
    assert [trial.number for trial in found] == list(range(n_trials))
    assert [trial.number for trial in found if trial.state is COMPLETE] == list(ended)
    assert [trial.value for trial in found if trial.state is COMPLETE] == list(ended)
    assert [len(trial.intermediate_values) for trial in found[:3]] == [reports] * 3
    assert study.get_trials() == found
    with engine_of(study).connect() as connection:
        for model, column in bulk.KEYS.items():
            table = model.__table__
            rows = Counter(connection.execute(sqlalchemy.select(table.c.trial_id, table.c[column])).all())
            assert not rows or max(rows.values()) == 1
        if engine_of(study).name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


# ------------------------------------------------------------------------------------------- the connection is killed


def kill(engine):
    """End all connections to the database of an engine, from a connection to another one."""
    sessions, end = {
        "postgresql": ("SELECT pid FROM pg_stat_activity WHERE datname = :name", "SELECT pg_terminate_backend({})"),
        "mysql": ("SELECT id FROM information_schema.processlist WHERE db = :name", "KILL CONNECTION {}"),
    }[engine.name]
    admin = sqlalchemy.create_engine(os.environ[SERVERS[engine.name]], poolclass=sqlalchemy.NullPool)
    with admin.connect() as connection:
        for session in connection.scalars(sqlalchemy.text(sessions), {"name": engine.url.database}).all():
            with contextlib.suppress(sqlalchemy.exc.DBAPIError):  # it has gone by itself
                connection.exec_driver_sql(end.format(session))


@contextlib.contextmanager
def at_first(engine, word, act):
    """`act()` before the first statement that begins with a word, or before the first COMMIT; the list says whether."""
    done = []

    def before(*args):
        if not done and (word == "COMMIT" or args[2].startswith(word)):
            done.append(word)
            act()

    event = "commit" if word == "COMMIT" else "before_cursor_execute"
    sqlalchemy.event.listen(engine, event, before)
    try:
        yield done
    finally:
        sqlalchemy.event.remove(engine, event, before)


@only_servers
def test_a_connection_that_is_killed_between_any_two_calls_costs_nothing(study):
    engine = engine_of(study)

    def step(act):
        kill(engine)
        return act()

    for trial in study.trials_held:
        step(lambda trial=trial: trial.suggest_float("x", 0.0, 1.0))
        step(lambda trial=trial: trial.report(0.25, 1))
        step(lambda trial=trial: trial.set_user_attr("lane", trial.number))
    step(lambda: flush(study._storage))
    step(lambda: write_curves(study))
    assert len(step(study.get_trials)) == 3
    step(lambda: tell_all(study))
    assert step(lambda: study.best_value) == 0.0
    step(lambda: study.enqueue_trial({"x": 0.5}))
    asked = step(study.ask)
    assert step(lambda: asked.suggest_float("x", 0.0, 1.0)) == 0.5
    step(lambda: study.tell(asked, 3.0))
    step(lambda: annotate(study))
    assert step(lambda: study.user_attrs) == {"note": "kept"}
    assert step(lambda: curves.read(study)) == {number: curve_of(number) for number in range(3)}
    assert [trial.user_attrs["lane"] for trial in seen_by_others(study)[:3]] == [0, 1, 2]
    assert [trial.value for trial in seen_by_others(study)] == [0.0, 1.0, 2.0, 3.0]


class Door:
    """A door before a server: while it is shut, who comes is refused, and who was inside is put out."""

    def __init__(self, server):
        self._server, self._inside = server, []
        self.open(0)
        self.port = self._listening.getsockname()[1]

    def open(self, port=None):
        self._listening = socket.create_server(("127.0.0.1", self.port if port is None else port))
        threading.Thread(target=self._let_in, args=(self._listening,), daemon=True).start()

    def shut(self):
        for each in (self._listening, *self._inside):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._inside.clear()

    def _let_in(self, listening):
        with contextlib.suppress(OSError):  # it was shut
            while True:
                pair = (listening.accept()[0], socket.create_connection(self._server))
                self._inside += pair
                for come, go in (pair, pair[::-1]):
                    threading.Thread(target=self._carry, args=(come, go), daemon=True).start()

    @staticmethod
    def _carry(come, go):
        with contextlib.suppress(OSError):
            while some := come.recv(65536):
                go.sendall(some)


@contextlib.contextmanager
def through_a_door(url):
    """A door before the server of a URL, and the URL that leads through it."""
    url = sqlalchemy.make_url(url)
    door = Door((url.host, url.port))
    try:
        yield door, url.set(host="127.0.0.1", port=door.port).render_as_string(hide_password=False)
    finally:
        door.shut()


@only_servers
@pytest.mark.parametrize("act", [tell_all, begin_more, write_curves, annotate, lambda study: study.get_trials()])
def test_a_server_that_is_away_for_a_moment_costs_nothing(database_url, act):
    with through_a_door(database_url) as (door, through), opened(through) as storage:
        study = with_three_trials(storage)
        door.shut()
        opens = threading.Timer(HELD, door.open)
        opens.start()
        act(study)
        opens.join()
        tell_all(study) if act is not tell_all else None
        assert_whole(study, n_trials=3 + 2 * (act is begin_more))


@only_servers
def test_a_search_whose_server_is_away_three_times_finishes_exactly_what_was_asked_for(database_url, seed):
    n_trials, away = 48, {6, 18, 30}
    moments, absences, ended = np.random.default_rng(seed), [], []

    def leave_for_a_moment(after):
        time.sleep(after)
        door.shut()
        time.sleep(HELD)
        door.open()

    with through_a_door(database_url) as (door, through), opened(through) as storage:
        study = dying.opened(storage)
        for event in dying.searching(study, 8, n_trials, "none"):
            ended += [event.number] if hasattr(event, "number") else []
            if len(absences) < sum(len(ended) >= number for number in away):
                absences.append(threading.Thread(target=leave_for_a_moment, args=[moments.uniform(0, 0.05)]))
                absences[-1].start()
        for absence in absences:
            absence.join()
        assert len(absences) == 3
        found = seen_by_others(study)
        assert study.get_trials() == found
        assert [trial.number for trial in dying.finished(study)] == sorted(ended)
    assert len(ended) == len(set(ended)) == n_trials == len(found)
    assert len({records.config_of(trial) for trial in found}) == n_trials


@only_servers
def test_a_server_that_takes_no_more_connections_for_a_moment_costs_nothing(study):
    engine, refused = engine_of(study), []
    full = {
        "postgresql": lambda: psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already"),
        "mysql": lambda: pymysql.err.OperationalError(1040, "Too many connections"),
    }[engine.name]

    def refuse(*_):
        if len(refused) < 3:
            refused.append(1)
            raise full()

    engine.dispose()
    sqlalchemy.event.listen(engine, "do_connect", refuse)
    tell_all(study)
    assert len(refused) == 3
    assert_whole(study)


@only_servers
@pytest.mark.parametrize("word", ["SELECT trials", "INSERT", "UPDATE trials", "COMMIT"])
def test_a_connection_that_is_killed_within_a_flush_costs_nothing(study, word):
    with at_first(engine_of(study), word, lambda: kill(engine_of(study))) as killed:
        tell_all(study)
    assert killed
    assert_whole(study)


@only_servers
@pytest.mark.parametrize("word", ["SELECT", "INSERT", "COMMIT"])
def test_a_connection_that_is_killed_while_trials_begin_makes_none_too_many(study, word):
    with at_first(engine_of(study), word, lambda: kill(engine_of(study))) as killed:
        insist(begin_more, study)
    assert killed
    flush(study._storage)
    assert_whole(study, ended=[], n_trials=5)
    assert [trial.number for trial in study.more] == [3, 4]


@only_servers
@pytest.mark.parametrize("word", ["SELECT", "INSERT", "COMMIT"])
def test_a_connection_that_is_killed_while_curves_are_written_costs_none(study, word):
    write_curves(study)
    curves.forget(study._storage, study._study_id)
    with at_first(engine_of(study), word, lambda: kill(engine_of(study))) as killed:
        write_curves(study)
    assert killed
    assert curves.read(study) == {number: curve_of(number) for number in range(3)}


@only_servers
@pytest.mark.parametrize("word", ["SELECT", "UPDATE", "COMMIT"])
def test_a_trial_that_is_told_alone_has_ended_or_it_is_said(study, word):
    flush(study._storage)
    with at_first(engine_of(study), word, lambda: kill(engine_of(study))) as killed:
        insist(tell_alone, study)
    assert killed
    assert_whole(study, ended=[0])


# --------------------------------------------------------------------------------------------- others hold a lock


@contextlib.contextmanager
def locked(study, *statements, seconds=HELD, trial=0):
    """Another connection that has done this, and lets go after so many seconds."""
    url = engine_of(study).url.render_as_string(hide_password=False).partition("?")[0]
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    began, go = threading.Event(), threading.Event()

    def hold():
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.format(trial=study.trials_held[trial]._trial_id))
            began.set()
            go.wait(seconds)
            connection.rollback()

    thread = threading.Thread(target=hold)
    thread.start()
    assert began.wait(30)
    try:
        yield go
    finally:
        go.set()
        thread.join()


def impatient(url):
    """The URL with sessions that wait for a lock for no longer than this kind of database must."""
    kind = sqlalchemy.make_url(url).get_backend_name()
    says = {
        "sqlite": "timeout=0.05",
        "postgresql": "options=-clock_timeout%3D100ms",
        "mysql": "init_command=SET+SESSION+innodb_lock_wait_timeout%3D1",
    }
    return f"{url}?{says[kind]}"


@pytest.fixture
def hurried(database_url):
    """The study of `study` over sessions that soon give up on a lock."""
    with opened(impatient(database_url)) as storage:
        yield with_three_trials(storage)


LOCKS = {
    "sqlite": [["BEGIN IMMEDIATE"], ["BEGIN EXCLUSIVE"]],
    "postgresql": [
        ["LOCK TABLE trials IN ACCESS EXCLUSIVE MODE"],
        ["SELECT * FROM trials WHERE trial_id = {trial} FOR UPDATE"],
    ],
    "mysql": [
        ["START TRANSACTION", "SELECT * FROM trials WHERE trial_id = {trial} FOR UPDATE"],
    ],
}
each_lock = pytest.mark.parametrize(
    ("made", "lock"),
    [pytest.param(kind, lock, id=f"{kind}: {lock[-1][:24]}") for kind, locks in LOCKS.items() for lock in locks],
    indirect=["made"],
)


def seconds_held(study):
    return 1.3 if engine_of(study).name == "mysql" else HELD  # MariaDB gives up after whole seconds


@each_lock
def test_a_lock_that_others_let_go_costs_nothing(hurried, lock):
    with locked(hurried, *lock, seconds=seconds_held(hurried)):
        tell_all(hurried)
    assert_whole(hurried)


@each_lock
@pytest.mark.parametrize("act", [tell_alone, begin_more, write_curves, annotate], ids=lambda act: act.__name__)
def test_whatever_meets_a_lock_is_done_or_it_is_said(hurried, lock, act):
    write_curves(hurried)
    flush(hurried._storage)
    curves.forget(hurried._storage, hurried._study_id)
    with locked(hurried, *lock, seconds=seconds_held(hurried)) as go:
        try:
            act(hurried)
        except TOLD:
            go.set()
            act(hurried)
    assert_whole(hurried, ended=[0] if act is tell_alone else [], n_trials=5 if act is begin_more else 3)
    if act is write_curves:
        assert curves.read(hurried) == {number: curve_of(number) for number in range(3)}
    if act is annotate:
        assert hurried.user_attrs == {"note": "kept"}


@each_lock
def test_a_lock_that_is_held_for_too_long_is_said_and_the_next_flush_writes_all(hurried, lock, monkeypatch):
    monkeypatch.setattr(bulk, "_WAITS", (0.01,))
    with locked(hurried, *lock, seconds=30):
        with pytest.raises(StorageInternalError, match="kept"):
            tell_all(hurried)
        if engine_of(hurried).name != "postgresql":  # where the whole table is locked
            assert hurried._storage.get_trial(hurried.trials_held[2]._trial_id).value == 2.0
    flush(hurried._storage)
    assert_whole(hurried)


@only_sqlite
def test_studies_are_read_while_another_program_writes(study):
    flush(study._storage)
    with locked(study, "BEGIN IMMEDIATE", seconds=30):
        assert len(study.get_trials()) == 3
        assert study._storage.get_trial(study.trials_held[0]._trial_id).intermediate_values == {0: 0.5}


# --------------------------------------------------------------------------------------------------------- a deadlock


@only_servers
def test_a_deadlock_costs_nothing(database_url):
    # Who waits for so long looks for a circle, once, and gives way.
    soon = "?options=-cdeadlock_timeout%3D600ms"
    with opened(database_url + soon * ("postgres" in database_url)) as storage:
        study = with_three_trials(storage)
        flush(storage)
        for trial in study.trials_held:
            trial.report(0.25, 1)
        engine, refused = engine_of(study), []
        sqlalchemy.event.listen(engine, "handle_error", lambda context: refused.append(context.original_exception))
        first, *_, last = (trial._trial_id for trial in study.trials_held)
        other = sqlalchemy.create_engine(database_url, poolclass=sqlalchemy.NullPool)
        lock = "SELECT * FROM trials WHERE trial_id = {} FOR UPDATE"
        with other.connect() as connection:
            # More rows than ours, so that MariaDB refuses us.
            row = {"study_id": study._study_id, "value_json": "1"}
            rows = [row | {"key": f"k{index}"} for index in range(50)]
            connection.execute(models.StudyUserAttributeModel.__table__.insert(), rows)
            if engine.name == "postgresql":
                connection.exec_driver_sql("SET deadlock_timeout = '30s'")
            connection.exec_driver_sql(lock.format(last))
            thread = threading.Thread(target=tell_all, args=[study])
            thread.start()
            thread.join(0.3)  # it holds the first trial by now, and waits for the last
            assert thread.is_alive()
            connection.exec_driver_sql(lock.format(first))
            connection.rollback()
            thread.join(30)
        assert refused
        assert_whole(study, reports=2)


# ---------------------------------------------------------------------------------------------------- a disk is full


@contextlib.contextmanager
def full(study):
    """A disk with no room for one page more."""
    engine = engine_of(study)

    def limit(connection, _):
        connection.execute(f"PRAGMA max_page_count={pages}")

    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    engine.dispose()
    sqlalchemy.event.listen(engine, "connect", limit)
    try:
        yield
    finally:
        sqlalchemy.event.remove(engine, "connect", limit)
        engine.dispose()


@only_sqlite
def test_a_full_disk_is_said_at_once_and_when_there_is_room_all_is_written(study, monkeypatch):
    monkeypatch.setattr(bulk, "_WAITS", (60.0,))  # to wait makes no room
    flush(study._storage)
    for trial in study.trials_held:
        trial.report(0.25, 1)
        trial.set_user_attr("config", "x" * 60_000)
    ids = [trial._trial_id for trial in study.trials_held]
    with full(study):
        for _ in range(2):
            with pytest.raises(StorageInternalError, match="kept"):
                flush(study._storage)
        with pytest.raises(StorageInternalError, match="kept"):
            tell_all(study)
        assert [trial.value for trial in map(study._storage.get_trial, ids)] == [0.0, 1.0, 2.0]
        assert [trial.state for trial in seen_by_others(study)] == [RUNNING] * 3
        with pytest.raises(StorageError, match="curves"):
            curves.write(study, {0: curves.Curve(*np.random.default_rng(0).random((2, 10_000)))})
    flush(study._storage)
    write_curves(study)
    assert_whole(study, reports=2)
    assert [len(trial.user_attrs["config"]) for trial in seen_by_others(study)] == [60_000] * 3


# --------------------------------------------------------------------------------------------------- a power cut


def told_in(file):
    """The finished trials in a SQLite file, as no part of this program reads it, and whether the file is sound."""
    query = "SELECT number, state, value FROM trials LEFT JOIN trial_values USING (trial_id) WHERE state IN (?, ?)"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
        rows = connection.execute(query, ("COMPLETE", "PRUNED")).fetchall()
    return {number: (state, value) for number, state, value in rows}, sound


def test_a_power_cut_leaves_what_was_told_up_to_a_moment(tmp_path, seed):
    file, told = tmp_path / "study.db", []
    with opened(f"sqlite:///{file}") as storage:
        study = dying.opened(storage)
        told += [event.number for event in dying.searching(study, 4, 24) if hasattr(event, "number")]
        log = Path(f"{file}-wal").read_bytes()
        cut = tmp_path / "cut.db"
        lengths = {len(log), *np.random.default_rng(seed).integers(0, len(log), 20).tolist()}
        kept = {}
        for length in lengths:
            shutil.copy(file, cut)
            Path(f"{cut}-wal").write_bytes(log[:length])
            Path(f"{cut}-shm").unlink(missing_ok=True)
            kept[length], sound = told_in(cut)
            assert sound == "ok"
    whole, _ = told_in(file)
    assert sorted(whole) == sorted(told) and len(told) == 24
    for length, found in kept.items():
        assert set(found) == set(told[: len(found)]), length
        assert found.items() <= whole.items()
    assert kept[len(log)] == whole and len(set(map(len, kept.values()))) > 3


# ------------------------------------------------------------------- a commit that is done, and is said to have failed


@contextlib.contextmanager
def lost_answers(engine, count=1):
    """The answer to the first commits is lost with the connection; the list says how many were."""
    dialect, real, lost = engine.dialect, engine.dialect.do_commit, []
    driver = engine.dialect.loaded_dbapi
    said = {
        "sqlite": ["disk I/O error"],
        "postgresql": ["server closed the connection unexpectedly"],
        "mysql": [2013, "Lost connection to MySQL server during query"],
    }[engine.name]

    def commit(connection):
        real(connection)
        if len(lost) < count:
            lost.append(connection)
            if engine.name == "postgresql":
                connection.driver_connection.close()
            raise driver.OperationalError(*said)

    dialect.do_commit = commit
    try:
        yield lost
    finally:
        dialect.do_commit = real


@everywhere
@pytest.mark.parametrize("act", [tell_all, tell_alone, write_curves, annotate], ids=lambda act: act.__name__)
def test_a_commit_whose_answer_is_lost_is_not_done_twice(study, act, caplog):
    write_curves(study)
    if act is not tell_all:
        flush(study._storage)
    with lost_answers(engine_of(study), 2) as lost:
        for _ in range(2):
            with contextlib.suppress(*TOLD, ValueError):
                act(study)
    assert lost
    flush(study._storage)
    insist(act, study) if act is not tell_all else None
    assert_whole(study, ended={tell_all: [0, 1, 2], tell_alone: [0]}.get(act, []))
    assert curves.read(study) == {number: curve_of(number) for number in range(3)}
    assert "ended elsewhere" not in caplog.text  # it was us


@only_servers  # a file has no answer to lose
@pytest.mark.parametrize("act", [begin_more, begin_what_waits], ids=lambda act: act.__name__)
def test_a_commit_whose_answer_is_lost_begins_no_trial_twice(study, act):
    flush(study._storage)
    if act is begin_what_waits:
        for _ in range(2):
            study.enqueue_trial({"x": 0.5})
    with lost_answers(engine_of(study)) as lost:
        insist(act, study)
    assert lost
    running = [trial.number for trial in seen_by_others(study) if trial.state is RUNNING]
    assert running == [0, 1, 2, *(trial.number for trial in study.more)]
    assert_whole(study, ended=[], n_trials=5)


@everywhere
def test_a_study_whose_commit_lost_its_answer_is_there_once(database_url):
    with opened(database_url) as storage:
        with (
            lost_answers(storage._backend.engine) as lost,
            contextlib.suppress(*TOLD, optuna.exceptions.DuplicatedStudyError),
        ):
            optuna.create_study(study_name="study", storage=storage)
        assert lost
        study = optuna.create_study(study_name="study", storage=storage, load_if_exists=True)
        assert [each.study_name for each in storage.get_all_studies()] == ["study"]
        study.tell(study.ask(), 1.0)
        assert [trial.value for trial in seen_by_others(study)] == [1.0]


# ------------------------------------------------------------------------------------ what does not fit into a column


NAMES = [
    "naïve Größe 学习率の研究",
    "\u200f\u202eمرحبا שלום",
    "🧪🔬👩\u200d🔬",
    "'; DROP TABLE trials; -- %s {0} \\ %",
]


@everywhere
def test_names_are_kept_in_any_script(database_url):
    curve = curves.Curve(np.ones(2), np.ones(2))
    with opened(database_url) as storage:
        for name in NAMES:
            study = optuna.create_study(study_name=name, storage=storage)
            study.set_user_attr(name, {name: name})
            with reserving(study, 2):
                trials = [study.ask() for _ in range(2)]
            for trial in trials:
                trial.suggest_categorical(name, [name, "other"])
                trial.set_user_attr(name, [name])
                storage.set_trial_system_attr(trial._trial_id, name, name)
                trial.report(0.5, 0)
            with together(study):
                for trial in trials:
                    study.tell(trial, 1.0)
            curves.write(study, {0: curve})
            assert study.get_trials() == seen_by_others(study)
            assert [trial.user_attrs for trial in seen_by_others(study)] == [{name: [name]}] * 2
            assert [list(trial.params) for trial in seen_by_others(study)] == [[name]] * 2
    with opened(database_url) as storage:
        for name in NAMES:
            study = optuna.load_study(study_name=name, storage=storage)
            assert study.user_attrs == {name: {name: name}}
            assert curves.read(study) == {0: curve}


TOO_MUCH = {
    "a step beyond 32 bits": lambda storage, trial: storage.set_trial_intermediate_value(trial, 2**31, 0.5),
    "a step beyond 64 bits": lambda storage, trial: storage.set_trial_intermediate_value(trial, 2**63, 0.5),
    "a key with a NUL": lambda storage, trial: storage.set_trial_user_attr(trial, "a\0b", 1),
    "a key of 513": lambda storage, trial: storage.set_trial_system_attr(trial, "k" * 513, 1),
    "a key of 513 emoji": lambda storage, trial: storage.set_trial_user_attr(trial, "🧪" * 513, 1),
    "half an emoji": lambda storage, trial: storage.set_trial_user_attr(trial, "\ud83e", 1),
    "a value of 64 kB": lambda storage, trial: storage.set_trial_user_attr(trial, "note", "é" * 11_000),
    "a parameter with a NUL": lambda storage, trial: suggest_twice(storage, trial, "a\0b"),
    "a parameter of 513": lambda storage, trial: suggest_twice(storage, trial, "k" * 513),
}


def suggest_twice(storage, trial, name):
    """The first of its name in a study is written at once, the others are kept."""
    for trial_id in (trial, trial + 1):
        storage.set_trial_param(trial_id, name, 0.5, FloatDistribution(0.0, 1.0))


@everywhere
def test_what_a_column_refuses_fails_where_it_is_set_and_stops_nothing_else(study):
    flush(study._storage)
    for what, act in TOO_MUCH.items():
        with contextlib.suppress(StorageInternalError, OverflowError, UnicodeEncodeError):
            act(study._storage, study.trials_held[0]._trial_id)
        try:
            flush(study._storage)
        except (StorageInternalError, OverflowError):
            study._storage._backend._memory.rows = {table: {} for table in bulk.KEYS}  # so that the others are written
            pytest.fail(f"{what} is kept, and nothing can be written any more")
    tell_all(study)
    found = seen_by_others(study)
    assert [trial.value for trial in found] == [0.0, 1.0, 2.0]
    assert [trial.intermediate_values[0] for trial in found] == [0.5] * 3
    assert study.get_trials() == found


@everywhere
def test_a_study_name_that_does_not_fit_is_said_and_another_one_is_taken(database_url):
    with opened(database_url) as storage:
        if storage._backend.engine.name != "sqlite":
            with pytest.raises(StorageInternalError):
                optuna.create_study(study_name="学" * 513, storage=storage)
        optuna.create_study(study_name="学" * 512, storage=storage)
        assert [study.study_name for study in storage.get_all_studies()] == ["学" * 512]


# ------------------------------------------------------------------------------------------------- an older database


def test_an_older_database_is_left_as_it_is_until_the_line_that_is_told_has_upgraded_it(tmp_path):
    file = Path(shutil.copy(ASSETS / "optuna-4.9.db", tmp_path / "old.db"))
    url = f"sqlite:///{file}"
    with opened(url) as storage:
        name, trials = storage.get_all_studies()[0].study_name, storage.get_all_trials(1)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP INDEX ix_trials_study_id")
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
        connection.commit()
    before = file.read_bytes()
    with pytest.raises(StorageError, match="optuna storage upgrade --storage URL"):
        open_storage(url)
    assert file.read_bytes() == before
    command = [Path(sys.executable).with_name("optuna"), "storage", "upgrade", "--storage", url]
    subprocess.run(command, check=True, capture_output=True)
    with opened(url) as storage:
        assert [study.study_name for study in storage.get_all_studies()] == [name]
        assert [trial.number for trial in storage.get_all_trials(1)] == [trial.number for trial in trials]
        assert storage.get_best_trial(1).value == min(trial.value for trial in trials if trial.state is COMPLETE)
        storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
