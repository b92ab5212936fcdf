"""What y may be, from `fit` to `predict`: labels of every kind, several a row, numbers, and their weights."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier

from adamtune import AdamTuner, AdamTunerClassifier, AdamTunerRegressor
from adamtune.errors import DataError, ModelError
from adamtune.tasks.data import prepare
from adamtune.tasks.outputs import Meaning
from tests.small import SETTINGS

_rng = np.random.default_rng(20141222)
X = _rng.normal(size=(90, 4)).astype("float32")
TWO = (X[:, 0] > 0).astype(int)
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
SEVERAL = (X[:, :3] > 0).astype(int)
JUDGING = _rng.normal(size=(30, 4)).astype("float32")
TRUTH = {
    ((3,), 1): (JUDGING[:, :3] > 0).astype(int),
    ((), 1): (JUDGING[:, 0] > 0).astype(int),
    ((), 2): np.digitize(JUDGING[:, 0], [-0.5, 0.5]),
}
NAMES = np.array(["few", "many", "some"])

SPACE = {"learning_rate": (1e-2, 3e-2)}
SMALL = SETTINGS | {"n_trials": 2, "epochs": 15, "batch_size": 16, "space": SPACE, "refit": True}


def tuned(y, cls=AdamTunerClassifier, fit=None, **settings):
    return cls(**SMALL | settings).fit(X, y, **(fit or {}))


def dense(width, activation=None, loss=None):
    def network(X, y):
        layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(width, activation)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        if loss is not None:
            model.compile(loss=loss)
        return model

    return network


def log_losses(probabilities, y):
    """Each row's loss: of its label, or the mean over its labels."""
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    if y.ndim == 2:
        return -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)), axis=1)
    return -np.log(p[np.arange(len(y)), y])


# ------------------------------------------------------------------------------------------------ one label a row


@pytest.mark.parametrize(
    ("y", "kind", "classes"),
    [
        (TWO.astype(bool), "binary", [False, True]),
        (NAMES[TWO].astype(object), "binary", ["few", "many"]),
        (pd.Series(NAMES[THREE], dtype="category"), "multiclass", ["few", "many", "some"]),
    ],
    ids=["bool", "text", "categories"],
)
def test_labels_come_back_as_they_were_written(y, kind, classes):
    tuner = tuned(y)
    assert tuner.kind_ == kind
    assert is_classifier(tuner)
    assert tuner.classes_.tolist() == classes
    predicted = tuner.predict(X)
    assert (predicted == np.asarray(y)).mean() == tuner.score(X, y) > 0.85
    probabilities = tuner.predict_proba(X)
    assert probabilities.shape == (90, len(classes))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (tuner.classes_[probabilities.argmax(axis=1)] == predicted).all()


@pytest.mark.parametrize(
    "y",
    [
        TWO,
        TWO.tolist(),
        2.0 * TWO,
        pd.Series(TWO, dtype="boolean"),
        pd.Series(TWO, dtype="Int64"),
        THREE,
        NAMES[THREE],
        pd.Series(NAMES[THREE]),
        pd.Series(NAMES[THREE], dtype="string"),
        pd.Series(THREE, dtype="category"),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_a_network_that_knows_the_labels_says_them(y):
    data = prepare(X, y)
    assert data.n_outputs == (1 if data.kind == "binary" else 3)
    scores = 9.0 * data.y[:, None] - 4.5 if data.kind == "binary" else 9.0 * np.eye(3)[data.y]
    meaning = Meaning(data.kind, data.classes, from_logits=True)
    assert meaning.predictions(scores).tolist() == list(y)
    assert (meaning.probabilities(scores)[np.arange(90), data.y] > 0.98).all()


def test_a_frame_of_one_column_is_a_column():
    with pytest.warns(UserWarning, match="column-vector y"):
        tuner = tuned(pd.DataFrame({"size": NAMES[THREE]}))
    assert tuner.predict(X).shape == (90,)
    assert set(tuner.predict(X)) == set(NAMES)


# -------------------------------------------------------------------------------------------- several labels a row


def test_several_labels_a_row_as_those_of_scikit_learn():
    tuner, other = tuned(SEVERAL, AdamTuner), MLPClassifier(max_iter=1).fit(X, SEVERAL)
    assert tuner.kind_ == "multilabel"
    assert is_classifier(tuner)
    np.testing.assert_array_equal(tuner.classes_, other.classes_)
    predicted, probabilities = tuner.predict(X), tuner.predict_proba(X)
    assert predicted.shape == other.predict(X).shape
    assert predicted.dtype == other.predict(X).dtype
    assert probabilities.shape == other.predict_proba(X).shape == (90, 3)
    np.testing.assert_array_equal(predicted, probabilities > 0.5)
    assert tuner.score(X, SEVERAL) == accuracy_score(SEVERAL, predicted) == (predicted == SEVERAL).all(axis=1).mean()
    assert tuner.score(X, SEVERAL) > 0.7
    assert tuner.score(X, SEVERAL, np.arange(90)) == pytest.approx(
        np.average((predicted == SEVERAL).all(axis=1), weights=np.arange(90))
    )


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        (SEVERAL.astype(bool), "bool"),
        (SEVERAL.astype("float32"), "float32"),
        (pd.DataFrame(SEVERAL, columns=["rock", "jazz", "folk"]), "int64"),
        (scipy.sparse.csr_matrix(SEVERAL.astype("uint8")), "uint8"),
    ],
)
def test_0_and_1_come_back_in_their_type(y, dtype):
    data = prepare(X, y)
    predicted = Meaning(data.kind, data.classes, True, None, data.label_type).predictions(9.0 * SEVERAL - 4.5)
    assert predicted.dtype == dtype
    np.testing.assert_array_equal(predicted, SEVERAL)


def test_a_sparse_matrix_of_labels():
    y = scipy.sparse.csr_matrix(SEVERAL.astype(bool))
    tuner = tuned(y)
    assert tuner.predict(X).dtype == bool
    assert tuner.score(X, y) == tuner.score(X, SEVERAL) > 0.7


@pytest.mark.parametrize(
    "model",
    [dense(3), dense(3, "sigmoid", "binary_crossentropy")],
    ids=["scores", "compiled with sigmoid"],
)
def test_models_of_ones_own_for_several_labels(model):
    tuner = tuned(SEVERAL, model=model)
    said = tuner.model_.predict(X, verbose=0)
    is_score = tuner.model_.layers[-1].activation.__name__ == "linear"
    np.testing.assert_allclose(tuner.predict_proba(X), 1 / (1 + np.exp(-said)) if is_score else said, atol=1e-6)
    assert tuner.score(X, SEVERAL) > 0.6


@pytest.mark.parametrize(
    ("y", "metric"),
    [(SEVERAL, None), (SEVERAL, "accuracy"), (TWO, None)],
    ids=["several", "several by accuracy", "two"],
)
def test_trials_are_judged_by_the_rows_that_judge(y, metric):
    truth = TRUTH[y.shape[1:], y.max()]
    with pytest.warns(UserWarning, match="judging rows were given"):
        tuner = tuned(y, fit={"validation_data": (JUDGING, truth)}, refit="train", metric=metric, epochs=3)
    right = tuner.predict(JUDGING) == truth  # a label right is a label right, alone or beside others
    expected = log_losses(tuner.predict_proba(JUDGING), truth).mean() if metric is None else right.mean()
    assert tuner.best_score_ == pytest.approx(expected, rel=1e-4)


def test_several_labels_in_folds():
    tuner = tuned(SEVERAL, cv=3, epochs=2, refit=False)
    assert len([name for name in tuner.trials_ if name.startswith("pass_")]) == 3


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        (dense(2), None, r"2 column\(s\), but y has 3 labels.*End the model with Dense\(3, activation='sigmoid'\)"),
        (dense(3, "softmax"), None, r"ends with softmax, whose columns share.*Dense\(3, activation='sigmoid'\)"),
        (dense(3), "categorical_crossentropy", "is for one label a row.*loss='binary_crossentropy'"),
        (dense(3), "sparse_categorical_crossentropy", r"is for one label a row.*pass y.argmax\(axis=1\)"),
        (dense(3), "kl_divergence", "is for one label a row"),
    ],
)
def test_models_that_cannot_say_several_labels_are_refused(model, loss, message):
    with pytest.raises(ModelError, match=message):
        tuned(SEVERAL, model=model, loss=loss)


def test_one_hot_rows_are_refused_or_said_to_be_several_labels():
    one_hot = np.eye(3, dtype=int)[THREE]
    with pytest.raises(DataError, match=r"one-hot.*pass y.argmax\(axis=1\)"):
        tuned(one_hot, AdamTuner)
    with pytest.warns(UserWarning, match=r"exactly one 1.*y.argmax\(axis=1\)"):
        assert tuned(one_hot, epochs=1, refit=False).kind_ == "multilabel"


def test_weights_by_label_are_for_one_label_a_row():
    with pytest.raises(DataError, match="a row may have several labels: use sample_weight"):
        tuned(SEVERAL, class_weight="balanced")


# ------------------------------------------------------------------------------------------------------- numbers


def test_targets_come_back_in_their_units():
    targets = pd.DataFrame(np.stack([1e6 + 1e4 * X[:, 0], 1e-3 * X[:, 1]], axis=1).astype("float64"))
    tuner = tuned(targets, AdamTunerRegressor)
    predicted = tuner.predict(X)
    assert predicted.shape == (90, 2)
    assert (r2_score(targets, predicted, multioutput="raw_values") > 0.9).all()
    assert tuner.score(X, targets) == pytest.approx(r2_score(targets, predicted))
    assert not hasattr(tuner, "predict_proba")
    assert not hasattr(tuner, "classes_")


def test_a_series_of_amounts():
    amounts = pd.Series(1e6 + 1e4 * X[:, 0].astype("float64"), index=range(90, 0, -1), name="price")
    tuner = tuned(amounts, AdamTuner)
    assert tuner.kind_ == "regression"
    assert tuner.predict(X).shape == (90,)
    assert tuner.score(X, amounts) > 0.9


def test_a_model_of_ones_own_gets_numbers_as_they_are():
    judging = (JUDGING, 5 + JUDGING[:, :2])
    with pytest.warns(UserWarning, match="judging rows were given"):
        tuner = tuned(5 + X[:, :2], AdamTunerRegressor, model=dense(2), refit="train", fit={"validation_data": judging})
    errors = np.square(tuner.predict(JUDGING) - judging[1])
    assert tuner.best_score_ == pytest.approx(errors.mean(), rel=1e-4)
    np.testing.assert_allclose(tuner.predict(X), tuner.model_.predict(X, verbose=0), atol=1e-5)


# ------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("y", [TWO, SEVERAL], ids=["two", "several"])
def test_rows_of_no_weight_teach_nothing(y):
    wrong = np.arange(90) % 3 != 0  # two of three: without weights these would win
    spoiled = np.where(wrong.reshape(-1, *[1] * (y.ndim - 1)), 1 - y, y)
    tuner = tuned(spoiled, fit={"sample_weight": np.where(wrong, 0.0, 1.0)}, epochs=30)
    assert (tuner.predict(X) == y).mean() > 0.75


def test_rows_judge_by_their_weight():
    truth, weight = TRUTH[(3,), 1], np.linspace(0, 3, 30)
    with pytest.warns(UserWarning, match="judging rows were given"):
        tuner = tuned(SEVERAL, fit={"validation_data": (JUDGING, truth, weight)}, refit="train", epochs=3)
    losses = log_losses(tuner.predict_proba(JUDGING), truth)
    assert tuner.best_score_ == pytest.approx((weight * losses).mean(), rel=1e-4)  # Keras' mean, over rows


def test_balanced_labels_are_a_mapping():
    rare = NAMES[(X[:, 0] > 1).astype(int)]
    counts = pd.Series(rare).value_counts()
    mapping = {label: 90 / (2 * count) for label, count in counts.items()}
    balanced, mapped, other = (
        tuned(rare, class_weight=each, epochs=3, refit=False).trials_["value"].to_numpy()
        for each in ("balanced", mapping, {"few": 1.0})
    )
    np.testing.assert_allclose(balanced, mapped, rtol=1e-6)
    assert (np.abs(balanced - other) > 1e-3).all()


def test_weights_by_label_do_not_judge():
    truth = TRUTH[(), 2]
    with pytest.warns(UserWarning, match="judging rows were given"):
        tuner = tuned(
            THREE,
            class_weight={0: 10.0, 2: 0.1},
            fit={"validation_data": (JUDGING, truth)},
            refit="train",
            epochs=3,
        )
    assert tuner.best_score_ == pytest.approx(log_losses(tuner.predict_proba(JUDGING), truth).mean(), rel=1e-4)
