"""One file of data: everything comes back in another process, what is no data is missed, what is hostile is refused."""

import datetime
import io
import json
import pickle
import subprocess
import sys
import textwrap
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.model_selection import GroupKFold

import adamtune
from adamtune import AdamTuner, AdamTunerClassifier, AdamTunerRegressor, OptimizerConfig
from adamtune.engine.lanes import LaneEngine
from adamtune.errors import ModelError, SettingError, StorageError, StudyError
from adamtune.plain import NotPlain, from_plain, to_plain
from tests.small import SETTINGS, Interrupted, X, Y, network, tuned

LABELS = np.array(["ape", "bee", "cat"])[Y]


@pytest.fixture(scope="module")
def fitted():
    return tuned(
        y=LABELS,
        model=None,
        n_trials=3,
        confirm=1,
        refit=True,
        space={"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "beta_1": (0.5, 0.99)},
        start_from=[OptimizerConfig("adam", learning_rate=0.02)],
        class_weight={"ape": 1, "bee": 2.0, "cat": np.float32(1)},
    )


@pytest.fixture(scope="module")
def content(fitted, tmp_path_factory):
    file = tmp_path_factory.mktemp("saved") / "tuner.adamtune"
    fitted.save(file)
    return file.read_bytes()


@pytest.fixture
def file(content, tmp_path):
    file = tmp_path / "tuner.adamtune"
    file.write_bytes(content)
    return file


def saved(tuner, folder):
    tuner.save(folder / "tuner.adamtune")
    return adamtune.load(folder / "tuner.adamtune")


def assert_same(one, two):
    """Equal in type and in value, to the bit."""
    assert type(one) is type(two)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        assert_same(one.ravel().tolist(), two.ravel().tolist())
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two, check_exact=True, check_index_type=True, check_column_type=True)
    elif isinstance(one, keras.Model):
        assert_same(one.get_weights(), two.get_weights())
    elif isinstance(one, dict):
        assert_same(list(one), list(two))
        assert_same(list(one.values()), list(two.values()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for each in zip(one, two, strict=True):
            assert_same(*each)
    elif isinstance(one, float):
        assert repr(one) == repr(two)
    elif hasattr(one, "get_config"):
        assert (one.get_config(), one._fn_kwargs, one.dtype) == (two.get_config(), two._fn_kwargs, two.dtype)
    elif hasattr(one, "__dataclass_fields__"):
        assert_same(vars(one), vars(two))
    else:
        assert one == two


# ------------------------------------------------------------------------------------------------ there and back


def test_predicts_the_same_in_a_fresh_process(fitted, file):
    np.save(file.with_name("X.npy"), X)
    code = """
        import sys, warnings
        warnings.simplefilter("error", UserWarning)
        import adamtune, numpy as np
        tuner = adamtune.load(sys.argv[1] + "/tuner.adamtune")
        X = np.load(sys.argv[1] + "/X.npy")
        np.savez(sys.argv[1] + "/found.npz", proba=tuner.predict_proba(X), labels=tuner.predict(X))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(file.parent)], check=True, capture_output=True)
    found = np.load(file.with_name("found.npz"))
    np.testing.assert_array_equal(found["proba"], fitted.predict_proba(X))
    np.testing.assert_array_equal(found["labels"], fitted.predict(X))


def test_everything_that_fit_learned_comes_back(fitted, file):
    loaded = adamtune.load(file)
    assert type(loaded) is AdamTunerClassifier
    before, after = fitted.__getstate__(), vars(loaded)
    assert set(before) == set(after) and "study_name_" in after
    for name in set(before) - {"model_"}:
        assert_same(before[name], after[name])
    assert_same(fitted.model_, loaded.model_)
    assert loaded.best_trial_.datetime_start == fitted.best_trial_.datetime_start
    assert repr(loaded) == repr(fitted)


def test_file_of_a_loaded_estimator_is_the_same_again(file, tmp_path):
    adamtune.load(file).save(tmp_path / "again")
    with zipfile.ZipFile(file) as one, zipfile.ZipFile(tmp_path / "again") as two:
        assert one.namelist() == two.namelist()
        assert one.read("adamtune.json") == two.read("adamtune.json")
        assert_same(*(np.load(io.BytesIO(each.read("arrays.npz")))["0"] for each in (one, two)))


def test_model_goes_on_training_where_it_was(fitted, file):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = adamtune.load(file).model_
    assert int(model.optimizer.iterations) == int(fitted.model_.optimizer.iterations) > 0
    for one, two in zip(model.optimizer.variables, fitted.model_.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    before = model.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    model.fit(X, Y, epochs=3, verbose=0)
    assert model.evaluate(X, Y, verbose=0, return_dict=True)["loss"] < before


def test_regressor_on_a_table_keeps_the_scale_of_its_targets_and_what_text_became(tmp_path):
    frame = pd.DataFrame({"size": X[:, 0], "color": np.array(["red", "blue"])[Y % 2], "weight": X[:, 1]})
    frame.loc[3, "size"] = np.nan
    y = np.stack([1e3 + 50 * X[:, 0], X[:, 1]], axis=1)
    tuner = AdamTunerRegressor(**SETTINGS | {"n_trials": 2, "refit": True}).fit(frame, y)
    loaded = saved(tuner, tmp_path)
    assert type(loaded) is AdamTunerRegressor and not hasattr(loaded, "predict_proba")
    np.testing.assert_array_equal(loaded.predict(frame[::-1]), tuner.predict(frame[::-1]))
    assert_same(loaded.feature_names_in_, tuner.feature_names_in_)
    with pytest.raises(ValueError, match="color"):
        loaded.predict(frame.drop(columns="color"))


@pytest.mark.parametrize("labels", [Y == 1, Y + 7, LABELS.astype(object), np.array([0.5, 1.0, 2.0])[Y]])
def test_labels_come_back_in_their_type(labels, tmp_path):
    tuner = AdamTunerClassifier()
    tuner.classes_ = np.unique(labels)
    assert_same(saved(tuner, tmp_path).classes_, tuner.classes_)


def test_interrupted_fit_is_saved_as_far_as_it_came(tmp_path, monkeypatch):
    tuner = AdamTunerClassifier(network, **SETTINGS | {"n_trials": 8, "lanes": 4, "refit": True})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Interrupted(patch, LaneEngine, "tick", at=4)
        tuner.fit(X, Y)
    loaded = saved(tuner, tmp_path)
    assert_same(loaded.trials_, tuner.trials_)
    assert loaded.best_config_ == tuner.best_config_ and np.isnan(loaded.best_spread_)
    with pytest.raises(StudyError, match="interrupted"):
        loaded.predict(X)


# ---------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", ("adam", "sgd")),
        ("space", {"learning_rate": FloatDistribution(1e-3, 1.0, log=True), "beta_1": (0.5, 0.9), "amsgrad": True}),
        ("space", {"schedule": ["cosine", "linear"], "epsilon": CategoricalDistribution([1e-8, 1.0, None])}),
        ("space", {"momentum": IntDistribution(0, 1), "weight_decay": np.float32(0.1)}),
        ("n_trials", np.int64(7)),
        ("timeout", float("inf")),
        ("class_weight", {0: 1.0, np.int64(1): 2, True: float("nan"), "b": None, ("a", 1): 3}),
        ("cv", [(np.arange(5), np.arange(5, 9)), (np.arange(9) > 3, [0, 1, 2])]),
        ("start_from", [OptimizerConfig("adamw", schedule="cosine", warmup=0.1, clipnorm=1.0), OptimizerConfig("sgd")]),
        ("loss", keras.losses.Huber(delta=2.0)),
        ("metric", keras.metrics.TopKCategoricalAccuracy(k=2, name="top")),
        ("random_state", 2**40),
        ("verbose", True),
        ("callbacks", ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameter_comes_back_in_type_and_value(name, value, tmp_path):
    loaded = saved(AdamTuner(**{name: value}), tmp_path)
    assert_same(loaded.get_params()[name], value)
    assert repr(loaded) == repr(AdamTuner(**{name: value}))


OTHER_ARGUMENTS = {
    "Huber": {"delta": 2.0, "reduction": "sum"},
    "SparseCategoricalCrossentropy": {"from_logits": True, "ignore_class": 1},
    "BinaryFocalCrossentropy": {"gamma": 3.0, "alpha": 0.5, "apply_class_balancing": True},
    "CategoricalCrossentropy": {"label_smoothing": 0.1, "from_logits": True},
    "TopKCategoricalAccuracy": {"k": 2},
    "Precision": {"thresholds": [0.3, 0.4]},
    "BinaryAccuracy": {"threshold": 0.4},
}


def test_all_losses_and_metrics_of_keras_come_back():
    made = 0
    for module, base in ((keras.losses, keras.losses.Loss), (keras.metrics, keras.metrics.Metric)):
        for cls in {each for each in vars(module).values() if isinstance(each, type) and issubclass(each, base)}:
            try:
                given = cls(dtype="float16", **OTHER_ARGUMENTS.get(cls.__name__, {}))
                given.get_config()
            except (TypeError, ValueError, NotImplementedError):  # it needs arguments, or is a base class
                continue
            if cls is base:
                continue
            again = from_plain(json.loads(json.dumps(to_plain(given, []))), [])
            assert type(again) is cls and again.dtype == "float16"
            for one in ("_fn_kwargs", "reduction", "name", "k", "threshold", "thresholds", "from_logits"):
                assert getattr(again, one, None) == getattr(given, one, None)
            made += 1
    assert made > 40


def test_model_that_was_given_comes_back_with_its_loss_and_frozen_weights(tmp_path):
    model = network(X, Y)
    model.layers[0].trainable = False
    model.compile(
        optimizer=keras.optimizers.SGD(clipnorm=0.5),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = saved(AdamTunerClassifier(model, **SETTINGS | {"n_trials": 2}), tmp_path)
    assert_same(model, loaded.model)
    assert not loaded.model.layers[0].trainable
    loaded.fit(X, Y)
    assert loaded.best_config_.clipnorm == 0.5


def test_models_keep_the_arguments_of_their_loss(tmp_path):
    tuner = AdamTunerRegressor(network(X, X[:, :3]))
    tuner.model_ = network(X, X[:, :3])
    for model in (tuner.model, tuner.model_):
        model.compile(loss=keras.losses.Huber(delta=0.1))
    loaded = saved(tuner, tmp_path)
    for one, two in ((tuner.model, loaded.model), (tuner.model_, loaded.model_)):
        assert one.evaluate(X, X[:, :3], verbose=0) == two.evaluate(X, X[:, :3], verbose=0)


def own_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": network}, "model was a function 'network', which is not in the file"),
        ({"loss": own_loss}, "loss was a function 'own_loss'"),
        ({"metric": keras.metrics.MeanMetricWrapper(own_loss)}, "metric was a MeanMetricWrapper object"),
        ({"metric": keras.metrics.MeanSquaredError}, "metric was the class 'MeanSquaredError'"),
        ({"cv": GroupKFold(3)}, "cv was a GroupKFold object"),
        ({"sampler": optuna.samplers.RandomSampler()}, "sampler was a RandomSampler object"),
        ({"pruner": optuna.pruners.NopPruner()}, "pruner was a NopPruner object"),
        ({"callbacks": [print]}, "callbacks was a list with a function 'print'"),
        ({"random_state": np.random.RandomState(0)}, "random_state was a RandomState object"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_code_is_not_in_the_file_and_missed_by_fit(settings, said, tmp_path):
    loaded = saved(AdamTunerClassifier(**SETTINGS | settings), tmp_path)
    again = saved(pickle.loads(pickle.dumps(loaded)), tmp_path)
    for tuner in (loaded, again):
        (name,) = settings
        with pytest.raises(SettingError, match=rf"{said}.*set_params\({name}=\.\.\.\) before fit"):
            tuner.fit(X, Y)
        assert f"{name}=<a" in repr(tuner) or f"{name}=<the" in repr(tuner)


def test_estimator_without_a_trained_model_fits_once_its_function_is_given_again(tmp_path):
    tuner = tuned(n_trials=2)
    loaded = saved(tuner, tmp_path)
    assert loaded.best_config_.to_keras()
    with pytest.raises(StudyError, match="refit=False"):
        loaded.predict(X)
    with pytest.raises(SettingError, match="model was a function 'network'"):
        loaded.fit(X, Y)
    assert_same(loaded.set_params(model=network).fit(X, Y).best_config_, tuner.best_config_)


def test_model_whose_loss_keras_does_not_know_predicts_but_is_not_trained(tmp_path):
    tuner = AdamTunerRegressor(network(X, Y))
    tuner.model_ = network(X, Y)
    for model in (tuner.model, tuner.model_):
        model.compile(loss=own_loss)
    with pytest.warns(UserWarning, match="compile it before") as said:
        loaded = saved(tuner, tmp_path)
    assert __file__ in {each.filename for each in said}
    assert_same(tuner.model_, loaded.model_)
    with pytest.raises(SettingError, match=r"model was a keras\.Model, which could not be loaded"):
        loaded.fit(X, Y)


def test_password_is_not_in_the_file_and_missed_by_fit(tmp_path):
    tuner = AdamTunerClassifier(network, **SETTINGS | {"storage": "postgresql://ada:s3cret@127.0.0.1:1/studies"})
    loaded = saved(tuner, tmp_path)
    assert b"s3cret" not in (tmp_path / "tuner.adamtune").read_bytes()
    assert loaded.storage == "postgresql://ada:***@127.0.0.1:1/studies"
    with pytest.raises(StorageError, match="lost its password"):
        loaded.set_params(model=network).fit(X, Y)


# -------------------------------------------------------------------------------------------------------- values


def frame(*args, **kwargs):
    """A frame as it is made where pyarrow is not installed."""
    with pd.option_context("mode.string_storage", "python"):
        return pd.DataFrame(*args, **kwargs)


@pytest.mark.parametrize(
    "value",
    [
        [None, True, 3, -0.0, 1e-320, 0.1, "ä\n", 10**40],
        [float("nan"), float("inf"), -float("inf")],
        [np.bool_(True), np.float32(0.1), np.int8(-3), np.str_("a"), np.datetime64("2020-01-01")],
        [np.zeros((0, 3)), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(["a", "bc"]), np.array(5)],
        np.array([["a", None], [3.5, (1, "b")]], dtype=object),
        {"array": 1, 2: [{"tuple": ()}]},
        datetime.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
        frame({"a": [1, 2], "b": [0.5, np.nan], "c": ["x", None], "d": [True, False], "e": [[1], {"f": "g"}]}),
        frame({"a": pd.to_datetime(["2020-01-01", None])}, index=["x", "y"]),
        frame([[1, "a"]], columns=["same", "same"], index=[7]),
        frame({"a": []}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_comes_back_in_type_and_bits(value):
    arrays = []
    text = json.dumps(to_plain(value, arrays), allow_nan=False)
    assert_same(from_plain(json.loads(text), arrays), value)


def test_text_kept_by_pyarrow_comes_back_without_it():
    pytest.importorskip("pyarrow")
    arrays = []
    plain = to_plain(pd.DataFrame({"a": ["x", None]}, dtype="str"), arrays)
    assert_same(from_plain(plain, arrays), frame({"a": ["x", None]}, dtype="str"))


@pytest.mark.parametrize(
    "value", [{1, 2}, b"bytes", object(), np.array([object()]), pd.DataFrame({"a": pd.Categorical(["x"])}), 1j]
)
def test_value_of_another_kind_is_refused(value):
    with pytest.raises(NotPlain):
        to_plain([value], [])


# ------------------------------------------------------------------------------------------------ what is refused


def test_attribute_that_is_no_data_is_named(tmp_path):
    tuner = AdamTuner()
    tuner._secret = {"a": [network]}
    with pytest.raises(StorageError, match="_secret is or holds a function 'network'"):
        tuner.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_class_of_ones_own_is_refused(tmp_path):
    class Mine(AdamTuner):
        pass

    with pytest.raises(StorageError, match="Mine cannot be saved, expected AdamTuner"):
        Mine().save(tmp_path / "x")


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_model_with_a_lambda_is_refused_before_it_is_written(tmp_path):
    tuner = AdamTuner()
    tuner.model_ = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: 2 * x), keras.layers.Dense(3)])
    with pytest.raises(ModelError, match="model_ holds a lambda"):
        tuner.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_what_others_want_of_the_estimator_is_left_out_with_a_word(tmp_path):
    tuner = AdamTuner()
    tuner._skl_callbacks = [print]
    with pytest.warns(UserWarning, match="set_callbacks set is not in the file") as said:
        tuner.save(tmp_path / "x")
    assert said[0].filename == __file__
    assert not hasattr(adamtune.load(tmp_path / "x"), "_skl_callbacks")


def test_crash_leaves_the_file_that_was_there(file, fitted, monkeypatch):
    before = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda *given: pytest.fail("the disk is gone"))
        with pytest.raises(pytest.fail.Exception):
            fitted.save(file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]
    AdamTuner().save(file)
    assert list(file.parent.iterdir()) == [file] and type(adamtune.load(file)) is AdamTuner


def test_place_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(StorageError, match="is a folder: name a file in it"):
        AdamTuner().save(tmp_path)
    with pytest.raises(StorageError, match="cannot be written: No such file or directory"):
        AdamTuner().save(tmp_path / "none" / "x")


def test_place_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        adamtune.load(tmp_path / "none")
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        adamtune.load(str(tmp_path))


def changed(file, compression=zipfile.ZIP_STORED, **changes):
    """The file with members changed (None takes one out), `state` being what the JSON says."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if "state" in changes:
        state = json.loads(members["adamtune.json"])
        changes.pop("state")(state)
        members["adamtune.json"] = json.dumps(state).encode()
    members |= {".".join(name.rsplit("__", 1)): content for name, content in changes.items()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return file


def pickled_arrays(hostile):
    buffer = io.BytesIO()
    np.savez(buffer, **{"0": np.array([hostile], dtype=object)})
    return buffer.getvalue()


def compressed_arrays():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"0": np.zeros(10**6)})
    return buffer.getvalue()


def boastful_array():
    """An array that claims more than there is of it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("0.npy", buffer.getvalue())
    return outer.getvalue()


def bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 10**7)
    return buffer.getvalue()


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("hostile-was-here"),))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": lambda state: state.update({"class": "PickledEstimator"})},
        {"state": lambda state: state.update({"class": ["AdamTuner"]})},
        {"state": lambda state: state.update({"format": "1"})},
        {"state": lambda state: state.pop("format")},
        {"state": lambda state: state["parameters"].update(harm=1)},
        {"state": lambda state: state["learned"].update(predict=1)},
        {"state": lambda state: state["learned"].update(__class__=1)},
        {"state": lambda state: state["learned"].update(classes_={"array": 999})},
        {"state": lambda state: state["learned"].update(classes_={"os.system": "true"})},
        {"state": lambda state: state["learned"].update(classes_={"objects": [[10**12], []]})},
        {"state": lambda state: state["learned"].update(best_trial_={"trial": {"dict": [["harm", 1]]}})},
        {"adamtune__json": b"[]"},
        {"adamtune__json": b"[" * 100_000},
        {"adamtune__json": b"\xff"},
        {"adamtune__json": None},
        {"arrays__npz": None},
        {"arrays__npz": b"PK"},
        {"arrays__npz": pickle.dumps(Hostile())},
        {"arrays__npz": pickled_arrays(Hostile())},
        {"arrays__npz": compressed_arrays()},
        {"arrays__npz": boastful_array()},
        {"model___keras": b"PK"},
        {"model___keras": bomb()},
        {"compression": zipfile.ZIP_DEFLATED, "adamtune__json": b" " * 10**8},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_changed_file_is_refused(changes, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"tuner.adamtune' is damaged, or is no file of tuner.save"):
        adamtune.load(changed(file, **changes))
    assert not Path("hostile-was-here").exists()


def test_config_that_is_out_of_range_is_refused(file):
    config = {"config": {"dict": [["schema", 1], ["optimizer", "adam"], ["hypers", {"dict": [["learning_rate", -1]]}]]}}
    with pytest.raises(ValueError, match="learning_rate"):
        adamtune.load(changed(file, state=lambda state: state["learned"].update(best_config_=config)))


def test_members_of_other_names_are_never_written_anywhere(file):
    changed(file, **{"../../escaped": b"x", "/tmp/escaped-adamtune": b"x"})
    before = sorted(file.parent.parent.rglob("*"))
    assert adamtune.load(file).classes_.tolist() == ["ape", "bee", "cat"]
    assert sorted(file.parent.parent.rglob("*")) == before and not Path("/tmp/escaped-adamtune").exists()


@pytest.mark.parametrize("content", [b"", b"some text", pickle.dumps(Hostile())])
def test_foreign_file_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("foreign").write_bytes(content)
    with pytest.raises(StorageError, match="'foreign' is damaged, or is no file of"):
        adamtune.load("foreign")
    assert not Path("hostile-was-here").exists()


def test_every_cut_and_a_changed_letter_are_noticed(content, file):
    cuts = np.random.default_rng(0).integers(len(content), size=20)
    for damaged in (*(content[:cut] for cut in cuts), content.replace(b'"n_trials": 3', b'"n_trials": 4')):
        file.write_bytes(damaged)
        with pytest.raises(StorageError, match="damaged"):
            adamtune.load(file)


def test_file_of_a_newer_adamtune_says_what_to_do(file):
    changed(file, state=lambda state: state.update(format=2, adamtune="9.1", learned="otherwise"), arrays__npz=None)
    with pytest.raises(StorageError, match=r"of a newer adamtune, 9\.1; this is .*pip install -U adamtune"):
        adamtune.load(file)


def test_parameter_that_was_added_later_has_its_default(file):
    loaded = adamtune.load(changed(file, state=lambda state: state["parameters"].pop("patience")))
    assert loaded.patience is None and loaded.n_trials == 3
