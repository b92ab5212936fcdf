"""Studies that are stopped at any moment and go on: what is kept, what is tried again, what is noted."""

import numpy as np
import pytest

from adamtune import AdamTunerClassifier, OptimizerConfig
from adamtune import tuner as estimators
from adamtune.engine.lanes import LaneEngine
from adamtune.tuning import records
from tests.small import SETTINGS, Interrupted, X, Y, network, stamp, trials, tuned

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
