import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy

import adamtune
from adamtune import recommending
from adamtune.config import OptimizerConfig
from adamtune.errors import AdamTuneError, ConfigError, DataError, SettingError, StorageError
from adamtune.recommending import describing, recommend, store
from adamtune.recommending.describing import KINDS
from adamtune.recommending.evidence import Source
from adamtune.recommending.store import Entry, Evaluation
from adamtune.tuning import storage as storages

X = np.random.default_rng(0).normal(size=(300, 6))
Y = (X[:, 0] > 0).astype(int)


def of_rows(**given):
    return recommend(X, Y, storage="memory", **given)


def shipped(epoch="best"):
    """What the shipped store teaches."""
    return recommending.known("memory", epoch)[0]


def studied(url, best=3e-2, **described):
    """A database with a study of these rows, on which that rate was the best."""
    task = describing.of_rows(X, Y, **described)
    source = Source("my study", task.kind, task.kind, task.data, task.features, task.fingerprint)
    rates = [best, 1e-3, 1e-6]
    tried = tuple(
        Evaluation(OptimizerConfig("adam", learning_rate=rate), loss, 1 - loss, source="study")
        for rate, loss in zip(rates, (0.1, 0.4, 0.7), strict=True)
    )
    engine = sqlalchemy.create_engine(url)
    store.add(engine, [Entry(source, 1.0, tried, "my study/1")])
    engine.dispose()


# ------------------------------------------------------------------------------------------------- what is recommended


def test_rows_get_five_configs_of_which_none_is_twice():
    found = of_rows()
    assert len(found) == len(set(found.configs)) == 5
    assert found.description == describing.of_rows(X, Y)
    assert found.n_sources == len(shipped().sources)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_can_be_asked_for_in_words(kind):
    found = recommend(task=kind, storage="memory")
    assert (found.description.kind, len(found), found.abstains) == (kind, 5, False)
    assert "not said" in found.explain()


def test_the_same_question_has_the_same_answer():
    assert of_rows() == recommend(X.copy(), Y.tolist(), storage="memory")
    words = {"task": "forecast", "n_samples": 5000, "storage": "memory"}
    assert recommend(**words).to_dict() == recommend(**words).to_dict()


def test_a_shorter_list_is_the_beginning_of_a_longer_one():
    assert of_rows(k=8).configs[:3] == of_rows(k=3).configs


def test_the_length_may_be_a_number_of_numpys():
    assert of_rows(k=np.int64(3)) == of_rows(k=3)


@pytest.mark.parametrize("optimizer", ["sgd", ["adam", "lion"], "AdamW"])
def test_only_the_optimizers_that_are_named_are_recommended(optimizer):
    wanted = {optimizer.lower()} if isinstance(optimizer, str) else set(optimizer)
    found = of_rows(optimizer=optimizer)
    assert {config.optimizer for config in found.configs} <= wanted
    assert len(found) == 5


def test_an_optimizer_that_nobody_has_studied_gets_its_own_default_and_no_other():
    tried = {config.optimizer for config in shipped().configs}
    unknown = sorted(set(adamtune.optimizers.names()) - tried)
    assert unknown
    found = of_rows(optimizer=unknown)
    assert {config.optimizer for config in found.configs} <= set(unknown)
    assert found.abstains


def test_the_budget_of_the_training_is_part_of_the_task():
    short, long = of_rows(epochs=1, batch_size=128), of_rows(epochs=100, batch_size=8)
    assert short.description.features.steps < long.description.features.steps
    assert short.configs != long.configs
    assert {config.found.epochs for config in long.configs} == {100}


def test_keeping_the_best_epoch_or_the_last_are_two_questions():
    assert not np.array_equal(shipped("best").believed, shipped("last").believed)
    assert of_rows(epoch="last") != of_rows(epoch="best")


def test_far_from_all_that_was_studied_the_default_goes_first():
    found = recommend(task="image-classification", n_samples=10**9, epochs=1000, storage="memory")
    assert found.abstains
    assert found.configs[0].found_with(None) == OptimizerConfig("adam")


def test_without_any_store_there_is_the_default(tmp_path):
    program = (
        "import sys, pathlib, numpy as np, pytest\n"
        "from adamtune import OptimizerConfig, errors, recommending\n"
        "recommending.SHIPPED = pathlib.Path(sys.argv[1])\n"
        "X = np.random.default_rng(0).normal(size=(90, 3))\n"
        "found = recommending.recommend(X, X[:, 0] > 0, storage='memory')\n"
        "assert found.configs == [OptimizerConfig('adam')] and found.method == 'default' and found.abstains\n"
        "with pytest.raises(errors.SettingError, match='no task of this kind'):\n"
        "    recommending.recommend(task='forecast', storage='memory')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "shipped.db")], check=True)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- studies of one's own


def test_a_task_that_was_studied_here_gets_its_own_best(url):
    studied(url)
    found = recommend(X, Y, storage=url)
    assert found.method == "exact"
    assert {config.learning_rate for config in found.configs} == {3e-2, 1e-3, 1e-6}
    for other in ({"epochs": 3}, {"batch_size": 8}, {"task": "regression"}):
        assert recommend(X, Y, storage=url, **other).method == "alike"
    assert recommend(X + 1, Y, storage=url).method == "alike"


def test_the_epoch_that_is_kept_decides_what_was_best_here(url):
    studied(url)
    assert recommend(X, Y, storage=url, epoch="last")[0].config.learning_rate == 3e-2
    assert recommend(X, Y, storage=url, epoch="best")[0].config.learning_rate == 1e-6


def test_studies_of_other_tasks_count_beside_what_is_shipped(url):
    studied(url, epochs=19)
    found = recommend(X, Y, storage=url)
    assert (found.method, found.n_sources) == ("alike", of_rows().n_sources + 1)
    assert found.neighbours[0][0].name == "my study"
    assert recommend(X, Y, storage="memory") == of_rows()


def test_own_studies_that_may_not_be_recommended_leave_the_question_to_others(url):
    studied(url)
    found = recommend(X, Y, storage=url, optimizer="sgd")
    assert {config.optimizer for config in found.configs} == {"sgd"}


def test_the_default_database_is_read_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMTUNE_STORAGE", f"sqlite:///{tmp_path / 'mine.db'}")
    assert recommend(X, Y).method == "alike"
    assert list(tmp_path.iterdir()) == []
    studied(f"sqlite:///{tmp_path / 'mine.db'}")
    assert recommend(X, Y).method == "exact"


def test_asking_leaves_a_database_as_it_is(database_url):
    engine = sqlalchemy.create_engine(database_url)
    recommend(X, Y, storage=database_url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


def test_a_database_that_cannot_be_read_is_said(tmp_path):
    path = tmp_path / "studies.db"
    path.write_text("a diary, not a database" * 99)
    with pytest.raises(StorageError, match="no SQLite database"):
        recommend(X, Y, storage=str(path))


def test_the_shipped_store_is_not_changed_by_what_is_learned_beside_it(url):
    before = of_rows()
    studied(url)
    recommend(X, Y, storage=url)
    assert of_rows() == before


# ---------------------------------------------------------------------------------------------------------- in the open


def test_no_backend_is_loaded():
    program = (
        "import sys, numpy as np, pandas as pd, adamtune\n"
        "X = np.random.default_rng(0).normal(size=(90, 3))\n"
        "frame = pd.DataFrame(X).assign(text=np.array(['a', 'b', 'c'] * 30))\n"
        "for rows in (X, frame):\n"
        "    adamtune.recommend(rows, np.arange(90) % 2, storage='memory').explain()\n"
        "adamtune.recommend(task='forecast', storage='memory').to_code()\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_two_processes_say_the_same():
    program = (
        "import json, numpy as np, adamtune\n"
        "X = np.random.default_rng(0).normal(size=(90, 3))\n"
        "y = np.array(['yes', 'no', 'so'], object)[np.arange(90) % 3]\n"
        "found = adamtune.recommend(X, y, storage='memory')\n"
        "print(found.description.fingerprint, json.dumps(found.to_dict()))"
    )
    one, two = (
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    )
    assert one == two and json.loads(one.partition(" ")[2])["recommendations"]


@pytest.mark.parametrize("epoch", ["best", "last"])
def test_what_is_shipped_is_whole(epoch):
    learned, spread = recommending.known("memory", epoch)
    assert {each.kind for each in learned.sources} == set(KINDS)
    assert len({each.fingerprint for each in learned.sources}) == len(learned.sources)
    assert OptimizerConfig("adam") in learned.configs
    assert learned.believed.shape == (len(learned.sources), len(learned.configs))
    assert all(np.isfinite(values).all() and len(values) for values in spread.values())
    assert max(spread["low"]) <= 0 <= min(spread["high"])


@pytest.mark.parametrize("epoch", ["best", "last"])
def test_what_is_read_at_once_is_what_the_shipped_studies_teach(epoch):
    with storages.looked_at(recommending.SHIPPED) as engine:
        learned = store.evidence(store.read(engine), epoch)
    quick = shipped(epoch)
    assert quick.sources == learned.sources
    assert list(quick.configs) == list(learned.configs)
    np.testing.assert_allclose(quick.believed, learned.believed, atol=1e-3)


def test_what_is_recommended_compiles_a_model():
    keras = pytest.importorskip("keras")
    for config in of_rows().configs:
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        model.compile(optimizer=config.to_keras(), loss="mse")


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "5", None], ids=repr)
def test_a_list_has_a_length(k):
    with pytest.raises(SettingError, match=r"k=.*whole number of at least 1"):
        of_rows(k=k)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "many"], ids=repr)
@pytest.mark.parametrize("name", ["n_samples", "batch_size", "epochs", "n_features", "n_classes", "n_weights"])
def test_a_number_that_counts_nothing_is_refused(name, value):
    with pytest.raises(SettingError, match=f"{name}=.*whole number of at least 1"):
        recommend(task="forecast", storage="memory", **{name: value})


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "many"], ids=repr)
@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_a_budget_beside_rows_is_refused_as_it_is_in_words(name, value):
    with pytest.raises(SettingError, match=f"{name}=.*whole number of at least 1"):
        of_rows(**{name: value})


def test_rows_are_not_described_a_second_time():
    with pytest.raises(SettingError, match="n_samples"):
        of_rows(n_samples=100)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, SettingError, "task='auto' is unknown.*or give X and y"),
        ({"task": "images"}, SettingError, "image-classification"),
        ({"X": X}, SettingError, "y is missing"),
        ({"X": X, "y": Y[:-1]}, DataError, "X has 300, y has 299"),
        ({"X": X, "y": Y, "task": "classifiction"}, SettingError, "task='classifiction'"),
        ({"X": X, "y": Y, "optimizer": "adma"}, ConfigError, "Did you mean"),
        ({"X": X, "y": Y, "optimizer": []}, SettingError, "optimizer="),
        ({"X": X, "y": Y, "epoch": "first"}, SettingError, "expected 'best' or 'last'"),
        ({"y": Y, "task": "forecast"}, SettingError, "X is missing"),
        ({"X": X, "y": Y, "storage": "runs"}, StorageError, "'runs.db'"),
    ],
    ids=["nothing", "kind", "no y", "lengths", "task", "optimizer", "no optimizer", "epoch", "no X", "storage"],
)
def test_what_cannot_be_answered_says_what_to_write(given, error, message):
    with pytest.raises(error, match=message) as caught:
        recommend(**{"storage": "memory"} | given)
    assert isinstance(caught.value, AdamTuneError)


def test_a_store_of_a_newer_version_is_refused(url):
    studied(url)
    engine = sqlalchemy.create_engine(url)
    store.set_facts(engine, {"version": store.VERSION + 1})
    engine.dispose()
    with pytest.raises(StorageError, match="install a newer"):
        recommend(X, Y, storage=url)


def test_labels_are_told_by_task_where_rows_leave_it_open():
    years = np.arange(300)
    with pytest.raises(DataError, match="labels or amounts"):
        recommend(X, years, storage="memory")
    assert recommend(X, years, task="regression", storage="memory").description.kind == "table-regression"
    assert replace(of_rows(task="classification").description, assumed=()) == replace(of_rows().description, assumed=())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [{}, {"n_samples": 50_000, "batch_size": 128}], ids=["usual", "large"])
def test_a_longer_list_never_gains_less(kind, words):
    gains = [each.gain for each in recommend(task=kind, k=10, storage="memory", **words)]
    assert gains == sorted(gains) and gains[-1] > gains[0]
