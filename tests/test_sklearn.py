"""What scikit-learn and its users expect of an estimator: the checks, the parts around it, pickles, weights by name."""

import inspect
import io
import pickle
import subprocess
import sys
import textwrap
from collections import Counter
from types import SimpleNamespace

import joblib
import keras
import numpy as np
import pandas
import pytest
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingRegressor, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from adamtune import (
    AdamTuner,
    AdamTunerClassifier,
    AdamTunerRegressor,
    OptimizerConfig,
    experience,
    preparing,
    presenting,
)
from adamtune.errors import DataError, ModelError, StorageError
from adamtune.tuning import records
from tests.small import SETTINGS, X, Y, network

TINY = SETTINGS | {"refit": True, "n_trials": 2, "space": {"learning_rate": (1e-2, 1e-1)}}


def one(X, y):
    return keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])


def classifier(**settings):
    return AdamTunerClassifier(**{"model": network, **TINY, **settings})


def regressor(**settings):
    return AdamTunerRegressor(**{"model": one, **TINY, **settings})


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(X, Y)


# -------------------------------------------------------------------------------------------- scikit-learn's checks

# A weight of 2 is no row that comes twice: batches are made of rows, and so is the split.
EXPECTED = {
    f"check_sample_weight_equivalence_on_{kind}_data": "mini-batches are made of rows, not of weights"
    for kind in ("dense", "sparse")
}
# Checks that look at what was learned.
TRAINED = {
    *EXPECTED,
    "check_class_weight_classifiers",
    "check_classifiers_one_label_sample_weights",
    "check_classifiers_train",
    "check_fit_idempotent",
    "check_regressors_train",
}
CHECKED = {
    "n_trials": 2,
    "lanes": 2,
    "epochs": 15,
    "space": {"learning_rate": (0.02, 0.04)},
    "storage": "memory",
    "confirm": 0,
    "random_state": 0,
    "verbose": 0,
}


@parametrize_with_checks(
    [AdamTunerClassifier(**CHECKED), AdamTunerRegressor(**CHECKED)], expected_failed_checks=lambda estimator: EXPECTED
)
def test_scikit_learns_checks(estimator, check, monkeypatch):
    if check.func.__name__ not in TRAINED:
        leave_out_the_training(monkeypatch)
    check(estimator)


def leave_out_the_training(monkeypatch):
    """Let fits check what they are given and make a model, which stays as it is: most checks ask for no more.

    studies/contract runs all of them with all of the training.
    """

    def make_run(tuner, settings, stored, seed, task, model, known_before):
        return SimpleNamespace(task=task, plan=None, model=model)

    def choose(tuner, view, study, run):
        tuner.best_config_ = OptimizerConfig("adam")
        return [], []

    def refit(tuner, view, run):
        tuner.model_ = run.model

    monkeypatch.setattr(preparing, "make_run", make_run)
    monkeypatch.setattr("adamtune.tuner.open_study", lambda *given, **named: None)
    monkeypatch.setattr(records, "set_note", lambda *given: None)
    monkeypatch.setattr(experience, "remember", lambda *given: None)
    monkeypatch.setattr(presenting, "present", lambda study: None)
    for name in ("_announce", "_search", "_compare"):
        monkeypatch.setattr(AdamTuner, name, lambda *given: None)
    monkeypatch.setattr(AdamTuner, "_choose", choose)
    monkeypatch.setattr(AdamTuner, "_refit", refit)


# ------------------------------------------------------------------------------------------------- what it says it is


def test_each_class_says_what_it_is():
    assert is_classifier(AdamTunerClassifier()) and not is_regressor(AdamTunerClassifier())
    assert is_regressor(AdamTunerRegressor()) and not is_classifier(AdamTunerRegressor())
    assert is_classifier(AdamTuner(task="classification"))
    assert is_regressor(AdamTuner(task="regression"))


def test_the_general_class_knows_what_it_is_once_it_has_seen_targets():
    tuner = AdamTuner(**{"model": network, **TINY})
    assert not is_classifier(tuner) and not is_regressor(tuner)
    tuner.fit(X, Y)
    assert is_classifier(tuner) and not is_classifier(clone(tuner))
    assert 0.5 < get_scorer("roc_auc_ovr")(tuner, X, Y) <= 1  # asks a classifier for probabilities


def test_weights_are_an_argument_of_fit_and_score(fitted):
    for method in (AdamTuner.fit, AdamTuner.score):
        assert inspect.signature(method).parameters["sample_weight"].default is None
    right = fitted.predict(X) == Y
    assert 0 < right.mean() < 1
    assert fitted.score(X, Y, sample_weight=right) == 1
    assert fitted.score(X, Y, sample_weight=~right) == 0


def test_weights_reach_the_training():
    light, heavy = (
        classifier(epochs=6).fit(X, Y, sample_weight=np.where(Y == 2, weight, 1)).predict_proba(X)[:, 2].mean()
        for weight in (1e-3, 1e3)
    )
    assert light < heavy / 2


# --------------------------------------------------------------------------------------------------- parameters


def test_parts_are_set_by_their_path():
    pipe = Pipeline([("scale", StandardScaler()), ("tuner", classifier())])
    search = GridSearchCV(pipe, {"tuner__epochs": [1, 2]})
    assert search.set_params(estimator__tuner__n_trials=3).get_params()["estimator__tuner"].n_trials == 3
    pipe.set_params(tuner__optimizer=["adam", "sgd"])
    assert pipe["tuner"].get_params()["optimizer"] == ["adam", "sgd"]
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        pipe.set_params(tuner__epoch=1)


def test_clone_has_the_settings_and_none_of_the_fit(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not [name for name in vars(copy) if name.endswith("_")]


def test_names_of_columns_are_kept_and_their_order_is_checked():
    frame = pandas.DataFrame(X, columns=list("abcd"))
    tuner = classifier().fit(frame, Y)
    assert list(tuner.feature_names_in_) == list("abcd") and tuner.n_features_in_ == 4
    np.testing.assert_array_equal(tuner.predict(frame), tuner.predict(frame.astype("float64")))
    with pytest.raises(ValueError, match="must be in the same order"):
        tuner.predict(frame[list("dcba")])
    with pytest.raises(ValueError, match="unseen at fit time"):
        tuner.predict(frame.rename(columns={"a": "z"}))


# ------------------------------------------------------------------------------------------------------- in others


def test_search_around_it_gives_the_config_that_was_found():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier()), {"adamtunerclassifier__random_state": [1, 2]}, cv=2
    ).fit(X, Y)
    tuner = search.best_estimator_[-1]
    assert tuner.random_state == search.best_params_["adamtunerclassifier__random_state"]
    assert tuner.best_config_.learning_rate in set(tuner.trials_["learning_rate"])
    assert search.predict(X).shape == Y.shape


def test_random_search_around_it():
    search = RandomizedSearchCV(classifier(), {"random_state": range(9)}, n_iter=2, cv=2, random_state=0).fit(X, Y)
    assert search.best_estimator_.random_state == search.best_params_["random_state"]
    assert search.predict(X).shape == Y.shape


@pytest.mark.parametrize("tuner", [classifier(), AdamTuner(task="classification", model=network, **TINY)])
def test_cross_validation_gives_every_fold_every_label(tuner):
    order = np.argsort(Y, kind="stable")
    scores = cross_validate(tuner, X[order], Y[order], cv=2, return_indices=True, error_score="raise")
    assert scores["test_score"].min() > 0.3
    for held_out in scores["indices"]["test"]:
        assert set(Y[order][held_out]) == {0, 1, 2}


def test_cross_validation_of_a_regression():
    scores = cross_val_score(regressor(epochs=10), X, X[:, 0], cv=2, error_score="raise")
    assert scores.shape == (2,) and scores.min() > 0


def test_votes_and_calibrated_probabilities():
    voting = VotingClassifier([("net", classifier()), ("line", LogisticRegression())], voting="soft").fit(X, Y)
    apart = [each.predict_proba(X) for each in voting.estimators_]
    np.testing.assert_allclose(voting.predict_proba(X), np.mean(apart, axis=0), atol=1e-6)
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, Y) > 0.5


def test_stacked_under_another_regressor():
    y = X @ [1.0, -2.0, 0.5, 0.0]
    stacked = StackingRegressor([("net", regressor(epochs=10))], Ridge(), cv=2, passthrough=True).fit(X, y)
    assert stacked.score(X, y) > 0.9


# ---------------------------------------------------------------------------------------- weights and groups by name


class Watched(AdamTunerClassifier):
    """Keeps what it was given, and trains nothing."""

    seen = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None, *, validation_data=None, groups=None):
        self.seen.append(("fit", X[:, 0], sample_weight, groups))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)

    def score(self, X, y, sample_weight=None):
        self.seen.append(("score", X[:, 0], sample_weight, None))
        return 0.0


@pytest.fixture
def routing():
    Watched.seen.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_weights_and_groups_find_their_way_through_a_search(routing):
    tuner = Watched().set_fit_request(sample_weight=True, groups=True).set_score_request(sample_weight=True)
    scaler = StandardScaler(with_mean=False, with_std=False).set_fit_request(sample_weight=False)
    search = GridSearchCV(make_pipeline(scaler, tuner), {"watched__epochs": [1]}, cv=GroupKFold(2))
    weight, groups = X[:, 0] + 100, np.arange(len(X)) // 3
    search.fit(X, Y, sample_weight=weight, groups=groups)

    assert Counter(method for method, *_ in Watched.seen) == {"fit": 3, "score": 2}
    group_of = dict(zip(X[:, 0], groups, strict=True))
    for method, first, weights, theirs in Watched.seen:
        np.testing.assert_array_equal(weights, first + 100)
        assert method == "score" or theirs.tolist() == [group_of[value] for value in first]


def test_weights_that_nobody_asked_for_are_refused(routing):
    with pytest.raises(ValueError, match="sample_weight"):
        GridSearchCV(Watched(), {"epochs": [1]}, cv=2).fit(X, Y, sample_weight=np.ones(len(X)))


def test_groups_find_their_way_into_a_real_fit(routing):
    tuner = classifier().set_fit_request(groups=True)
    groups = np.arange(len(X)) // 6
    scores = cross_validate(tuner, X, Y, params={"groups": groups}, cv=GroupKFold(2), return_estimator=True)
    assert [each.model_.count_params() for each in scores["estimator"]] == [5 * 4 + 5 + 5 * 3 + 3] * 2


# ------------------------------------------------------------------------------------------------- shown and stored

SECRET = "postgresql://ada:s3cret@127.0.0.1:1/studies"


def test_password_is_shown_nowhere_and_stored_in_no_pickle():
    tuner = AdamTuner(storage=SECRET)
    around = Pipeline([("scale", StandardScaler()), ("tuner", tuner)])
    search = GridSearchCV(around, {"tuner__epochs": [1]})
    for shown in (tuner, clone(tuner), around, search):
        texts = repr(shown), str(shown), shown._repr_html_(), str(pickle.dumps(shown))
        assert not [text for text in texts if "s3cret" in text]
    assert clone(search).get_params()["estimator__tuner__storage"] == SECRET
    assert "ada:***@" in repr(around)


def test_pickle_without_its_password_says_so():
    copied = pickle.loads(pickle.dumps(AdamTunerClassifier(storage=SECRET)))
    with pytest.raises(StorageError, match=r"lost its password.*ADAMTUNE_STORAGE"):
        copied.fit(X, Y)


def test_notebook_shows_the_parameters_before_and_after_the_fit(fitted):
    before, after = clone(fitted)._repr_html_(), fitted._repr_html_()
    assert "AdamTunerClassifier" in before and "Not fitted" in before
    assert "AdamTunerClassifier" in after and "Not fitted" not in after
    if hasattr(fitted, "_get_params_html"):  # since scikit-learn 1.7
        assert "batch_size" in before and "batch_size" in after


class Listed(pickle.Unpickler):
    """Knows the packages whose code a pickle asks for."""

    def __init__(self, content):
        super().__init__(io.BytesIO(content))
        self.packages = set()

    def find_class(self, module, name):
        self.packages.add(module.partition(".")[0])
        return super().find_class(module, name)


def test_pickle_asks_for_no_code_of_keras():
    model = network(X, Y)
    tuner = AdamTunerClassifier(model=model, **TINY).fit(X, Y)
    pickled = Listed(pickle.dumps(tuner))
    copied = pickled.load()
    assert pickled.packages <= {
        "adamtune",
        "builtins",
        "collections",
        "copyreg",
        "datetime",
        "numpy",
        "optuna",
        "pandas",
    }
    assert [layer.name for layer in copied.model.layers] == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(copied.predict_proba(X), tuner.predict_proba(X))
    assert len(copied.fit(X, Y).trials_) == 2


def test_lambda_in_a_pickle_is_not_run():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x), keras.layers.Dense(3)])
    pickled = pickle.dumps(AdamTunerClassifier(model=model))
    with pytest.raises(ModelError, match="a lambda is code and is not run"):
        pickle.loads(pickled)


def test_loss_of_ones_own_is_not_lost_in_a_pickle():
    def squared(y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    model = one(X, Y)
    model.compile(loss=squared)
    with pytest.raises(ModelError, match="register_keras_serializable"):
        pickle.loads(pickle.dumps(AdamTunerRegressor(model=model)))
    tuner = regressor(model=lambda X, y: compiled(one(X, y), squared)).fit(X, X[:, 0])
    tuner.set_params(model=None)  # a function within a function is no matter of pickles
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tuner)).predict(X), tuner.predict(X))


def compiled(model, loss):
    model.compile(loss=loss)
    return model


def test_joblib_takes_it_into_a_fresh_process(tmp_path):
    rows = pandas.DataFrame(X, columns=list("abcd"))
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), AdamTunerClassifier(**TINY)).fit(rows, Y)
    joblib.dump(pipe, tmp_path / "pipe.joblib", compress=3)
    joblib.dump(rows, tmp_path / "rows.joblib")
    code = """
        import joblib, sys
        pipe, rows = (joblib.load(f"{sys.argv[1]}/{name}.joblib") for name in ("pipe", "rows"))
        joblib.dump((pipe.predict_proba(rows), pipe[-1].best_config_), f"{sys.argv[1]}/found.joblib")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True, capture_output=True)
    probabilities, config = joblib.load(tmp_path / "found.joblib")
    np.testing.assert_array_equal(probabilities, pipe.predict_proba(rows))
    assert config == pipe[-1].best_config_


# ------------------------------------------------------------------------------------------------------- callbacks

with_callbacks = pytest.mark.skipif(not hasattr(AdamTuner, "set_callbacks"), reason="scikit-learn before 1.9")


class Recorder:
    """A callback of scikit-learn that keeps what it was told, and stops after some trials."""

    max_propagation_depth = None

    def __init__(self, most=None):
        self.began, self.ended, self.most, self.open, self.predicts = [], Counter(), most, 0, None

    def setup(self, estimator, context):
        self.open += 1

    def teardown(self, estimator, context):
        self.open -= 1

    def on_fit_task_begin(self, estimator, context, *, X=None, metadata=None):
        self.began.append((context.task_name, context.max_subtasks))
        self.rows, self.weight = X, (metadata or {}).get("sample_weight")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.ended[context.task_name] += 1
        if fitted_estimator is not None:
            self.predicts = fitted_estimator.predict(X)
        return context.task_name == "trial" and self.ended["trial"] == self.most


@with_callbacks
def test_callbacks_see_phases_and_trials():
    seen = Recorder()
    weight = np.ones(len(X))
    tuner = classifier(confirm=1).set_callbacks(seen).fit(X, Y, sample_weight=weight)
    phases = [each for each in seen.began if each[0] not in ("trial", "passes", "models")]
    assert phases == [("fit", 3), ("study", 2), ("confirming", 3), ("training the winner", 1)]
    assert seen.ended == Counter(name for name, _ in seen.began)
    assert (seen.ended["trial"], seen.ended["passes"], seen.ended["models"]) == (2, 3, 1)
    assert seen.rows is X and seen.weight is weight and seen.open == 0
    np.testing.assert_array_equal(seen.predicts, tuner.predict(X))


@with_callbacks
def test_callback_ends_a_study():
    tuner = classifier(n_trials=40, lanes=4).set_callbacks(Recorder(most=3)).fit(X, Y)
    finished = set(tuner.trials_["state"]) & {"complete", "pruned"}
    assert finished and len(tuner.trials_) < 20
    assert tuner.predict(X).shape == Y.shape


@with_callbacks
def test_callbacks_are_closed_when_a_fit_fails():
    seen = Recorder()
    tuner = classifier().set_callbacks(seen)
    with pytest.raises(DataError):
        tuner.fit(X, Y[:-1])
    assert seen.open == 0 and not hasattr(tuner, "_callback_fit_ctx")


@with_callbacks
def test_progress_bars_hang_below_those_of_a_search(capsys):
    from sklearn.callback import ProgressBar

    bar = ProgressBar(max_propagation_depth=None)
    GridSearchCV(make_pipeline(StandardScaler(), classifier()), {}, cv=2).set_callbacks(bar).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    ours = [line for line in lines if "AdamTunerClassifier - study" in line and "100%" in line]
    assert lines[0].startswith("GridSearchCV - fit")
    assert len(ours) == 3 and all(line.startswith("    ") for line in ours)  # two folds, and all rows
