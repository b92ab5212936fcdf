"""What SECURITY.md promises: data is never run, passwords are never shown, new files are their owner's.

What an estimator, a store, a URL or the dashboard promises for itself is tested beside it.
"""

import ast
import contextlib
import functools
import io
import itertools
import json
import logging
import os
import pickle
import re
import shutil
import sqlite3
import stat
import sys
import tomllib
import traceback
import uuid
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import optuna
import pytest
import sqlalchemy
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import adamtune
from adamtune import AdamTuner, dashboard, presenting, report
from adamtune.errors import ModelError, StorageError
from adamtune.recommending import exchange
from adamtune.tuning import curves, records, storage
from adamtune.tuning import study as studies
from tests import many, shell
from tests.servers import SERVERS
from tests.web import ask

ROOT = Path(__file__).parents[1]
SECRET = "s3cret-of-ada"
PAGES = ("", "study/1", "study/1/figure/curves.json", "study/1/report.html", "tasks", "recommend", "compare?a=1")


# --------------------------------------------------------------------------------------------- what the code may call

# Modules that make objects of bytes or text, and calls that run what they are given.
RUNS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "runpy", "code"}
CALLS = {"eval", "exec", "__import__", "os.system", "os.popen", "joblib.load", "pd.read_pickle", "pandas.read_pickle"}
# Where our own modules are found by name, and processes of our own are started.
MAY = {
    ("__init__.py", "importlib.import_module"),
    ("optimizers/__init__.py", "importlib.import_module"),
    ("cli/backend.py", "subprocess"),
    ("workers.py", "joblib"),  # hands work to processes of its own
}
# What has to be said, whatever the default is.
SAYS = {"load_model": ("safe_mode", True), "np.load": ("allow_pickle", False), "numpy.load": ("allow_pickle", False)}
# What hands a statement to a database, by the last part of the name; what takes nothing but text; what makes SQL of it.
SQL = {"execute", "executemany", "executescript", "exec_driver_sql", "scalar", "scalars"}
DRIVERS = {"executemany", "executescript", "exec_driver_sql"}
MAKERS = {"text", "literal_column", "DDL"}


def dangers(source, place=""):
    """What a source file does that data must never reach, by name."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.partition(".")[0] in {*RUNS, "subprocess", "multiprocessing"}]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if name in CALLS or last == "import_module" or name.startswith("os.spawn") or name.startswith("os.exec"):
            found.append(name)
        for call, (argument, wanted) in SAYS.items():
            said = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if (name == call or name.endswith(f".{call}")) and said.get(argument) != str(wanted):
                found.append(f"{name} without {argument}={wanted}")
    return [name for name in found + built(tree) if (place, name) not in MAY]


def built(tree):
    """Calls that hand a database text that was put together, where values of data could be in it.

    What takes nothing but text takes a constant: it stands there, or under a name that is given nothing else in the
    whole file. Others take expressions of SQLAlchemy too, whose values are bound; a name is what was assigned to it.
    """
    found, modules, values = [], imported(tree), assigned(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        root, last = name.partition(".")[0], name.rpartition(".")[2]
        makes = root in modules and modules.get(name, name).rpartition(".")[2] in MAKERS
        if not makes and last not in SQL:
            continue
        given = node.args[:1] + [each.value for each in node.keywords if each.arg in ("statement", "sql", "text", None)]
        for part in given:
            meant = values.get(part.id, [None]) if isinstance(part, ast.Name) else [part]
            if any(each is not None and _is_built(each) for each in meant):
                found.append(f"{name} of text that is put together")
            elif (makes or last in DRIVERS) and not all(isinstance(each, ast.Constant) for each in meant):
                found.append(f"{name} of what is no constant")
    return found


def imported(tree):
    """What of SQLAlchemy is known under which name."""
    known = {"sqlalchemy": "sqlalchemy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom):
            known |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return {name: of for name, of in known.items() if of.partition(".")[0] == "sqlalchemy"}


def assigned(tree):
    """All that each name is ever given, in any function; None is among it where that cannot be seen."""
    values, stores = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            value = ast.BinOp(node.target, node.op, node.value) if isinstance(node, ast.AugAssign) else node.value
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    values.setdefault(target.id, []).append(value)
        elif isinstance(node, ast.arg):
            values.setdefault(node.arg, []).append(None)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stores.append(node.id)
    for name in stores:  # also targets of loops, of `with` and of tuples
        if stores.count(name) > sum(each is not None for each in values.get(name, [])):
            values.setdefault(name, []).append(None)
    return values


def _is_built(given):
    """Whether text is put together anywhere in an expression."""
    for node in ast.walk(given):
        if isinstance(node, ast.JoinedStr):
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            joins = node.func.attr == "join" and isinstance(node.func.value, ast.Constant)
            if joins or node.func.attr in ("format", "format_map", "replace"):
                return True
    return False


def test_no_module_runs_data():
    package = ROOT / "adamtune"
    places = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    # The kit of tests loads what it has saved itself a line before.
    found = {place: dangers(path.read_text(), place) for place, path in places.items() if place != "testing/rules.py"}
    assert len(places) > 100 and not {place: names for place, names in found.items() if names}


@pytest.mark.parametrize(
    "line",
    [
        "from pickle import loads",
        "import yaml",
        "import subprocess",
        "eval(text)",
        "importlib.import_module(attrs['module'])",
        "keras.saving.load_model(path)",
        "keras.models.load_model(path, safe_mode=False)",
        "np.load(path, allow_pickle=True)",
        "connection.execute(f'SELECT {name}')",
        "connection.execute(sqlalchemy.text(query))",
        "connection.exec_driver_sql(query)",
        "connection.exec_driver_sql(f'PRAGMA {name}')",
        "connection.exec_driver_sql('PRAGMA ' + name)",
        "connection.exec_driver_sql(statement='PRAGMA %s' % name)",
        "connection.exec_driver_sql(*given)",
        "QUERY = 'SELECT 1'\ndef ask(QUERY): connection.exec_driver_sql(QUERY)",
        "for QUERY in queries: connection.exec_driver_sql(QUERY)",
        "QUERY = 'SELECT 1'\nQUERY += name\nconnection.execute(QUERY)",
        "execute('SELECT ' + name)",
        "cursor.execute('SELECT %s' % name)",
        "cursor.execute('SELECT {}'.format(name))",
        "cursor.execute(' '.join(parts))",
        "query = f'SELECT {name}'\ncursor.execute(query, values)",
        "cursor.executescript(script)",
        "connection.scalar(sqlalchemy.text('SELECT ' + name))",
        "import sqlalchemy as sa\nsa.text(query)",
        "from sqlalchemy import text as raw\nraw(query)",
        "from sqlalchemy.sql import expression\nexpression.literal_column(name)",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert dangers(line)


@pytest.mark.parametrize(
    "line",
    [
        "connection.exec_driver_sql('BEGIN IMMEDIATE')",
        "QUERY = 'SELECT ' 'name'\nconnection.exec_driver_sql(QUERY)",
        "connection.execute(sqlalchemy.text('SELECT name FROM t WHERE name = :name'), {'name': name})",
        "query = sqlalchemy.select(table).join(other).where(table.c.name == name)\nconnection.execute(query)",
        "report.text(study, f'{format}')",
    ],
)
def test_the_search_finds_nothing_in_statements_whose_values_are_bound(line):
    assert not dangers(line)


# ------------------------------------------------------------------------------------------------ what is in the data

_EVENTS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen")
_watched = None


def _hook(event, arguments):
    if _watched is not None and event in _EVENTS:
        _watched.append((event, *map(str, arguments)))


@functools.cache
def _watch():
    sys.addaudithook(_hook)  # stays as long as the process


@pytest.fixture
def nothing_runs(tmp_path, monkeypatch):
    """Fails the test when code is looked up by a pickle, a process started, or the module `canary_in_data` imported."""
    global _watched
    monkeypatch.syspath_prepend(tmp_path / "modules")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "canary_in_data.py").write_text("def run(*given, **named): ...\nclass Layer: ...\n")
    _watch()
    _watched = []
    try:
        yield
        assert _watched == [] and "canary_in_data" not in sys.modules
    finally:
        _watched = None


class Hostile:
    def __reduce__(self):
        return os.system, ("true",)


PICKLED = pickle.dumps(Hostile(), protocol=0).decode()
VALUES = [
    "os>system",
    PICKLED,
    "!!python/object/apply:os.system ['true']",
    "__import__('canary_in_data').run()",
    {"module": "canary_in_data", "class_name": "Layer", "config": {}, "registered_name": None},
    {"class_name": "os>system", "config": {"command": "true"}},
    {"py/object": "canary_in_data.Layer", "__reduce__": [PICKLED]},
]
# As JSON, and as notes are stored: JSON in JSON.
HOSTILE = [text for value in VALUES for text in (json.dumps(json.dumps(value)), json.dumps(value))]


def ids(value):
    return str(value)[:20]


@pytest.fixture(scope="module")
def valley(tmp_path_factory):
    """A file with one study."""
    path = tmp_path_factory.mktemp("valley") / "valley.db"
    opened = storage.open_storage(f"sqlite:///{path}")
    presenting.present(many.made(opened, 30, name="mine", exact=True))
    storage.close(opened)
    return path


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ("study_user_attributes", None),
        ("study_user_attributes", ["adamtune:loss", "adamtune:winner", "adamtune:comparison"]),
        ("study_user_attributes", ["adamtune:task", "adamtune:device", "adamtune:space"]),
        ("study_system_attributes", None),
        ("trial_user_attributes", None),
        ("trial_user_attributes", ["config"]),
        ("trial_system_attributes", None),
        ("trial_params", None),
    ],
    ids=["study", "notes", "stamp", "system", "trial", "config", "trial's system", "params"],
)
def test_nothing_in_a_database_is_run(nothing_runs, valley, tmp_path, table, keys):
    column, named = ("distribution_json", "param_name") if table == "trial_params" else ("value_json", "key")
    with contextlib.closing(sqlite3.connect(shutil.copy(valley, tmp_path / "runs.db"))) as connection:
        rows = connection.execute(f"SELECT rowid, {named} FROM {table}").fetchall()
        rows = [number for number, name in rows if keys is None or name in keys]
        for number, value in zip(rows, itertools.cycle(HOSTILE)):
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [value, number])
        connection.commit()
    assert rows and read(f"sqlite:///{tmp_path / 'runs.db'}")


def read(url):
    """Whatever looks at a database; what it says of a damaged one is tested elsewhere."""
    shown = []
    with contextlib.suppress(Exception), storage.existing(url) as opened:
        study = optuna.load_study(study_name="mine", storage=opened)
        for format in ("md", "json"):
            with contextlib.suppress(Exception):
                shown.append(report.text(study, format))
    for words in (["studies"], ["show", "mine"], ["export", "mine", "--to", "keras"], ["store", "stats"]):
        shown.append(shell.run(*words, "--storage", url).output)
    app, database = dashboard.make(url)
    for page in PAGES:
        with contextlib.redirect_stderr(io.StringIO()):
            shown.append(ask(app, f"/adamtune/{page}").text)
    database.close()
    return shown


@pytest.mark.parametrize(
    "loss",
    [
        "__import__('canary_in_data').run()",
        "keras.losses.Huber(delta=__import__('canary_in_data').run())",
        "keras.losses.Huber() or __import__('canary_in_data').run()",
        "'mse'), __import__('canary_in_data').run(",
        "'mse' # __import__('canary_in_data').run()",
        "-" * 100_000,
    ],
    ids=ids,
)
def test_lines_to_paste_hold_no_code_of_the_database(nothing_runs, url, loss):
    opened = storage.open_storage(url)
    study = many.made(opened, 3, name="mine", exact=True)
    records.set_note(study, "loss", loss)
    found = adamtune.summary.of_study(study)
    storage.close(opened)
    assert "canary" not in found.code and "canary" not in (found.loss or "")
    compile(found.code, "pasted", "exec")


# ------------------------------------------------------------------------------------------------------ saved models


def layers(change):
    """A change of the layers in a model's description."""

    def changed(members):
        described = json.loads(members["config.json"])
        change(described["config"]["layers"])
        members["config.json"] = json.dumps(described).encode()

    return changed


def layer(module, name, registered=None, /, **config):
    return layers(
        lambda found: (
            found[1].update(module=module, class_name=name, registered_name=registered)
            or found[1].update(config={"name": "x", **config})
        )
    )


def activation(module, name):
    by_name = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    return layers(lambda found: found[1]["config"].update(activation=by_name))


LAMBDA = {"class_name": "__lambda__", "config": {"value": "4wEAAAA=", "defaults": None, "closure": None}}


def elsewhere(make):
    """Weights that stand in another file."""

    def changed(members):
        stored = io.BytesIO(members["model.weights.h5"])
        with h5py.File(stored, "a") as file:
            names = []
            file.visititems(lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None)
            shape = file[names[0]].shape
            del file[names[0]]
            make(file, names[0], shape)
        members["model.weights.h5"] = stored.getvalue()

    return changed


def external(file, name, shape):
    file.create_dataset(name, shape=shape, dtype="float32", external=[("/proc/self/exe", 0, h5py.h5f.UNLIMITED)])


def linked(file, name, shape):
    file[name] = h5py.ExternalLink("other.h5", "x")


def virtual(file, name, shape):
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource("other.h5", "x", shape=shape)
    file.create_virtual_dataset(name, layout)


def rewritten(content, change):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def network():
    return compiled(keras.layers.Dense(3, "relu"), keras.layers.Dense(2))


def compiled(*layers):
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(loss="mse")
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file of an estimator with a trained model."""
    tuner = AdamTuner()
    tuner.model_ = network()
    path = tmp_path_factory.mktemp("saved") / "tuner.adamtune"
    tuner.save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        layer("os", "system"),
        layer(None, "os>system", "os>system"),
        layer("canary_in_data", "Layer"),
        layer("canary_in_data", "Layer", "Layer"),
        layer("adamtune.saving", "read", path="x"),
        layer("keras.saving", "load_model", filepath="x"),
        layer("keras.layers", "Lambda", function=LAMBDA, arguments={}),
        layer("keras.layers", "Lambda", function="run", module="canary_in_data", function_type="function"),
        layer("keras.layers", "TFSMLayer", filepath="."),
        layer("keras.layers", "TorchModuleWrapper", module={"class_name": "x", "config": PICKLED}),
        layer("keras.layers", "StringLookup", vocabulary="/etc/hostname"),
        activation("canary_in_data", "run"),
        activation("os", "system"),
        activation("builtins", "eval"),
        activation("keras.config", "enable_unsafe_deserialization"),
        layers(lambda found: found[1]["config"].update(activation=LAMBDA)),
        elsewhere(external),
        elsewhere(linked),
        elsewhere(virtual),
    ],
    ids=lambda change: None,
)
def test_no_model_in_a_file_brings_code_or_reads_other_files(nothing_runs, saved, tmp_path, monkeypatch, change):
    monkeypatch.chdir(tmp_path)
    with h5py.File("other.h5", "w") as other:
        other["x"] = np.ones((4, 3), "float32")

    def trained(members):
        members["model_.keras"] = rewritten(members["model_.keras"], change)

    def given(members):
        members["model.keras"] = rewritten(members["model_.keras"], change)

    Path("x").write_bytes(rewritten(saved, trained))
    with pytest.raises((ModelError, StorageError)):
        adamtune.load("x")
    Path("x").write_bytes(rewritten(saved, given))
    with contextlib.suppress(StorageError):  # or it is not there
        assert "could not be loaded" in repr(adamtune.load("x").model)


def test_a_class_of_ones_own_is_known_once_it_is_registered(tmp_path):
    class Mine(keras.layers.Dense):
        pass

    tuner = AdamTuner()
    tuner.model_ = compiled(Mine(2))
    tuner.save(tmp_path / "x")
    with pytest.raises(ModelError, match="register_keras_serializable"):
        adamtune.load(tmp_path / "x")
    with keras.saving.custom_object_scope({"Mine": Mine}):
        assert type(adamtune.load(tmp_path / "x").model_.layers[0]) is Mine


# ------------------------------------------------------------------------------------------------------------- files


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_to_all():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_new_files_are_their_owners_alone(open_to_all, tmp_path):
    opened = storage.open_storage(f"sqlite:///{tmp_path / 'runs.db'}")
    study = many.made(opened, 30, name="mine", exact=True)
    presenting.present(study)
    for suffix in ("html", "md", "json"):
        report.write(study, tmp_path / f"report.{suffix}")
    AdamTuner().save(tmp_path / "tuner.adamtune")
    for name in ("store.json", "store.json.gz"):
        exchange.export([], tmp_path / name)
    modes = {path.name: mode(path) for path in tmp_path.iterdir()}
    storage.close(opened)
    assert modes.pop("runs.artifacts") == 0o700
    assert {"runs.db", "runs.db-wal", "runs.db-shm", "tuner.adamtune", "report.html", "store.json"} < set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_file_that_is_there_keeps_its_mode(open_to_all, valley, tmp_path):
    shared = [tmp_path / name for name in ("tuner.adamtune", "report.md", "store.json")]
    for path in shared:
        path.touch(0o640)
    AdamTuner().save(shared[0])
    with storage.existing(f"sqlite:///{valley}") as opened:
        report.write(optuna.load_study(study_name="mine", storage=opened), shared[1])
    exchange.export([], shared[2])
    assert [mode(path) for path in shared] == [0o640] * 3 and all(path.stat().st_size for path in shared)


# --------------------------------------------------------------------------------------------------------- passwords


@pytest.fixture
def with_password(database_url):
    """The URL of an empty database of a server, with a password that opens it."""
    url = sqlalchemy.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        pytest.skip("a file has no password")
    if url.get_backend_name() == "postgresql":  # where the tests' server trusts everybody, any password does
        yield url.set(password=url.password or SECRET).render_as_string(hide_password=False)
        return
    name = f"adamtune_{uuid.uuid4().hex[:8]}"
    admin = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE USER {name}@'%' IDENTIFIED BY '{SECRET}'"))
        connection.execute(sqlalchemy.text(f"GRANT ALL ON {url.database}.* TO {name}@'%'"))
    try:
        yield url.set(username=name, password=SECRET).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP USER {name}@'%'"))


def test_a_password_is_shown_nowhere(with_password, tmp_path, monkeypatch, caplog, recwarn, capfd):
    password = sqlalchemy.make_url(with_password).password
    monkeypatch.setenv("ADAMTUNE_STORAGE", with_password)
    monkeypatch.setenv("ADAMTUNE_ARTIFACTS", str(tmp_path / "artifacts"))
    shown = []
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "sqlalchemy"):
        opened = storage.open_storage(storage.resolve_url())
        study = many.made(opened, 30, name="mine", exact=True)
        presenting.present(study)
        shown += [report.text(study, format) for format in report.FORMATS]
        shown += [repr(opened), repr(study), repr(opened._backend), repr(opened._backend.engine)]
        tuner = AdamTuner(storage=with_password)
        tuner.study_ = study
        shown += [repr(tuner), str(pickle.dumps(tuner))]
        tuner.save(tmp_path / "tuner.adamtune")
        for words in (["studies"], ["show", "mine"], ["doctor"], ["doctor", "--json"], ["report", "none"], ["-h"]):
            shown.append(shell.run(*words).output)
        app, database = dashboard.make(None)
        shown += [ask(app, f"/adamtune/{page}").text for page in PAGES]
        shown += [ask(app, page).text for page in ("/dashboard", "/api/studies", "/api/studies/1", "/api/meta")]
        database.close()
    shown += [
        dumped(opened._backend.engine),
        caplog.text,
        *(str(each.message) for each in recwarn),
        *capfd.readouterr(),
    ]
    storage.close(opened)
    assert any(storage.redact(with_password) in text for text in shown)
    for text in shown:
        assert password not in text
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or password.encode() not in path.read_bytes()


def dumped(engine):
    """All that is in a database."""
    known = sqlalchemy.MetaData()
    known.reflect(engine)
    with engine.connect() as connection:
        return "\n".join(str(row) for table in known.tables.values() for row in connection.execute(table.select()))


@pytest.mark.parametrize("variable", SERVERS.values())
@pytest.mark.parametrize("look", [storage.open_storage, lambda url: AdamTuner(storage=url).fit([[0.0]] * 9, range(9))])
def test_no_traceback_quotes_a_password_that_is_wrong(variable, look, caplog):
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set")
    server = sqlalchemy.make_url(os.environ[variable])
    url = server.set(username="nobody_here", password=SECRET).render_as_string(hide_password=False)
    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError, match="refuses this user or password") as caught:
        look(url)
    assert SECRET not in caplog.text + "".join(traceback.format_exception(caught.value))
    for words in (["studies"], ["show", "x"], ["doctor"], ["dashboard", "--no-browser"], ["store", "stats"]):
        result = shell.run(*words, "--storage", url)
        told = "".join(traceback.format_exception(result.exception)) if result.exception else ""
        assert result.exit_code == 1 and SECRET not in result.output + told


def test_a_token_is_in_no_list_of_processes(valley, monkeypatch, capsys):
    monkeypatch.setenv("ADAMTUNE_DASHBOARD_TOKEN", "t0ken")
    started = []

    class Server:
        effective_port = 8080

        def run(self):
            pass

        def close(self):
            pass

    monkeypatch.setattr(dashboard, "_listen", lambda app, host, port: Server())
    monkeypatch.setattr("webbrowser.open", started.append)
    dashboard.serve(f"sqlite:///{valley}", host="0.0.0.0")
    assert started == [] and "?token=t0ken" in capsys.readouterr().out
    dashboard.serve(f"sqlite:///{valley}")
    assert started == ["http://localhost:8080/"]


# --------------------------------------------------------------------------------------------------------------- SQL


@pytest.mark.parametrize("name", ["x'; DROP TABLE studies; --", 'x" OR 1=1 \\ %s %(x)s :x ? {x} %_'])
def test_names_are_values_of_sql(database_url, name):
    opened = storage.open_storage(database_url)
    study = many.made(opened, 5, name=name, exact=True)
    other = many.made(opened, 3, name="other", exact=True)
    presenting.present(study)
    assert studies.names(opened) == [name, "other"] and studies.find(opened, name).study_name == name
    assert len(curves.read(study)) == 5 and len(curves.read(other)) == 3
    app, database = dashboard.make(database_url)
    assert ask(app, "/adamtune/").status == 200
    database.close()
    storage.close(opened)


# -------------------------------------------------------------------------------------------------------------- lock


def test_the_lock_holds_what_pyproject_asks_for():
    locked = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / "lock.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {Requirement(each) for each in project["project"]["dependencies"] + project["build-system"]["requires"]}
    extras, seen = ["dev"], set()
    while extras:
        seen.add(extra := extras.pop())
        for each in map(Requirement, project["project"]["optional-dependencies"][extra]):
            if each.name == "adamtune":
                extras += each.extras - seen
            else:
                asked.add(each)
    missing = [
        str(each) for each in asked if not each.specifier.contains(locked.get(canonicalize_name(each.name), "0"))
    ]
    assert not missing, "run `make lock`"


def test_the_lock_names_no_place():
    lines = (ROOT / "lock.txt").read_text().splitlines()
    assert lines and not [line for line in lines if re.search("://|^-|^/|@", line)]
    assert all(re.fullmatch(r"#.*|[\w.-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines)
