"""Studies that are stopped at any moment and go on: what is kept, what is tried again, what is noted."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from adamtune import AdamTunerClassifier, OptimizerConfig
from adamtune import tuner as estimators
from adamtune.engine.lanes import LaneEngine
from adamtune.tuning import records
from tests import shell
from tests.small import SETTINGS, Interrupted, X, Y, network, stamp, trials, tuned
from tests.tuning.dying import in_order

FAST = {"learning_rate": (1e-3, 1e-1)}


@pytest.fixture
def settings(tmp_path):
    return {"study_name": "mine", "resume": True, "storage": f"sqlite:///{tmp_path / 'studies.db'}"}


def interrupted(settings):
    tuner = AdamTunerClassifier(network, **SETTINGS | settings)
    with pytest.raises(KeyboardInterrupt):
        tuner.fit(X, Y)
    return tuner


def test_winner_is_there_before_the_comparison(settings, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        Interrupted(patch, estimators, "baselines")
        tuner = interrupted({**settings, "verbose": 1, "refit": True, "confirm": 2})
    winner = records.get_note(tuner.study_, "winner")
    assert OptimizerConfig.from_dict(winner["config"]) == tuner.best_config_
    assert winner["passes"] == 3 and winner["score"] == tuner.best_score_
    assert {row["trial"] for row in records.get_note(tuner.study_, "comparison")} >= {tuner.best_trial_.number}
    assert tuner.model_.predict(X, verbose=0).shape == (61, 3) and tuner.predict(X).shape == (61,)


def test_winner_that_cannot_be_trained_is_written_all_the_same(settings, monkeypatch):
    with monkeypatch.context() as patch:
        Interrupted(patch, estimators.refit, "train_on_all")
        tuner = interrupted({**settings, "refit": True, "confirm": 1})
    assert records.get_note(tuner.study_, "winner")["trial"] == tuner.best_trial_.number
    assert not hasattr(tuner, "model_")


def test_ctrl_c_while_confirming_keeps_the_best_trial(settings, monkeypatch):
    with monkeypatch.context() as patch:
        Interrupted(patch, estimators, "confirm")
        tuner = interrupted({**settings, "confirm": 2})
    assert tuner.best_score_ == tuner.best_trial_.value and np.isnan(tuner.best_spread_)
    assert records.get_note(tuner.study_, "winner") is None
    # And going on concludes it: no trial is missing.
    tuner = tuned(**settings, confirm=2)
    assert len(tuner.trials_) == SETTINGS["n_trials"] and tuner.best_spread_ > 0
    assert records.get_note(tuner.study_, "winner")["passes"] == 3


def test_starting_configs_that_were_cut_off_are_tried_again(settings, monkeypatch):
    given = [OptimizerConfig("adam", learning_rate=0.02), OptimizerConfig("adam", learning_rate=0.03, beta_1=0.5)]
    expected = [OptimizerConfig("adam"), *given]
    settings |= {"start_from": given, "lanes": 4, "n_trials": 5, "space": FAST, "pruner": None}
    for _ in range(2):  # twice: once is not enough to see that those cut off are counted once
        with monkeypatch.context() as patch:
            Interrupted(patch, LaneEngine, "tick", at=2)
            cut = interrupted(settings)
        assert not trials(cut, "complete") and not trials(cut, "running")
    tuner = tuned(**settings)
    finished = [records.config_of(trial) for trial in trials(tuner, "complete", "pruned")]
    assert len(finished) == 5
    for config in expected:
        assert finished.count(config) == 1


@pytest.mark.parametrize("cuts", [3, 5, 7])
def test_study_of_several_optimizers_that_was_stopped_has_all_its_trials(settings, cuts, monkeypatch):
    settings |= {"optimizer": ["adam", "sgd"], "n_trials": 8, "epochs": 2, "lanes": 2, "space": FAST}
    with monkeypatch.context() as patch:
        Interrupted(patch, LaneEngine, "tick", at=cuts)
        before = interrupted(settings)
    kept = [(t.number, t.params, t.value) for t in trials(before, "complete", "pruned")]
    tuner = tuned(**settings)
    after = {t.number: (t.number, t.params, t.value) for t in trials(tuner, "complete", "pruned")}
    assert len(after) == 8 and not trials(tuner, "running", "waiting")
    assert [after[number] for number, *_ in kept] == kept
    rates = [t.params[f"{t.params['optimizer']}.learning_rate"] for t in trials(tuner, "complete", "pruned")]
    assert len(set(rates)) == len(rates)


def test_another_pruner_is_welcome_and_noted(settings):
    assert stamp(tuned(**settings, pruner="asha", n_trials=3, epochs=3)).pruner == "asha"
    second = tuned(**settings, pruner="median", sampler="random", n_trials=6, epochs=3)
    assert (stamp(second).pruner, stamp(second).sampler) == ("median", "random")
    assert len(second.trials_) == 6
    third = tuned(**settings, pruner=None, n_trials=7, epochs=3)
    assert stamp(third).pruner == "none" and list(third.trials_["epochs"])[-1] == 3


def states(file):
    """How many trials of each state the first study of a file has, which another process may be about to make."""
    query = "SELECT state, count(*) FROM trials WHERE study_id = 1 GROUP BY state"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(query).fetchall())


def n_finished(file):
    return sum(number for state, number in states(file).items() if state in ("COMPLETE", "PRUNED"))


@contextlib.contextmanager
def begun(command, file, finished=1):
    """A process that trains, once so many trials are in its file."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None:
                with contextlib.suppress(sqlite3.OperationalError):
                    if n_finished(file) >= finished:
                        break
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("stop", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_tune_that_is_stopped_leaves_nothing_running_and_goes_on(tmp_path, stop, status):
    table, file, n_trials = tmp_path / "points.csv", tmp_path / "studies.db", 24
    points = np.random.default_rng(0).normal(size=(400, 2)).round(3)
    table.write_text("\n".join(["a,b,y", *(f"{a},{b},{int(a + b > 0)}" for a, b in points)]))
    words = ["tune", table, "--target", "y", "--n-trials", n_trials, "--epochs", 4, "--batch-size", 4, "--lanes", 2]
    words = [str(word) for word in [*words, "--pruner", "none", "--seed", 0, "--storage", file]]
    with begun([sys.executable, "-m", "adamtune", *words], file) as tune:
        tune.send_signal(stop)
        said, errors = tune.communicate(timeout=60)
    assert tune.returncode == status, said + errors
    assert "Go on with" in errors and "Traceback" not in errors
    assert "RUNNING" not in states(file)
    kept = n_finished(file)
    ended = shell.run(*words, "--resume")
    assert ended.exit_code == 0, ended.output
    assert 0 < kept < n_finished(file) == n_trials and not states(file).keys() & {"RUNNING", "WAITING"}


def test_a_study_of_one_lane_that_was_killed_goes_on_as_if_nothing_had_been(settings, tmp_path):
    settings |= {"lanes": 1, "n_trials": 12, "epochs": 4, "pruner": "asha", "space": FAST}
    program = f"from tests.small import tuned; tuned(**{settings!r})"
    with begun([sys.executable, "-c", program], tmp_path / "studies.db", finished=3) as process:
        process.kill()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    assert n_finished(tmp_path / "studies.db") < settings["n_trials"]
    resumed, undisturbed = tuned(**settings), tuned(**settings | {"storage": "memory", "resume": False})
    assert [(t.params, t.state, t.value) for t in in_order(resumed.study_)] == [
        (t.params, t.state, t.value) for t in in_order(undisturbed.study_)
    ]
    assert not trials(resumed, "running", "waiting") and len(in_order(resumed.study_)) == settings["n_trials"]
