import gc
import subprocess
import sys
import zlib

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import optuna
import pytest
import sqlalchemy
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus, StorageError, StudyError
from adamtune.tuning import curves
from adamtune.tuning.curves import Curve, forget, read, write
from adamtune.tuning.storage import close, open_storage

TABLE = "adamtune_curves"


def curve(epochs=3, seed=0, metric=True):
    columns = np.random.default_rng(seed).normal(size=(3 if metric else 2, epochs))
    return Curve(*columns)


def study_of(storage, trials=1, name="a study"):
    study = optuna.create_study(study_name=name, storage=storage)
    for _ in range(trials):
        study.ask()
    return study


@pytest.fixture
def opened(url):
    """A SQLite storage, for what is the same in every database."""
    storage = open_storage(url)
    yield storage
    close(storage)


@pytest.fixture
def storage(database_url):
    """A storage on each kind of database."""
    storage = open_storage(database_url)
    yield storage
    close(storage)


def tables(storage):
    return sqlalchemy.inspect(storage._backend.engine).get_table_names()


def execute(storage, sql, **params):
    with storage._backend.engine.begin() as connection:
        result = connection.execute(sqlalchemy.text(sql), params)
        return result.all() if result.returns_rows else None


def damage(storage, number, **columns):
    """Overwrite columns of the row that belongs to a trial."""
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    sql = f"UPDATE {TABLE} SET {assignments} WHERE trial_id IN (SELECT trial_id FROM trials WHERE number = :number)"
    execute(storage, sql, number=number, **columns)


# ---------------------------------------------------------------------------------------------------------- the curve


def test_a_curve_of_reports_holds_every_epoch_of_every_pass():
    ran, broke = LaneStatus.RUNNING, LaneStatus.DIVERGED
    reports = [Report(0, 1, 0.5, ran, 2.0, 3.0, 0.5), Report(0, 2, 0.6, ran, 1.0, 2.0, 0.6)]
    second = [Report(5, 1, float("nan"), broke, float("inf"), float("nan"), float("nan"))]
    built = Curve.of(reports + second)
    assert built == Curve([2, 1, np.inf], [3, 2, np.nan], [0.5, 0.6, np.nan])
    assert built.epochs == 3


def test_a_curve_of_reports_without_a_metric_has_none():
    assert Curve.of([Report(0, 1, 3.0, LaneStatus.RUNNING, 2.0, 3.0, None)]).metric is None


def test_curves_are_equal_when_all_their_numbers_are():
    assert Curve([1.0, np.nan], [2.0, 3.0]) == Curve([1.0, np.nan], [2.0, 3.0])
    assert Curve([1.0], [2.0]) != Curve([1.0], [3.0])
    assert Curve([1.0], [2.0]) != Curve([1.0], [2.0], [2.0])
    assert Curve([1.0], [2.0], [2.0]) != Curve([1.0], [2.0], [np.nan])
    assert Curve([1.0], [2.0]) != Curve([1.0, 1.0], [2.0, 2.0])
    assert Curve([1.0], [2.0]) != "a curve"


def test_a_curve_cannot_be_changed_and_keeps_none_of_the_arrays_it_was_made_of():
    given = np.ones(2, np.float32)
    made = Curve(given, given)
    given[:] = 7
    assert made == Curve([1, 1], [1, 1])
    with pytest.raises(ValueError, match="read-only"):
        made.train_loss[0] = 7


@pytest.mark.parametrize("columns", [([1.0], [1.0, 2.0]), ([1.0], [1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]])])
def test_columns_that_are_no_curve_are_refused(columns):
    with pytest.raises(ValueError, match="no curve"):
        Curve(*columns)


def test_a_loss_beyond_float32_is_infinite_without_a_warning():
    assert Curve([1e300], [-1e300]) == Curve([np.inf], [-np.inf])


# ---------------------------------------------------------------------------------------------------- written and read


def test_curves_come_back_as_they_were_written(storage):
    study = study_of(storage, 4)
    given = {
        0: curve(1),
        2: Curve([np.nan, np.inf], [-np.inf, -0.0], [np.nan, 1e-45]),
        3: curve(20, metric=False),
    }
    write(study, given)
    found = read(study)
    assert found == given
    assert list(found) == [0, 2, 3]
    assert found[0].val_loss.dtype == np.float32
    assert read(study, [2, 1, 99]) == {2: given[2]}
    assert read(study, given.keys()) == given
    assert read(study, []) == {}


def test_trials_may_start_at_a_fraction_of_a_second(storage):
    study = study_of(storage)
    if storage._backend.engine.name == "mysql":  # whole seconds in Optuna 5.0, and so nothing to lose
        execute(storage, "ALTER TABLE trials MODIFY datetime_start DATETIME(6)")
    execute(storage, "UPDATE trials SET datetime_start = '2014-12-22 12:00:00.987654'")
    write(study, {0: curve()})
    assert read(study) == {0: curve()}


@pytest.fixture(scope="module")
def reused(tmp_path_factory):
    """One study with a trial, for many examples."""
    storage = open_storage(f"sqlite:///{tmp_path_factory.mktemp('curves') / 'test.db'}")
    yield study_of(storage)
    close(storage)


@st.composite
def any_curve(draw):
    epochs = draw(st.integers(1, 50))
    column = hnp.arrays(np.float32, epochs, elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
    return Curve(draw(column), draw(column), draw(st.none() | column))


@hypothesis.given(given=any_curve())
def test_every_curve_comes_back_as_it_was_written(reused, given):
    write(reused, {0: given})
    assert read(reused)[0] == given


def test_another_process_finds_the_curves_through_plain_optuna(storage, database_url):
    write(study_of(storage), {0: curve()})
    assert read(optuna.load_study(study_name="a study", storage=database_url)) == {0: curve()}


def test_a_curve_that_is_written_again_is_overwritten(storage):
    study = study_of(storage, 2)
    write(study, {0: curve(2, seed=1), 1: curve(2, seed=2)})
    write(study, {0: curve(5, seed=3, metric=False)})
    assert read(study) == {0: curve(5, seed=3, metric=False), 1: curve(2, seed=2)}


def test_studies_in_one_database_keep_their_curves_apart(storage):
    one, other = study_of(storage, 2, name="eins für Ada"), study_of(storage, 2, name="другой")
    write(one, {1: curve(seed=1)})
    write(other, {1: curve(seed=2)})
    assert read(one) == {1: curve(seed=1)}
    assert read(other) == {1: curve(seed=2)}


def test_a_curve_of_ten_thousand_epochs_fits(storage):
    study = study_of(storage)
    write(study, {0: curve(10_000)})
    assert read(study) == {0: curve(10_000)}


@pytest.mark.parametrize("epochs", [1, 20, 1_000, 100_000])
def test_an_epoch_takes_at_most_twelve_bytes_and_what_zlib_may_add(opened, epochs):
    study = study_of(opened)
    noise = np.random.default_rng(0).integers(0, 2**32, (3, epochs), np.uint32).view(np.float32)  # nothing to compress
    write(study, {0: Curve(*noise)})
    ((size,),) = execute(opened, f"SELECT length(curve) FROM {TABLE}")
    plain = 12 * epochs
    assert size <= plain + plain // 2**12 + plain // 2**14 + 13  # compressBound of zlib


# ------------------------------------------------------------------------------------------------------ a transaction


def test_all_curves_are_written_in_one_transaction(opened):
    study = study_of(opened, 8)
    write(study, {0: curve()})  # makes the table
    commits, statements = [], []
    engine = opened._backend.engine
    sqlalchemy.event.listen(engine, "commit", commits.append)
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    write(study, {number: curve(seed=number) for number in range(8)})
    assert len(commits) == 1
    assert [statement.split()[0] for statement in statements][-2:] == ["SELECT", "INSERT"]


def test_when_the_database_refuses_one_curve_none_is_written_and_the_error_says_so(storage, monkeypatch):
    study, pack = study_of(storage, 2), curves._pack
    write(study, {0: curve(seed=1)})
    monkeypatch.setattr(curves, "_pack", lambda it: pack(it) | ({"version": None} if it.epochs == 99 else {}))
    with pytest.raises(StorageError, match="'a study' could not be written"):
        write(study, {0: curve(seed=2), 1: curve(99)})
    monkeypatch.undo()
    assert read(study) == {0: curve(seed=1)}


def test_nothing_to_write_touches_nothing(opened):
    write(study_of(opened), {})
    assert TABLE not in tables(opened)


def test_a_trial_that_is_not_there_is_refused(storage):
    study = study_of(storage)
    with pytest.raises(KeyError):
        write(study, {7: curve()})
    study.enqueue_trial({})
    with pytest.raises(StudyError, match=r"trials \[1\] of study 'a study' have not started"):
        write(study, {0: curve(), 1: curve()})
    assert read(study) == {}


# ----------------------------------------------------------------------------------------------------------- the table


def test_reading_makes_no_table_and_finds_nothing_in_a_study_of_plain_optuna(storage):
    study = study_of(storage)
    assert read(study) == {}
    assert TABLE not in tables(storage)
    write(study, {0: curve()})
    assert read(study_of(storage, name="a study of plain Optuna")) == {}


WORKER = """
import sys
import optuna
from adamtune.tuning.curves import Curve, write
from adamtune.tuning.storage import close, open_storage
storage = open_storage(sys.argv[1])
study = optuna.load_study(study_name="a study", storage=storage)
print("ready", flush=True)
sys.stdin.readline()
for number in map(int, sys.argv[2:]):
    write(study, {number: Curve([number] * 5, [number] * 5)})
close(storage)
"""


def test_workers_may_make_the_table_and_write_at_once(storage, database_url):
    study = study_of(storage, 30)
    turns = [range(worker, 30, 2) for worker in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for numbers in turns
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=120)
    assert [process.returncode for process in processes] == [0, 0]
    assert read(study) == {number: Curve([number] * 5, [number] * 5) for number in range(30)}


def test_a_table_that_another_worker_makes_in_the_same_moment_is_taken(storage, monkeypatch):
    study = study_of(storage)
    write(study, {0: curve(seed=1)})
    # As if the look before CREATE TABLE came too early, and so the database says that the table is there.
    create = type(curves._TABLE).create
    monkeypatch.setattr(type(curves._TABLE), "create", lambda table, engine, checkfirst: create(table, engine, False))
    curves._create(storage._backend.engine)
    assert read(study) == {0: curve(seed=1)}


# ------------------------------------------------------------------------------------------------------------ deletion


@pytest.mark.parametrize("how", ["through the storage", "through plain Optuna"])
def test_a_study_with_curves_can_be_deleted_and_leaves_none_to_read(storage, database_url, how):
    kept, deleted = study_of(storage, 2, name="kept"), study_of(storage, 2, name="deleted")
    write(kept, {0: curve(seed=1)})
    write(deleted, {0: curve(seed=2), 1: curve(seed=3)})
    optuna.delete_study(study_name="deleted", storage=storage if how == "through the storage" else database_url)
    assert read(kept) == {0: curve(seed=1)}
    assert read(study_of(storage, 2, name="deleted")) == {}


def test_a_new_trial_with_the_id_of_a_deleted_one_has_no_curve_until_its_own(opened, url):
    deleted = study_of(opened, 2)
    write(deleted, {0: curve(seed=1), 1: curve(seed=2)})
    before = [trial._trial_id for trial in deleted.trials]
    optuna.delete_study(study_name="a study", storage=url)  # plain Optuna, which knows nothing of curves
    again = open_storage(url)
    study = study_of(again, 2)
    assert ([trial._trial_id for trial in study.trials], study._study_id) == (before, deleted._study_id)
    assert read(study) == {}
    write(study, {1: curve(seed=3)})
    assert read(study) == {1: curve(seed=3)}
    close(again)


def test_forgotten_curves_take_no_place(storage):
    kept, deleted = study_of(storage, name="kept"), study_of(storage, name="deleted")
    forget(storage, deleted._study_id)  # no table yet
    assert TABLE not in tables(storage)
    write(kept, {0: curve()})
    write(deleted, {0: curve()})
    forget(storage, deleted._study_id)
    assert read(deleted) == {}
    assert execute(storage, f"SELECT study_id FROM {TABLE}") == [(kept._study_id,)]


# ------------------------------------------------------------------------------------------------------------ bad rows


def packed(array):
    return zlib.compress(array.astype("<f4").tobytes())


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "columns",
    [
        {"curve": b""},
        {"curve": b"no zlib"},
        {"curve": packed(np.ones(9))[:-1]},
        {"curve": flipped(packed(np.ones(9)))},
        {"curve": packed(np.ones(8))},
        {"curve": packed(np.ones(3))},
        {"curve": packed(np.ones(10**6))},
        {"epochs": 2},
        {"epochs": 0},
        {"epochs": -1},
        {"epochs": 2**31 - 1},
    ],
)
def test_a_damaged_row_is_refused_by_the_name_of_its_trial_and_leaves_the_others(opened, columns):
    study = study_of(opened, 2)
    write(study, {0: curve(3), 1: curve(3)})
    damage(opened, 1, **columns)
    with pytest.raises(StudyError, match="trial 1 in study 'a study' is damaged"):
        read(study)
    assert read(study, [0]) == {0: curve(3)}


def test_a_row_of_a_newer_format_is_refused_by_the_name_of_its_trial(storage):
    study = study_of(storage, 2)
    write(study, {0: curve(), 1: curve()})
    damage(storage, 1, version=2, curve=b"who knows")
    with pytest.raises(StudyError, match="trial 1 in study 'a study' has format 2"):
        read(study)


# -------------------------------------------------------------------------------------------------------------- memory


def test_a_storage_in_memory_keeps_curves_for_this_process_and_lets_them_go_with_it():
    storage = InMemoryStorage()
    study, other = study_of(storage, 3), study_of(storage, 3, name="other")
    assert read(study) == {}
    write(study, {2: curve(seed=2)})
    write(study, {0: curve(seed=1)})
    write(other, {1: curve(seed=3)})
    assert list(read(study).items()) == [(0, curve(seed=1)), (2, curve(seed=2))]
    assert read(study, [2, 1]) == {2: curve(seed=2)}
    with pytest.raises(KeyError):
        write(study, {7: curve()})
    forget(storage, other._study_id)
    assert (read(other), len(read(study))) == ({}, 2)
    before = len(curves._in_memory)
    del storage, study, other
    gc.collect()
    assert len(curves._in_memory) == before - 1
