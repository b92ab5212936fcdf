import dataclasses
import json
import random
import re
import stat
import subprocess
import sys
import warnings

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta

from adamtune import OptimizerConfig, presenting, summary
from adamtune.errors import StudyError
from adamtune.plots import _importance, compact
from adamtune.presenting import artifacts_folder, present
from adamtune.tuning import storage
from tests import many, small
from tests.small import told, tuned

TWO = {"learning_rate": (1e-4, 1e-1), "beta_1": (0.5, 0.99)}
FIGURES = {f"adamtune-{kind}" for kind in ("curves", "contour", "importance", "time-to-target")}


def fit(url, **settings):
    """A study that is large enough for all figures."""
    return tuned(**{"storage": url, "n_trials": 10, "epochs": 3, "confirm": 2, "space": TWO} | settings)


def opened(tuner, url):
    """The study as another program finds it, with plain Optuna."""
    return optuna.load_study(study_name=tuner.study_.study_name, storage=url)


def attributes(study):
    return study._storage.get_study_system_attrs(study._study_id)


def note_of(study):
    return pytest.importorskip("optuna_dashboard._note").get_note(study)


def figures_of(study):
    return pytest.importorskip("optuna_dashboard._custom_plot_data").get_plotly_graph_objects(attributes(study))


def artifact_of(study, folder, tmp_path):
    (meta,) = get_all_artifact_meta(study)
    assert (meta.filename, meta.mimetype) == ("recommended.json", "application/json")
    file = tmp_path / "downloaded.json"
    file.unlink(missing_ok=True)
    store = FileSystemArtifactStore(folder)
    download_artifact(artifact_store=store, file_path=str(file), artifact_id=meta.artifact_id)
    return json.loads(file.read_text())


@pytest.fixture
def folder(database_url, tmp_path, monkeypatch):
    """Where artifacts are: beside a SQLite file, for a server where the variable says."""
    monkeypatch.setenv("ADAMTUNE_ARTIFACTS", str(tmp_path / "of the server"))
    return artifacts_folder(database_url)


@pytest.fixture
def valley(url):
    """A study of 40 trials in a file, as `fit` leaves it before it is presented."""
    database = storage.open_storage(url)
    yield many.made(database, 40)
    storage.close(database)


# ---------------------------------------------------------------------------------------------- what others find


def test_what_a_fit_writes_is_what_the_dashboard_reads(database_url, folder, tmp_path):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    tuner = fit(database_url)
    study = opened(tuner, database_url)

    said = note_of(study)
    assert said.startswith(f"## `{study.study_name}`\n")
    assert "Task `multiclass-61x4`, optimizer `adam`, judged by `val_loss` (lower is better), 3 epochs" in said
    assert re.search(r"\*\*10 trials in \d+\.\d s\*\*: \d+ complete", said)
    assert f"**Winner: trial {tuner.best_trial_.number}**" in said
    assert f"| `learning_rate` | {summary.number(tuner.best_config_.learning_rate)} | 0.001 |" in said
    assert f"```python\n{summary.of_study(study).code}\n```" in said
    assert f"[adamtune page](/adamtune/study/{study._study_id})" in said

    figures = figures_of(study)
    assert set(figures) == FIGURES
    assert all(graph_objects.Figure(json.loads(text)).data for text in figures.values())

    found = artifact_of(study, folder, tmp_path)
    assert OptimizerConfig.from_dict(found["winner"]["config"]) == tuner.best_config_
    best = [(each["trial"], each["value"], OptimizerConfig.from_dict(each["config"])) for each in found["best"]]
    assert best == [(each.trial, each.value, each.config) for each in summary.of_study(study).best]
    assert found["summary"]["counts"]["finished"] == 10


def test_a_later_fit_of_the_study_takes_the_place_of_all_of_it(database_url, folder, tmp_path):
    tuner = fit(database_url)
    study = opened(tuner, database_url)
    first, rows = artifact_of(study, folder, tmp_path), attributes(study)
    tuner.continue_fit(6)
    study = opened(tuner, database_url)

    assert "**16 trials" in note_of(study)
    assert note_of(study).count("Winner: ") == 1
    assert attributes(study)["dashboard:note_ver"] == 2
    assert set(figures_of(study)) == FIGURES
    assert "16 trials" in figures_of(study)["adamtune-time-to-target"]
    assert len(attributes(study)) <= len(rows) + 4, "rows of the first fit were left"
    found = artifact_of(study, folder, tmp_path)
    assert (first["summary"]["counts"]["finished"], found["summary"]["counts"]["finished"]) == (10, 16)
    assert len(list(folder.iterdir())) == 1


def test_a_shorter_text_leaves_no_rows_of_the_longer_one(valley, monkeypatch):
    for length in (9000, 100):
        monkeypatch.setattr(compact, "text", lambda *_, length=length: "x" * length)
        monkeypatch.setattr(presenting, "note", lambda *_, length=length: "y" * length)
        present(valley)
    rows = attributes(valley)
    assert sum(key.startswith("dashboard:plot_data:") for key in rows) == len(FIGURES)
    assert sum(key.startswith("dashboard:note_str:") for key in rows) == 1
    assert figures_of(valley) == dict.fromkeys(FIGURES, "x" * 100)


def test_what_people_wrote_into_the_note_stays(valley):
    save_note = pytest.importorskip("optuna_dashboard").save_note
    save_note(valley, "Mine, from before.")
    present(valley)
    assert note_of(valley).endswith(f"{presenting._LINE}\n\nMine, from before.")
    save_note(valley, note_of(valley).replace("Winner", "Changed") + "\n\n*More* of mine.")
    present(valley)
    said = note_of(valley)
    assert said.endswith(f"{presenting._LINE}\n\nMine, from before.\n\n*More* of mine.")
    assert said.count("adamtune page") == said.count("Winner: trial") == 1
    assert "Changed" not in said
    assert attributes(valley)["dashboard:note_ver"] == 4


def test_the_note_is_written_and_found_without_the_dashboard_and_without_keras():
    code = (
        "import sys; from adamtune.presenting import artifacts_folder\n"
        "assert not {'optuna_dashboard', 'plotly', 'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_study_in_memory_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAMTUNE_ARTIFACTS", str(tmp_path / "artifacts"))
    tuner = fit("memory")
    assert not [key for key in attributes(tuner.study_) if key.startswith(("dashboard:", "artifacts:", "adamtune:"))]
    assert not list(tmp_path.iterdir())


def test_presenting_changes_nothing_that_the_seed_decides(tmp_path, monkeypatch):
    presented = fit(f"sqlite:///{tmp_path / 'one.db'}")
    numpy_state, python_state = np.random.get_state()[1].copy(), random.getstate()
    present(presented.study_)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert random.getstate() == python_state
    monkeypatch.setattr(presenting, "present", lambda study: None)
    assert told(presented) == told(fit(f"sqlite:///{tmp_path / 'two.db'}"))


# --------------------------------------------------------------------------------- what a study has for dashboards


def test_names_scales_steps_and_attributes_are_such_that_dashboards_can_show_them(url):
    space = TWO | {"epsilon": (1e-9, 1e-3), "beta_2": (0.9, 0.9999), "weight_decay": (1e-6, 1e-1)}
    tuner = fit(url, epochs=40, n_trials=6, space=space, confirm=0, metric="accuracy")
    study = opened(tuner, url)
    assert re.fullmatch(r"multiclass-61x4/adam/\d{8}-\d{6}-\w{4}", study.study_name)
    assert study.metric_names == ["val_accuracy"]
    trials = study.get_trials()
    for trial in trials:
        assert all(distribution.log for distribution in trial.distributions.values())
        assert set(trial.params) == {"learning_rate", "one_minus_beta_1", "one_minus_beta_2", "epsilon", "weight_decay"}
        assert 1 <= len(trial.intermediate_values) <= 30
        flat = {name: value for name, value in trial.user_attrs.items() if name != "config"}
        assert {"epochs", "train_loss", "val_loss", "val_accuracy", "diverged", "lane", "start_tick"} <= set(flat)
        assert all(type(value) in (int, float) for value in flat.values())
        assert OptimizerConfig.from_json(trial.user_attrs["config"]).optimizer == "adam"
        assert trial.duration.total_seconds() >= 0
    assert max(max(trial.intermediate_values) for trial in trials) == 40


# -------------------------------------------------------------------------------------------------- texts of others

HOSTILE = "<img src=x onerror=alert(1)> [a](http://b.example) | **c** `d``e` https://f.example # \\| $g$ _h_ & &lt;"


def rendered(markdown):
    """Markdown as HTML, with raw HTML let through: what others' texts must not become."""
    return pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def test_a_name_stays_text_in_the_note_and_in_the_figures(url):
    tuner = fit(url, study_name=HOSTILE)
    study = opened(tuner, url)
    assert HOSTILE in study.study_name
    html = rendered(note_of(study))
    assert re.findall(r"<(img|a href=\S+)", html) == [f'a href="/adamtune/study/{study._study_id}">adamtune']
    assert "<strong>c" not in html
    for text in figures_of(study).values():
        assert "<img" not in text
        assert "&lt;img" in text


def test_texts_from_a_tampered_database_stay_text_too(valley):
    found = summary.of_study(valley)
    rows = tuple(dataclasses.replace(row, label=HOSTILE) for row in found.comparison)
    texts = {"task": HOSTILE, "optimizer": HOSTILE, "objective": HOSTILE, "warnings": (f"```\n{HOSTILE}",)}
    html = rendered(presenting.note(dataclasses.replace(found, comparison=rows, **texts), 1))
    assert re.findall(r"<(img|a) ", html) == ["a"]
    assert html.count("<table>") == 2
    assert "<strong>c" not in html


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_text_is_a_code_span_in_a_line_and_in_a_table(text):
    from markdown_it import MarkdownIt

    shown = summary.printable(text)
    if shown.isspace():
        return
    parser = MarkdownIt("commonmark").enable("table")
    line = parser.parse(f"## {presenting._code(text)}")[1].children
    assert [(each.type, each.content) for each in line] == [("code_inline", shown)]
    table = parser.parse(presenting._table(["a", "b"], [[presenting._code(text), "1"]]))
    cells = [each.children for each in table if each.type == "inline"][2:]
    assert [(each.type, each.content) for cell in cells for each in cell] == [("code_inline", shown), ("text", "1")]


@given(st.text("`~ab\n", min_size=1))
def test_any_lines_are_a_code_block(text):
    from markdown_it import MarkdownIt

    (block,) = MarkdownIt("commonmark").parse(presenting._block("text", text))
    assert (block.type, block.content) == ("fence", f"{text}\n")


# --------------------------------------------------------------------------------------------- what is said in the note


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({}, "**Winner: trial 3**, `val_loss` 0.5 ± 0.01 over 3 fresh passes, 20.0 % lower than Keras' default Adam."),
        ({"direction": "maximize"}, "over 3 fresh passes, 20.0 % higher than"),
        ({"gain": 0.0}, "over 3 fresh passes, as good as Keras' default Adam. The default does at least as well here."),
        ({"gain": -0.1}, "passes, 10.0 % higher than Keras' default Adam. The default does at least as well here."),
        ({"comparison": ()}, "**Winner: trial 3**, `val_loss` 0.5 ± 0.01 over 3 fresh passes."),
        ({"passes": 0, "spread": None}, "`val_loss` 0.5. Not confirmed: the best of many trials is optimistic."),
        ({"score": None, "spread": None}, "**Winner: trial 3**, `val_loss` diverged over 3 fresh passes"),
        ({"winner": None}, "not confirmed"),
    ],
)
def test_what_came_of_it_is_said_in_a_sentence(valley, changed, expected):
    config = OptimizerConfig("adam", learning_rate=0.01)
    of_winner = {"trial": 3, "config": config, "score": 0.5, "spread": 0.01, "passes": 3}
    winner = summary.Winner(**of_winner | {key: value for key, value in changed.items() if key in of_winner})
    row = summary.Compared("trial 3", 3, config, 0.5, 0.01, changed.get("gain", 0.2))
    of_study = {"winner": winner, "comparison": (row,), "direction": "minimize"}
    of_study |= {key: value for key, value in changed.items() if key in of_study}
    assert expected in presenting.note(dataclasses.replace(summary.of_study(valley), **of_study), 1)


# ---------------------------------------------------------------------------------------------------- figures


def test_each_figure_of_a_thousand_trials_is_small(url):
    database = storage.open_storage(url)
    study = many.made(database, 1000)
    present(study)
    sizes = {name: len(text) for name, text in figures_of(study).items()}
    storage.close(database)
    assert set(sizes) == FIGURES
    assert max(sizes.values()) < 50_000


def test_a_study_that_is_too_small_for_a_figure_has_the_others(url):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*optuna-dashboard")
        tuner = fit(url, n_trials=3, space={"learning_rate": (1e-4, 1e-1)})
    assert set(figures_of(opened(tuner, url))) == {"adamtune-curves", "adamtune-time-to-target"}


def test_a_figure_that_can_no_longer_be_drawn_is_taken_back(valley, monkeypatch):
    present(valley)
    assert set(figures_of(valley)) == FIGURES

    def none(*_):
        raise StudyError("all trials fared alike")

    monkeypatch.setattr(_importance, "make", none)
    present(valley)
    assert set(figures_of(valley)) == FIGURES - {"adamtune-importance"}


def test_without_plotly_there_are_no_figures_and_no_complaint(valley, monkeypatch):
    monkeypatch.setattr(presenting.importlib.util, "find_spec", lambda name: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*optuna-dashboard")
        present(valley)
    assert figures_of(valley) == {}
    assert "Winner" in note_of(valley)


# --------------------------------------------------------------------------------------------- what goes wrong


def test_a_figure_that_fails_loses_neither_the_fit_nor_the_rest(url, monkeypatch):
    original = compact.text

    def failing(study, seen, kind, most):
        if kind == "curves":
            raise RuntimeError("no ink for postgresql://ada:s3cret@host/studies")
        return original(study, seen, kind, most)

    monkeypatch.setattr(compact, "text", failing)
    with pytest.warns(UserWarning, match="the figure 'curves' could not be .*: RuntimeError: no ink") as caught:
        tuner = fit(url)
    (warned,) = [each for each in caught if "no ink" in str(each.message)]
    assert "s3cret" not in str(warned.message)
    assert warned.filename == small.__file__  # where `fit` was called
    study = opened(tuner, url)
    assert tuner.best_config_ == OptimizerConfig.from_dict(summary.of_study(study).to_dict()["winner"]["config"])
    assert set(figures_of(study)) == FIGURES - {"adamtune-curves"}
    assert "Winner" in note_of(study)
    assert len(get_all_artifact_meta(study)) == 1


def test_where_the_folder_cannot_be_made_there_is_no_artifact(valley, tmp_path):
    (tmp_path / "test.artifacts").write_text("a file, and no folder")
    with pytest.warns(UserWarning, match=r"recommended\.json could not be written"):
        present(valley)
    assert get_all_artifact_meta(valley) == []
    assert set(figures_of(valley)) == FIGURES


def test_where_the_artifact_cannot_be_written_the_study_keeps_the_last_one(valley, tmp_path, monkeypatch):
    present(valley)
    before = get_all_artifact_meta(valley)
    write = FileSystemArtifactStore.write

    def half(store, artifact_id, content):
        write(store, artifact_id, content)
        raise OSError("no space left on device")

    monkeypatch.setattr(FileSystemArtifactStore, "write", half)
    with pytest.warns(UserWarning, match="no space left"):
        present(valley)
    assert get_all_artifact_meta(valley) == before
    assert [file.name for file in (tmp_path / "test.artifacts").iterdir()] == [before[0].artifact_id]


def test_an_artifact_that_somebody_deleted_comes_back_and_one_of_theirs_stays(valley, tmp_path):
    backend = pytest.importorskip("optuna_dashboard.artifact._backend")
    present(valley)
    (ours,) = get_all_artifact_meta(valley)
    theirs = tmp_path / "recommended.json"
    theirs.write_text("{}")
    store = FileSystemArtifactStore(tmp_path / "test.artifacts")
    kept = optuna.artifacts.upload_artifact(artifact_store=store, file_path=str(theirs), study_or_trial=valley)
    # As the dashboard deletes one: the file, and null in the place of what was known of it.
    store.remove(ours.artifact_id)
    valley._storage.set_study_system_attr(valley._study_id, f"artifacts:{ours.artifact_id}", json.dumps(None))
    present(valley)
    listed = backend.list_study_artifacts(attributes(valley))
    assert len(listed) == 2
    assert kept in [each["artifact_id"] for each in listed]


# ------------------------------------------------------------------------------------------------------ folders


def test_the_folder_of_artifacts_is_its_owners_alone(valley, tmp_path):
    present(valley)
    assert stat.S_IMODE((tmp_path / "test.artifacts").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "url, variable, expected",
    [
        ("memory", "/shared", None),
        ("sqlite://", "/shared", None),
        ("sqlite:////home/ada/my.runs.db", None, "/home/ada/my.runs.artifacts"),
        ("sqlite:////home/ada/my.runs.db", "/shared", "/home/ada/my.runs.artifacts"),
        ("runs.sqlite3", None, "runs.artifacts"),
        ("postgresql+psycopg://ada:s3cret@host/studies", None, None),
        ("postgresql+psycopg://ada:s3cret@host/studies", "/shared", "/shared"),
    ],
)
def test_where_the_artifacts_of_a_database_are(url, variable, expected, monkeypatch):
    monkeypatch.delenv("ADAMTUNE_ARTIFACTS", raising=False)
    if variable:
        monkeypatch.setenv("ADAMTUNE_ARTIFACTS", variable)
    found = artifacts_folder(url)
    assert (found and str(found)) == expected
