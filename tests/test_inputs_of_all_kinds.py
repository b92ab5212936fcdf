"""Every kind of rows that Keras takes, from `fit` to `predict`: by name, sparse, sequences, tokens, images, volumes."""

import pickle
import re

import keras
import numpy as np
import pytest
import scipy.sparse

import adamtune
from adamtune.engine import feed, plan, program
from adamtune.errors import DataError, ModelError
from adamtune.tasks.inputs import Inputs
from tests.small import SETTINGS, Y, tuned

layers = keras.layers
RNG = np.random.default_rng(20141222)
N = len(Y)
# Each class is brighter than the one before, so that there is something to learn.
NAMED = {
    "image": (RNG.integers(0, 60, (N, 4, 4, 1)) + 60 * Y[:, None, None, None]).astype("uint8"),
    "words": RNG.integers(1, 9, (N, 5)),
    "table": (RNG.normal(size=(N, 3)) + Y[:, None]).astype("float32"),
}
BAG = RNG.poisson(0.2 + 0.4 * Y[:, None], (N, 12)).astype("float32")
SMALL = {"n_trials": 2, "epochs": 1, "sampler": "random", "pruner": None, "lanes": 2}
TRAINED = SMALL | {"epochs": 3, "refit": True}


def rows(named, index):
    return {name: part[index] for name, part in named.items()}


def of_names(X, y):
    inputs = {
        "image": keras.Input((4, 4, 1), dtype="uint8", name="image"),
        "words": keras.Input((5,), dtype="int64", name="words"),
        "table": keras.Input((3,), name="table"),
    }
    flat = [
        layers.Flatten()(layers.Rescaling(1 / 255)(inputs["image"])),
        layers.Flatten()(layers.Embedding(9, 2)(inputs["words"])),
        inputs["table"],
    ]
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(5, "tanh")(layers.Concatenate()(flat))))


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.outer = layers.Dense(3)

    def call(self, x):
        return self.outer(keras.ops.concatenate([x["table"], keras.ops.cast(x["words"], x["table"].dtype)], axis=1))


def subclassed(X, y):
    return Subclassed()


def looped(X, y):
    inputs = [keras.Input((4, 4, 1), name="image"), keras.Input((3,), name="table")]
    flat = layers.Flatten()(layers.Conv2D(2, 2)(inputs[0]))
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([flat, inputs[1]])))


def same(one, other, rtol=2e-5):
    """Whether two studies differ by rounding alone."""
    assert one.trials_["learning_rate"].equals(other.trials_["learning_rate"])
    np.testing.assert_allclose(one.trials_["value"], other.trials_["value"], rtol=rtol)


@pytest.fixture
def too_large(monkeypatch):
    """Pretend that the rows fill the device: few may lie there together."""
    monkeypatch.setattr(plan, "_ROWS_SHARE", 0.0)
    monkeypatch.setattr(plan, "_BLOCK_BYTES", 20 * 48)
    for module in (feed, program):
        monkeypatch.setattr(module, "JUDGED_AT_ONCE", 8)


# ------------------------------------------------------------------------------------------------ several inputs


@pytest.fixture(scope="module")
def tuner():
    return tuned(X=NAMED, model=of_names, **TRAINED)


def test_several_inputs_from_fit_to_predict(tuner, tmp_path):
    assert tuner.plan_.strategy == "stacked" and tuner.plan_.rows_at_once is None
    assert tuner.predict(NAMED).shape == (N,)
    assert tuner.score(NAMED, Y) > 0.5
    few = rows(NAMED, slice(3, 8))
    np.testing.assert_allclose(tuner.predict_proba(few), tuner.predict_proba(NAMED)[3:8], rtol=1e-6)
    swapped = dict(reversed(few.items()))
    np.testing.assert_array_equal(tuner.predict_proba(swapped), tuner.predict_proba(few))
    tuner.save(tmp_path / "tuner")
    for again in (pickle.loads(pickle.dumps(tuner)), adamtune.load(tmp_path / "tuner")):
        np.testing.assert_array_equal(again.predict_proba(few), tuner.predict_proba(few))
    assert not hasattr(tuner, "n_features_in_")
    with pytest.raises(DataError, match="X is one array, but fit was given a dict of image, table, words"):
        tuner.predict(NAMED["table"])
    with pytest.raises(ModelError, match=r"cannot take rows of shape \{.*'table': \(2,\)"):
        tuner.predict(few | {"table": few["table"][:, :2]})


def test_several_inputs_of_a_model_with_a_convolution():
    tuner = tuned(X={name: NAMED[name] for name in ("image", "table")}, model=looped, **SMALL)
    assert tuner.plan_.strategy == "looped" and set(tuner.trials_["state"]) == {"complete"}


def test_the_default_network_takes_several_inputs():
    tuner = tuned(X=NAMED, model=None, **TRAINED)
    assert tuner.score(NAMED, Y) > 0.5


def test_a_model_in_python_takes_a_dict():
    X = {name: NAMED[name] for name in ("words", "table")}
    tuner = tuned(X=X, model=subclassed, **SMALL | {"refit": True})
    assert tuner.plan_.strategy == "stacked"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tuner)).predict(X), tuner.predict(X))


def test_several_inputs_judged_by_given_rows_and_by_folds():
    judges = {"fit": {"validation_data": (rows(NAMED, slice(40, N)), Y[40:])}}
    given = tuned(X=rows(NAMED, slice(0, 40)), y=Y[:40], model=of_names, **SMALL, **judges)
    folds = tuned(X=NAMED, model=of_names, cv=[(np.arange(40), np.arange(40, N))], **SMALL)
    same(given, folds)


def test_several_inputs_in_blocks_make_the_same_study(tuner, too_large, tmp_path):
    np.save(tmp_path / "image.npy", NAMED["image"])
    on_disk = NAMED | {"image": np.load(tmp_path / "image.npy", mmap_mode="r")}
    fed = tuned(X=on_disk, model=of_names, **TRAINED)
    assert fed.plan_.rows_at_once == 16
    same(tuner, fed)
    assert fed.score(on_disk, Y) > 0.5


def test_names_of_the_model_and_of_the_rows_have_to_agree():
    with pytest.raises(ModelError, match="inputs named image, words, table, but X is a dict of image, text: expected"):
        tuned(X={"image": NAMED["image"], "text": NAMED["words"]}, model=of_names)
    with pytest.raises(ModelError, match=r"3 inputs .*, but X is one array: expected a dict"):
        tuned(X=NAMED["table"], model=of_names)


def test_a_fit_on_several_inputs_forgets_the_features_of_a_table():
    tuner = tuned(X=NAMED["table"], model=None, **SMALL | {"n_trials": 1})
    assert tuner.n_features_in_ == 3
    assert not hasattr(tuner.fit({"table": NAMED["table"]}, Y), "n_features_in_")


# ----------------------------------------------------------------------------------------------- sparse matrices


def test_a_sparse_matrix_makes_the_same_study_as_a_dense_one():
    settings = SMALL | {"model": None, "refit": True}
    dense, sparse = (tuned(X=X, **settings) for X in (BAG, scipy.sparse.coo_array(BAG)))
    same(sparse, dense, rtol=0)
    assert sparse.n_features_in_ == 12
    for X in (BAG, scipy.sparse.csr_matrix(BAG), scipy.sparse.dok_matrix(BAG)):
        np.testing.assert_array_equal(sparse.predict_proba(X), dense.predict_proba(BAG))


def test_a_sparse_matrix_is_judged_by_sparse_rows_and_by_folds():
    matrix = scipy.sparse.csr_array(BAG.astype(int))
    judges = {"fit": {"validation_data": (matrix[40:], Y[40:])}}
    model = lambda X, y: keras.Sequential([keras.Input((12,)), layers.Dense(3)])  # noqa: E731
    given = tuned(X=matrix[:40], y=Y[:40], model=model, **SMALL, **judges)
    same(given, tuned(X=matrix, model=model, cv=[(np.arange(40), np.arange(40, N))], **SMALL))


def test_a_large_sparse_matrix_is_dense_a_block_at_a_time(too_large, monkeypatch):
    taken, take = [], Inputs.take
    monkeypatch.setattr(Inputs, "array", lambda rows: pytest.fail("all rows were made dense at once"))
    monkeypatch.setattr(Inputs, "take", lambda rows, index: taken.append(len(index)) or take(rows, index))
    model = lambda X, y: keras.Sequential([keras.Input((12,)), layers.Dense(3)])  # noqa: E731
    fed = tuned(X=scipy.sparse.csr_array(BAG), model=model, **SMALL)
    assert fed.plan_.rows_at_once == 20
    assert max(taken) == 16, "one whole batch, of the 20 rows that may lie on the device"


# ------------------------------------------------------------------------------------------------- other kinds


class Lowered(layers.Layer):
    """Ids without what a float32 cannot tell apart from them."""

    def call(self, x):
        return x - 2**24


KINDS = {
    "sequences": (
        RNG.normal(size=(N, 5, 2)) + Y[:, None, None],
        lambda: [keras.Input((None, 2)), layers.GRU(3)],
        "float32",
    ),
    "token ids": (
        RNG.integers(1, 9, (N, 5)) + 2**24,  # which a float32 does not hold
        lambda: [keras.Input((5,), dtype="int32"), Lowered(), layers.Embedding(9, 2), layers.Flatten()],
        "int32",
    ),
    "token ids of a model that declares nothing": (
        RNG.integers(1, 9, (N, 5)),
        lambda: [layers.Embedding(9, 2), layers.GlobalAveragePooling1D()],
        "float32",
    ),
    "images": (NAMED["image"], lambda: [keras.Input((4, 4, 1)), layers.Conv2D(2, 2), layers.Flatten()], "uint8"),
    "volumes": (
        RNG.normal(size=(N, 3, 3, 3, 1)) + Y.reshape(-1, 1, 1, 1, 1),
        lambda: [keras.Input((3, 3, 3, 1)), layers.Conv3D(2, 2), layers.Flatten()],
        "float32",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_rows(kind):
    X, inner, dtype = KINDS[kind]
    seen = []

    class Seen(keras.Sequential):
        def predict(self, x, **settings):
            seen.append(x.dtype.name)
            return super().predict(x, **settings)

    tuner = tuned(X=X, model=lambda X, y: Seen([*inner(), layers.Dense(3)]), **SMALL | {"refit": True})
    assert set(tuner.predict(X)) <= set(Y)
    np.testing.assert_allclose(tuner.predict_proba(X).sum(axis=1), 1.0)
    assert set(seen) == {dtype}
    assert np.isfinite(tuner.best_score_)


def test_a_data_set_that_yields_batches_is_refused_before_any_training():
    with pytest.raises(DataError, match=re.escape("X is an iterator (generator), expected an array")):
        tuned(X=(each for each in [BAG]), y=None, **SETTINGS)
