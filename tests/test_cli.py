import gc
import json
import os
import re
import signal
import sys
import time
from types import SimpleNamespace

import optuna
import pytest

import adamtune
from adamtune import cli, optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import DataError
from adamtune.tuning import storage
from tests import shell
from tests.shell import WINNER, add_study, confirmed

VERBS = ["demo", "tune", "worker", "recommend", "studies", "show", "export", "report", "dashboard"]
VERBS += ["optimizers", "doctor"]
ALL_VERBS = [*([verb] for verb in VERBS), *(["store", verb] for verb in ("stats", "export", "import"))]
HEAVY = ["keras", "tensorflow", "optuna", "sklearn", "pandas", "sqlalchemy", "numpy", "rich", "sqlite3"]


@pytest.fixture
def run():
    return shell.run


@pytest.fixture
def python(tmp_path):
    return lambda *words, **environment: shell.python(*words, cwd=tmp_path, **environment)


@pytest.fixture
def stored():
    """Two studies with the comparison that was run beside the first, in the default storage."""
    database = storage.open_storage(storage.resolve_url())
    confirmed(add_study(database, "digits/1"))
    add_study(database, "digits/1/learning-rate-alone/2")
    add_study(database, "iris/1", n_trials=2)
    storage.close(database)


# ------------------------------------------------------------------------------------------- what is imported


def test_help_imports_nothing_heavy(python):
    """`--help` of every verb, in one process."""
    program = f"""
import sys
from typer.testing import CliRunner
from adamtune.cli import app
for words in [[], ["store"], *{ALL_VERBS}]:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, result.output
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert python("-c", program).stdout == "[]\n"


def test_looking_does_not_load_a_backend(python, stored):
    program = """
import sys
from typer.testing import CliRunner
from adamtune.cli import app
for line in ["studies", "show digits", "show digits --json", "export digits --to keras", "export digits --to json"]:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
print([name for name in ("keras", "tensorflow", "sklearn", "pandas") if name in sys.modules])
"""
    ended = python("-c", program)
    assert ended.stdout == "[]\n", ended.stderr


# ------------------------------------------------------------------------------------- entry and exit codes


@pytest.mark.parametrize("entry", [("-m", "adamtune"), ("-c", "from adamtune.cli import main; main()")])
def test_both_entries_tell_the_version(entry, python):
    ended = python(*entry, "--version")
    assert (ended.returncode, ended.stdout) == (0, f"adamtune {adamtune.__version__}\n")


@pytest.mark.parametrize(
    "words",
    [["show"], ["tune", "x.csv"], ["nonsense"], ["show", "x", "--nonsense"], ["export", "x", "--to", "pytorch"], []],
)
def test_wrong_usage_is_2_and_goes_to_stderr(words, run):
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage" in result.output
    assert words == [] or "Error" in result.stderr


def test_an_error_is_one_line_without_a_traceback(python):
    ended = python("-m", "adamtune", "tune", "nowhere.csv", "--target", "y")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "Error: the file 'nowhere.csv' does not exist.\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("shwo x", ["'shwo'", "Did you mean 'show'?"]),
        ("store stat", ["'stat'", "Did you mean 'stats'?"]),
        ("show x --jsn", ["--jsn", "--json"]),
        ("studies --limit x", ["'--limit'", "'x'", "valid integer"]),
        ("studies --limit 0", ["'--limit'", "0", "1"]),
        ("export x --to pytorch", ["'--to'", "'pytorch' is not one of 'keras', 'torch', 'optax', 'json'"]),
        ("dashboard --port 99999", ["'--port'", "99999", "65535"]),
    ],
)
def test_wrong_usage_names_what_was_given_and_what_fits(words, told, run):
    result = run(*words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert all(piece in result.stderr for piece in told) and len(result.stderr.splitlines()) <= 5


def test_a_mistyped_optimizer_is_told_before_a_backend_loads(run, table, monkeypatch):
    monkeypatch.setattr(cli.backend, "load", lambda: 1 / 0)
    result = run("tune", table, "--target", "y", "--optimizer", "sgd,lamp")
    assert result.exit_code == 1 and "Did you mean 'lamb'?" in result.stderr


def test_exit_codes_are_in_the_help(run):
    said = " ".join(run("--help").stdout.split())
    assert "Exit codes: 0 all is well, 1 an error, 2 wrong usage, 130 interrupted, 143 terminated." in said


@pytest.mark.parametrize("verb", ALL_VERBS, ids=" ".join)
def test_options_are_the_same_for_every_verb(verb, run):
    shown = run(*verb, "--help").stdout
    assert ("--json  " in shown) == (verb != ["dashboard"])  # it prints no result
    assert ("--storage URL  " in shown) == (verb != ["optimizers"])  # it needs no database


def test_a_failing_database_is_an_error_in_words(run, monkeypatch):
    def fail(*args):
        try:
            raise RuntimeError("disk full\n[SQL: INSERT ...]")
        except RuntimeError as cause:
            raise optuna.exceptions.StorageInternalError("x") from cause

    monkeypatch.setattr(storage, "resolve_url", fail)
    result = run("studies")
    assert (result.exit_code, result.stderr) == (1, "Error: the database failed: disk full\n")


def test_a_mistake_of_ours_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr(storage, "resolve_url", lambda given: 1 / 0)
    assert isinstance(run("studies").exception, ZeroDivisionError)


# ---------------------------------------------------------------------------------------------------- looking


def test_studies_lists_ours_newest_last_without_comparisons(run, stored):
    lines = [line.split() for line in run("studies").stdout.splitlines()]
    assert [line[:3] + line[4:] for line in lines] == [
        ["study", "task", "optimizer", "trials", "pruned", "diverged", "state", "objective", "best", "gain"],
        ["digits/1", "t", "adam", "1", "0", "0", "finished", "val_loss", "0.2", "+20.0%"],
        ["iris/1", "t", "adam", "2", "0", "0", "running", "val_loss", "0.3", "-"],
    ]


def test_studies_as_json(run, stored):
    data = json.loads(run("studies", "--json").stdout)
    assert [each["name"] for each in data] == ["digits/1", "iris/1"]
    assert data[0]["winner"]["config"]["hypers"]["learning_rate"] == WINNER.learning_rate


def test_studies_says_what_it_leaves_out(run, stored):
    database = storage.open_storage(storage.resolve_url())
    optuna.create_study(storage=database, study_name="theirs")
    storage.close(database)
    result = run("studies", "--limit", 1)
    assert "iris/1" in result.stdout
    assert "digits/1" not in result.stdout
    assert result.stderr == "1 older ones: --limit 2\n1 more that this version of adamtune did not make\n"


def test_studies_of_an_empty_database_says_how_to_begin(run):
    with shell.database():
        pass
    result = run("studies")
    assert (result.exit_code, result.stderr) == (0, "No study yet: `adamtune demo` makes one.\n")
    assert json.loads(run("studies", "--json").stdout) == []


@pytest.mark.parametrize("name", ["digits", "digits/1"])
def test_show_takes_a_name_or_its_beginning(name, run, stored):
    result = run("show", name)
    assert result.exit_code == 0
    assert re.match(r"Study digits/1 \(finished, began \d{4}-\d\d-\d\d \d\d:\d\d\)\n", result.stdout)
    assert "20.0 % lower than Keras' default Adam" in result.stdout
    assert "model.compile(" in result.stdout


def test_show_takes_the_whole_name_of_a_comparison(run, stored):
    data = json.loads(run("show", "digits/1/learning-rate-alone/2", "--json").stdout)
    assert data["name"] == "digits/1/learning-rate-alone/2"


def test_show_takes_the_newest(run, stored):
    database = storage.open_storage(storage.resolve_url())
    add_study(database, "digits/0-but-later")
    storage.close(database)
    assert json.loads(run("show", "digits", "--json").stdout)["name"] == "digits/0-but-later"


def test_an_unknown_study_gets_the_near_one_and_the_list(run, stored):
    result = run("show", "digit")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: there is no study 'digit'. Did you mean 'digits'? The newest of 2 stored: 'digits/1', 'iris/1'.\n"
    )


def test_export_prints_code_that_runs_and_json_that_is_a_config(run, stored):
    import keras

    names = {"model": keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])}
    exec(run("export", "digits", "--to", "keras").stdout, names)
    assert names["model"].optimizer.get_config()["learning_rate"] == pytest.approx(WINNER.learning_rate)
    assert OptimizerConfig.from_json(run("export", "digits", "--to", "json").stdout) == WINNER


def test_export_of_a_study_without_a_good_trial_is_an_error(run):
    database = storage.open_storage(storage.resolve_url())
    add_study(database, "empty", n_trials=0)
    storage.close(database)
    result = run("export", "empty", "--to", "json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing to export" in result.stderr


def test_looking_makes_no_database(run, tmp_path):
    for words in (["studies"], ["show", "x"], ["export", "x", "--to", "json"]):
        result = run(*words, "--storage", f"sqlite:///{tmp_path}/typo.db")
        assert result.exit_code == 1
        assert "typo.db' does not exist. The first study makes it" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert "keeps nothing" in run("studies", "--storage", "memory").stderr


def test_a_terminal_without_a_letter_shows_a_question_mark(python, stored):
    ended = python("-m", "adamtune", "show", "digits", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert "0.2 ? 0.01" in ended.stdout


def test_json_has_no_nan_and_nothing_beside_it(run, stored, capsys):
    from adamtune.cli import output

    output.show_json({"a": [float("nan"), (float("inf"), 1.5)], "b": {"c": -float("inf"), "d": True}})
    assert json.loads(capsys.readouterr().out) == {"a": [None, [None, 1.5]], "b": {"c": None, "d": True}}


# --------------------------------------------------------------------------------------- report and dashboard


@pytest.fixture
def report(monkeypatch):
    """A `report` module that notes what it is asked for."""
    asked = []

    def write(study, file, format):
        asked.append((study.study_name, str(file), format))
        file.write_text("page")
        return file

    fake = SimpleNamespace(write=write, text=lambda study, format: f'"{study.study_name} as {format}"\n', asked=asked)
    monkeypatch.setitem(sys.modules, "adamtune.report", fake)
    monkeypatch.setattr(adamtune, "report", fake, raising=False)
    return fake


@pytest.mark.parametrize(
    ("words", "file", "format"),
    [
        ([], "digits-1.html", None),
        (["--format", "html"], "digits-1.html", "html"),
        (["-o", "a.md"], "a.md", None),
        (["--output", "a.txt", "--format", "json"], "a.txt", "json"),
    ],
)
def test_a_report_goes_into_a_file(words, file, format, run, stored, report, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("report", "digits", *words)
    assert (result.exit_code, result.stdout) == (0, f"Written: {file}\n")
    assert report.asked == [("digits/1", file, format)]
    assert json.loads(run("report", "digits", *words, "--format", "html", "-o", file, "--json").stdout) == {
        "study": "digits/1",
        "file": file,
    }


def test_a_report_as_text_goes_to_standard_output(run, stored, report):
    assert run("report", "digits", "--format", "md").stdout == '"digits/1 as md"\n'
    assert json.loads(run("report", "digits", "--json").stdout) == "digits/1 as json"
    data = json.loads(run("report", "digits", "--format", "md", "--json").stdout)
    assert data == {"study": "digits/1", "format": "md", "text": '"digits/1 as md"\n'}
    assert report.asked == []


def test_a_file_that_cannot_be_written_is_an_error_in_words(run, stored, report, tmp_path):
    nowhere = tmp_path / "nowhere" / "a.html"
    for words in (["report", "digits", "-o", nowhere], ["store", "export", nowhere]):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{nowhere} cannot be written: No such file or directory." in result.stderr


def test_a_report_of_no_study_names_those_there_are(run, stored, report):
    result = run("report", "digit")
    assert result.exit_code == 1 and "Did you mean 'digits'?" in result.stderr


@pytest.fixture
def serve(monkeypatch):
    """A `dashboard` module that notes what it is asked for; `serve.then` is what happens."""
    fake = SimpleNamespace(asked=[], then=lambda: None)

    def serve(storage, **given):
        fake.asked.append((storage, given))
        fake.then()

    fake.serve = serve
    monkeypatch.setitem(sys.modules, "adamtune.dashboard", fake)
    monkeypatch.setattr(adamtune, "dashboard", fake, raising=False)
    return fake


def test_the_dashboard_gets_its_options(run, serve):
    assert run("dashboard").exit_code == 0
    words = "--storage runs.db --host 0.0.0.0 --port 0 --writable --no-browser"
    assert run("dashboard", *words.split()).exit_code == 0
    assert serve.asked == [
        (None, {"host": "127.0.0.1", "port": 8080, "writable": False, "open_browser": True}),
        ("runs.db", {"host": "0.0.0.0", "port": 0, "writable": True, "open_browser": False}),
    ]


def raising(error):
    def raise_it():
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 0, ""),  # how a server is ended
        (OSError(98, "Address already in use"), 1, "127.0.0.1:8080 cannot be served: Address already in use. Choose"),
        (ModuleNotFoundError("no", name="optuna_dashboard"), 1, "run `pip install 'adamtune[dashboard]'`"),
        (DataError("in words"), 1, "Error: in words"),
    ],
    ids=repr,
)
def test_the_dashboard_ends_in_words(error, code, told, run, serve):
    serve.then = raising(error)
    result = run("dashboard")
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr and bool(result.stderr) == bool(told)


def test_a_module_of_ours_that_is_missing_is_our_mistake(run, serve):
    serve.then = raising(ModuleNotFoundError("no", name="adamtune.nonsense"))
    assert isinstance(run("dashboard").exception, ModuleNotFoundError)


def test_a_report_without_what_draws_it_says_what_to_install(run, stored, report):
    report.write = lambda *given: raising(ModuleNotFoundError("no", name="plotly.io"))()
    result = run("report", "digits")
    assert result.exit_code == 1
    assert result.stderr == "Error: 'plotly' is not installed: run `pip install 'adamtune[report]'`.\n"


# ----------------------------------------------------------------------------------------------------- doctor


def test_doctor_finds_nothing_wrong_here(run, stored, monkeypatch):
    monkeypatch.setattr("adamtune.doctor.shutil.which", lambda name: None)
    result = run("doctor", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["problems"]) == (0, [])
    assert report["versions"]["optuna"] == optuna.__version__
    assert {"python", "adamtune", "keras", "tensorflow", "scikit-learn"} <= set(report["versions"])
    assert report["training"]["backend"] == "tensorflow"
    assert re.match(r"\d+ lanes on ", report["training"]["plan"])
    assert report["storage"]["studies"] == 2
    assert report["storage"]["schema"]
    assert "Nothing is wrong." in run("doctor").stdout


def test_doctor_names_a_problem_with_its_fix_and_no_password(run):
    result = run("doctor", "--json", "--storage", "postgresql://ada:s3cret@localhost:1/x")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert "No server answers there" in problem["problem"]
    shown = run("doctor", "--storage", "postgresql://ada:s3cret@localhost:1/x")
    assert "No server answers there" in shown.stdout
    assert "s3cret" not in result.output + shown.output


def test_doctor_makes_no_database_and_says_where_it_will_be(run, tmp_path):
    report = json.loads(run("doctor", "--json", "--storage", f"sqlite:///{tmp_path}/new.db").stdout)
    assert report["storage"]["studies"] == 0
    assert "the first study makes it" in report["storage"]["note"]
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_a_gpu_that_is_not_used(run, monkeypatch):
    from adamtune.engine import plan

    monkeypatch.setattr("adamtune.doctor.shutil.which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(plan, "device", lambda: "CPU (2 cores)")
    result = run("doctor")
    assert result.exit_code == 1
    assert "sees no GPU" in result.stdout
    assert "pip install 'adamtune[cuda]'" in result.stdout


def test_doctor_finds_a_version_that_does_not_fit_and_what_is_missing(run, monkeypatch):
    import importlib.metadata

    needed = ["optuna<2", "no-such-package>=1", "jax>=0.10; extra == 'jax'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    problems = {each["problem"]: each["fix"] for each in json.loads(run("doctor", "--json").stdout)["problems"]}
    assert problems[f"optuna {optuna.__version__} does not fit"] == "pip install 'optuna<2'"
    assert problems["no-such-package is not installed"] == "pip install 'no-such-package>=1'"


def test_doctor_survives_a_backend_that_does_not_load(run, monkeypatch):
    def fail():
        raise ImportError("no AVX here")

    monkeypatch.setattr(cli.backend, "load", fail)
    result = run("doctor")
    assert result.exit_code == 1
    assert "Keras cannot load its backend 'tensorflow': no AVX here" in result.stdout


# --------------------------------------------------------------------------------------------------- training


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "people.csv"
    lines = [f"{i},{'ab'[i % 2]},{'yes' if i % 3 else 'no'}" for i in range(60)]
    path.write_text("\n".join(["n,t,y", *lines]) + "\n")
    return path


def test_tune_trains_and_says_where_to_look(run, table):
    result = run("tune", table, "--target", "y", "--n-trials", 2, "--epochs", 1, "--seed", 0)
    assert result.exit_code == 0, result.output
    assert "people.csv: 60 x 2 numbers." in result.stdout
    name = re.search(r"adamtune show (people/\S+)\n", result.stdout)[1]
    assert "Winner: trial" in run("show", name).stdout


def test_tune_as_json_leaves_standard_output_to_it(run, table):
    result = run("tune", table, "--target", "y", "--n-trials", 2, "--epochs", 1, "--json", "--storage", "memory")
    data = json.loads(result.stdout)
    assert data["name"].startswith("people/")
    assert data["counts"]["finished"] == 2
    assert OptimizerConfig.from_dict(data["winner"]["config"]).optimizer == "adam"
    assert "people.csv: 60 x 2 numbers." in result.stderr


@pytest.fixture
def tuner(monkeypatch):
    """An AdamTuner that does not train: `tuner.fit` is what happens, `tuner.given` what it was made with."""
    ours = SimpleNamespace(given=None, fit=lambda self, x, y: None)

    class Tuner:
        def __init__(self, **given):
            ours.given = given

        def fit(self, x, y):
            ours.fit(self, x, y)

    monkeypatch.setattr("adamtune.tuner.AdamTuner", Tuner)
    return ours


def test_tune_hands_its_options_on(run, table, tuner, stored):
    def fit(self, x, y):
        raise DataError("enough")

    tuner.fit = fit
    words = "--optimizer sgd --n-trials 7 --epochs 3 --batch-size 5 --timeout 9 --metric accuracy --task auto --seed 4"
    more = "--study-name mine --resume --pruner none --sampler random --lanes 2 --n-jobs 3"
    more += " --storage sqlite:///x.db"
    result = run("tune", table, "--target", "y", *words.split(), *more.split())
    assert (result.exit_code, result.stderr) == (1, "Error: enough\n")
    assert tuner.given == {
        "optimizer": "sgd",
        "space": "auto",
        "cv": None,
        "n_seeds": 1,
        "n_trials": 7,
        "epochs": 3,
        "batch_size": 5,
        "timeout": 9.0,
        "metric": "accuracy",
        "task": "classification",
        "random_state": 4,
        "study_name": "mine",
        "resume": True,
        "pruner": "none",
        "sampler": "random",
        "lanes": 2,
        "n_jobs": 3,
        "storage": "sqlite:///x.db",
        "refit": False,
    }


def interrupt(self, x, y):
    database = storage.open_storage("memory")
    self.study_ = add_study(database, "my people/1")
    raise KeyboardInterrupt


def test_an_interrupted_tune_shows_the_best_and_how_to_go_on(run, table, tuner):
    tuner.fit = interrupt
    result = run(
        "tune", table, "--target", "y", "--n-trials", 99, "--storage", "postgresql://ada:s3cret@host/x", "--seed", 3
    )
    assert result.exit_code == 130
    assert "Best so far: trial 0, val_loss 0.3" in result.stdout
    assert (
        f"adamtune tune {table} --target y --n-trials 99 --seed 3 --storage 'postgresql://ada:***@host/x' "
        "--study-name 'my people/1' --resume\n"
    ) in result.stderr
    assert "s3cret" not in result.output


def test_a_program_that_is_told_to_end_does_so_as_after_ctrl_c(run, table, tuner, monkeypatch):
    def fit(self, x, y):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    tuner.fit = fit
    previous = signal.signal(signal.SIGTERM, cli._terminate)
    try:
        assert run("tune", table, "--target", "y").exit_code == 143
    finally:
        signal.signal(signal.SIGTERM, previous)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_in_a_callback_of_the_garbage_collector_is_not_lost(sent, code, run, table, tuner, monkeypatch):
    def fit(self, x, y):
        def stop(phase, info):
            gc.callbacks.remove(stop)
            os.kill(os.getpid(), sent)
            time.sleep(0.01)  # until Python raises it, in here

        gc.callbacks.append(stop)
        gc.collect()
        time.sleep(10)

    tuner.fit = fit
    monkeypatch.setattr(sys, "unraisablehook", cli._insist)
    previous = signal.signal(signal.SIGTERM, cli._terminate)
    try:
        assert run("tune", table, "--target", "y").exit_code == code
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_an_interrupted_tune_as_json_is_json(run, table, tuner):
    tuner.fit = interrupt
    result = run("tune", table, "--target", "y", "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["name"] == "my people/1"


def test_a_tune_interrupted_before_its_study_just_ends(run, table, tuner):
    def fit(self, x, y):
        raise KeyboardInterrupt

    tuner.fit = fit
    result = run("tune", table, "--target", "y")
    assert (result.exit_code, result.stderr) == (130, "")


def test_the_demo_compares_on_unseen_rows(run, monkeypatch):
    from adamtune import tuner

    whole = tuner.AdamTunerClassifier
    monkeypatch.setattr(tuner, "AdamTunerClassifier", lambda model, **given: whole(model, **given | {"n_trials": 2}))
    result = run("demo", "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["name"].startswith("demo/")
    assert data["held_out"]["rows"] == 450
    assert all(0.8 < accuracy <= 1 for accuracy in data["held_out"]["accuracy"].values())
    assert "keras.optimizers.Adam(" in data["code"]


# -------------------------------------------------------------------------------------- what backends write

CHATTER = """import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
os.write(2, b"I0000 00:00:1795235.7 1 port.cc:153] oneDNN custom operations are on.\\n")
os.write(2, b"E0000 00:00:1795235.7 1 cuda.cc:52] no device\\n")
"""
LOAD = "from adamtune.cli import backend; backend.load(); import os; os.write(2, b'I0000 later')"


@pytest.fixture
def load(python, tmp_path):
    """What a backend's import leaves of standard error, when it writes chatter and then does this."""

    def load(then, **environment):
        (tmp_path / "keras.py").write_text(CHATTER + then)
        return python("-c", LOAD, PYTHONPATH=str(tmp_path), **environment)

    return load


def test_a_backends_chatter_is_dropped_and_what_goes_wrong_is_not(load):
    ended = load("class ops:\n    zeros = print")
    assert ended.stderr == "E0000 00:00:1795235.7 1 cuda.cc:52] no device\nI0000 later"


def test_who_asks_for_the_log_gets_it(load):
    assert "I0000 00:00" in load("class ops:\n    zeros = print", TF_CPP_MIN_LOG_LEVEL="0").stderr


def test_an_import_that_fails_says_why(load):
    ended = load("raise ImportError('no AVX here')")
    assert ended.returncode == 1
    assert "no device" in ended.stderr
    assert "ImportError: no AVX here" in ended.stderr
    assert "oneDNN" not in ended.stderr


def test_an_import_that_ends_the_process_still_gets_its_last_words_out(load):
    ended = load("os.write(2, b'F0000 illegal instruction\\n')\nos.abort()")
    assert ended.returncode == -signal.SIGABRT
    assert "F0000 illegal instruction" in ended.stderr


def test_optimizers_are_listed_and_shown(run):
    listed = run("optimizers")
    assert listed.exit_code == 0
    assert all(name in listed.output for name in optimizers.names())
    page = run("optimizers", "adam").output
    assert "m = m + (1 - beta_1) (g - m)" in page and "arXiv 1412.6980" in page
    data = json.loads(run("optimizers", "--json").output)
    assert [each["name"] for each in data] == optimizers.names()
    assert json.loads(run("optimizers", "SGD", "--json").output) == data[optimizers.names().index("sgd")]
    wrong = run("optimizers", "adagard")
    assert wrong.exit_code == 1 and "Did you mean 'adagrad'?" in wrong.output


def test_optimizers_are_shown_without_a_backend(python):
    loaded = "import sys; from adamtune import catalogue; catalogue.table(); print('keras' in sys.modules)"
    assert python("-c", loaded).stdout.strip() == "False"
