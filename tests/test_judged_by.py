"""What trials are judged by: losses, metrics and scorers, of Keras, of scikit-learn and of one's own."""

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score, get_scorer, make_scorer

from adamtune import AdamTunerRegressor
from adamtune.errors import DataError, SettingError
from adamtune.tuning import curves
from tests import small

layers, ops = keras.layers, keras.ops
TRAIN, VALID = slice(0, 40), slice(40, 61)
GIVEN = {"validation_data": (small.X[VALID], small.Y[VALID])}
NAMED = np.array(["ant", "bee", "cat"])


def judged(fit=None, **settings):
    """A study judged by the last 21 rows, whose winner is trained again as its trial was."""
    given = {"n_trials": 4, "refit": "train", **settings}
    return small.tuned(small.X[TRAIN], small.Y[TRAIN], fit or GIVEN, **given)


class Largest(keras.metrics.Metric):
    """The largest error of any row's probability."""

    def __init__(self, name="largest"):
        super().__init__(name=name)
        self.largest = self.add_variable((), "zeros", name="largest")

    def update_state(self, y_true, y_pred, sample_weight=None):
        right = ops.take_along_axis(ops.softmax(y_pred), ops.expand_dims(ops.cast(y_true, "int32"), 1), axis=1)
        self.largest.assign(ops.maximum(self.largest, ops.max(1 - right)))

    def result(self):
        return self.largest

    def reset_state(self):
        self.largest.assign(0.0)


def test_a_scorer_of_scikit_learn_judges_and_its_winner_has_the_score_that_is_told(recwarn):
    y = NAMED[small.Y]
    tuner = small.tuned(
        small.X[TRAIN], y[TRAIN], {"validation_data": (small.X[VALID], y[VALID])}, metric="f1_macro", refit="train"
    )
    assert tuner.best_score_ == pytest.approx(get_scorer("f1_macro")(tuner, small.X[VALID], y[VALID]))
    finished = small.trials(tuner, "complete")
    assert tuner.best_score_ == max(trial.value for trial in finished) > min(trial.value for trial in finished)
    assert (tuner.study_.direction.name, tuner.study_.metric_names) == ("MAXIMIZE", ["val_f1_macro"])
    for trial in finished:
        assert trial.user_attrs["val_f1_macro"] == trial.value == trial.intermediate_values[2]
        assert curves.read(tuner.study_)[trial.number].metric == pytest.approx(
            [trial.intermediate_values[1], trial.intermediate_values[2]]
        )
    assert not [each for each in recwarn.list if "no value" in str(each.message)]


def test_a_metric_of_keras_judges_all_rows_together():
    tuner = judged(metric=keras.metrics.F1Score(average="macro"))
    expected = f1_score(small.Y[VALID], tuner.predict(small.X[VALID]), average="macro")
    assert tuner.best_score_ == pytest.approx(expected, rel=1e-6)
    assert small.stamp(tuner).objective == "val_f1_score"


def test_a_metric_class_of_ones_own_judges_in_the_direction_that_is_given():
    tuner = judged(metric=Largest(), direction="minimize")
    right = tuner.predict_proba(small.X[VALID])[np.arange(21), small.Y[VALID]]
    assert tuner.best_score_ == pytest.approx((1 - right).max(), rel=1e-4)
    assert tuner.best_score_ == min(trial.value for trial in small.trials(tuner, "complete"))


def test_scores_of_a_regression_are_in_the_users_units():
    y = 2000 + 50 * small.X[:, 0]
    tuner = AdamTunerRegressor(
        **{**small.SETTINGS, "n_trials": 4, "refit": "train"}, metric="neg_mean_absolute_error"
    ).fit(small.X[TRAIN], y[TRAIN], validation_data=(small.X[VALID], y[VALID]))
    expected = get_scorer("neg_mean_absolute_error")(tuner, small.X[VALID], y[VALID])
    assert tuner.best_score_ == pytest.approx(expected, rel=1e-4)
    assert tuner.best_score_ < -1


def test_folds_seeds_pruning_and_confirming_go_by_the_score():
    tuner = small.tuned(metric="balanced_accuracy", cv=2, n_seeds=2, n_trials=4, confirm=1)
    finished = small.trials(tuner, "complete")
    for trial in finished:
        assert trial.value == pytest.approx(np.mean([trial.user_attrs[f"pass_{number}"] for number in range(4)]))
    assert 0 < tuner.best_score_ <= 1
    assert tuner.best_spread_ >= 0
    reported = [value for trial in small.trials(tuner) for value in trial.intermediate_values.values()]
    assert all(0 <= value <= 1 for value in reported)


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        ("roc_auc", SettingError, "metric='roc_auc' cannot judge this task .*multi_class"),
        ("f1", SettingError, "cannot judge this task .*multiclass"),
        (keras.metrics.F1Score(), SettingError, "gives 3 numbers, expected one"),
        ("nonsens", SettingError, "metric='nonsens' is unknown"),
        (make_scorer(f1_score, average="samples"), SettingError, "cannot judge this task"),
        (Largest(), SettingError, "direction='minimize' or direction='maximize'"),
    ],
)
def test_what_cannot_judge_is_refused_before_any_trial(metric, error, message, monkeypatch):
    monkeypatch.setattr("adamtune.engine.lanes.LaneEngine.__init__", None)  # nothing is compiled
    with pytest.raises(error, match=message):
        judged(metric=metric)


def test_judging_rows_of_one_label_are_refused_before_any_trial():
    two = small.Y != 2
    X, y = small.X[two], small.Y[two]
    with pytest.raises(DataError, match=r"cannot judge the 5 judging rows.*all of them have the label 0"):
        small.tuned(X, y, {"validation_data": (X[::2][:5], y[::2][:5])}, metric="roc_auc", model=None)


# ------------------------------------------------------------------------------------- losses and metrics of one's own


def cubes(y_true, y_pred):
    right = ops.take_along_axis(ops.softmax(y_pred), ops.expand_dims(ops.cast(y_true, "int32"), 1), axis=1)
    return ops.squeeze(ops.abs(1 - right) ** 3, axis=1)


class Cubes(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return cubes(y_true, y_pred)


def decayed(X, y):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))])


def last(tuner, name):
    return tuner.best_trial_.user_attrs[name]


def evaluated(tuner):
    return tuner.model_.evaluate(small.X[VALID], small.Y[VALID], verbose=0, return_dict=True)


@pytest.mark.parametrize("loss", [cubes, Cubes()], ids=["function", "class"])
def test_a_loss_of_ones_own_trains_and_judges(loss):
    tuner = judged(loss=loss)
    right = tuner.model_.predict(small.X[VALID], verbose=0)
    assert tuner.best_score_ == pytest.approx(
        float(np.mean(ops.convert_to_numpy(cubes(small.Y[VALID], right)))), rel=1e-4
    )
    assert tuner.best_score_ == pytest.approx(evaluated(tuner)["loss"], rel=1e-4)


def test_a_metric_function_of_ones_own_judges():
    tuner = judged(metric=cubes, direction="minimize")
    assert last(tuner, "val_cubes") == tuner.best_score_ == pytest.approx(evaluated(tuner)["cubes"], rel=1e-4)


def test_a_regulariser_is_part_of_the_loss_that_judges():
    tuner = judged(model=decayed)
    kernel = tuner.model_.layers[0].kernel
    found = evaluated(tuner)["loss"]
    assert tuner.best_score_ == pytest.approx(found, rel=1e-4)
    plain = tuner.model_.loss(small.Y[VALID], tuner.model_.predict(small.X[VALID], verbose=0))
    assert found - float(plain) == pytest.approx(0.5 * float(ops.sum(ops.square(kernel))), rel=1e-3)
