import keras
import numpy as np
import optuna
import pytest

from adamtune import ReportToStudy, report_epoch
from adamtune.errors import SettingError, StudyError
from adamtune.tuning import curves, records, storage
from adamtune.tuning import study as studies
from tests import small

COMPLETE, PRUNED, FAIL = (getattr(optuna.trial.TrialState, name) for name in ("COMPLETE", "PRUNED", "FAIL"))


def stored(url):
    return optuna.load_study(study_name="mine", storage=url)


def states(url):
    return [trial.state for trial in stored(url).trials]


def fit(trial, epochs=4, rate=None, validation=True, callbacks=()):
    """A `fit` of three weights with the trial's config, or with plain SGD of a rate."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = trial.config.to_keras() if rate is None else keras.optimizers.SGD(rate)
    model.compile(optimizer=optimizer, loss="mse", metrics=["mae"])
    x = np.linspace(-1, 1, 32, dtype="float32").reshape(16, 2)
    y = x.sum(axis=1)
    data = (x[12:], y[12:]) if validation else None
    callbacks = [ReportToStudy(trial), *callbacks]
    return model.fit(x[:12], y[:12], validation_data=data, epochs=epochs, verbose=0, callbacks=callbacks)


def test_callback_reports_what_fit_measured(begin, url):
    trial = begin(objective="val_mae", direction="minimize")
    history = fit(trial).history
    (only,) = stored(url).trials
    assert (trial.state, only.state) == ("complete", COMPLETE)
    assert list(only.intermediate_values.values()) == pytest.approx(history["val_mae"])
    (curve,) = curves.read(stored(url)).values()
    for column, name in ((curve.train_loss, "loss"), (curve.val_loss, "val_loss"), (curve.metric, "val_mae")):
        assert column.tolist() == pytest.approx(history[name])


def test_callback_stops_the_training_of_a_pruned_trial(begin, url):
    for _ in range(2):
        trial = begin()
        while not report_epoch(trial, 1e-9):
            pass
    trial = begin()
    history = fit(trial)
    assert len(history.epoch) == 1 and history.model.stop_training
    assert (trial.state, states(url)[-1]) == ("pruned", PRUNED)


def test_callback_ends_a_diverged_trial(begin, url):
    trial = begin(pruner="none")
    history = fit(trial, rate=1e20)
    assert len(history.epoch) < 4 and not np.isfinite(history.history["val_loss"][-1])
    assert trial.state == "diverged" and records.diverged(stored(url).trials[0])


def test_fit_that_stops_early_by_itself_completes_its_trial(begin, url):
    trial = begin(pruner="none")
    fit(trial, rate=0.0, callbacks=[keras.callbacks.EarlyStopping("loss", patience=1)])
    assert (trial.state, trial.epoch, states(url)) == ("complete", 2, [COMPLETE])


def test_fit_that_is_interrupted_leaves_no_trial_running(begin, url):
    def interrupt(epoch, logs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), begin() as trial:
        fit(trial, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=interrupt)])
    assert states(url) == [FAIL]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"epochs": 3}, "epochs=3 and the study 4"), ({"validation": False}, "'val_loss' is not among.*loss, mae")],
)
def test_fit_that_does_not_suit_the_study_is_refused(begin, url, settings, message):
    trial = begin()
    with pytest.raises(SettingError, match=message):
        fit(trial, **settings)
    assert (trial.state, states(url)) == ("failed", [FAIL])


def test_trial_is_for_one_fit(begin):
    trial = begin()
    fit(trial)
    with pytest.raises(StudyError, match="is for one fit, and has had it"):
        fit(trial)


def test_study_of_an_adamtuner_is_none_of_loops_and_the_other_way_round(begin, url):
    begin()
    with pytest.raises(StudyError):
        small.tuned(storage=url, study_name="mine", resume=True, epochs=4, space={"learning_rate": (1e-4, 1e-2)})
    tuned = small.tuned(storage=url, study_name="other", resume=True, n_trials=1, epochs=4, sampler="random")
    with pytest.raises(StudyError, match="one of an AdamTuner"):
        begin(tuned.study_.study_name)
    assert studies.names(storage.open_storage(url)) == ["mine", "other"]


def test_what_is_no_open_trial_is_refused():
    with pytest.raises(SettingError, match="None once the study has all its trials"):
        ReportToStudy(None)
