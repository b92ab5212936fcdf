"""Frames of pandas as X: what the tuner makes of text, categories, dates and gaps, and what it leaves to others."""

import pickle
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from adamtune import AdamTunerClassifier, AdamTunerRegressor
from adamtune.errors import DataError
from tests.small import SETTINGS

_rng = np.random.default_rng(20141222)
N = 120
SIDE = _rng.choice(["left", "right"], N)
AGE = _rng.normal(40, 10, N)
FRAME = pd.DataFrame(
    {
        "age": np.where(_rng.random(N) < 0.1, np.nan, AGE),
        "side": pd.Series(SIDE).mask(_rng.random(N) < 0.05),
        "colour": pd.Categorical(_rng.choice(["red", "green", "blue"], N)),
        "member": _rng.random(N) < 0.5,
        "visits": pd.array(_rng.integers(0, 9, N), dtype="Int64"),
        "born": pd.date_range("2020-01-01", periods=N),
        "name": [f"person {i}" for i in range(N)],
    }
)
Y = np.where(SIDE == "left", "yes", "no")

SPACE = {"learning_rate": (1e-2, 3e-2)}
SMALL = SETTINGS | {"n_trials": 2, "epochs": 10, "batch_size": 32, "space": SPACE, "refit": True}


def tuned(X=FRAME, y=Y, cls=AdamTunerClassifier, fit=None, **settings):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dropped, because|The judging rows were given", UserWarning)
        return cls(**SMALL | settings).fit(X, y, **(fit or {}))


@pytest.fixture(scope="module")
def fitted():
    return tuned()


def test_a_frame_of_everything_is_learned(fitted):
    assert fitted.score(FRAME, Y) > 0.9
    assert fitted.n_features_in_ == 7
    assert fitted.feature_names_in_.tolist() == FRAME.columns.tolist()
    # age, visits; blue, green, red; True; left, missing, right: dates and names are left out
    assert fitted.model_.input_shape == (None, 2 + 3 + 1 + 3)


def test_a_row_is_predicted_alike_whatever_it_comes_with(fitted):
    whole = fitted.predict_proba(FRAME)
    np.testing.assert_array_equal(fitted.predict_proba(FRAME.iloc[[7]]), whole[[7]])
    np.testing.assert_array_equal(fitted.predict_proba(FRAME.iloc[::-1]), whole[::-1])


def test_unknown_text_and_gaps_are_predicted_too(fitted):
    strange = FRAME.head(3).astype({"colour": object})
    strange["colour"] = ["violet", None, "red"]
    strange["age"] = None
    strange["member"] = None
    probabilities = fitted.predict_proba(strange)
    assert np.isfinite(probabilities).all()
    filled = FRAME.head(3).assign(age=FRAME["age"].median())
    row = filled.iloc[[2]].assign(colour="red")
    plain = fitted.predict_proba(strange.iloc[[2]].assign(member=filled["member"].iloc[2]))
    np.testing.assert_allclose(plain, fitted.predict_proba(row), atol=1e-6)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (FRAME.drop(columns="age"), "Feature names seen at fit time, yet now missing:\n- age"),
        (FRAME.assign(extra=1), "Feature names unseen at fit time:\n- extra"),
        (FRAME[FRAME.columns[::-1]], "Feature names must be in the same order"),
        (FRAME.to_numpy(object)[:, :5], "X has 5 features, but AdamTunerClassifier is expecting 7 features"),
    ],
    ids=["missing", "unseen", "another order", "fewer"],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_other_columns_are_refused_as_scikit_learn_does(fitted, X, message):
    with pytest.raises(ValueError, match=message):
        fitted.predict(X)


def test_text_where_numbers_were_is_refused(fitted):
    with pytest.raises(DataError, match="visits held numbers when the table was encoded, but holds 'many' now"):
        fitted.predict(FRAME.assign(visits="many"))


def test_a_pickle_encodes_alike(fitted):
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.predict(FRAME), fitted.predict(FRAME))


def test_columns_that_are_left_out_are_said_even_when_nothing_is_printed():
    with pytest.warns(UserWarning) as said:
        AdamTunerClassifier(**SMALL | {"epochs": 1, "refit": False}).fit(FRAME, Y)
    sentences = [str(each.message) for each in said]
    assert any("differ in nearly every row cannot be learned: name." in sentence for sentence in sentences)
    assert any("dates and times are no numbers" in sentence and "born." in sentence for sentence in sentences)
    assert not any("Filled" in sentence for sentence in sentences)


def test_all_that_was_changed_is_printed_on_request(capsys):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Dropped", UserWarning)
        AdamTunerClassifier(**SMALL | {"epochs": 1, "refit": False, "verbose": 1}).fit(FRAME, Y)
    out = " ".join(capsys.readouterr().out.split())
    assert "cannot be learned: name." in out
    assert f"Filled {FRAME['age'].isna().sum()} missing numbers by the median: age." in out


def test_rows_that_judge_are_encoded_alike_and_teach_nothing():
    train, judge = FRAME.iloc[:80], FRAME.iloc[80:].assign(colour="violet", age=None)
    tuner = tuned(train, Y[:80], fit={"validation_data": (judge, Y[80:])}, refit="train")
    p = tuner.predict_proba(judge)[np.arange(40), (Y[80:] == "yes").astype(int)]
    assert tuner.best_score_ == pytest.approx(-np.log(np.maximum(p, 1e-7)).mean(), rel=1e-3)
    with pytest.raises(DataError, match=r"the table has the columns .*; expected those of fit: age, side"):
        tuned(train, Y[:80], fit={"validation_data": (judge.drop(columns="age"), Y[80:])})


def test_amounts_are_learned_from_a_frame_inside_cross_validation():
    amounts = 1e5 * (SIDE == "left") + 1e3 * AGE
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dropped, because", UserWarning)
        scores = cross_val_score(AdamTunerRegressor(**SMALL | {"epochs": 20}), FRAME, amounts, cv=2)
    assert (scores > 0.6).all()


def test_a_frame_of_numbers_stays_as_it_is():
    frame = FRAME[["member", "visits"]].assign(age=AGE, same=1.0)
    as_frame, as_array = tuned(frame), tuned(frame.to_numpy("float64"))
    assert as_frame.trials_["value"].equals(as_array.trials_["value"])
    assert as_frame.model_.input_shape == (None, 4)  # nothing is left out
    with pytest.raises(DataError, match=r"X holds 1 value.*Impute them first"):
        as_frame.predict(frame.assign(age=np.where(np.arange(N) == 3, np.nan, AGE)))


def network(X, y):
    width = np.asarray(X).shape[1]
    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])


@pytest.mark.parametrize("model", [network, network(np.zeros((1, 7)), None)], ids=["function", "model"])
def test_a_model_of_ones_own_wants_numbers(model):
    with pytest.raises(DataError, match=r"colour.*OneHotEncoder in a ColumnTransformer"):
        tuned(FRAME.drop(columns="born"), model=model)
    with pytest.raises(DataError, match=r"Impute them first.*SimpleImputer in a Pipeline"):
        tuned(FRAME[["age", "visits"]], model=model)


def test_a_model_of_ones_own_behind_a_column_transformer():
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["side", "colour"]),
        (StandardScaler(), ["visits"]),
    )
    pipeline = make_pipeline(columns, AdamTunerClassifier(model=network, **SMALL)).fit(FRAME, Y)
    assert pipeline.score(FRAME, Y) > 0.9
