import json
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import optuna
import pytest
from typer.testing import CliRunner

import adamtune
from adamtune import cli, optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import DataError
from adamtune.tuning import records, storage
from adamtune.tuning.records import Stamp

VERBS = ["demo", "tune", "studies", "show", "export", "optimizers", "doctor"]
HEAVY = ["keras", "tensorflow", "optuna", "sklearn", "pandas", "sqlalchemy", "numpy", "rich"]
ADAM = OptimizerConfig("adam")
WINNER = OptimizerConfig("adam", learning_rate=0.0123456789)


@pytest.fixture
def run(monkeypatch):
    """A command line; standard output and error apart, both no terminals and of no width."""
    monkeypatch.delenv("COLUMNS", raising=False)  # xdist sets it in its workers

    def run(*words, **kwargs):
        return CliRunner().invoke(cli.app, [str(word) for word in words], **kwargs)

    return run


@pytest.fixture
def python(tmp_path):
    """A Python of its own, away from this checkout and from what this process has imported."""

    def python(*words, **environment):
        kept = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "COLUMNS", "FORCE_COLOR")}
        return subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, cwd=tmp_path, env=kept | environment, check=False
        )

    return python


@pytest.fixture
def stored():
    """Two studies with the comparison that was run beside the first, in the default storage."""
    database = storage.open_storage(storage.resolve_url())
    first = add_study(database, "digits/1")
    records.write_comparison(
        first, [("trial 0", 0, WINNER, 0.2, 0.01), ("Keras' default Adam", None, ADAM, 0.25, 0.01)], "minimize"
    )
    records.write_winner(first, 0, WINNER, 0.2, 0.01, passes=3)
    records.set_note(first, "loss", "keras.losses.MeanSquaredError()")
    add_study(database, "digits/1/learning-rate-alone/2")
    add_study(database, "iris/1", n_trials=2)
    storage.close(database)


def add_study(database, name, n_trials=1):
    study = optuna.create_study(storage=database, study_name=name)
    stamp = Stamp(
        "f", "t", "adam", "{}", "val_loss", 5, 32, 50, 0, 8, "stacked", "CPU", "tensorflow", "tpe", "asha", "0"
    )
    records.write_stamp(study, stamp)
    for _ in range(n_trials):
        trial = study.ask()
        trial.set_user_attr("config", WINNER.to_json())
        study.tell(trial, 0.3)
    return study


# ------------------------------------------------------------------------------------------- what is imported


def test_help_imports_nothing_heavy(python):
    """`--help` of every verb, in one process."""
    program = f"""
import sys
from typer.testing import CliRunner
from adamtune.cli import app
for words in [[], *([verb] for verb in {VERBS})]:
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
    [["show"], ["tune", "x.csv"], ["nonsense"], ["show", "x", "--nonsense"], ["export", "x", "--to", "torch"], []],
)
def test_wrong_usage_is_2_and_goes_to_stderr(words, run):
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage" in result.output
    assert words == [] or "Error" in result.stderr


def test_an_error_is_one_line_without_a_traceback(python):
    ended = python("-m", "adamtune", "tune", "nowhere.csv", "--target", "y")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error: the file 'nowhere.csv' does not exist.\n"


def test_a_failing_database_is_an_error_in_words(run, monkeypatch):
    def fail(*args):
        try:
            raise RuntimeError("disk full\n[SQL: INSERT ...]")
        except RuntimeError as cause:
            raise optuna.exceptions.StorageInternalError("x") from cause

    monkeypatch.setattr(storage, "resolve_url", fail)
    result = run("studies")
    assert (result.exit_code, result.stderr) == (1, "error: the database failed: disk full\n")


def test_a_mistake_of_ours_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setattr(storage, "resolve_url", lambda given: 1 / 0)
    assert isinstance(run("studies").exception, ZeroDivisionError)


# ---------------------------------------------------------------------------------------------------- looking


def test_studies_lists_ours_newest_last_without_comparisons(run, stored):
    lines = run("studies").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["study", "trials", "best", "confirmed"],
        ["digits/1", "1", "val_loss", "0.2", "yes"],
        ["iris/1", "2", "val_loss", "0.3", "no"],
    ]


def test_studies_as_json(run, stored):
    data = json.loads(run("studies", "--json").stdout)
    assert [each["name"] for each in data] == ["digits/1", "iris/1"]
    assert data[0]["winner"]["config"]["hypers"]["learning_rate"] == WINNER.learning_rate


def test_studies_says_what_it_leaves_out(run, stored):
    database = storage.open_storage(storage.resolve_url())
    optuna.create_study(storage=database, study_name="theirs")
    storage.close(database)
    shown = run("studies", "--limit", 1).stdout
    assert "iris/1" in shown
    assert "digits/1" not in shown
    assert "1 older ones: --limit 2" in shown
    assert "1 more that this version of adamtune did not make" in shown


@pytest.mark.parametrize("name", ["digits", "digits/1"])
def test_show_takes_a_name_or_its_beginning(name, run, stored):
    result = run("show", name)
    assert result.exit_code == 0
    assert "Study digits/1\n" in result.stdout
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
        "error: there is no study 'digit'. Did you mean 'digits'? The newest of 2 stored: 'digits/1', 'iris/1'.\n"
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


def test_a_pipe_gets_no_codes_and_no_folded_lines(python, stored):
    long = "a-study-with-a-very-long-name/" + 90 * "x"
    database = storage.open_storage(storage.resolve_url())
    add_study(database, long)
    storage.close(database)
    shown = python("-m", "adamtune", "studies").stdout
    assert "\x1b" not in shown
    assert long in shown
    shown = python("-m", "adamtune", "show", "digits").stdout
    assert "\x1b" not in shown
    assert not [line for line in shown.splitlines() if line != line.rstrip()]


def test_a_terminal_without_a_letter_shows_a_question_mark(python, stored):
    ended = python("-m", "adamtune", "show", "digits", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert "0.2 ? 0.01" in ended.stdout


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

    monkeypatch.setattr(cli, "_load_backend", fail)
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
    more = "--study-name mine --resume --pruner none --sampler random --lanes 2 --storage sqlite:///x.db"
    result = run("tune", table, "--target", "y", *words.split(), *more.split())
    assert (result.exit_code, result.stderr) == (1, "error: enough\n")
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
LOAD = "from adamtune import cli; cli._load_backend(); import os; os.write(2, b'I0000 later')"


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
