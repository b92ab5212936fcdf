"""What people look at beside our own pages: the queries, the Grafana dashboards and the file for optuna-dashboard."""

import contextlib
import dataclasses
import datetime
import importlib.util
import json
import math
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections import Counter
from pathlib import Path

import optuna
import pytest
import sqlalchemy
import yaml
from optuna.trial import TrialState

from adamtune import begin_trial, report_epoch, summary
from adamtune.config import OptimizerConfig
from adamtune.tuning import bulk, records
from adamtune.tuning.storage import close, open_storage, resolve_url
from tests import stamps

DASHBOARDS = Path(__file__).parents[1] / "dashboards"
GRAFANA = DASHBOARDS / "grafana"

_spec = importlib.util.spec_from_file_location("dashboards_grafana_build", GRAFANA / "build.py")
build = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = build  # dataclasses look their module up
_spec.loader.exec_module(build)
DIALECTS = {dialect.name: dialect for dialect in build.DIALECTS}

CONFIG = OptimizerConfig("adam").to_json()
STAMP = dataclasses.replace(stamps.STAMP, task="multiclass-1797x64", epochs=4, steps=180)
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
RUNNING, WAITING = TrialState.RUNNING, TrialState.WAITING


def at(clock: str) -> datetime.datetime:
    """A moment of the day on which everything here happens, in UTC."""
    return datetime.datetime.fromisoformat(f"2025-03-09 {clock}")


BEFORE = at("12:00:00")  # who runs since before this is stale


@pytest.fixture(autouse=True)
def far_from_utc(monkeypatch):
    # Neither the hour nor the minute is that of UTC: a moment that is shown in local time is seen.
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# ------------------------------------------------------------------------------------------------ studies to ask about


def add(study, state, began, ended=None, value=None, epochs=None, diverged=False, reports=()):
    """A trial as the loop writes it, `reports` being the values after 1, 2, ... epochs."""
    attrs = {"config": CONFIG}
    if epochs is not None:
        attrs |= {"epochs": epochs, "diverged": int(diverged)}
    trial = optuna.trial.create_trial(
        state=state, value=value, user_attrs=attrs, intermediate_values=dict(enumerate(reports, start=1))
    )
    trial.datetime_start = began and bulk.local(at(began))
    trial.datetime_complete = ended and bulk.local(at(ended))
    study.add_trial(trial)


def new_study(storage, name, direction="minimize", **stamp):
    study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    records.write_stamp(study, dataclasses.replace(STAMP, **stamp))
    return study


def fill(url):
    """Studies of two tasks, one that has not begun, and two that are not adamtune's."""
    storage = open_storage(url)
    sgd = new_study(storage, "digits/sgd/1", optimizer="sgd")
    add(sgd, PRUNED, "10:00:00", "10:00:30", value=0.5, epochs=2, reports=(0.9, 0.5))  # the defaults were pruned
    add(sgd, COMPLETE, "10:00:00", "10:01:00", value=0.25, epochs=4, reports=(0.8, 0.6, 0.5, 0.25))

    both = new_study(storage, "digits/adam+nadam/1", optimizer="adam+nadam")
    add(both, COMPLETE, "11:00:00", "11:00:59", value=0.4, epochs=4, reports=(0.7, 0.6, 0.5, 0.4))
    add(both, COMPLETE, "11:00:00", "11:01:00", value=0.2, epochs=4, reports=(0.6, 0.4, 0.3, 0.2))
    add(both, COMPLETE, "11:00:00", "11:01:00", value=0.01, epochs=1, diverged=True)  # however good its value looks
    add(both, PRUNED, "11:00:00", "11:01:30", value=0.05, epochs=1, reports=(0.05,))
    add(both, PRUNED, "11:00:00", "11:02:00", value=0.65, epochs=2, reports=(0.7, 0.65))
    add(both, PRUNED, "11:00:00", "11:02:00", value=0.66, epochs=2, reports=(0.7, 0.66))
    add(both, COMPLETE, "11:01:00", "11:03:00", value=0.2, epochs=4, reports=(math.nan, 0.2, 0.3, 0.2))  # later
    add(both, FAIL, "11:01:00", "11:04:00", epochs=3, reports=(0.1, 0.1, 0.1))
    add(both, RUNNING, "11:59:59", reports=(0.5, 0.4))
    add(both, RUNNING, "11:30:00")
    add(both, RUNNING, "12:00:00", reports=(0.3,))
    add(both, WAITING, None)

    accuracy = {"task": "binary-569x30", "objective": "val_accuracy"}
    cancer = new_study(storage, "cancer/adam/1", "maximize", **accuracy)
    for value in (5, 6, 7, 8, 9, 10):
        add(cancer, COMPLETE, "08:00:00", "08:00:10", value=value / 16, epochs=2, reports=(value / 32, value / 16))
    add(cancer, COMPLETE, "08:00:00", "08:00:10", value=-math.inf, epochs=2)
    better = new_study(storage, "cancer/adam/2", "maximize", **accuracy)
    add(better, COMPLETE, "08:00:00", "08:00:10", value=0.75, epochs=2, reports=(0.5, 0.75))
    new_study(storage, "digits/adam/2")  # not one trial yet

    other = optuna.create_study(storage=storage, study_name="plain", direction="maximize")
    several = optuna.create_study(storage=storage, study_name="several", directions=["minimize", "maximize"])
    for name in ("task", "optimizer", "objective"):
        several.set_user_attr(f"adamtune:{name}", "cut off while it was stamped")
    for state in (COMPLETE, PRUNED, RUNNING):
        ended = None if state is RUNNING else "11:00:00"
        add(other, state, "09:00:00", ended, value=None if state is RUNNING else 1.0, epochs=1, reports=(1.0,))
    close(storage)


LEADERBOARD = [
    ("cancer/adam/2", "binary-569x30", "adam", "val_accuracy", "maximize", 1, 0.75, 0.75, "08:00:00", "08:00:10"),
    ("cancer/adam/1", "binary-569x30", "adam", "val_accuracy", "maximize", 7, 0.625, 0.3125, "08:00:00", "08:00:10"),
    (
        *("digits/adam+nadam/1", "multiclass-1797x64", "adam+nadam", "val_loss", "minimize"),
        *(7, 0.2, 0.4, "11:00:00", "11:04:00"),
    ),
    ("digits/sgd/1", "multiclass-1797x64", "sgd", "val_loss", "minimize", 2, 0.25, None, "10:00:00", "10:01:00"),
    ("digits/adam/2", "multiclass-1797x64", "adam", "val_loss", "minimize", 0, None, None, None, None),
]
THROUGHPUT = [
    ("digits/sgd/1", "10:00", 1, 2),
    ("digits/sgd/1", "10:01", 1, 4),
    ("digits/adam+nadam/1", "11:00", 1, 4),
    ("digits/adam+nadam/1", "11:01", 3, 6),
    ("digits/adam+nadam/1", "11:02", 2, 4),
    ("digits/adam+nadam/1", "11:03", 1, 4),
    ("cancer/adam/1", "08:00", 7, 14),
    ("cancer/adam/2", "08:00", 1, 2),
]
PRUNE_RATE = [
    ("digits/sgd/1", 2, 1, 2, 0.5),
    ("digits/adam+nadam/1", 1, 1, 7, 0.143),
    ("digits/adam+nadam/1", 2, 2, 5, 0.4),
]
STALE_TRIALS = [("digits/adam+nadam/1", 9, "11:30:00", 0), ("digits/adam+nadam/1", 8, "11:59:59", 2)]


def plain(value):
    """Decimals as floats, and moments without the day on which everything here happens."""
    if isinstance(value, str):
        return value.removeprefix("2025-03-09 ")
    return value if value is None or isinstance(value, int) else float(value)


def ask(url, name, **bound):
    """The rows of a query: every file runs as it is on every database."""
    engine = sqlalchemy.create_engine(resolve_url(url))
    moments = [sqlalchemy.bindparam(key, type_=sqlalchemy.DateTime) for key in bound if key == "before"]
    query = sqlalchemy.text((DASHBOARDS / "sql" / f"{name}.sql").read_text()).bindparams(*moments)
    try:
        with engine.connect() as connection:
            if engine.name == "mysql":  # MySQL is stricter than MariaDB by default
                connection.exec_driver_sql("SET sql_mode = CONCAT(@@sql_mode, ',ONLY_FULL_GROUP_BY')")
            return [tuple(map(plain, row)) for row in connection.execute(query, bound)]
    finally:
        engine.dispose()


def test_every_query_has_the_same_rows_on_every_database(database_url):
    fill(database_url)

    assert ask(database_url, "leaderboard") == LEADERBOARD
    assert ask(database_url, "throughput") == THROUGHPUT
    assert ask(database_url, "prune_rate") == PRUNE_RATE
    assert ask(database_url, "stale_trials", before=BEFORE) == STALE_TRIALS
    assert ask(database_url, "curves", study="digits/adam+nadam/1") == [
        *((1, 1, epochs, value) for epochs, value in enumerate((0.6, 0.4, 0.3, 0.2), start=1)),
        *((2, 6, epochs, value) for epochs, value in enumerate((0.2, 0.3, 0.2), start=2)),  # NaN is nothing to draw
        *((3, 0, epochs, value) for epochs, value in enumerate((0.7, 0.6, 0.5, 0.4), start=1)),
    ]
    best_five = ask(database_url, "curves", study="cancer/adam/1")
    assert [trial for _, trial, epochs, _ in best_five if epochs == 1] == [5, 4, 3, 2, 1]
    assert ask(database_url, "curves", study="plain") == ask(database_url, "curves", study="digits/adam/2") == []


def train(url, name):
    """A study as users make it: the loss falls, and is the less the nearer the learning rate is to 0.0005."""
    while trial := begin_trial(name, epochs=4, n_trials=12, sampler="random", storage=url, random_state=0):
        distance = abs(math.log10(trial.config.hypers["learning_rate"] / 0.0005))
        for epoch in range(1, 5):
            if report_epoch(trial, math.nan if trial.number == 5 else distance / epoch):
                break


def test_queries_say_what_optuna_and_adamtune_show_say(url):
    fill(url)
    train(url, "own")
    storage = open_storage(url)
    rows = {row[0]: row for row in ask(url, "leaderboard")}
    epochs, pruned = Counter(), Counter()
    for name, _, _, count in ask(url, "throughput"):
        epochs[name] += count
    for name, _, count, *_ in ask(url, "prune_rate"):
        pruned[name] += count
    assert set(rows) == {"own", *(row[0] for row in LEADERBOARD)}
    for name, row in rows.items():
        study = optuna.load_study(study_name=name, storage=storage)
        told, trials = summary.of_study(study), study.trials
        assert row[1:6] == (told.task, told.optimizer, told.objective, told.direction, told.counts["finished"])
        assert row[6] == (told.best[0].value if told.best else None)
        assert epochs[name] == sum(trial.user_attrs["epochs"] for trial in trials if trial.state in records.FINISHED)
        assert pruned[name] == sum(trial.state is PRUNED for trial in trials)
        curves: dict[int, dict[int, float]] = {}
        for _, trial, step, value in ask(url, "curves", study=name):
            curves.setdefault(trial, {})[step] = value
        whole = [each.trial for each in told.best if trials[each.trial].state is COMPLETE]
        assert curves == {
            number: {step: value for step, value in trials[number].intermediate_values.items() if value == value}
            for number in whole
        }
        assert list(curves) == whole  # the best first

    own = optuna.load_study(study_name="own", storage=storage)
    counts = summary.of_study(own).counts
    assert counts["complete"] and counts["pruned"] and counts["diverged"]
    assert records.config_of(own.trials[0]).values == OptimizerConfig("adam").values  # the default of `default_value`
    assert rows["own"][7] == own.trials[0].value and own.trials[0].state is COMPLETE
    close(storage)


# ------------------------------------------------------------------------------------------------------------- Grafana


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return DIALECTS[request.param]


def loaded(dialect):
    return json.loads(build.file_of(dialect).read_text())


def test_the_grafana_dashboards_are_what_build_makes_of_the_queries(dialect):
    assert build.file_of(dialect).read_text() == build.text_of(dialect), "run python dashboards/grafana/build.py"
    asked = [target["rawSql"] for panel in loaded(dialect)["panels"] for target in panel["targets"]]
    for file in (DASHBOARDS / "sql").glob("*.sql"):
        first_line = file.read_text().partition("\n")[0]
        assert any(first_line in sql for sql in asked), f"no panel shows {file.name}"


def test_grafana_can_import_the_dashboards(dialect):
    board = loaded(dialect)
    panels, variables = board["panels"], {each["name"] for each in board["templating"]["list"]}

    assert isinstance(board["schemaVersion"], int)
    assert "id" not in board  # Grafana gives one; a number here would be another dashboard's
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {"table", "timeseries", "trend", "barchart"} == {panel["type"] for panel in panels}
    places = [panel["gridPos"] for panel in panels]
    covered = [(p["x"] + x, p["y"] + y) for p in places for x in range(p["w"]) for y in range(p["h"])]
    assert len(set(covered)) == len(covered)  # no panel on top of another
    assert max(x for x, _ in covered) < 24  # Grafana's columns

    source = {"type": dialect.plugin, "uid": "${DS_ADAMTUNE}"}
    users = [*panels, *(target for panel in panels for target in panel["targets"])]
    assert all(user["datasource"] == source for user in users)
    text = json.dumps(board)
    assert text.count('"datasource": {') == len(users) + 1  # and the study variable
    assert set(re.findall(r"\$\{?([a-zA-Z]\w*)", text)) == variables
    # Grafana ends a macro's arguments at the first bracket.
    assert set(re.findall(r"\$(__\w+)\(([^)]*)\)", text)) == {("__timeFilter", "moment")}
    assert len({loaded(each)["uid"] for each in DIALECTS.values()}) == len(DIALECTS)  # both fit into one Grafana


def interpolated(sql, dialect, study, since, until):
    """The query with its variables and macros filled in as Grafana does it."""
    since, until = (moment.replace(tzinfo=datetime.UTC) for moment in (since, until))
    if dialect.name == "mysql":
        bounds = f"FROM_UNIXTIME({since.timestamp():.0f}) AND FROM_UNIXTIME({until.timestamp():.0f})"
    else:
        bounds = f"'{since:%Y-%m-%dT%H:%M:%SZ}' AND '{until:%Y-%m-%dT%H:%M:%SZ}'"
    sql = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {bounds}", sql)
    quoted = "'" + study.replace("'", "''") + "'"
    sql = sql.replace("${study:sqlstring}", quoted).replace("${stale_minutes}", "60")
    assert "$" not in sql
    return sql


@pytest.mark.parametrize("database_url", ["postgresql", "mysql"], indirect=True)  # Grafana has no SQLite of its own
def test_every_panel_has_rows_on_its_server(database_url):
    url = sqlalchemy.make_url(resolve_url(database_url))
    dialect = DIALECTS["mysql" if url.get_backend_name() == "mysql" else "postgres"]
    fill(database_url)
    engine = sqlalchemy.create_engine(url)
    rows = {}
    with engine.connect() as connection:
        if dialect.name == "mysql":
            zone = provisioned("datasources/mysql.yaml")["datasources"][0]["jsonData"]["timezone"]
            connection.exec_driver_sql(f"SET time_zone = '{zone}'")
        board = loaded(dialect)
        for panel in board["panels"]:
            sql = interpolated(
                panel["targets"][0]["rawSql"], dialect, "digits/adam+nadam/1", at("11:00:00"), at("11:02:00")
            )
            result = connection.exec_driver_sql(sql)
            columns = list(result.keys())
            assert panel["options"].get("xField", columns[0]) == columns[0]
            assert len(set(columns)) == len(columns)
            rows[panel["title"]] = result.all()
        [variable] = (each for each in board["templating"]["list"] if each["name"] == "study")
        studies = connection.exec_driver_sql(variable["query"]).scalars().all()
    engine.dispose()

    assert all(rows.values()), [title for title, found in rows.items() if not found]
    assert studies == ["digits/adam/2", "cancer/adam/2", "cancer/adam/1", "digits/adam+nadam/1", "digits/sgd/1"]
    name = "digits/adam+nadam/1"
    # What is over time is cut to the time in view, and has moments that can be drawn.
    assert rows["Finished trials a minute"] == [(at(f"11:0{n}:00"), name, trials) for n, trials in enumerate((1, 3, 2))]
    assert [epochs for _, _, epochs in rows["Their epochs a minute"]] == [4, 6, 4]
    assert rows["Best trials of $study"][0] == (1, 0.6, None, 0.7, None, None)
    rungs = [(rung, float(share)) for rung, share in rows["Pruned at each rung of $study"]]
    assert rungs == [("1 epochs", 0.143), ("2 epochs", 0.4)]
    assert len(rows["Studies"]) == len(LEADERBOARD)
    assert len(rows["Running for more than ${stale_minutes} minutes"]) == 3  # long ago, all of them


def provisioned(name):
    return yaml.safe_load((GRAFANA / "provisioning" / name).read_text())


def test_provisioning_reads_the_secrets_from_the_environment(dialect):
    [source] = provisioned(f"datasources/{dialect.name}.yaml")["datasources"]
    assert source["type"] == dialect.plugin
    values = [source["url"], source["user"], source["jsonData"]["database"], source["secureJsonData"]["password"]]
    assert values == [f"$ADAMTUNE_DB_{name}" for name in ("HOST", "USER", "NAME", "PASSWORD")]
    [provider] = provisioned("dashboards/adamtune.yaml")["providers"]
    assert provider["options"]["path"] == "$ADAMTUNE_DASHBOARDS"


def test_the_readme_sets_every_variable_that_provisioning_reads_and_names_every_query():
    readme = (DASHBOARDS / "README.md").read_text()
    texts = [file.read_text() for file in (GRAFANA / "provisioning").rglob("*.yaml")]
    variables = {name for text in texts for name in re.findall(r"\$(ADAMTUNE_\w+)", text)}
    assert variables <= set(re.findall(r"ADAMTUNE_\w+", readme))
    assert all(file.name in readme for file in (DASHBOARDS / "sql").glob("*.sql"))
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (DASHBOARDS / link).exists(), link


# ---------------------------------------------------------------------------------------------------- optuna-dashboard


def test_optuna_dashboard_starts_from_its_file(tmp_path, monkeypatch):
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed: it is started here")
    file = DASHBOARDS / "optuna-dashboard.toml"
    settings = tomllib.loads(file.read_text())["optuna_dashboard"]
    monkeypatch.delenv("ADAMTUNE_STORAGE", raising=False)
    assert settings["storage"] == resolve_url()  # where studies are kept by default
    assert settings["host"] == "127.0.0.1"
    storage = open_storage(str(tmp_path / "adamtune.db"))
    add(new_study(storage, "digits/adam/1", "maximize"), COMPLETE, "10:00:00", "10:01:00", value=0.5, epochs=4)
    close(storage)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("optuna-dashboard"), "--from-config", file, "--port", str(port)]
    with open(tmp_path / "log", "w+b") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
        try:
            meta, studies = (answer(f"http://127.0.0.1:{port}/api/{what}", server, log) for what in ("meta", "studies"))
        finally:
            server.terminate()
            server.wait()

    assert meta["artifact_is_available"] is True  # the file's artifact store was read
    assert meta["allow_unsafe"] is False
    [study] = studies["study_summaries"]
    assert study["study_name"] == "digits/adam/1" and study["directions"] == ["maximize"]


def answer(url, server, log):
    """What the server says, as soon as it listens."""
    for _ in range(600):
        if server.poll() is not None:
            log.seek(0)
            pytest.fail(f"optuna-dashboard ended: {log.read().decode()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer")
