import contextlib
import datetime
import logging
import math
import os
import pickle
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback

import hypothesis
import numpy as np
import optuna
import pytest
import sqlalchemy
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import InMemoryStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from adamtune.errors import StorageError
from adamtune.tuning import buffer, bulk
from adamtune.tuning import storage as storages
from adamtune.tuning.buffer import BufferedRDBStorage, Cache
from adamtune.tuning.storage import close, existing, flush, open_storage, redact, resolve_url
from tests.servers import SERVERS, on_server

SECRET = "s3cret"


# ----------------------------------------------------------------------------------------- Optuna's own conformance kit


@pytest.fixture(scope="module", params=["sqlite", *SERVERS])
def conformance_url(request, tmp_path_factory):
    """One database for all of the kit: to make one takes longer than most of its tests."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('conformance') / 'test.db'}"
        close(open_storage(url))
        yield url
        return
    with on_server(request.param) as url:
        backend = open_storage(url)._backend
        if request.param == "mysql":
            # Optuna's columns hold whole seconds there, and four tests of the kit compare microseconds. Plain
            # RDBStorage fails them too.
            with backend.engine.begin() as connection:
                for column in ("datetime_start", "datetime_complete"):
                    connection.execute(sqlalchemy.text(f"ALTER TABLE trials MODIFY {column} DATETIME(6)"))
        close(backend)
        yield url


class TestConformance(StorageTestCase):
    """All that Optuna asks of a storage."""

    @pytest.fixture(params=["bare", "cached"])
    def storage(self, request, conformance_url, monkeypatch):
        # Columns that hold microseconds on MySQL too, see above, are given them.
        monkeypatch.setattr(bulk, "now", lambda engine: datetime.datetime.now(datetime.UTC).replace(tzinfo=None))
        backend = BufferedRDBStorage(conformance_url, skip_table_creation=True, skip_compatibility_check=True)
        with backend.engine.begin() as connection:
            for table in reversed(models.BaseModel.metadata.sorted_tables):
                if table is not models.VersionInfoModel.__table__:
                    connection.execute(table.delete())
        yield backend if request.param == "bare" else Cache(backend)
        close(backend)


# ---------------------------------------------------------------------------------- equal to a storage without a buffer


def outcome(function, *args):
    try:
        return repr(function(*args))
    except (KeyError, ValueError, UpdateFinishedTrialError) as error:
        return type(error).__name__


def content(trial):
    attrs, values = trial.user_attrs, trial.intermediate_values
    params = list(trial.params.items())  # in their order, which a study keeps
    return trial.number, trial.state, trial.values, params, sorted(attrs.items()), sorted(values.items())


class Actor:
    """Does to a storage what an operation says, and tells what came of it."""

    def __init__(self, storage):
        self.storage = storage
        self.study = storage.create_new_study([StudyDirection.MINIMIZE])
        self.trials = []
        self.suggested = set()
        self.block = contextlib.ExitStack()

    def trial(self, index):
        # Never made: a number that neither storage has given.
        return self.trials[index] if index < len(self.trials) else 10**6

    def create(self):
        self.trials.append(self.storage.create_new_trial(self.study))

    def create_many(self, count):
        with self.buffered("reserving", self.study, count):
            return [(self.create(), self.read_all()) for _ in range(count)]

    def buffered(self, block, *args):
        """A block of the storage with the buffer; nothing for the one in memory."""
        backend = getattr(self.storage, "_backend", self.storage)
        return getattr(backend, block)(*args) if hasattr(backend, block) else contextlib.nullcontext()

    def together(self):
        self.block.enter_context(self.buffered("together"))

    def apart(self):
        self.block.close()

    def suggest(self, index, name, distribution):
        if (index, name) not in self.suggested:  # Optuna sets a parameter once
            self.storage.set_trial_param(self.trial(index), name, 1.0, distribution)
            self.suggested.add((index, name))

    def report(self, index, step, value):
        self.storage.set_trial_intermediate_value(self.trial(index), step, value)

    def annotate(self, index, key, value):
        self.storage.set_trial_user_attr(self.trial(index), key, value)

    def end(self, index, state):
        values = [1.0] if state is TrialState.COMPLETE else None
        return self.storage.set_trial_state_values(self.trial(index), state, values)

    def read(self, index):
        return content(self.storage.get_trial(self.trial(index)))

    def read_attrs(self, index):
        return sorted(self.storage.get_trial_user_attrs(self.trial(index)).items())

    def read_all(self):
        return [content(trial) for trial in self.storage.get_all_trials(self.study)]

    def flush(self):
        flush(self.storage)

    def reopen(self):
        self.storage = pickle.loads(pickle.dumps(self.storage))


INDEX = st.integers(0, 4)
VALUE = st.floats(allow_subnormal=False).map(lambda value: value + 0.0)  # SQLite has no -0.0
DISTRIBUTIONS = [FloatDistribution(0.0, 2.0), CategoricalDistribution(("a", "b"))]  # not to be mixed under one name
OPERATIONS = st.lists(
    st.one_of(
        st.just(("create",)),
        st.tuples(st.just("create_many"), st.integers(1, 3)),
        st.just(("together",)),
        st.just(("apart",)),
        st.tuples(st.just("suggest"), INDEX, st.sampled_from("xyz"), st.sampled_from(DISTRIBUTIONS)),
        st.tuples(st.just("report"), INDEX, st.integers(0, 2), VALUE),
        st.tuples(st.just("annotate"), INDEX, st.sampled_from(["a", "b", "å"]), st.sampled_from([None, 1, [2.5], "x"])),
        st.tuples(st.just("end"), INDEX, st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])),
        st.tuples(st.just("read"), INDEX),
        st.tuples(st.just("read_attrs"), INDEX),
        st.just(("read_all",)),
        st.just(("flush",)),
        st.just(("reopen",)),
    ),
    max_size=30,
)


@pytest.mark.parametrize("wrap", [lambda backend: backend, Cache], ids=["bare", "cached"])
def test_whatever_is_done_it_says_what_the_storage_in_memory_says(wrap, tmp_path):
    url = f"sqlite:///{tmp_path / 'test.db'}"
    close(open_storage(url))

    @hypothesis.settings(max_examples=60)
    @hypothesis.given(OPERATIONS)
    def same(operations):
        backend = BufferedRDBStorage(url, skip_table_creation=True, skip_compatibility_check=True)
        ours, reference = Actor(wrap(backend)), Actor(InMemoryStorage())
        for name, *args in [("create",), *operations, ("read_all",), ("apart",), ("read_all",)]:
            assert outcome(getattr(ours, name), *args) == outcome(getattr(reference, name), *args), (name, args)
        close(ours.storage)

    same()


# --------------------------------------------------------------------------------------------- what is in SQL, and when


@pytest.fixture
def running(url):
    """A storage with one running trial: storage, study id, trial id."""
    storage = open_storage(url)
    study = storage.create_new_study([StudyDirection.MINIMIZE])
    yield storage, study, storage.create_new_trial(study)
    close(storage)


def stored(url, trial):
    """What another process would find: plain Optuna, another connection."""
    return optuna.storages.RDBStorage(url).get_trial(trial).intermediate_values


def test_a_report_is_kept_in_memory_until_flush(url, running):
    storage, _, trial = running
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    assert stored(url, trial) == {}
    flush(storage)
    assert stored(url, trial) == {0: 0.5}


@pytest.mark.parametrize(
    "act",
    [
        lambda storage, study, trial: storage.set_trial_state_values(trial, TrialState.PRUNED),
        lambda storage, study, trial: storage._backend.get_trial_user_attrs(trial),
        lambda storage, study, trial: outcome(storage._backend.get_trial_param, trial, "x"),
        lambda storage, study, trial: pickle.dumps(storage),
        lambda storage, study, trial: close(storage),
    ],
    ids=[
        "state",
        "get_trial_user_attrs",
        "get_trial_param",
        "pickle",
        "close",
    ],
)
def test_a_report_is_written_before_it_could_be_missed(url, running, act):
    storage, study, trial = running
    storage.set_trial_intermediate_value(trial, 0, math.nan)
    act(storage, study, trial)
    assert math.isnan(stored(url, trial)[0])


@pytest.mark.parametrize(
    "read",
    [
        lambda storage, study, trial: storage.get_trial(trial),
        lambda storage, study, trial: storage.get_all_trials(study)[0],
        lambda storage, study, trial: storage._backend.get_all_trials(study)[0],
    ],
    ids=["get_trial", "get_all_trials", "uncached"],
)
def test_a_running_trial_of_its_own_is_read_from_memory_as_it_will_be_stored(url, running, read):
    storage, study, trial = running
    distribution = FloatDistribution(0.0, 1.0)
    for name in ("first of the study", "x"):
        storage.set_trial_param(trial, name, 0.25, distribution)
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    storage.set_trial_user_attr(trial, "seen", (1, 2))
    storage.set_trial_system_attr(trial, "sampled", {"x": [0.25]})
    statements = []
    sqlalchemy.event.listen(storage._backend.engine, "before_execute", lambda *_: statements.append(_))
    found = read(storage, study, trial)
    found.user_attrs["mine"] = "a reader's own"
    # At most a look whether others have added trials.
    assert len(statements) <= 1
    flush(storage)
    assert read(storage, study, trial) == optuna.storages.RDBStorage(url).get_trial(trial)


def test_trials_of_others_are_seen_beside_its_own(url, running):
    storage, study, trial = running
    other = optuna.storages.RDBStorage(url)
    theirs = other.create_new_trial(study)
    assert [each._trial_id for each in storage.get_all_trials(study)] == [trial, theirs]
    other.set_trial_state_values(theirs, TrialState.COMPLETE, [1.0])
    assert storage.get_all_trials(study)[1].value == 1.0


def test_a_storage_that_is_dropped_writes_its_reports(url):
    storage = open_storage(url)
    trial = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    storage.set_trial_intermediate_value(trial, 3, 0.25)
    del storage
    assert stored(url, trial) == {3: 0.25}


def test_a_process_that_ends_writes_its_reports(url):
    program = (
        "import sys, optuna; from adamtune.tuning.storage import open_storage\n"
        "study = optuna.create_study(storage=open_storage(sys.argv[1]))\n"
        "study.ask().report(0.75, 2)"
    )
    subprocess.run([sys.executable, "-c", program, url], check=True, capture_output=True)
    assert stored(url, 1) == {2: 0.75}


def test_a_tick_of_64_lanes_is_one_transaction_of_few_statements(url):
    storage = open_storage(url)
    study = optuna.create_study(storage=storage)
    trials = [study.ask() for _ in range(64)]
    events = []
    engine = storage._backend.engine
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *args: events.append(args[2].split()[0]))
    sqlalchemy.event.listen(engine, "commit", lambda _: events.append("COMMIT"))
    for lane, trial in enumerate(trials):
        trial.report(lane / 64, 0)
        trial.set_user_attr("lane", lane)
    assert events == []
    flush(storage)
    assert events == ["PRAGMA", "BEGIN", "SELECT", "INSERT", "INSERT", "COMMIT"]
    flush(storage)
    assert len(events) == 6
    assert [t.user_attrs["lane"] / 64 for t in study.trials] == [t.intermediate_values[0] for t in study.trials]


def test_a_trial_that_another_process_ended_takes_no_more_reports(database_url, caplog):
    ours, theirs = open_storage(database_url), open_storage(database_url)
    study = ours.create_new_study([StudyDirection.MINIMIZE])
    ended, running = ours.create_new_trial(study), ours.create_new_trial(study)
    ours.set_trial_intermediate_value(ended, 0, 0.5)
    flush(ours)
    theirs.set_trial_state_values(ended, TrialState.FAIL)
    ours.set_trial_intermediate_value(ended, 1, 0.4)
    ours.set_trial_user_attr(ended, "late", True)
    ours.set_trial_intermediate_value(running, 1, 0.4)
    with caplog.at_level(logging.WARNING, "adamtune"):
        flush(ours)
    assert f"[{ended}]" in caplog.text
    with pytest.raises(UpdateFinishedTrialError):
        ours.set_trial_intermediate_value(ended, 2, 0.3)
    with pytest.raises(UpdateFinishedTrialError):
        ours.set_trial_user_attr(ended, "late", True)
    assert theirs.get_trial(ended).intermediate_values == {0: 0.5}
    assert theirs.get_trial(ended).user_attrs == {}
    assert theirs.get_trial(running).intermediate_values == {1: 0.4}
    close(ours)
    close(theirs)


def test_a_deleted_study_takes_no_more_reports(running):
    storage, study, trial = running
    storage.delete_study(study)
    with pytest.raises(KeyError):
        storage.set_trial_intermediate_value(trial, 0, 0.5)


def test_a_deleted_study_leaves_its_reports_to_nobody(running):
    storage, study, trial = running
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    storage.delete_study(study)
    heir = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    assert heir == trial  # SQLite gives the id again
    assert storage.get_trial(heir).intermediate_values == {}


def test_parameters_keep_the_order_in_which_they_were_set(running):
    storage, study, first = running
    second = storage.create_new_trial(study)
    orders = {first: ["x", "y", "z"], second: ["z", "x", "new", "y"]}
    for trial, names in orders.items():
        for name in names:
            storage.set_trial_param(trial, name, 0.5, FloatDistribution(0.0, 1.0))
    assert {trial._trial_id: list(trial.params) for trial in storage.get_all_trials(study)} == orders


def test_a_trial_that_is_stored_finished_takes_no_reports(running):
    storage, study, _ = running
    finished = storage.create_new_trial(study, optuna.trial.create_trial(value=1.0))
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_intermediate_value(finished, 0, 0.5)


def test_a_value_may_be_a_numpy_scalar(database_url):
    storage = open_storage(database_url)
    trial = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    storage.set_trial_intermediate_value(trial, 0, np.float32(0.1))
    assert storage.get_trial(trial).intermediate_values == {0: float(np.float32(0.1))}
    close(storage)


def test_reports_that_could_not_be_written_are_kept(url, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "_WAITS", (0.01, 0.01))
    storage = BufferedRDBStorage(url, {"connect_args": {"timeout": 0}})
    trial = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageInternalError, match="kept"):
            storage.flush()
    storage.set_trial_intermediate_value(trial, 1, 0.25)
    assert storage.get_trial(trial).intermediate_values == {0: 0.5, 1: 0.25}
    close(storage)


def test_read_again_at_once_while_trials_are_asked_it_shows_all(url):
    storage = BufferedRDBStorage(url)
    study = storage.create_new_study([StudyDirection.MINIMIZE])
    storage.set_trial_state_values(storage.create_new_trial(study), TrialState.COMPLETE, [0.5])
    with storage.reserving(study, 2):
        storage.create_new_trial(study)
        for _ in range(3):
            found = [trial.state for trial in storage.get_all_trials(study)]
            assert found == [TrialState.COMPLETE, TrialState.RUNNING]
    close(storage)


@pytest.mark.parametrize(
    ("key", "value", "refused_by"),
    [("key", "x" * 2**16, {"mysql"}), ("k" * 600, "value", {"mysql", "postgresql"})],
    ids=["a value of 64 kB", "a key of 600 characters"],
)
def test_what_a_database_refuses_fails_where_it_is_set_and_takes_nothing_with_it(database_url, key, value, refused_by):
    storage = open_storage(database_url)
    trial = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    storage.set_trial_user_attr(trial, "key", "earlier")
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    expected = {"key": "earlier", key: value}
    if storage._backend.engine.name in refused_by:
        expected = {"key": "earlier"}
        with pytest.raises(StorageInternalError):
            storage.set_trial_user_attr(trial, key, value)
    else:
        storage.set_trial_user_attr(trial, key, value)
    assert storage.get_trial(trial).user_attrs == expected
    assert storage.get_trial(trial).intermediate_values == {0: 0.5}
    close(storage)


@pytest.mark.parametrize("database_url", SERVERS, indirect=True)
def test_a_connection_that_the_server_ended_loses_no_report(database_url):
    storage = open_storage(database_url)
    trial = storage.create_new_trial(storage.create_new_study([StudyDirection.MINIMIZE]))
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    idle, end = {
        "postgresql": ("SELECT pid FROM pg_stat_activity WHERE datname = :name", "SELECT pg_terminate_backend({})"),
        "mysql": ("SELECT id FROM information_schema.processlist WHERE db = :name", "KILL {}"),
    }[storage._backend.engine.name]
    url = sqlalchemy.make_url(database_url)
    admin = sqlalchemy.create_engine(os.environ[SERVERS[url.get_backend_name()]], poolclass=sqlalchemy.NullPool)
    with admin.connect() as connection:
        ended = connection.scalars(sqlalchemy.text(idle), {"name": url.database}).all()
        for connection_id in ended:
            connection.execute(sqlalchemy.text(end.format(connection_id)))
    assert ended
    flush(storage)
    assert storage.get_trial(trial).intermediate_values == {0: 0.5}
    close(storage)


def test_threads_lose_no_report(database_url):
    storage = open_storage(database_url)
    study = storage.create_new_study([StudyDirection.MINIMIZE])
    trials = [storage.create_new_trial(study) for _ in range(6)]

    def train(trial):
        for step in range(40):
            storage.set_trial_intermediate_value(trial, step, step / 40)
            if step % 8 == trial % 8:
                flush(storage)
        storage.set_trial_state_values(trial, TrialState.COMPLETE, [1.0])

    threads = [threading.Thread(target=train, args=(trial,)) for trial in trials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for trial in storage.get_all_trials(study):
        assert trial.intermediate_values == {step: step / 40 for step in range(40)}
    close(storage)


# ------------------------------------------------------------------------------------------------------------- the file


def pragma(storage, name):
    with storage._backend.engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_sqlite_is_in_wal_also_after_a_pickle(url):
    for storage in (open_storage(url), pickle.loads(pickle.dumps(open_storage(url)))):
        assert pragma(storage, "journal_mode") == "wal"
        assert pragma(storage, "synchronous") == 1  # NORMAL
        assert pragma(storage, "busy_timeout") == 30_000
        close(storage)


def test_a_url_says_how_long_to_wait_for_a_lock(url):
    storage = open_storage(f"{url}?timeout=7")
    assert pragma(storage, "busy_timeout") == 7_000
    close(storage)


def test_a_closed_file_is_complete_alone(url, tmp_path, running):
    storage, _, trial = running
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    # A reader that is still there keeps SQLite from removing the -wal when we leave.
    with contextlib.closing(sqlite3.connect(tmp_path / "test.db")) as reader:
        reader.execute("SELECT * FROM trials").fetchall()
        close(storage)
        (tmp_path / "copy").mkdir()
        shutil.copy(tmp_path / "test.db", tmp_path / "copy")
    assert stored(f"sqlite:///{tmp_path / 'copy' / 'test.db'}", trial) == {0: 0.5}


def test_a_closed_storage_leaves_no_other_file(tmp_path, running):
    storage, *_ = running
    close(storage)
    assert [path.name for path in tmp_path.iterdir()] == ["test.db"]


def test_a_closed_storage_opens_again_when_it_is_used(running):
    storage, _, trial = running
    close(storage)
    close(storage)
    storage.set_trial_intermediate_value(trial, 0, 0.5)
    assert storage.get_trial(trial).intermediate_values == {0: 0.5}


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode(url, tmp_path, running):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("test.db*")}
    assert modes == {"test.db": 0o600, "test.db-wal": 0o600, "test.db-shm": 0o600}
    (tmp_path / "test.db").chmod(0o640)
    close(open_storage(url))
    assert stat.S_IMODE((tmp_path / "test.db").stat().st_mode) == 0o640


def test_memory_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = open_storage("memory")
    optuna.create_study(storage=storage).ask()
    flush(storage)
    close(storage)
    assert isinstance(storage, InMemoryStorage)
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------------- opening


def test_workers_may_open_a_new_database_at_once(database_url):
    barrier, opened = threading.Barrier(6), []

    def work():
        barrier.wait()
        opened.append(open_storage(database_url))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 6
    opened[0].create_new_study([StudyDirection.MINIMIZE], "shared")
    assert [s.study_name for s in opened[1].get_all_studies()] == ["shared"]
    for storage in opened:
        close(storage)


def test_a_file_in_which_somebody_writes_for_a_moment_is_changed_to_wal(tmp_path):
    with contextlib.ExitStack() as opened:
        ours, other = (
            opened.enter_context(
                contextlib.closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None, check_same_thread=False))
            )
            for _ in range(2)
        )
        other.execute("CREATE TABLE theirs (x INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO theirs VALUES (1)")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            ours.execute("PRAGMA journal_mode=WAL")
        ending = threading.Timer(0.3, other.execute, ["COMMIT"])
        ending.start()
        assert buffer._journal_mode(ours) == ("wal",)
        ending.join()


def test_what_exists_is_opened_and_nothing_is_made(tmp_path):
    with pytest.raises(StorageError, match="does not exist"), existing(str(tmp_path / "studies.db")):
        pass
    with pytest.raises(StorageError, match="keeps nothing"), existing("memory"):
        pass
    assert list(tmp_path.iterdir()) == []
    odd = str(tmp_path / "lr{0} 5%?#.db")
    close(open_storage(odd))
    with existing(odd) as storage:
        assert storage.get_all_studies() == []
    assert [path.name for path in tmp_path.iterdir()] == ["lr{0} 5%?#.db"]  # closed: nothing beside it


def test_braces_in_a_url_are_no_template(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'lr{0}{x}.db'}")
    close(storage)
    assert (tmp_path / "lr{0}{x}.db").exists()
    with pytest.raises(StorageError, match="No server"):
        open_storage("postgresql://ada:s3{cr}et@127.0.0.1:1/studies")


def stamp(url, version):
    close(open_storage(url))
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
        connection.commit()


@pytest.mark.parametrize(
    ("prepare", "suffix", "message"),
    [
        (lambda path, url: path.parent.rmdir(), "", "folder does not exist"),
        (lambda path, url: path.mkdir(), "", "cannot be written"),
        (lambda path, url: path.write_text("a diary, not a database" * 99), "", "no SQLite database"),
        (lambda path, url: close(open_storage(url)), "?mode=ro&uri=true", "cannot be written"),
        (lambda path, url: stamp(url, "v3.0.0.d"), "", "older Optuna.*optuna storage upgrade"),
        (lambda path, url: stamp(url, "v99"), "", "newer Optuna.*pip install -U optuna"),
    ],
    ids=["no folder", "a folder", "not a database", "read only", "old", "new"],
)
def test_a_file_that_cannot_be_opened_says_what_to_do(tmp_path, prepare, suffix, message):
    path = tmp_path / "studies" / "test.db"
    path.parent.mkdir()
    prepare(path, f"sqlite:///{path}")
    scheme = "sqlite:///file:" if suffix else "sqlite:///"
    with pytest.raises(StorageError, match=message) as caught:
        open_storage(f"{scheme}{path}{suffix}")
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        open_storage(f"sqlite:///{tmp_path / 'test.db'}")


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_server_that_is_not_there_says_what_to_do(scheme):
    with pytest.raises(StorageError, match=r"ada:\*\*\*@127.0.0.1:1/studies.*No server answers") as caught:
        open_storage(f"{scheme}://ada:{SECRET}@127.0.0.1:1/studies")
    assert isinstance(caught.value.__cause__, sqlalchemy.exc.OperationalError)
    assert_hidden(caught.value)


@pytest.mark.parametrize("variable", SERVERS.values())
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"username": "nobody_here", "password": SECRET}, "refuses this user or password"),
        ({"database": "adamtune_not_there"}, "CREATE DATABASE"),
    ],
    ids=["user", "database"],
)
def test_a_server_that_refuses_says_what_to_do(variable, change, message):
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set")
    url = sqlalchemy.make_url(os.environ[variable]).set(**change)
    with pytest.raises(StorageError, match=message) as caught:
        open_storage(url.render_as_string(hide_password=False))
    assert_hidden(caught.value)


def assert_hidden(error):
    assert SECRET not in "".join(traceback.format_exception(error))
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("url", ["postgresql://ada:s3cret@h/d", "postgresql://h/d?sslpassword=s3cret"])
def test_a_driver_that_quotes_the_password_is_not_quoted(monkeypatch, url):
    def refuse(*_):
        raise ValueError(f"I do not like {SECRET!r}")

    monkeypatch.setattr(storages, "BufferedRDBStorage", refuse)
    with pytest.raises(StorageError, match=r"\*\*\*") as caught:
        open_storage(url)
    assert_hidden(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr(storages, "BufferedRDBStorage", lambda *_: {}["an option"])
    with pytest.raises(StorageError, match="The driver says: 'an option'") as caught:
        open_storage(url)
    assert isinstance(caught.value.__cause__, KeyError)


# ----------------------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("memory", "memory"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("runs.db", "sqlite:///runs.db"),
        ("/data/runs.sqlite3", "sqlite:////data/runs.sqlite3"),
        ("a folder/50%?.sqlite", "sqlite:///a folder/50%25%3F.sqlite"),
        ("sqlite:///runs", "sqlite:///runs"),
        ("postgres://ada@h/d", "postgresql+psycopg://ada@h/d"),
        ("postgresql://ada:s%40@h:5432/d?x=1", "postgresql+psycopg://ada:s%40@h:5432/d?x=1"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("mysql://ada@h/d", "mysql+pymysql://ada@h/d"),
        ("mariadb://ada@h/d", "mysql+pymysql://ada@h/d"),
        ("mariadb+pymysql://ada@h/d", "mysql+pymysql://ada@h/d"),
    ],
)
def test_a_storage_is_a_url(given, expected):
    assert resolve_url(given) == expected
    assert resolve_url(expected) == expected


def test_a_path_may_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_url("~/runs.db") == f"sqlite:///{tmp_path}/runs.db"


def test_none_is_the_environment_and_then_a_file_here(monkeypatch):
    monkeypatch.setenv("ADAMTUNE_STORAGE", "mine.db")
    assert resolve_url(None) == "sqlite:///mine.db"
    monkeypatch.setenv("ADAMTUNE_STORAGE", "mine")
    with pytest.raises(StorageError, match="ADAMTUNE_STORAGE='mine' is not"):
        resolve_url(None)
    monkeypatch.setenv("ADAMTUNE_STORAGE", "")
    assert resolve_url(None) == "sqlite:///adamtune.db"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("runs", "is not a database URL.*'runs.db'"),
        ("postgresql://ada:s3cret@h:54x2/d", "is not a database URL"),
        ("postgresql://ada:s3cret/d", "is not a database URL"),
        ("redis://:s3cret@h/0", "unknown kind of database, 'redis'.*postgresql://"),
        ("oracle://ada:s3cret@h/d", "unknown kind of database, 'oracle'"),
        ("mysql://ada:s3cret@h", "names no database"),
        ("postgresql://ada:p@s3cret@h/d", "'@' too many.*%40"),
        ("postgresql://ada:p@h/s3cret@h/d", "'@' too many.*%40"),
        ("postgresql+nothing://ada:s3cret@h/d", "driver 'nothing'.*write postgresql://"),
    ],
)
def test_what_is_no_storage_says_what_to_write(given, message):
    with pytest.raises(StorageError, match=message) as caught:
        resolve_url(given)
    assert_hidden(caught.value)


@pytest.mark.parametrize(
    ("scheme", "module", "extra"), [("postgres", "psycopg", "postgres"), ("mysql", "pymysql", "mysql")]
)
def test_a_missing_driver_says_what_to_install(monkeypatch, scheme, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError, match=rf"pip install 'adamtune\[{extra}\]'"):
        resolve_url(f"{scheme}://ada@h/d")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory", "memory"),
        (None, "None"),
        ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
        ("postgresql://ada@h:5432/d", "postgresql://ada@h:5432/d"),
        ("postgresql://[::1]:5432/d", "postgresql://[::1]:5432/d"),
        ("postgresql://ada:@h/d", "postgresql://ada:***@h/d"),
        ("postgresql://ada:s3cret", "postgresql://ada:***"),
        ("postgresql://ada:s3cret/d", "postgresql://ada:***/d"),
        ("cannot reach mysql://ada:s3cret@h/d today", "cannot reach mysql://ada:***@h/d today"),
        ("mysql://h:1/d?charset=utf8&passwd=s3&cret&ssl_key=k", "mysql://h:1/d?charset=utf8&passwd=***&ssl_key=***"),
        ("postgresql://h/d?%70wd=s3cret", "postgresql://h/d?%70wd=***"),
        *(
            (f"postgresql://h/d?{key}=s3cret&sslmode=require", f"postgresql://h/d?{key}=***&sslmode=require")
            for key in ("password", "PASSWORD", "pasword", "pwd", "psw", "auth_token", "client_secret", "api_key")
        ),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert redact(url) == shown


@hypothesis.given(st.text())
def test_whatever_the_password_it_is_hidden(password):
    assert redact(f"mysql://ada:{password}@host/studies") == "mysql://ada:***@host/studies"
    url = sqlalchemy.URL.create("mysql", "ada", password, "host", database="studies", query={"token": password})
    assert redact(url.render_as_string(hide_password=False)) == "mysql://ada:***@host/studies?token=***"


@hypothesis.given(st.text(st.sampled_from("a:/@?&=#%[]{}\n ")))
def test_redact_never_raises(text):
    assert isinstance(redact(text), str)
