import math
import pickle
import subprocess
import sys
import textwrap

import keras
import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_iris, make_regression

import adamtune
from adamtune import AdamTuner, AdamTunerClassifier, AdamTunerRegressor, OptimizerConfig
from adamtune.config import Found
from adamtune.engine.lanes import LaneEngine
from adamtune.engine.program import Structure
from adamtune.errors import (
    ConfigError,
    DataError,
    ModelError,
    OutOfMemory,
    SettingError,
    StorageError,
    StudyError,
)
from adamtune.tuning import records, refit
from adamtune.tuning.storage import close

X, Y = load_iris(return_X_y=True)
needed = Structure.needed
SMALL = {"n_trials": 4, "epochs": 2, "storage": "memory", "random_state": 0, "verbose": 0}


def tuned(cls=AdamTunerClassifier, X=X, y=Y, fit=None, **settings):
    return cls(**SMALL | settings).fit(X, y, **(fit or {}))


def three(X, y):
    return keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])


def stored(tmp_path):
    return f"sqlite:///{tmp_path / 'studies.db'}"


# -------------------------------------------------------------------------------------------------- the main path


@pytest.fixture(scope="module")
def iris():
    return tuned(n_trials=16, epochs=10, space={"learning_rate": (1e-3, 1e-1)})


def test_finds_a_config_that_trains_a_network(iris):
    assert iris.score(X, Y) > 0.85
    assert iris.best_score_ < 0.6
    assert iris.best_spread_ > 0
    assert len(iris.trials_) == 16
    assert set(iris.trials_["state"]) <= {"complete", "pruned"}
    assert iris.n_programs_ == 1
    assert iris.plan_.strategy == "stacked"


def test_first_trial_is_the_optimizers_defaults(iris):
    first = iris.study_.get_trials()[0]
    assert records.config_of(first) == OptimizerConfig("adam")


def test_best_config_compiles_a_model_and_carries_its_training(iris):
    model = three(X, Y)
    model.compile(optimizer=iris.best_config_.to_keras(), loss="mse")
    found = iris.best_config_.found
    assert (found.epochs, found.batch_size, found.steps) == (10, 32, 10 * 4)
    assert iris.best_config_.learning_rate in set(iris.trials_["learning_rate"])


def test_predictions_are_labels_and_probabilities(iris):
    probabilities = iris.predict_proba(X)
    assert probabilities.shape == (150, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(iris.predict(X), iris.classes_[probabilities.argmax(axis=1)])


def test_prediction_of_a_row_does_not_depend_on_its_neighbours(iris):
    one_by_one = np.concatenate([iris.predict_proba(X[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(one_by_one, iris.predict_proba(X)[:5])


def test_model_goes_on_training(iris):
    loss = iris.model_.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    copied = pickle.loads(pickle.dumps(iris)).model_
    copied.fit(X, Y, epochs=5, verbose=0)
    assert copied.evaluate(X, Y, verbose=0, return_dict=True)["loss"] < loss


def test_pickle_predicts_the_same_in_a_fresh_process(iris, tmp_path):
    (tmp_path / "tuner.pkl").write_bytes(pickle.dumps(iris))
    np.save(tmp_path / "X.npy", X)
    code = """
        import pickle, sys, numpy as np
        tuner = pickle.loads(open(sys.argv[1] + "/tuner.pkl", "rb").read())
        np.save(sys.argv[1] + "/proba.npy", tuner.predict_proba(np.load(sys.argv[1] + "/X.npy")))
        assert not hasattr(tuner, "study_") and len(tuner.trials_) == 16
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "proba.npy"), iris.predict_proba(X), atol=1e-6)


def test_pickle_and_repr_hold_no_password():
    tuner = AdamTuner(storage="postgresql://ada:s3cret@localhost/studies")
    assert b"s3cret" not in pickle.dumps(tuner)
    assert "s3cret" not in repr(tuner)
    assert "s3cret" not in str(tuner._repr_html_())
    assert tuner.get_params()["storage"].endswith("s3cret@localhost/studies")


def test_same_seed_gives_the_same_study():
    one, two = (tuned(n_trials=8) for _ in range(2))
    columns = ["learning_rate", "value", "epochs", "start_tick"]
    assert one.trials_[columns].equals(two.trials_[columns])
    assert one.best_score_ == two.best_score_
    for mine, theirs in zip(one.model_.get_weights(), two.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not one.trials_["value"].equals(tuned(n_trials=8, random_state=1).trials_["value"])


def test_verbose_0_prints_nothing(capfd):
    capfd.readouterr()
    tuned()
    out, err = capfd.readouterr()
    assert out == ""
    assert "Trial" not in err and "study" not in err


def test_verbose_1_compares_with_default_adam_and_says_what_to_paste(capsys):
    tuner = tuned(verbose=1, optimizer="sgd", n_trials=6, epochs=3)
    out = capsys.readouterr().out
    assert "Keras' default Adam" in out
    assert "learning rate alone" in out
    unspaced = "".join(out.split()).replace(",)", ")")
    assert "model.compile(" in out and "".join(tuner.best_config_.to_code().split()) in unspaced
    labels = [row["label"] for row in records.get_note(tuner.study_, "comparison")]
    assert len(labels) == len(set(labels)) >= 3
    # The comparison is another study, of as many epochs as this one took.
    database = tuner.study_._storage
    (name,) = (s.study_name for s in database.get_all_studies() if "alone" in s.study_name)
    beside = optuna.load_study(study_name=name, storage=database)
    spent = sum(tuner.trials_["epochs"])
    assert spent <= sum(t.user_attrs["epochs"] for t in beside.get_trials()) < spent + 3


# ------------------------------------------------------------------------------------------- kinds of data and model


def test_two_labels_of_text():
    names = np.array(["no", "yes"])[(Y == 0).astype(int)]
    tuner = tuned(y=names, n_trials=8, epochs=10, space={"learning_rate": (1e-2, 1e-1)})
    assert list(tuner.classes_) == ["no", "yes"]
    assert set(tuner.predict(X)) == {"no", "yes"}
    assert tuner.predict_proba(X).shape == (150, 2)
    assert tuner.score(X, names) > 0.95


@pytest.mark.parametrize("n_targets", [1, 2])
def test_regression_of_large_numbers(n_targets):
    A, b = make_regression(200, 5, n_targets=n_targets, noise=1.0, random_state=0)
    b = 1e4 * b + 1e6
    tuner = tuned(AdamTunerRegressor, A, b, n_trials=8, epochs=20, space={"learning_rate": (1e-3, 1e-1)})
    assert tuner.predict(A).shape == b.shape
    assert tuner.score(A, b) > 0.9
    assert not hasattr(tuner, "predict_proba")


def test_task_is_read_off_the_target():
    assert tuned(AdamTuner).kind_ == "multiclass"
    assert tuned(AdamTuner, y=X[:, 0]).kind_ == "regression"


def test_images():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    images = rng.integers(0, 100, (120, 6, 6, 1)).astype("uint8")
    images[y == 1] += 100
    tuner = tuned(X=images, y=y, n_trials=4, epochs=10)
    assert tuner.score(images, y) > 0.95
    assert tuner.plan_.strategy == "stacked"


def test_convolutions_are_trained_in_a_loop_and_say_why():
    def network(X, y):
        return keras.Sequential(
            [
                keras.Input((6, 6, 1)),
                keras.layers.Conv2D(2, 3, activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(2),
            ]
        )

    rng = np.random.default_rng(0)
    tuner = tuned(X=rng.normal(size=(40, 6, 6, 1)), y=np.arange(40) % 2, model=network, n_trials=2, confirm=0)
    assert tuner.plan_.strategy == "looped"
    assert "convolution" in tuner.plan_.reason
    assert len(tuner.trials_) == 2


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX stacks what TensorFlow cannot")
def test_operation_that_cannot_be_stacked_is_looped_and_says_why():
    def network(X, y):
        inputs = keras.Input((4,))
        ranked = keras.ops.cast(keras.ops.argmax(inputs, axis=-1, keepdims=True), "float32")
        hidden = keras.layers.Dense(4)(inputs)
        # Inputs are the same in every lane; what comes after the first weights is not.
        ranked = ranked + keras.ops.cast(keras.ops.argmax(hidden, axis=-1, keepdims=True), "float32")
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.concatenate([hidden, ranked])))

    tuner = tuned(model=network, n_trials=2, confirm=0)
    assert tuner.plan_.strategy == "looped"
    assert "TensorFlow cannot stack Bitcast" in tuner.plan_.reason
    assert len(tuner.trials_) == 2


@pytest.mark.parametrize(
    "model",
    [
        three,
        three(X, Y),
        lambda X, y: compiled(keras.losses.SparseCategoricalCrossentropy(from_logits=True), None),
        lambda X, y: compiled("sparse_categorical_crossentropy", "softmax"),
        lambda X, y: compiled("categorical_crossentropy", "softmax"),
    ],
    ids=["function", "model", "compiled with logits", "compiled by name", "one-hot"],
)
def test_models_in_every_form(model):
    tuner = tuned(model=model, n_trials=4, epochs=20, space={"learning_rate": (1e-2, 1e-1)}, confirm=0)
    assert tuner.score(X, Y) > 0.8
    np.testing.assert_allclose(tuner.predict_proba(X).sum(axis=1), 1.0)


def compiled(loss, activation):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, activation=activation)]
    )
    model.compile(optimizer="adam", loss=loss)
    return model


def test_weights_by_class_and_by_row_move_the_predictions():
    heavy = tuned(class_weight={0: 1000.0}, n_trials=2, confirm=0, epochs=5)
    light = tuned(class_weight={0: 1e-3}, n_trials=2, confirm=0, epochs=5)
    assert (heavy.predict(X) == 0).sum() > (light.predict(X) == 0).sum()
    weighted = tuned(fit={"sample_weight": np.where(Y == 0, 1000.0, 1.0)}, n_trials=2, confirm=0, epochs=5)
    assert (weighted.predict(X) == 0).sum() > (light.predict(X) == 0).sum()


def test_judged_by_accuracy():
    tuner = tuned(metric="accuracy", n_trials=8, epochs=5)
    assert tuner.study_.direction == optuna.study.StudyDirection.MAXIMIZE
    best = tuner.trials_[tuner.trials_["state"] == "complete"]["value"].max()
    assert 0 <= best <= 1
    assert 0 <= tuner.best_score_ <= 1


def test_given_judging_rows_are_used_and_said():
    with pytest.warns(UserWarning, match="judging rows were given"):
        tuner = tuned(X=X[::2], y=Y[::2], fit={"validation_data": (X[1::2], Y[1::2])})
    assert tuner.study_.user_attrs["adamtune:steps"] == 2 * 3  # all 75 rows train: 3 batches of at most 32


def test_defaults_are_confirmed_beside_the_best(iris):
    rows = records.get_note(iris.study_, "comparison")
    assert "Keras' default Adam" in [row["label"] for row in rows]
    assert [row["mean"] for row in rows] == sorted(row["mean"] for row in rows)


def test_model_that_takes_no_training_argument():
    @keras.saving.register_keras_serializable("tests")
    class Own(keras.Model):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    tuner = tuned(model=lambda X, y: Own(), n_trials=4, epochs=10, space={"learning_rate": (1e-2, 1e-1)})
    assert tuner.plan_.strategy == "stacked"
    assert tuner.score(X, Y) > 0.6


# --------------------------------------------------------------------------------------------------------- refit


def test_refit_on_training_rows_repeats_the_stored_trial():
    tuner = tuned(refit="train", confirm=0, n_trials=12, epochs=4)
    assert len(tuner.history_["loss"]) == 4
    np.testing.assert_allclose(tuner.history_["val_loss"][-1], tuner.best_trial_.value, rtol=1e-3)
    np.testing.assert_allclose(tuner.best_score_, tuner.best_trial_.value)


def test_refit_on_all_rows_is_a_plain_keras_fit():
    tuner = tuned(model=three, refit=True, confirm=0)
    model = three(X, Y)
    steps = int(tuner.model_.optimizer.iterations.numpy())
    model.compile(optimizer=tuner.best_config_.to_keras(), loss=tuner.model_.loss)
    model.fit(X, Y, epochs=2, verbose=0)
    assert steps == int(model.optimizer.iterations.numpy()) == 2 * 5


def test_a_winner_that_diverges_on_all_rows_is_the_model_of_its_trial(monkeypatch):
    train = refit.train_on_all

    def diverging(*given):
        model, history = train(*given)
        model.set_weights([weight * math.nan for weight in model.get_weights()])
        return model, history

    monkeypatch.setattr(refit, "train_on_all", diverging)
    with pytest.warns(UserWarning, match="The winner diverged when it was trained on all rows"):
        tuner = tuned(model=three, refit=True, confirm=0)
    assert np.isfinite(tuner.predict_proba(X)).all()
    assert tuner.history_["val_loss"][-1] == pytest.approx(tuner.best_score_, rel=1e-5)


def test_no_refit_keeps_no_model():
    tuner = tuned(refit=False)
    assert tuner.best_config_.optimizer == "adam"
    with pytest.raises(StudyError, match="refit=False"):
        tuner.predict(X)


# ---------------------------------------------------------------------------------------- studies that go on or end


def test_resumed_study_counts_what_is_there(tmp_path):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True}
    first = tuned(n_trials=5, **settings)
    second = tuned(n_trials=9, **settings)
    assert second.study_.study_name == first.study_.study_name == "mine"
    assert len(second.trials_) == 9
    assert second.trials_["value"][:5].equals(first.trials_["value"])
    assert second.trials_["start_tick"][5:].min() >= first.trials_["start_tick"].max()
    assert second.trials_["learning_rate"].is_unique


def test_lanes_that_the_memory_does_not_hold_are_given_up_for_good(tmp_path, monkeypatch):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True, "lanes": "auto", "sampler": "random"}
    tick, opened = LaneEngine.tick, []

    def short(engine):
        opened.append(engine.n_lanes)
        if engine.n_lanes > 2:
            raise OutOfMemory("too many")
        tick(engine)

    monkeypatch.setattr(LaneEngine, "tick", short)
    first = tuned(n_trials=8, confirm=1, **settings)
    assert len(first.trials_) == 8 and set(first.trials_["state"]) <= {"complete", "pruned"}
    assert sorted(set(opened), reverse=True) == [8, 4, 2]
    opened.clear()
    second = tuned(n_trials=12, **settings)
    assert len(second.trials_) == 12 and set(opened) == {2}


def test_a_starting_config_is_tried_once(tmp_path):
    found = Found(epochs=3, batch_size=8, steps=30)
    given = [OptimizerConfig("adam", found=found), *[OptimizerConfig("adam", learning_rate=0.02)] * 2]
    tuner = tuned(start_from=given, n_trials=2, confirm=0, storage=stored(tmp_path))
    assert [records.config_of(trial) for trial in tuner.study_.trials] == [
        OptimizerConfig("adam"),
        OptimizerConfig("adam", learning_rate=0.02),
    ]


def test_resume_can_still_train_the_starting_configs(tmp_path, monkeypatch):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True}
    tuned(**settings, start_from=[OptimizerConfig("adam", clipnorm=1.0)])
    made = []
    monkeypatch.setattr(Structure, "needed", lambda *given: made.append(needed(*given)) or made[-1])
    tuned(**settings, n_trials=5)
    assert all("clipnorm" in structure for structure in made) and made


def test_resume_takes_the_seed_of_the_study(tmp_path):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True}
    tuned(**settings, random_state=3)
    tuner = tuned(**settings, random_state=None, n_trials=6)
    assert len(tuner.trials_) == 6
    assert tuner.study_.user_attrs["adamtune:seed"] == 3


def test_name_is_a_prefix_unless_resumed(tmp_path):
    settings = {"storage": stored(tmp_path), "study_name": "mine"}
    names = {tuned(**settings).study_.study_name for _ in range(2)}
    assert len(names) == 2 and all(name.startswith("mine/") for name in names)


def test_resume_by_prefix_goes_on_with_the_study_and_not_with_its_comparison(tmp_path):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "verbose": 1}
    first = tuned(**settings)
    second = tuned(**settings, n_trials=6, resume=True)
    assert second.study_.study_name == first.study_.study_name
    assert len(second.trials_) == 6


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"epochs": 3}, "epochs"),
        ({"metric": "accuracy"}, "direction"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"random_state": 1}, "seed"),
        ({"space": {"learning_rate": (1e-4, 1e-3)}}, "space"),
        ({"model": three}, "task"),
    ],
)
def test_other_study_is_refused_and_left_alone(tmp_path, changed, what):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True}
    before = tuned(**settings).trials_
    with pytest.raises(StudyError, match=what):
        tuned(**settings | changed)
    after = optuna.load_study(study_name="mine", storage=stored(tmp_path))
    assert len(after.get_trials()) == len(before)
    assert len(after._storage.get_all_studies()) == 1


def test_other_data_is_refused(tmp_path):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True}
    tuned(**settings)
    with pytest.raises(StudyError, match="task"):
        tuned(X=X + 1, **settings)


def test_ctrl_c_keeps_everything_and_leaves_the_best_usable(tmp_path, monkeypatch):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True, "n_trials": 20, "lanes": 4}
    ticks = []
    tick = LaneEngine.tick

    def interrupted(engine):
        ticks.append(1)
        if len(ticks) == 6:
            raise KeyboardInterrupt
        tick(engine)

    monkeypatch.setattr(LaneEngine, "tick", interrupted)
    tuner = AdamTunerClassifier(**SMALL | settings)
    with pytest.raises(KeyboardInterrupt):
        tuner.fit(X, Y)
    assert tuner.best_config_.optimizer == "adam"
    assert tuner.best_score_ == tuner.best_trial_.value
    finished = tuner.trials_[tuner.trials_["state"].isin(["complete", "pruned"])]
    assert 0 < len(finished) < 20
    three(X, Y).compile(optimizer=tuner.best_config_.to_keras())
    with pytest.raises(StudyError, match="interrupted"):
        tuner.predict(X)

    monkeypatch.setattr(LaneEngine, "tick", tick)
    tuner.fit(X, Y)
    states = tuner.trials_["state"]
    assert states.isin(["complete", "pruned"]).sum() == 20
    assert (states == "running").sum() == 0
    # What was finished before is still there, unchanged.
    again = tuner.trials_.set_index("number").loc[finished["number"]]
    assert (again["value"].to_numpy() == finished["value"].to_numpy()).all()


def test_trial_that_nobody_holds_any_more_is_not_left_running_after_resume(tmp_path):
    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True}
    study = tuned(**settings).study_
    study.ask({"learning_rate": FloatDistribution(1e-5, 1e-1, log=True)})
    close(study._storage)
    tuner = tuned(**settings, n_trials=6)
    assert list(tuner.trials_["state"]).count("fail") == 1
    assert tuner.trials_["state"].isin(["complete", "pruned"]).sum() == 6


def test_a_full_disk_is_told_with_what_to_do_and_costs_nothing(tmp_path):
    def fill(study, trial):
        engine = study._storage._backend.engine
        sqlalchemy.event.listen(engine, "checkout", lambda file, *_: file.execute("PRAGMA max_page_count=1"))

    settings = {"storage": stored(tmp_path), "study_name": "mine", "resume": True, "n_trials": 200, "epochs": 1}
    settings |= {"sampler": "random", "confirm": 0, "refit": False}
    with pytest.raises(StorageError, match=r"storage='.*' has failed\. The disk is full: make room, then go on"):
        tuned(**settings, callbacks=[fill])
    before = optuna.load_study(study_name="mine", storage=stored(tmp_path)).get_trials()
    assert any(trial.state in records.FINISHED for trial in before)
    again = tuned(**settings)
    assert again.trials_["state"].isin(["complete", "pruned"]).sum() == 200
    kept = again.study_.get_trials()[: len(before)]
    assert [trial for trial in kept if trial.state in records.FINISHED] == [
        trial for trial in before if trial.state in records.FINISHED
    ]


def test_timeout_ends_the_search_and_keeps_the_best():
    tuner = tuned(n_trials=100_000, timeout=3, confirm=0, lanes=4)
    assert 0 < len(tuner.trials_) < 100_000
    assert tuner.score(X, Y) > 0


def test_diverging_trials_never_end_a_study():
    # Sigmas of 1e30 overflow float32 in the first steps; the default that comes first does not.
    tuner = tuned(optimizer="sgd", space={"learning_rate": (1e28, 1e32)}, n_trials=6, pruner=None)
    assert list(tuner.trials_["state"]).count("diverged") == 5
    assert tuner.best_trial_.number == 0


def test_study_in_which_everything_diverges_says_what_to_do(tmp_path):
    with pytest.raises(StudyError, match="smaller learning rates"):
        tuned(X=1e30 * X, model=three, optimizer="sgd", storage=stored(tmp_path), n_trials=3)
    (summary,) = optuna.get_all_study_summaries(stored(tmp_path))
    assert summary.n_trials == 3


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"optimizer": "adagard"}, ConfigError, "Did you mean 'adagrad'"),
        ({"optimizer": None}, ConfigError, "unknown"),
        ({"n_trials": 0}, SettingError, "n_trials=0.*at least 1"),
        ({"n_trials": 2.5}, SettingError, "n_trials=2.5"),
        ({"epochs": 0}, SettingError, "epochs=0"),
        ({"batch_size": -1}, SettingError, "batch_size=-1"),
        ({"confirm": -1}, SettingError, "confirm=-1"),
        ({"timeout": 0}, SettingError, "timeout=0"),
        ({"validation_split": 1.0}, SettingError, "validation_split=1.0"),
        ({"task": "ranking"}, SettingError, "task='ranking'"),
        ({"task": "regression"}, SettingError, "task='regression'"),
        ({"random_state": -1}, SettingError, "random_state=-1"),
        ({"random_state": 2**32}, SettingError, "random_state=4294967296"),
        ({"sampler": "tpee"}, SettingError, "Did you mean 'tpe'"),
        ({"pruner": "hyperbnd"}, SettingError, "asha"),
        ({"lanes": 0}, SettingError, "lanes=0"),
        ({"space": {"beta_3": (0.1, 0.2)}}, ConfigError, "beta_3"),
        ({"space": {"learning_rate": (-1, 1)}}, SettingError, "above 0"),
        ({"start_from": "stored"}, SettingError, "expected 'shipped', 'store'"),
        ({"start_from": [OptimizerConfig("sgd")]}, SettingError, "OptimizerConfig\\('adam'"),
        ({"refit": "all"}, SettingError, "refit='all'"),
        ({"optimizer": "all"}, SettingError, "is tried once before.*or name a few"),
        ({"resume": True}, SettingError, "study_name"),
        ({"study_name": " "}, SettingError, "study_name"),
        ({"patience": 0}, SettingError, "patience=0: expected a whole number of at least 1"),
        ({"patience": 3, "epochs": 3}, SettingError, "patience=3 with epochs=3 ends no trial early"),
        ({"callbacks": [3]}, SettingError, "callbacks holds 3"),
        ({"callbacks": [keras.callbacks.Callback()]}, SettingError, "a callback of Keras.*patience=5"),
        ({"cv": 3, "validation_split": 0.3}, SettingError, "validation_split=0.3 has no effect, because cv"),
        ({"loss": "nonsense"}, SettingError, "loss='nonsense'"),
        ({"metric": "nonsense"}, SettingError, "metric='nonsense'"),
        ({"metric": "f1"}, SettingError, "cannot judge this task"),
        ({"direction": "up"}, SettingError, "direction='up'"),
        ({"storage": "nosql://here"}, StorageError, "nosql"),
        ({"storage": "sqlite:////no/such/folder/x.db"}, StorageError, "folder"),
        ({"storage": "postgresql://ada:s3cret@127.0.0.1:1/x"}, StorageError, "No server answers"),
        ({"model": 3}, ModelError, "a keras.Model or a function"),
        ({"model": lambda X, y: 3}, ModelError, "returned a int"),
        ({"model": lambda X, y: 1 / 0}, ModelError, "ZeroDivisionError"),
    ],
)
def test_bad_setting_is_refused_before_training(settings, error, text, monkeypatch):
    monkeypatch.setattr(LaneEngine, "tick", lambda engine: pytest.fail("a tick was trained"))
    with pytest.raises(error, match=text) as caught:
        tuned(**settings)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("X", "y", "error", "text"),
    [
        (np.where(X > 7, np.nan, X), Y, DataError, "12 value\\(s\\) that are NaN"),
        (X[:, 0], Y, DataError, "shape \\(150,\\)"),
        (X[:100], Y, DataError, "inconsistent numbers of samples"),
        (X, np.where(Y == 0, np.nan, Y), DataError, "NaN"),
        (X, np.zeros(150), DataError, "one class"),
        (X.astype(str), np.zeros(150), DataError, "one class"),
        (np.array([["a"] * 4] * 150), Y, DataError, "no numbers"),
        (X[:1], Y[:1], DataError, "one class"),
        (X[:0], Y[:0], DataError, "minimum of 1"),
    ],
)
def test_bad_rows_are_refused_before_training(X, y, error, text):
    with pytest.raises(error, match=text):
        tuned(X=X, y=y)


def test_model_whose_output_does_not_fit_is_refused():
    with pytest.raises(ModelError, match=r"Dense\(3\)"):
        tuned(model=lambda X, y: keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]))
    with pytest.raises(ModelError, match=r"Dense\(1\)"):
        tuned(
            AdamTunerRegressor,
            y=X[:, 0],
            model=lambda X, y: keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]),
        )


def test_model_whose_input_does_not_fit_says_so():
    with pytest.raises(ModelError, match=r"(?s)rows of shape \(4,\).*to have value 5"):
        tuned(model=lambda X, y: keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)]))


def test_rows_of_another_width_are_refused_at_predict(iris):
    with pytest.raises(ValueError, match=r"3 features.*expecting 4"):
        iris.predict(X[:, :3])


def test_unfitted_estimator_says_so():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        AdamTunerClassifier().predict(X)


# -------------------------------------------------------------------------------------------------- scikit-learn


def test_estimators_are_what_they_say():
    assert is_classifier(AdamTunerClassifier()) and is_regressor(AdamTunerRegressor())
    assert not is_classifier(AdamTuner()) and not is_regressor(AdamTuner())
    assert hasattr(AdamTunerClassifier(), "predict_proba") and not hasattr(AdamTunerRegressor(), "predict_proba")


def test_settings_are_stored_untouched():
    given = {"optimizer": ["sgd"], "space": {"learning_rate": (1e-3, 1.0)}, "model": three(X, Y)}
    tuner = AdamTuner(**given)
    for name, value in given.items():
        assert tuner.get_params()[name] is value
    copy = clone(tuner)
    assert copy.get_params()["space"] == given["space"] and copy.model is not tuner.model
    assert tuner.set_params(n_trials=3).n_trials == 3


def test_public_names():
    assert set(adamtune.__all__) <= set(dir(adamtune))
    assert adamtune.__version__
    with pytest.raises(AttributeError, match="AdamTuna"):
        adamtune.AdamTuna  # noqa: B018
