import random
import re

import keras
import numpy as np
import pytest
from keras import layers

from adamtune.errors import ModelError
from adamtune.tasks import networks
from adamtune.tasks.data import prepare

X = np.random.default_rng(0).normal(loc=5.0, scale=3.0, size=(40, 4))
LABELS = np.arange(40) % 3
THREE = prepare(X, LABELS)
TRAIN = np.arange(30)


def dense(X, y):
    """A model with all that draws chance when it is made: Keras' initial weights, numpy and Python."""
    random_bias = keras.initializers.Constant(np.random.normal(size=3) + random.random())
    return keras.Sequential(
        [
            keras.Input((X.shape[1],)),
            layers.Dense(6, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(3, bias_initializer=random_bias),
        ]
    )


def builder(model, data=THREE):
    return networks.builder(model, X, LABELS, data, TRAIN)


def weights(model):
    """All numbers of a model, dropout's generators included."""
    return np.concatenate([np.asarray(v, dtype="float64").ravel() for v in model.variables])


SEQUENTIAL = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dropout(0.5), layers.Dense(3)])
UNBUILT = keras.Sequential([layers.Dense(6), layers.Dropout(0.5), layers.Dense(3)])


@pytest.mark.parametrize("model", [None, dense, SEQUENTIAL, UNBUILT], ids=["default", "function", "model", "unbuilt"])
def test_a_seed_is_a_set_of_weights(model):
    build = builder(model)
    first, again, other = build(3), build(3), build(4)
    assert first.built
    assert first is not again
    np.testing.assert_array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(other))
    np.testing.assert_array_equal(weights(builder(model)(3)), weights(first))


@pytest.mark.parametrize("model", [None, dense, SEQUENTIAL, UNBUILT], ids=["default", "function", "model", "unbuilt"])
def test_the_users_generators_are_left_alone(model):
    random.seed(1)
    np.random.seed(1)
    expected = random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2:]
    builder(model)(5)
    assert (random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2:]) == expected


def test_the_users_generators_are_left_alone_by_what_fails():
    random.seed(1)
    np.random.seed(1)
    expected = random.getstate(), np.random.get_state()[1].tolist()

    def fails(X, y):
        raise RuntimeError("no")

    with pytest.raises(ModelError):
        builder(fails)(5)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == expected


# -------------------------------------------------------------------------------------------- the default network


@pytest.mark.parametrize(
    ("data", "n_outputs"),
    [
        (THREE, 3),
        (prepare(X, LABELS > 0), 1),
        (prepare(X, X[:, 0]), 1),
        (prepare(X, X[:, :2]), 2),
        (prepare(X.reshape(40, 2, 2), LABELS), 3),
        (prepare(np.arange(40 * 12, dtype="uint16").reshape(40, 2, 2, 3), LABELS), 3),
        (prepare(X.astype("uint8"), LABELS), 3),
    ],
    ids=["classes", "two classes", "target", "targets", "grey images", "whole-number images", "bytes"],
)
def test_the_default_network_fits_the_data(data, n_outputs):
    model = builder(None, data)(0)
    assert model.output_shape == (None, n_outputs)
    assert model.layers[-1].activation is keras.activations.linear
    assert np.isfinite(model(data.x.array())).all()


@pytest.mark.parametrize(("features", "width"), [(1, 64), (32, 64), (33, 128), (64, 128), (100, 256), (1000, 512)])
def test_the_default_width(features, width):
    model = builder(None, prepare(np.zeros((40, features)), LABELS))(0)
    assert [layer.units for layer in model.layers if isinstance(layer, layers.Dense)] == [width, width, 3]


def scaled(model, x):
    """What the first hidden layer of a default network sees."""
    kinds = (layers.Normalization, layers.Rescaling)
    (scaling,) = (layer for layer in model.layers if isinstance(layer, kinds))
    return np.asarray(scaling(x))


def test_inputs_are_standardised_over_the_training_rows():
    constant = X.copy()
    constant[:, 2] = 7.0
    constant[30:] *= 100  # rows that judge
    data = prepare(constant, LABELS)
    seen = scaled(builder(None, data)(0), data.x.array())
    np.testing.assert_allclose(seen[TRAIN].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(seen[TRAIN].std(axis=0), [1, 1, 0, 1], atol=1e-5)
    assert np.abs(seen[30:]).max() > 10


def test_images_of_numbers_are_standardised_by_channel():
    data = prepare(np.random.default_rng(1).normal(size=(40, 5, 5, 3)) * [1, 10, 100], LABELS)
    seen = scaled(builder(None, data)(0), data.x.array())
    np.testing.assert_allclose(seen[TRAIN].std(axis=(0, 1, 2)), 1, rtol=1e-4)


def test_whole_numbers_are_divided_by_the_largest():
    data = prepare(np.minimum(np.arange(40 * 16).reshape(40, 4, 4), 200).astype("uint8"), LABELS)
    seen = scaled(builder(None, data)(0), data.x.array())
    assert (seen.min(), seen.max()) == (0.0, 1.0)
    assert np.isfinite(builder(None, prepare(np.zeros((40, 4, 4), "uint8"), LABELS))(0)(data.x.array())).all()


# --------------------------------------------------------------------------------------------- a model is cloned


def test_a_clone_is_trained_apart():
    before = weights(SEQUENTIAL)
    clone = builder(SEQUENTIAL)(0)
    clone.compile(optimizer="sgd", loss="mse")
    clone.set_weights([weight + 1 for weight in clone.get_weights()])
    np.testing.assert_array_equal(weights(SEQUENTIAL), before)
    assert not SEQUENTIAL.compiled


def squares(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize("loss", ["mae", squares, keras.losses.Huber(delta=3.0), None])
def test_a_clone_is_compiled_with_the_very_loss(loss):
    # Keras describes a loss in order to clone it, which fails for one's own and forgets Huber's delta.
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    if loss is not None:
        model.compile(loss=loss, optimizer="sgd")
    clone = builder(model)(0)
    assert clone.compiled == model.compiled == (loss is not None)
    assert getattr(clone, "loss", None) is loss


def test_a_clone_keeps_what_is_not_trained():
    adapted = layers.Normalization()
    adapted.adapt(X)
    base = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.BatchNormalization()])
    base.set_weights([weight + 0.5 for weight in base.get_weights()])
    base.trainable = False
    fresh = layers.BatchNormalization()
    model = keras.Sequential([keras.Input((4,)), adapted, base, fresh, layers.Dropout(0.1), layers.Dense(3)])
    fresh.set_weights([weight + 0.5 for weight in fresh.get_weights()])
    clone = builder(model)(0)
    frozen = keras.Sequential([keras.Input((4,)), *clone.layers[:2]])
    np.testing.assert_allclose(frozen(THREE.x.array()), base(adapted(THREE.x.array())), rtol=1e-5)
    assert [len(layer.trainable_variables) for layer in clone.layers] == [0, 0, 2, 0, 2]
    for new, old, initial in zip(clone.layers[2].get_weights(), fresh.get_weights(), (1, 0, 0, 1), strict=True):
        assert (new == initial).all()
        assert not (old == initial).any()


class Subclassed(keras.Model):
    def __init__(self, width, **others):
        super().__init__(**others)
        self.width = width
        self.dense = layers.Dense(width)

    def call(self, x):
        return self.dense(x)


class Described(Subclassed):
    def get_config(self):
        return {"width": self.width}


def test_a_subclassed_model_that_cannot_be_cloned():
    class NeedsAnObject(Subclassed):
        def __init__(self, like):
            super().__init__(like.shape[1])

    with pytest.raises(ModelError, match=r"\(NeedsAnObject\) cannot be cloned: .*function model\(X, y\)") as caught:
        builder(NeedsAnObject(X))(0)
    assert len(str(caught.value)) < 400


def test_a_subclassed_model_that_describes_itself():
    build = builder(Described(3))
    assert build(0).built
    np.testing.assert_array_equal(weights(build(0)), weights(build(0)))


def test_a_function_may_return_a_subclassed_model():
    model = builder(lambda X, y: Subclassed(3))(0)
    assert model(THREE.x.array()).shape == (40, 3)


# -------------------------------------------------------------------------------------------- the user's function


def test_a_function_gets_what_the_user_gave():
    seen = []

    def model(features, targets):
        seen.append((features, targets))
        return dense(features, targets)

    builder(model)(0)
    assert seen[0][0] is X
    assert seen[0][1] is LABELS


def test_a_function_that_compiles():
    def compiled(X, y):
        model = dense(X, y)
        model.compile(loss="sparse_categorical_crossentropy")
        return model

    assert builder(compiled)(0).loss == "sparse_categorical_crossentropy"


def fails(X, y):
    return {}["width"]


def no_arguments():
    return dense(X, LABELS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (fails, r"your function fails\(X, y\) failed with KeyError: 'width'"),
        (no_arguments, r"your function no_arguments\(X, y\) failed with TypeError: .*takes 0 positional arguments"),
        (lambda X, y: None, r"\(X, y\) returned a NoneType, expected a keras.Model"),
        (lambda X, y: keras.Sequential, r"\(X, y\) returned a type, expected a keras.Model"),
        ("dense", "model='dense' is a str: expected None, a keras.Model or a function"),
        (3, "model=3 is a int: expected None, a keras.Model or a function"),
        (layers.Dense(3), "is a Dense: expected None, a keras.Model or a function"),
    ],
)
def test_refused_models(model, message):
    with pytest.raises(ModelError, match=message):
        builder(model)(0)


def test_the_cause_of_a_failure_is_kept():
    with pytest.raises(ModelError) as caught:
        builder(fails)(0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_function_that_returns_the_same_model_again():
    made = dense(X, LABELS)
    build = builder(lambda X, y: made)
    assert build(0) is made
    with pytest.raises(ModelError, match="returned the same model again, expected a new one each time"):
        build(1)


# ------------------------------------------------------------------------------------------- what users bring

IDS = np.random.default_rng(2).integers(10, 50, (40, 6))
WORDS = prepare(IDS, LABELS)
IMAGES = prepare(np.random.default_rng(3).integers(0, 255, (40, 8, 8, 3)).astype("uint8"), LABELS)
STEPS = prepare(X.reshape(40, 2, 2), LABELS)


def adapted(layer, x):
    layer.adapt(x)
    return layer


def ending(*first):
    return keras.Sequential([*first, layers.Flatten(), layers.Dense(3)])


BROUGHT = {
    "Normalization": (THREE, lambda: ending(keras.Input((4,)), adapted(layers.Normalization(), X))),
    "Discretization": (
        THREE,
        lambda: ending(keras.Input((4,)), adapted(layers.Discretization(num_bins=4), X), layers.Embedding(5, 2)),
    ),
    "Rescaling": (IMAGES, lambda: ending(keras.Input((8, 8, 3)), layers.Rescaling(1 / 255))),
    "CategoryEncoding": (WORDS, lambda: ending(keras.Input((6,)), layers.CategoryEncoding(50, "multi_hot"))),
    "IntegerLookup": (
        WORDS,
        lambda: ending(keras.Input((6,), dtype="int32"), adapted(layers.IntegerLookup(), IDS), layers.Embedding(60, 3)),
    ),
    "Hashing": (
        WORDS,
        lambda: ending(keras.Input((6,), dtype="int32"), layers.Hashing(10), layers.Embedding(10, 3)),
    ),
    "random": (IMAGES, lambda: ending(keras.Input((8, 8, 3)), layers.RandomFlip(), layers.RandomRotation(0.1))),
    "Embedding": (WORDS, lambda: ending(layers.Embedding(50, 4))),
}


@pytest.mark.parametrize("as_function", [False, True], ids=["model", "function"])
@pytest.mark.parametrize(("data", "make"), BROUGHT.values(), ids=BROUGHT)
def test_preprocessing_layers(data, make, as_function):
    given = make()
    build = builder((lambda X, y: make()) if as_function else given, data)
    model, again = build(0), build(0)
    networks.check(model, data)
    x = data.x[:5]
    np.testing.assert_array_equal(np.asarray(model(x, training=False)), np.asarray(again(x, training=False)))
    if not isinstance(given.layers[0], layers.Embedding):  # whose weights are fresh
        told = {"training": False} if given.layers[0]._call_has_training_arg else {}
        first, same = (np.asarray(each.layers[0](x, **told)) for each in (given, model))
        np.testing.assert_allclose(same, first, rtol=1e-6)


def test_a_vocabulary_that_cannot_be_cloned():
    counted = adapted(layers.IntegerLookup(output_mode="tf_idf"), IDS)
    model = keras.Sequential([keras.Input((6,), dtype="int32"), counted, layers.Dense(3)])
    with pytest.raises(ModelError, match=r"vocabulary of layer .* cannot be cloned.*function model\(X, y\)"):
        builder(model, WORDS)(0)


def test_weights_that_a_function_loads_are_kept():
    loaded = dense(X, LABELS).get_weights()

    def pretrained(X, y):
        model = dense(X, LABELS)
        model.set_weights(loaded)
        return model

    build = builder(pretrained)
    for seed in (0, 1):
        for kept, weight in zip(build(seed).get_weights(), loaded, strict=True):
            np.testing.assert_array_equal(kept, weight)


def test_a_frozen_layer_of_a_subclassed_model_stays_frozen():
    class TwoLayers(Described):
        def __init__(self, width):
            super().__init__(width)
            self.first = layers.Dense(5)

        def call(self, x):
            return self.dense(self.first(x))

    model = TwoLayers(3)
    model(THREE.x[:1])
    model.first.trainable = False
    clone = builder(model)(0)
    np.testing.assert_array_equal(clone.first.get_weights()[0], model.first.get_weights()[0])
    assert not np.array_equal(clone.dense.get_weights()[0], model.dense.get_weights()[0])
    assert len(clone.trainable_variables) == 2


def two_inputs():
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    return keras.Model([left, right], layers.Dense(3)(layers.Add()([left, right])))


def of_text(layer):
    return ending(keras.Input((1,), dtype="string"), layer, layers.Embedding(9, 3))


@pytest.mark.parametrize(
    ("data", "make", "message"),
    [
        (THREE, two_inputs, r"has 2 inputs \(left, right\), but X is one array: .*X = \{'left': ..., 'right': ...\}"),
        (
            prepare({"left": X, "other": X}, LABELS),
            two_inputs,
            "has inputs named left, right, but X is a dict of left, other: expected the same names",
        ),
        (prepare({"left": X, "right": X[:, :2]}, LABELS), two_inputs, r"cannot take rows of shape \{'left': \(4,\), "),
        (THREE, lambda: of_text(layers.StringLookup(vocabulary=["a"])), r"\(StringLookup\) reads text, but rows are"),
        (
            THREE,
            lambda: of_text(layers.TextVectorization(vocabulary=["a"], output_sequence_length=3)),
            r"\(TextVectorization\) reads text, but rows are numbers",
        ),
        (
            STEPS,
            lambda: ending(keras.Input(batch_shape=(32, 2, 2)), layers.LSTM(3, stateful=True)),
            r"\(LSTM\) is stateful: .*Leave stateful=True out",
        ),
        (THREE, lambda: keras.Sequential([keras.Input((4,)), layers.Flatten()]), "has no trainable weights"),
    ],
    ids=["inputs", "names", "shapes", "text", "texts", "stateful", "nothing to train"],
)
def test_models_that_cannot_be_tuned(data, make, message):
    with pytest.raises(ModelError, match=message):
        networks.check(builder(lambda X, y: make(), data)(0), data)


def test_whole_numbers_stay_whole_where_the_model_declares_them():
    ids = prepare(IDS + 2**24, LABELS)  # odd ones are no float32
    assert ids.x.dtype == np.float32
    for dtype in ("int32", "int64"):
        kept = networks.typed(ids, ending(keras.Input((6,), dtype=dtype), layers.Embedding(2**25, 1)))
        assert kept.x.dtype == dtype
        np.testing.assert_array_equal(kept.x.array(), IDS + 2**24)
    for model in (ending(keras.Input((6,))), keras.Sequential([layers.Dense(3)]), Subclassed(3)):
        assert networks.typed(ids, model) is ids
    assert networks.typed(THREE, ending(keras.Input((4,), dtype="int32"))) is THREE


def test_each_of_several_inputs_has_the_type_that_the_model_declares():
    both = prepare({"words": IDS + 2**24, "counts": IDS, "table": np.ones((len(IDS), 2))}, LABELS)
    inputs = {
        "words": keras.Input((6,), dtype="int64", name="words"),
        "counts": keras.Input((6,), name="counts"),
        "table": keras.Input((2,), dtype="int32", name="table"),
    }
    flat = [layers.Flatten()(layers.Embedding(5, 1)(inputs["words"])), inputs["counts"], inputs["table"]]
    typed = networks.typed(both, keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(flat))))
    assert typed.x.dtypes == {"counts": "float32", "table": "float32", "words": "int64"}
    np.testing.assert_array_equal(typed.x.take([0])["words"], IDS[:1] + 2**24)


# ------------------------------------------------------------------------------------------------ rows and files


def test_an_unbuilt_model_takes_any_number_of_rows():
    model = builder(UNBUILT)(0)
    assert model.input_shape == (None, 4)
    assert not UNBUILT.built
    assert model(THREE.x.array()).shape == (40, 3)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (keras.Sequential([layers.Conv2D(2, 3)]), X),
        (lambda X, y: keras.Sequential([layers.Conv2D(2, 3)]), X),
        (SEQUENTIAL, X[:, :2]),
        (SEQUENTIAL, X.reshape(40, 2, 2)),
    ],
    ids=["unbuilt", "unbuilt from a function", "columns", "axes"],
)
def test_rows_that_a_model_cannot_take(model, x):
    data = prepare(x, LABELS)
    shape = re.escape(str(data.x.shape[1:]))
    with pytest.raises(ModelError, match=f"cannot take rows of shape {shape}: ") as caught:
        networks.check(builder(model, data)(0), data)
    assert "\x1b" not in str(caught.value)
    assert "Arguments received" not in str(caught.value)


def test_bytes_hold_the_model_and_its_optimizer():
    model = builder(dense)(0)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(THREE.x.array(), THREE.y)
    again = networks.from_bytes(networks.to_bytes(model))
    np.testing.assert_array_equal(again(THREE.x.array()), model(THREE.x.array()))
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bytes_of_a_model_with_a_loss_of_ones_own():
    model = builder(dense)(0)
    model.compile(loss=squares)
    again = networks.from_bytes(networks.to_bytes(model))
    np.testing.assert_array_equal(again(THREE.x.array()), model(THREE.x.array()))
    assert not again.compiled


@pytest.mark.parametrize(
    "loss", [keras.losses.Huber(delta=0.1), keras.losses.CosineSimilarity(axis=0), keras.losses.MeanSquaredError()]
)
def test_bytes_hold_the_arguments_of_the_loss(loss):
    model = builder(dense)(0)
    model.compile(loss=loss)
    again = networks.from_bytes(networks.to_bytes(model))
    assert type(again.loss) is type(loss) and again.loss._fn_kwargs == loss._fn_kwargs
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bytes_run_no_code():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Lambda(lambda x: x + 1)(inputs))
    with pytest.raises(ValueError, match="lambda"):
        networks.from_bytes(networks.to_bytes(model))
