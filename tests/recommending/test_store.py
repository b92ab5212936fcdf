import math
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy

from adamtune.config import Found, OptimizerConfig
from adamtune.errors import StorageError, StudyError
from adamtune.recommending import schema, store
from adamtune.recommending.evidence import Source
from adamtune.recommending.features import Features
from adamtune.recommending.store import Entry, Evaluation, Recommended, add, evidence, facts, read
from adamtune.tuning import storage as storages

SEEN = Features(False, n_rows=800, n_inputs=10, n_outputs=2, batch_size=32, epochs=8, n_weights=5000, depth=3, width=64)
CONFIGS = [
    OptimizerConfig("adam"),
    OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9, nesterov=True),
    OptimizerConfig("adamw", schedule="cosine", final=0.01, hold=0.25, warmup=0.05, clipnorm=1.0, use_ema=True),
]


def entry(name="a task", losses=(0.5, 0.25, 0.75), **changed):
    """A task on which the configs came to these losses at last, and to half of them at best."""
    source = Source(name, "table-classification", "tables", f"data of {name}", SEEN, f"fingerprint of {name}")
    evaluations = tuple(Evaluation(c, x, x / 2, 2, "a list", 7) for c, x in zip(CONFIGS, losses, strict=False))
    return replace(Entry(source, 1.0, evaluations, "a study"), **changed)


@pytest.fixture
def engine(database_url):
    """An empty database of each kind."""
    engine = sqlalchemy.create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def file(url):
    """An empty SQLite file, for what is the same in every database."""
    engine = sqlalchemy.create_engine(url)
    yield engine
    engine.dispose()


def tables(engine):
    return set(sqlalchemy.inspect(engine).get_table_names())


def execute(engine, sql, **params):
    with engine.begin() as connection:
        return connection.execute(sqlalchemy.text(sql), params)


def count(engine):
    return {name: execute(engine, f"SELECT count(*) FROM {name}").scalar_one() for name in tables(engine)}


# --------------------------------------------------------------------------------------------------- written and read


def test_tasks_come_back_as_they_were_written(engine):
    given = [
        entry(),
        entry("another", losses=()),
        entry("a third", (0.1,), untrained=-2.5, study_name=None),
    ]
    add(engine, given)
    assert read(engine) == given


def test_names_may_be_in_every_script(engine):
    given = [entry(name, study_name=f"{name}/1") for name in ("für Ada", "другой", "日本 🦔", "it's; DROP TABLE x --")]
    add(engine, given)
    assert read(engine) == given


def test_names_may_be_as_long_as_those_of_studies(engine):
    given = [entry("x" * 480, study_name="x" * 480 + "/1")]
    add(engine, [replace(each, source=replace(each.source, data="rows", fingerprint="a task")) for each in given])
    (found,) = read(engine)
    assert (found.source.name, found.study_name) == (given[0].source.name, given[0].study_name)


def test_what_diverged_has_no_loss(engine):
    losses = [(None, None), (math.nan, 0.25), (math.inf, -math.inf)]
    add(engine, [entry(evaluations=tuple(Evaluation(c, *each) for c, each in zip(CONFIGS, losses, strict=True)))])
    (found,) = read(engine)
    assert [(each.last, each.best) for each in found.evaluations] == [(None, None), (None, 0.25), (None, None)]


def test_a_task_is_written_again_by_its_fingerprint_and_a_config_by_its_numbers(engine):
    add(engine, [entry(), entry("another")])
    before = count(engine)
    add(engine, [entry(), entry("another")])
    assert count(engine) == before
    known_with = Found(3, 32, 99)
    again = entry(losses=(0.9,), untrained=2.0, study_name="a later study")
    again = replace(
        again, evaluations=tuple(replace(e, config=CONFIGS[0].found_with(known_with)) for e in again.evaluations)
    )
    add(engine, [again])
    assert count(engine) == before
    first, other = read(engine)
    assert (first.untrained, first.study_name) == (2.0, "a later study")
    assert [each.last for each in first.evaluations] == [0.9, 0.25, 0.75]  # what is not tried again stays
    assert first.evaluations[0].config == CONFIGS[0]
    assert other == entry("another")


def test_what_was_learned_later_is_added(engine):
    one, two, three = entry().evaluations
    add(engine, [entry(evaluations=(one,)), entry("another", (0.1, 0.2))])
    add(engine, [entry(evaluations=(two, three))])
    assert read(engine)[0] == entry()


def test_configs_that_differ_by_rounding_are_one():
    near = OptimizerConfig("adam", learning_rate=0.001 * (1 + 1e-9))
    assert store.digest(near) == store.digest(CONFIGS[0])
    others = [*CONFIGS, OptimizerConfig("nadam"), OptimizerConfig("adam", learning_rate=0.00101)]
    others += [OptimizerConfig("adam", schedule="linear"), OptimizerConfig("adam", use_ema=True)]
    assert len({store.digest(each) for each in others}) == len(others)
    assert store.digest(CONFIGS[0].found_with(Found(1, 1, 1))) == store.digest(CONFIGS[0])


def test_of_two_configs_of_one_task_that_are_one_the_last_counts(file):
    near = OptimizerConfig("adam", learning_rate=0.001 * (1 + 1e-9))
    add(file, [entry(evaluations=(Evaluation(CONFIGS[0], 0.5, 0.5), Evaluation(near, 0.25, 0.25)))])
    ((only,),) = (each.evaluations for each in read(file))
    assert only.last == 0.25


@pytest.mark.parametrize("untrained", [math.nan, math.inf])
def test_a_task_whose_untrained_loss_is_no_number_teaches_nothing_and_is_no_error(engine, untrained):
    add(engine, [entry(untrained=untrained), entry("another")])
    assert [source.name for source in evidence(read(engine)).sources] == ["another"]


def test_when_the_database_refuses_a_task_nothing_of_it_is_stored(engine):
    add(engine, [entry()])
    broken = entry("another")
    broken = replace(broken, evaluations=(*broken.evaluations[:2], replace(broken.evaluations[2], passes=None)))
    with pytest.raises(StorageError, match="could not be written"):
        add(engine, [broken])
    assert read(engine) == [entry()]


# ------------------------------------------------------------------------------------------------------------- curves


def with_curves(*curves):
    given = entry()
    drawn = [replace(each, curve=curve) for each, curve in zip(given.evaluations, curves, strict=False)]
    return replace(given, evaluations=(*drawn, *given.evaluations[len(curves) :]))


def test_curves_come_back_to_three_digits_and_only_when_they_are_asked_for(engine):
    curves = [np.linspace(2.5, 0.1, 50), np.array([1.0, np.nan, np.inf, 1e300])]
    add(engine, [with_curves(*curves)])
    one, two, three = read(engine, with_curves=True)[0].evaluations
    np.testing.assert_allclose(one.curve, curves[0], rtol=1e-3)
    np.testing.assert_array_equal(two.curve, [1.0, np.nan, np.inf, np.inf])
    assert three.curve is None
    assert {each.curve is None for each in read(engine)[0].evaluations} == {True}
    add(engine, [with_curves(curves[0][:5])])
    assert [len(each.curve) for each in read(engine, True)[0].evaluations[:2]] == [5, 4]


def packed(*numbers):
    return zlib.compress(np.array(numbers, "<f2").tobytes())


@pytest.mark.parametrize(
    "columns",
    [
        {"losses": b""},
        {"losses": b"no zlib"},
        {"losses": packed(1, 2)},
        {"losses": packed(1, 2, 3, 4)},
        {"losses": packed(*range(1000))},
        {"losses": packed(1, 2, 3)[:-5]},
        {"epochs": 2},
        {"epochs": 0},
        {"epochs": -1},
        {"epochs": 2**31 - 1},
    ],
)
def test_a_damaged_curve_is_refused_and_leaves_the_rest_to_read(file, columns):
    add(file, [with_curves(np.ones(3))])
    ((name, value),) = columns.items()
    execute(file, f"UPDATE adamtune_evaluation_curves SET {name} = :value", value=value)
    with pytest.raises(StudyError, match="curve of the store is damaged"):
        read(file, with_curves=True)
    assert read(file) == [entry()]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1, "optimizer": "adma"}', '{"schema": 99}'])
def test_a_damaged_config_is_refused(file, text):
    add(file, [entry()])
    execute(file, "UPDATE adamtune_configs SET config = :text WHERE config_id = 1", text=text)
    with pytest.raises(StudyError, match="damaged"):
        read(file)


# ---------------------------------------------------------------------------------------------------- lists and facts


def listed(*tried):
    """A list of all configs, of which some were tried, by (trial, loss)."""
    tried = [*tried, *[(None, None)] * len(CONFIGS)][: len(CONFIGS)]
    return [
        Recommended(place, config, 0.1 * place, -0.5, 0.5, *each)
        for place, (config, each) in enumerate(zip(CONFIGS, tried, strict=True), 1)
    ]


def test_lists_come_back_with_what_became_of_them(engine):
    one, other = listed((3, 0.25), (4, None)), listed()[:1]
    store.set_recommended(engine, "fingerprint", "für Ada", one)
    store.set_recommended(engine, "fingerprint", "другой", other)
    assert store.recommended(engine, "für Ada") == one
    assert store.recommended(engine, "другой") == other
    assert store.recommended(engine) == one + other
    assert store.recommended(engine, "nobody's") == []


def test_a_list_that_is_written_again_is_replaced_with_its_outcomes(engine):
    store.set_recommended(engine, "fingerprint", "a study", listed((3, 0.25)))
    store.set_recommended(engine, "fingerprint", "another", listed((5, 0.5)))
    store.set_recommended(engine, "fingerprint", "a study", listed()[:2])
    assert store.recommended(engine, "a study") == listed()[:2]
    assert store.recommended(engine, "another") == listed((5, 0.5))
    assert count(engine)["adamtune_outcomes"] == 1


def test_what_is_said_of_the_store_is_plain_data_by_name(engine):
    store.set_facts(engine, {"spread": {"best": [0.5, -1.0]}, "note": "für Ada"})
    store.set_facts(engine, {"note": None})
    assert facts(engine) == {"spread": {"best": [0.5, -1.0]}, "note": None, "version": store.VERSION}


# --------------------------------------------------------------------------------------------------------- the tables


def test_reading_an_empty_database_makes_nothing(engine):
    assert read(engine) == store.recommended(engine) == []
    assert not store.exists(engine)
    assert tables(engine) == set()


def test_the_tables_stand_beside_those_of_others(engine, database_url):
    storages.close(storages.open_storage(database_url))
    others = tables(engine)
    add(engine, [entry()])
    assert {name.split("_")[0] for name in tables(engine) - others} == {"adamtune"}
    assert read(engine) == [entry()]


def test_a_store_of_a_newer_version_is_neither_read_nor_written(engine):
    add(engine, [entry()])
    store.set_facts(engine, {"version": store.VERSION + 1})
    before = count(engine)
    for act in (read, store.recommended, lambda engine: add(engine, [entry("another")])):
        with pytest.raises(StorageError, match=f"version {store.VERSION + 1}.*pip install -U adamtune"):
            act(engine)
    assert count(engine) == before


WORKER = """
import sys
import sqlalchemy
from adamtune.recommending import schema, store
from tests.recommending.test_store import entry
engine = sqlalchemy.create_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(8):
    store.add(engine, [entry(f"own task {sys.argv[2]} {number}"), entry("shared task")])
"""


def test_writers_may_make_the_tables_and_write_at_once(engine, database_url):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for worker in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    names = [f"own task {worker} {number}" for worker in range(2) for number in range(8)]
    found = {each.source.name: each for each in read(engine)}
    assert found == {name: entry(name) for name in [*names, "shared task"]}


def test_tables_that_another_writer_is_making_in_the_same_moment_are_taken(engine, monkeypatch):
    create, looks = sqlalchemy.MetaData.create_all, []

    def too_early(metadata, engine, **given):
        looks.append(metadata)
        if len(looks) == 1:  # the other writer has made one table, and the look before CREATE TABLE missed it
            schema.configs.create(engine)
        create(metadata, engine, checkfirst=len(looks) > 1)

    monkeypatch.setattr(sqlalchemy.MetaData, "create_all", too_early)
    add(engine, [entry()])
    assert read(engine) == [entry()]


# ----------------------------------------------------------------------------------------------------------- evidence


def test_regret_is_zero_for_the_best_and_one_for_the_untrained_network():
    found = evidence([entry(losses=(0.25, 1.0, 0.625))], "last")
    np.testing.assert_allclose(found.regret, [[0.0, 1.0, 0.5]])
    assert found.configs == tuple(CONFIGS)


def test_the_last_and_the_best_epoch_are_judged_apart():
    falling, rising = Evaluation(CONFIGS[0], 0.5, 0.4), Evaluation(CONFIGS[1], 0.9, 0.2)
    given = [entry(evaluations=(falling, rising))]
    assert evidence(given, "last").regret.argmin() == 0
    assert evidence(given, "best").regret.argmin() == 1


def test_regret_does_not_depend_on_the_scale_of_the_loss():
    one = entry(losses=(0.25, 0.5, 0.75))
    other = entry(losses=(1025.0, 1050.0, 1075.0), untrained=1100.0)
    np.testing.assert_allclose(evidence([one], "last").regret, evidence([other], "last").regret)


def test_what_diverged_is_as_bad_as_untrained_and_what_is_worse_no_worse():
    diverged = Evaluation(CONFIGS[2], None, None)
    given = entry(losses=(0.5, 7.0))
    found = evidence([replace(given, evaluations=(*given.evaluations, diverged))], "last")
    np.testing.assert_allclose(found.regret, [[0.0, 1.0, 1.0]])
    assert evidence([entry(evaluations=(diverged,))]).sources == ()


def test_what_was_not_tried_has_no_regret():
    found = evidence([entry(losses=(0.25, 0.5)), entry("another", (0.5, 0.25, 0.75))], "last")
    np.testing.assert_array_equal(np.isnan(found.regret), [[False, False, True], [False] * 3])


def test_a_task_on_which_nothing_learns_teaches_nothing():
    found = evidence([entry(losses=(1.0, 1.5)), entry("empty", ()), entry("another")], "last")
    assert [source.name for source in found.sources] == ["another"]
    none = evidence([])
    assert (none.sources, none.configs, none.regret.shape) == ((), (), (0, 0))


def test_evidence_is_the_same_after_a_database(file):
    given = [entry(), entry("another", (0.3,))]
    add(file, given)
    stored, kept = evidence(read(file)), evidence(given)
    assert (stored.sources, stored.configs) == (kept.sources, kept.configs)
    np.testing.assert_array_equal(stored.regret, kept.regret)


def test_what_a_store_teaches_may_be_kept_beside_it(engine):
    given = [entry(), entry("another", (0.3, 0.2)), entry("a third", (0.9, 0.1, 0.2))]
    add(engine, given)
    assert store.distilled(engine, "best") is None
    learned = {epoch: evidence(read(engine), epoch) for epoch in ("best", "last")}
    store.distil(engine, learned)
    for epoch, expected in learned.items():
        found = store.distilled(engine, epoch)
        assert (found.sources, tuple(found.configs)) == (expected.sources, expected.configs)
        assert found.optimizers == expected.optimizers
        np.testing.assert_allclose(found.believed, expected.believed, atol=1e-3)
    assert read(engine) == given


# ------------------------------------------------------------------------------------------------------ being looked at


def test_a_database_that_is_looked_at_is_not_made(tmp_path):
    with storages.looked_at(tmp_path / "studies.db") as engine:
        assert engine is None
    with storages.looked_at("memory") as engine:
        assert engine is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_looked_at_is_not_changed(database_url):
    storages.close(storages.open_storage(database_url))
    with storages.looked_at(database_url) as engine:
        before = tables(engine)
        assert read(engine) == []
        assert tables(engine) == before


def test_what_is_no_database_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "studies.db"
    path.write_text("a diary, not a database" * 99)
    with pytest.raises(StorageError, match="no SQLite database"), storages.looked_at(path) as engine:
        read(engine)


def test_a_server_that_is_not_there_is_named_without_its_password():
    url = "postgresql://ada:s3cret@127.0.0.1:1/studies"
    with (
        pytest.raises(StorageError, match=r"ada:\*\*\*@.*No server answers") as caught,
        storages.looked_at(url) as engine,
    ):
        read(engine)
    assert "s3cret" not in str(caught.value)
