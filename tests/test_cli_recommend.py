import ast
import json

import pytest
from typer.testing import CliRunner

from adamtune import cli
from adamtune.config import OptimizerConfig
from adamtune.recommending import store
from adamtune.recommending.evidence import Source
from adamtune.recommending.features import Features
from adamtune.recommending.store import Entry, Evaluation
from adamtune.tuning import storage

FEATURES = Features(
    regression=False, n_rows=80, n_inputs=3, n_outputs=2, batch_size=32, epochs=5, n_weights=50, depth=1, width=3.0
)
ENTRY = Entry(
    Source("mine", "table-classification", "table-classification", "rows", FEATURES, "print"),
    0.7,
    (
        Evaluation(OptimizerConfig("adam"), 0.5, 0.4, 2, "study", 0),
        Evaluation(OptimizerConfig("sgd", learning_rate=0.5), None, 0.6, 2, "study", 1),
    ),
    "mine/1",
)


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*words):
        return CliRunner().invoke(cli.app, [str(word) for word in words])

    return run


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "houses.csv"
    rows = [f"{i},{'ab'[i % 2]},{i * 1.5}" for i in range(30)]
    path.write_text("\n".join(["rooms,street,price", *rows]), encoding="utf-8")
    return path


@pytest.fixture
def url(tmp_path):
    """A database with one studied task."""
    url = f"sqlite:///{tmp_path / 'own.db'}"
    opened = storage.open_storage(url)
    storage.close(opened)
    with storage.looked_at(url) as engine:
        store.add(engine, [ENTRY])
    return url


def test_a_table_gets_a_list_and_the_lines_to_paste(run, table):
    said = run("recommend", table, "--target", "price", "--storage", "memory")
    assert said.exit_code == 0
    assert "table-regression" in said.stdout
    _, code = said.stdout.split("\nimport ")
    assert code.index("\n\nmodel.compile(\n    optimizer=") > 0 and max(map(len, code.splitlines())) < 80
    ast.parse(f"import {code}")  # pasted as it is; only the loss is left to say


def test_json_holds_the_same_list(run, table):
    said = run("recommend", table, "--target", "price", "--storage", "memory", "-k", 3, "--json")
    found = json.loads(said.stdout)
    assert [each["rank"] for each in found["recommendations"]] == [1, 2, 3]
    for each in found["recommendations"]:
        OptimizerConfig.from_dict(each["config"])
        assert each["interval"][0] <= each["gain"] <= each["interval"][1]


def test_a_task_in_words_gets_a_list_of_the_optimizer_asked_for(run):
    said = run("recommend", "--task", "image-classification", "--optimizer", "sgd", "--storage", "memory", "--json")
    assert {each["config"]["optimizer"] for each in json.loads(said.stdout)["recommendations"]} == {"sgd"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "--task KIND"),
        (["houses.csv"], 2, "--target COL"),
        (["--task", "image-clasification"], 1, "Did you mean 'image-classification'"),
        (["--task", "forecast", "-k", "0"], 1, "k=0"),
        (["--task", "forecast", "--epoch", "first"], 1, "'best' or 'last'"),
    ],
)
def test_what_is_missing_or_wrong_is_said(run, words, code, message):
    said = run("recommend", *words, "--storage", "memory")
    assert said.exit_code == code and message in said.stderr


def test_stores_are_counted_by_kind(run, url):
    said = run("store", "stats", "--storage", url)
    assert said.exit_code == 0 and "table-classification" in said.stdout
    found = json.loads(run("store", "stats", "--storage", url, "--json").stdout)
    assert found["own"] == {
        "tasks": 1,
        "data_sets": 1,
        "configs": 2,
        "evaluations": 2,
        "kinds": {"table-classification": 1},
    }
    assert found["shipped"]["tasks"] >= 60


@pytest.mark.parametrize("name", ["lab.json", "lab.json.gz"])
def test_a_store_travels_in_a_file(run, url, tmp_path, name):
    file, other = tmp_path / name, f"sqlite:///{tmp_path / 'other.db'}"
    assert run("store", "export", file, "--storage", url).exit_code == 0
    assert run("store", "import", file, "--storage", other).exit_code == 0
    with storage.looked_at(url) as one, storage.looked_at(other) as two:
        (mine,), (theirs,) = store.read(one), store.read(two)
    assert theirs.source == mine.source and theirs.untrained == mine.untrained
    assert [(e.config, e.last, e.best) for e in theirs.evaluations] == [
        (e.config, e.last, e.best) for e in mine.evaluations
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("tasks"), "no file of"),
        (lambda data: data.update(adamtune_store=99), "version 99"),
        (lambda data: data["tasks"][0].pop("untrained"), "task 0 is damaged"),
        (lambda data: data["tasks"][0].update(untrained="much"), "untrained='much'"),
        (lambda data: data["tasks"][0]["features"].update(secret=1), "features"),
        (lambda data: data["tasks"][0]["evaluations"][0].update(passes=0), "passes=0"),
        (lambda data: data["tasks"][0]["evaluations"][0]["config"].update(optimizer="adma"), "adma"),
    ],
)
def test_a_damaged_file_is_refused_whole(run, url, tmp_path, change, message):
    file, other = tmp_path / "lab.json", tmp_path / "other.db"
    run("store", "export", file, "--storage", url)
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    said = run("store", "import", file, "--storage", f"sqlite:///{other}")
    assert said.exit_code == 1 and message in said.stderr
    assert not other.exists()
