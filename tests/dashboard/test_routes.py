import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from adamtune import dashboard, presenting
from adamtune.errors import SettingError, StorageError
from adamtune.tuning import storage
from tests import many
from tests.web import ask

ASSETS = Path(__file__).resolve().parents[1] / "assets"
PLAIN = "somebody else's"  # see `many.plain`
EVIL = "<script>alert(1)</script>&lt;b&gt;"


@pytest.fixture
def site(database_url):
    """The dashboard of a database with a study of 60 trials, one that goes on, and one of plain Optuna."""
    opened = storage.open_storage(database_url)
    many.made(opened, 60, name="first", exact=True)
    many.made(opened, 30, name="second", exact=True, seed=1, concluded=False)
    many.plain(opened)
    app, database = dashboard.make(database_url, writable=False)
    yield app
    database.close()
    storage.close(opened)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return made(tmp_path_factory.mktemp("original")).removeprefix("sqlite:///")


@pytest.fixture
def small(original, tmp_path):
    """The URL of a SQLite database with one study of 30 trials."""
    return f"sqlite:///{shutil.copy(original, tmp_path)}"


def made(folder, **named):
    url = f"sqlite:///{folder / 'runs.db'}"
    opened = storage.open_storage(url)
    many.made(opened, 30, **{"name": "mine", "exact": True} | named)
    storage.close(opened)
    return url


def ids(app):
    return {study["study_name"]: study["study_id"] for study in ask(app, "/api/studies").json["study_summaries"]}


def test_every_database_has_a_leaderboard_with_pages(site):
    found, text = ids(site), ask(site, "/adamtune/").text
    assert set(found) == {"first", "second", PLAIN}
    for name in ("first", "second"):
        assert f'<a href="/adamtune/study/{found[name]}">{name}</a>' in text
        page = ask(site, f"/adamtune/study/{found[name]}")
        assert page.status == 200 and "What was pruned" in page.text and "keras.optimizers.Adam(" in page.text
    assert f'<a href="/dashboard/studies/{found[PLAIN]}">' in text
    told = {study["name"]: study for study in ask(site, "/adamtune/api/studies").json}
    assert set(told) == {"first", "second"} and told["first"]["counts"]["finished"] == 60
    # Beside the default it came out a quarter lower, see `many.conclude`.
    row = re.search(r"<tr><th[^>]*>(?:(?!</tr>).)*>first</a>.*?</tr>", text, re.DOTALL)[0]
    assert "25.0 % lower" in row and ">60<" in row and "finished" in row


def test_optuna_dashboard_stands_beside(site):
    found = ids(site)
    study = ask(site, f"/api/studies/{found['first']}").json
    assert len(study["trials"]) == 60
    assert ask(site, "/dashboard").status == 200
    assert ask(site, f"/api/studies/{found[PLAIN]}").status == 200


def test_figures_are_data_for_plotly(site):
    study = ids(site)["first"]
    for kind in ("curves", "contour", "importance", "time_to_target", "history"):
        answer = ask(site, f"/adamtune/study/{study}/figure/{kind}.json")
        assert answer.headers["content-type"] == "application/json"
        assert len(answer.json["data"]) >= 1 and answer.json["layout"]["title"]["text"]
    assert ask(site, f"/adamtune/study/{study}/figure/nothing.json").status == 404
    assert ask(site, "/adamtune/study/99999/figure/curves.json").status == 404


def test_a_page_is_sent_again_only_when_something_has_happened(small):
    app, database = dashboard.make(small)
    opened = storage.open_storage(small)
    for path in ("/adamtune/", "/adamtune/study/1", "/adamtune/study/1/figure/history.json"):
        first = ask(app, path)
        tag = first.headers["etag"]
        again = ask(app, path, HTTP_IF_NONE_MATCH=tag)
        assert (again.status, again.body) == (304, b"")
    study = optuna.load_study(study_name="mine", storage=opened)
    study.tell(study.ask(), 0.5)
    storage.flush(opened)
    assert ask(app, "/adamtune/study/1", HTTP_IF_NONE_MATCH=tag).status == 200
    assert ">31<" in ask(app, "/adamtune/").text.replace('data-value="31">31', ">31<")
    storage.close(opened)
    database.close()


def test_another_study_with_the_id_of_a_deleted_one_is_shown_itself(small):
    app, database = dashboard.make(small)
    assert "mine" in ask(app, "/adamtune/study/1").text
    opened = storage.open_storage(small)
    optuna.delete_study(study_name="mine", storage=opened)
    many.made(opened, 12, name="another", exact=True, seed=3)
    storage.close(opened)
    text = ask(app, "/adamtune/").text
    assert "another" in text and ">mine<" not in text
    assert ">12<" in ask(app, "/adamtune/study/1").text
    assert len(ask(app, "/api/studies/1").json["trials"]) == 12
    database.close()


def test_what_was_written_by_optuna_4_opens(tmp_path):
    url = f"sqlite:///{shutil.copy(ASSETS / 'optuna-4.9.db', tmp_path)}"
    app, database = dashboard.make(url)
    assert "made by Optuna 4" in ask(app, "/adamtune/").text
    study = ask(app, "/api/studies/1").json
    assert len(study["trials"]) == 6 and study["trials"][3]["state"] == "Pruned"
    assert ask(app, "/adamtune/study/1").status == 404
    database.close()


def test_an_older_schema_is_refused_with_the_line_that_mends_it(small):
    import sqlite3

    with sqlite3.connect(small.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    with pytest.raises(StorageError, match="optuna storage upgrade"):
        dashboard.make(small)


@pytest.mark.parametrize("path", ["/api/studies", "/api/studies/1", "/api/studies/1/rename", "/adamtune/study/1"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_reading_alone_leaves_the_database_as_it_is(small, path, method):
    app, database = dashboard.make(small)
    before = ask(app, "/api/studies/1").json
    assert ask(app, path, method, b'{"study_name": "x", "directions": ["minimize"]}').status == 403
    assert ids(app) == {"mine": 1} and ask(app, "/api/studies/1").json["trials"] == before["trials"]
    database.close()


def test_writable_lets_a_study_be_deleted_from_here_and_not_from_elsewhere(small):
    app, database = dashboard.make(small, writable=True)
    assert ask(app, "/api/studies/1", "DELETE", HTTP_ORIGIN="http://evil.example").status == 403
    assert ids(app) == {"mine": 1}
    assert ask(app, "/api/studies/1", "DELETE", HTTP_ORIGIN="http://localhost:8080").status == 204
    assert ids(app) == {} and "No study of adamtune" in ask(app, "/adamtune/").text
    database.close()


def test_names_and_notes_are_text(tmp_path):
    url = made(tmp_path, name=EVIL, task=EVIL, device=EVIL)
    opened = storage.open_storage(url)
    study = optuna.load_study(study_name=EVIL, storage=opened)
    from adamtune.tuning import records

    records.set_note(study, "warnings", [EVIL])
    records.set_note(study, "loss", EVIL)
    rows = [(EVIL, 1, records.config_of(study.trials[1]), 0.1, 0.2)]
    records.write_comparison(study, rows, "minimize")
    storage.close(opened)
    app, database = dashboard.make(url)
    for path in ("", "study/1", "compare?a=1", "compare?a=1&b=1", "study/1/report.html", "tasks"):
        text = ask(app, f"/adamtune/{path}").text
        assert "<script>alert" not in text and "&lt;b&gt;</script" not in text
    for kind in ("curves", "history", "contour"):
        made_of = ask(app, f"/adamtune/study/1/figure/{kind}.json").json
        assert "<script" not in made_of["layout"]["title"]["text"]
    assert 'filename="' in ask(app, "/adamtune/study/1/report.html").headers["content-disposition"]
    database.close()


@pytest.mark.parametrize(
    "query", ["task=nothing", "task=table-regression&n_samples=-5", "task=table-regression&n_samples=1e9", "task="]
)
def test_a_mistyped_question_is_told_and_answered_with_no_list(small, query):
    app, database = dashboard.make(small)
    answer = ask(app, f"/adamtune/recommend?{query}")
    assert answer.status in (200, 400) and "Recommended configs" not in answer.text
    if query.startswith("task=nothing"):
        assert "nothing" in answer.text and "image-classification" in answer.text
    assert ask(app, "/adamtune/compare?a=x").status == 400
    database.close()


def test_artifacts_are_files_of_their_folder_alone(small):
    folder = presenting.artifacts_folder(small)
    folder.mkdir()
    secret = folder.parent / "secret.txt"
    secret.write_text("a secret")
    page = folder.parent / "page.html"
    page.write_text("<script>alert(1)</script>")
    opened = storage.open_storage(small)
    study = optuna.load_study(study_name="mine", storage=opened)
    name = upload_artifact(
        artifact_store=FileSystemArtifactStore(folder), file_path=str(page), study_or_trial=study, storage=opened
    )
    storage.close(opened)
    app, database = dashboard.make(small)
    answer = ask(app, f"/artifacts/1/{name}")
    assert answer.status == 200 and "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    for path in (
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "....//secret.txt",
        f"{name}/../../secret.txt",
    ):
        assert "a secret" not in ask(app, f"/artifacts/1/{path}").body.decode(errors="replace")
    for path in ("static/../../report.py", "static/..%2f__init__.py", "static/%2e%2e%2f__init__.py"):
        assert ask(app, f"/adamtune/{path}").status == 404
    database.close()


def test_the_command_serves_until_it_is_interrupted(small):
    command = [sys.executable, "-m", "adamtune", "dashboard", "--storage", small, "--port", "0", "--no-browser"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [running.stdout.readline() for _ in range(3)]
    address = re.search(r"http://localhost:\d+/", lines[1])[0]
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.status == 200 and b"mine" in answer.read()
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=30) in (0, 130)
    assert running.stderr.read() == ""
    assert os.path.exists(small.removeprefix("sqlite:///"))


def test_beyond_this_machine_it_wants_a_token(small, monkeypatch, capsys):
    monkeypatch.setenv("ADAMTUNE_DASHBOARD_TOKEN", "t0ken")
    asked = []

    class Server:
        effective_port = 8080

        def run(self):
            asked.append(ask(self.app, "/adamtune/", host="0.0.0.0:8080"))
            asked.append(ask(self.app, "/adamtune/", host="0.0.0.0:8080", HTTP_AUTHORIZATION="Bearer t0ken"))

        def close(self):
            pass

    server = Server()
    monkeypatch.setattr(dashboard, "_listen", lambda app, host, port: setattr(server, "app", app) or server)
    dashboard.serve(small, host="0.0.0.0", open_browser=False)
    assert [answer.status for answer in asked] == [401, 200]
    assert "?token=t0ken" in capsys.readouterr().out


def test_what_is_not_there_is_told(tmp_path, small):
    with pytest.raises(StorageError, match="does not exist"):
        dashboard.serve(f"sqlite:///{tmp_path / 'none.db'}", open_browser=False)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StorageError, match="keeps nothing"):
        dashboard.serve("memory", open_browser=False)
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingError, match=r"it is taken\. Write another, such as --port"):
            dashboard.serve(small, port=taken.getsockname()[1], open_browser=False)


def test_json_of_a_study_is_json(small):
    app, database = dashboard.make(small)
    assert json.loads(ask(app, "/adamtune/api/studies").text)[0]["id"] == 1
    database.close()
