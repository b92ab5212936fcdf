"""Numbers at the edge of what floats hold: each is trained on, or refused in words; nothing ends in silent NaN."""

import warnings

import keras
import numpy as np
import pytest

from adamtune import AdamTunerClassifier, AdamTunerRegressor
from adamtune.errors import AdamTuneError, DataError, StudyError
from tests.small import SETTINGS, X, Y, network

T = X.astype("float64") @ [1.0, 2.0, 3.0, 4.0]
SMALL = {**SETTINGS, "n_trials": 4, "refit": True}
ZEROS = np.zeros(5, int)


def numbers(X, y):
    return keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])


def spoilt(y, value):
    return np.where(np.arange(len(y)) == 3, value, y)


# Estimator, rows, targets, and what else is said.
TRAINED = {
    "targets of 1e30": (AdamTunerRegressor, X, 1e30 * T, {}),
    "targets of 1e-30": (AdamTunerRegressor, X, 1e-30 * T, {}),
    "one target": (AdamTunerRegressor, X, np.full(61, 1e30), {}),
    "features of 1e30": (AdamTunerRegressor, 1e30 * X, T, {}),
    "features of 1e-30": (AdamTunerRegressor, 1e-30 * X, T, {}),
    "features that never change": (AdamTunerRegressor, np.ones((61, 4)), T, {"model": numbers}),
    "features of 1e30, a network of one's own": (AdamTunerRegressor, 1e30 * X, T, {"model": numbers}),
    "two rows": (AdamTunerClassifier, X[:2], Y[:2], {}),
    "labels of 10**12": (AdamTunerClassifier, X, 10**12 * (Y + 1), {"model": network}),
    "one class judges": (AdamTunerClassifier, X, Y, {"model": network, "validation_data": (X[:5], ZEROS)}),
}
# What these have in common: scaled, they are the same task, and so every trial is.
ALIKE = ("targets of 1e30", "targets of 1e-30", "features of 1e30", "features of 1e-30")


def fitted(estimator, X, y, validation_data=None, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the winner
        return estimator(**{**SMALL, "model": None, **settings}).fit(X, y, validation_data=validation_data)


@pytest.mark.parametrize("name", TRAINED)
def test_odd_numbers_are_trained_on(name):
    estimator, X, y, given = TRAINED[name]
    tuner = fitted(estimator, X, y, **given)
    assert np.isfinite(tuner.best_score_)
    predicted = tuner.predict(X)
    if estimator is AdamTunerClassifier:
        assert set(predicted) <= set(y) and np.isfinite(tuner.predict_proba(X)).all()
    else:
        assert np.isfinite(predicted).all()
    if name in ALIKE:
        assert np.corrcoef(predicted / np.abs(predicted).max(), y / np.abs(y).max())[0, 1] > 0.5


# Estimator, rows, targets, what else is said, the kind of error and words of it.
REFUSED = {
    "one row": (AdamTunerRegressor, X[:1], T[:1], {}, DataError, "one sample.*validation_data"),
    "no row judges": (AdamTunerRegressor, X, T, {"validation_data": (X[:0], T[:0])}, DataError, "minimum of 1"),
    "nothing is left": (AdamTunerRegressor, X, T, {"validation_split": 0.999}, DataError, "leaves 0 to train"),
    "one class": (AdamTunerClassifier, X, np.full(61, 10**12), {}, DataError, "one class only .1000000000000."),
    "a score of one class": (
        AdamTunerClassifier,
        X,
        np.minimum(Y, 1),
        {"metric": "roc_auc", "validation_data": (X[:5], ZEROS)},
        DataError,
        "cannot judge the 5 judging rows.*label 0",
    ),
    "a score of one row": (AdamTunerRegressor, X[:2], T[:2], {"metric": "r2"}, DataError, "no value for their targets"),
    "labels beyond 64 bits": (
        AdamTunerClassifier,
        X,
        np.array([10**30 * int(y) for y in Y], object),
        {},
        DataError,
        r"dtype object.*at most 64 bits.*y.astype\(str\)",
    ),
    "labels of 1e300": (AdamTunerClassifier, X, 1e300 * Y, {}, DataError, r"dtype float64.*y.astype\(str\)"),
    "NaN among labels": (AdamTunerClassifier, X, spoilt(Y, np.nan), {}, DataError, "NaN or infinity.*one label a row"),
    "inf among labels": (AdamTunerClassifier, X, spoilt(Y, np.inf), {}, DataError, "NaN or infinity.*one label a row"),
    "NaN among targets": (AdamTunerRegressor, X, spoilt(T, np.nan), {}, DataError, "1 value.*Drop those rows"),
    "-inf among targets": (AdamTunerRegressor, X, spoilt(T, -np.inf), {}, DataError, "1 value.*Drop those rows"),
    "NaN judges": (
        AdamTunerRegressor,
        X,
        T,
        {"validation_data": (X, spoilt(T, np.nan))},
        DataError,
        "validation_data's y.*1 value",
    ),
    "1e300 judges": (
        AdamTunerRegressor,
        X,
        T,
        {"validation_data": (X, 1e300 * T)},
        DataError,
        "validation_data's y.*61 value.*too large for float32.*Divide",
    ),
    "targets of 1e300": (AdamTunerRegressor, X, 1e300 * T, {}, DataError, r"e\+30.*too large to learn: divide"),
    "targets of 1e-300": (AdamTunerRegressor, X, 1e-300 * T, {}, DataError, "e-.*too small to learn: multiply"),
    "targets of 1e308": (
        AdamTunerRegressor,
        X,
        1.7e308 * np.sign(T),
        {},
        DataError,
        r"1.7e\+308, too large to learn: divide",
    ),
    "targets beyond floats": (
        AdamTunerRegressor,
        X,
        np.array([10**400 + i for i in range(61)], object),
        {},
        DataError,
        "too large for float64: divide",
    ),
    "targets beyond float32, for a network of one's own": (
        AdamTunerRegressor,
        X,
        1e39 * T,
        {"model": numbers},
        DataError,
        "too large for float32. Divide",
    ),
    "a loss beyond float32": (AdamTunerRegressor, X, 1e30 * T, {"model": numbers}, StudyError, "the data's scale"),
    "features of 1e39": (AdamTunerRegressor, 1e39 * X.astype("float64"), T, {}, DataError, "too large for float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_on_is_refused_in_words(name):
    estimator, X, y, given, error, text = REFUSED[name]
    with pytest.raises(error, match=text) as caught:
        fitted(estimator, X, y, **given)
    assert isinstance(caught.value, AdamTuneError)


def halves(X, y):
    """Weights, gradients and outputs of float16."""
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, "tanh", dtype="float16"), keras.layers.Dense(3, dtype="float16")]
    )


def test_a_model_of_float16_trains_alone_and_its_overflow_ends_a_trial():
    """A rate of 1e5 takes a weight beyond 65504 in its first steps; the default that comes first does not."""
    space = {"learning_rate": (1e5, 6e4 * 10)}
    tuner = fitted(
        AdamTunerClassifier, X, Y, model=halves, optimizer="sgd", space=space, n_trials=2, epochs=1, pruner=None
    )
    assert tuner.plan_.strategy == "one_by_one" and "float16" in tuner.plan_.reason
    assert list(tuner.trials_["state"]) == ["complete", "diverged"]
    assert tuner.model_.weights[0].dtype == "float16" and np.isfinite(tuner.predict_proba(X)).all()
