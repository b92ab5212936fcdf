"""What an estimator does once it is fitted: goes on, trains a trial again, calls back, trains on."""

import pickle

import keras
import numpy as np
import optuna
import pytest
from sklearn.exceptions import NotFittedError

from adamtune import AdamTunerClassifier
from adamtune.errors import SettingError, StudyError
from adamtune.tuning import records
from tests.small import SETTINGS, X, Y, network, trials, tuned


def masked(X, y):
    """Another row order, mask or initial weight would show in the loss of this one."""
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.3), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input(X.shape[1:]), *layers])


@pytest.fixture(scope="module")
def fitted():
    return tuned(n_trials=4, epochs=3, metric="accuracy", model=masked, pruner="none", lanes=2, sampler="random")


# -------------------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("number", [0, 3])
def test_any_trial_can_be_trained_again(fitted, number):
    trial = trials(fitted)[number]
    model, history = fitted.replay(trial if number else number)
    assert history["val_accuracy"][-1] == pytest.approx(trial.value, abs=1e-6)
    assert history["val_loss"][-1] == pytest.approx(trial.user_attrs["val_loss"], rel=1e-5)
    assert len(history["loss"]) == 3
    assert float(model.optimizer.learning_rate) == pytest.approx(trial.params["learning_rate"])
    model.fit(X, Y, epochs=1, verbose=0)  # and goes on training


def test_every_pass_can_be_trained_again():
    tuner = tuned(cv=2, n_trials=2, model=masked, pruner="none")
    trial = trials(tuner)[1]
    values = [tuner.replay(trial, number)[1]["val_loss"][-1] for number in range(2)]
    assert values == pytest.approx([trial.user_attrs["pass_0"], trial.user_attrs["pass_1"]], rel=1e-5)
    assert values[0] != values[1]
    with pytest.raises(StudyError, match="trial 1 never began pass 2"):
        tuner.replay(trial, 2)


def test_trials_that_are_not_there_are_refused(fitted):
    for number in (4, -1, "0"):
        with pytest.raises(StudyError, match=f"no trial {number!r} in study .*, which has 4"):
            fitted.replay(number)


def test_a_trial_is_not_trained_again_as_something_else(fitted, monkeypatch):
    monkeypatch.setattr(fitted, "batch_size", 8)
    with pytest.raises(StudyError, match="settings of this estimator have changed since study"):
        fitted.replay(0)


# -------------------------------------------------------------------------------------------------- continue_fit


def test_a_study_goes_on_as_if_it_had_not_ended():
    settings = {"sampler": "random", "lanes": 2, "pruner": "none", "refit": True}
    whole = tuned(n_trials=6, **settings)
    tuner = tuned(n_trials=4, **settings)
    name, first = tuner.study_.study_name, tuner.study_.get_trials()
    assert tuner.continue_fit(2) is tuner
    assert tuner.study_.study_name == name
    assert [trial.params for trial in trials(tuner)] == [trial.params for trial in trials(whole)]
    assert [trial.value for trial in trials(tuner)] == [trial.value for trial in trials(whole)]
    assert trials(tuner)[:4] == first
    assert tuner.n_trials == 4 and len(tuner.trials_) == 6
    np.testing.assert_array_equal(tuner.predict_proba(X), whole.predict_proba(X))


def test_a_stored_study_goes_on_with_its_own_seed(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    tuner = tuned(storage=url, n_trials=2, random_state=np.random.RandomState(5))
    seed = records.read_stamp(tuner.study_).seed
    tuner.continue_fit(n_trials=1)
    assert optuna.load_study(study_name=tuner.study_.study_name, storage=url).user_attrs["adamtune:seed"] == seed
    assert len(optuna.load_study(study_name=tuner.study_.study_name, storage=url).trials) == 3


def test_what_was_loaded_has_no_rows_to_go_on_with(fitted):
    loaded = pickle.loads(pickle.dumps(fitted))
    for go_on in (lambda: loaded.continue_fit(2), lambda: loaded.replay(0)):
        with pytest.raises(StudyError, match=rf"study_name='{fitted.study_.study_name}', resume=True.*fit\(X, y\)"):
            go_on()
    with pytest.raises(NotFittedError):
        type(fitted)().continue_fit(2)
    with pytest.raises(SettingError, match="n_trials=0"):
        fitted.continue_fit(0)


# ----------------------------------------------------------------------------------------------------- callbacks


def test_callbacks_hear_of_every_trial_and_may_end_the_study():
    heard = []

    def enough(study, trial):
        heard.append((trial.number, trial.state.name))
        if len(heard) == 3:
            study.stop()

    tuner = tuned(n_trials=20, lanes=2, sampler="random", callbacks=[enough], pruner="none")
    assert [number for number, _ in heard[:2]] == [0, 1]
    assert {state for _, state in heard} == {"COMPLETE"}
    assert len(heard) == len(trials(tuner)) < 8
    assert len(trials(tuner, "running", "waiting")) == 0


def test_optunas_own_callbacks_work():
    state = optuna.trial.TrialState.COMPLETE
    callback = optuna.study.MaxTrialsCallback(2, states=(state,))
    assert len(trials(tuned(n_trials=20, lanes=1, callbacks=[callback], pruner="none"))) < 5


def test_an_error_in_a_callback_loses_nothing():
    def fails(study, trial):
        raise ZeroDivisionError("mine")

    tuner = AdamTunerClassifier(network, **SETTINGS | {"callbacks": [fails]})
    with pytest.raises(ZeroDivisionError, match="mine"):
        tuner.fit(X, Y)
    assert tuner.best_config_ == records.config_of(tuner.best_trial_, records.read_stamp(tuner.study_))
    assert not trials(tuner, "running")


# ------------------------------------------------------------------------------------------------------ patience


def hasty(X, y):
    """Learns the 61 rows by heart in a few epochs."""
    model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(64, "relu"), keras.layers.Dense(3)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def patient():
    settings = {"space": {"learning_rate": (0.05, 0.5)}, "start_from": None, "pruner": "none"}
    return tuned(model=hasty, epochs=12, patience=2, refit="train", n_trials=4, lanes=2, **settings)


def test_a_trial_without_progress_ends_early_and_counts_as_its_best_epoch(patient):
    short = [trial for trial in trials(patient) if trial.user_attrs["epochs"] < 12]
    assert short
    for trial in short:
        assert trial.user_attrs["epochs"] == trial.user_attrs["best_epoch"] + 2
        _, history = patient.replay(trial)
        assert len(history["val_loss"]) == trial.user_attrs["best_epoch"]
        assert min(history["val_loss"]) == history["val_loss"][-1] == pytest.approx(trial.value, rel=1e-4)


def test_the_winner_is_the_model_at_its_best_epoch(patient):
    assert len(patient.history_["val_loss"]) == patient.best_trial_.user_attrs["best_epoch"]
    assert patient.history_["val_loss"][-1] == pytest.approx(patient.best_score_, rel=1e-4)
    assert patient.best_score_source_.startswith(f"val_loss of trial {patient.best_trial_.number} at its best epoch")


def test_on_all_rows_it_trains_as_long_as_was_best():
    tuner = tuned(model=hasty, epochs=8, patience=2, refit=True, n_trials=2, space={"learning_rate": (0.3, 0.5)})
    assert len(tuner.history_["loss"]) == tuner.best_trial_.user_attrs["best_epoch"]


# ------------------------------------------------------------------------------------------------ score and model


def test_the_score_says_where_it_comes_from(fitted):
    assert fitted.best_score_source_ == (
        f"val_accuracy of trial {fitted.best_trial_.number} after 3 epochs: the best of 4, and so optimistic"
    )
    confirmed = tuned(n_trials=2, confirm=1)
    assert confirmed.best_score_source_ == (
        "mean val_loss of 3 trainings beside the study, with weights and order of their own; judging rows drawn anew"
    )
    assert confirmed.best_spread_ > 0
    given = tuned(n_trials=2, confirm=1, fit={"validation_data": (X[:9], Y[:9])})
    assert given.best_score_source_.endswith("judging rows the same as in the study, and so optimistic")


def test_the_model_goes_on_training():
    tuner = tuned(refit=True)
    steps = int(tuner.model_.optimizer.iterations)
    tuner.model_.fit(X, Y, epochs=1, batch_size=16, verbose=0)
    assert int(tuner.model_.optimizer.iterations) == steps + 4
