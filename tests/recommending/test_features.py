from dataclasses import fields, replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from adamtune.recommending.features import COORDINATES, Features, of_default_network, of_model
from adamtune.tasks import networks
from adamtune.tasks.data import prepare
from adamtune.tasks.sizes import hidden_width

SMALL = Features(False, n_rows=96, n_inputs=4, n_outputs=3, batch_size=32, epochs=10, n_weights=500, depth=3, width=64)
KINDS = {"recurrent", "convolutional", "embedded", "attending", "normalised", "dropped"}

# What each field may be.
DRAWN = {"bool": st.booleans(), "int": st.integers(1, 10**9), "float": st.floats(1, 1e9)}
ANY = st.builds(Features, **{field.name: DRAWN[str(field.type)] for field in fields(Features)})


@given(ANY)
def test_features_come_back_from_plain_numbers(features):
    assert Features.from_dict(features.to_dict()) == features


def test_what_is_not_said_counts_as_zero():
    said = SMALL.to_dict()
    del said["dropped"], said["n_weights"]
    assert Features.from_dict(said) == replace(SMALL, n_weights=0)


@given(st.integers(1, 10**4), st.integers(1, 300), st.integers(1, 50))
def test_every_batch_is_a_step_a_short_one_too(n_rows, batch_size, epochs):
    features = replace(SMALL, n_rows=n_rows, batch_size=batch_size, epochs=epochs)
    assert features.steps == epochs * len(range(0, n_rows, batch_size))


@given(ANY)
def test_coordinates_are_finite_even_of_nothing(features):
    assert np.isfinite(features.vector()).all()
    assert np.isfinite(Features.from_dict({"batch_size": 1}).vector()).all()


@pytest.mark.parametrize("name", [name for name in COORDINATES if name not in ("steps", "batch_size")])
def test_each_coordinate_is_of_one_feature(name):
    value = getattr(SMALL, name)
    other = replace(SMALL, **{name: not value if isinstance(value, bool) else value + 1})
    moved = other.vector() != SMALL.vector()
    assert [coordinate for coordinate, is_moved in zip(COORDINATES, moved, strict=True) if is_moved] == [name]


def test_rows_and_epochs_count_by_the_steps_they_make():
    longer = replace(SMALL, n_rows=2 * SMALL.n_rows, epochs=SMALL.epochs // 2)
    np.testing.assert_array_equal(longer.vector(), SMALL.vector())
    assert (replace(SMALL, epochs=11).vector() != SMALL.vector()).any()


# ----------------------------------------------------------------------------------------------------------- networks

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(30, 5))


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (TABLE, np.arange(30) % 2),
        (TABLE, np.arange(30) % 3),
        (TABLE, TABLE[:, 0]),
        (TABLE, TABLE[:, :2]),
        (TABLE, (TABLE[:, :3] > 0).astype(int)),
        (RNG.integers(0, 255, (30, 6, 6, 1)).astype("uint8"), np.arange(30) % 3),
        ({"one": TABLE, "other": TABLE[:, :3]}, TABLE[:, 0]),
        (RNG.normal(size=(30, 100)), np.arange(30) % 2),
    ],
    ids=["binary", "multiclass", "regression", "targets", "labels", "images", "dict", "wide"],
)
def test_the_default_network_is_known_without_making_it(X, y):
    data = prepare(X, y, kind="auto")
    n_inputs = sum(int(np.prod(part.row_shape)) for part in data.x.parts.values())
    network = networks.default_network(data, np.arange(20))
    known = of_default_network(n_inputs, data.n_outputs, hidden_width(n_inputs))
    assert Features(**SMALL.to_dict() | known) == Features(**SMALL.to_dict() | of_model(network))


def of_layers(*stacked, shape=(8, 6), dtype="float32"):
    return of_model(keras.Sequential([keras.Input(shape, dtype=dtype), *stacked]))


@pytest.mark.parametrize(
    ("layer", "kinds"),
    [
        (layers.Dense(3), set()),
        (layers.LSTM(3), {"recurrent"}),
        (layers.Bidirectional(layers.GRU(3)), {"recurrent"}),
        (layers.RNN(layers.SimpleRNNCell(3)), {"recurrent"}),
        (layers.TimeDistributed(layers.Dense(3)), set()),
        (layers.Conv1D(3, 2), {"convolutional"}),
        (layers.SeparableConv1D(3, 2), {"convolutional"}),
        (layers.BatchNormalization(), {"normalised"}),
        (layers.LayerNormalization(), {"normalised"}),
        (layers.Normalization(mean=0.0, variance=1.0), set()),  # scales the inputs, and learns nothing
        (layers.SpatialDropout1D(0.5), {"dropped"}),
        (keras.Sequential([layers.Dense(3), keras.Sequential([layers.Dropout(0.5)])]), {"dropped"}),
    ],
    ids=lambda given: given.name if isinstance(given, layers.Layer) else "",
)
def test_kinds_of_layers_show_wherever_they_are(layer, kinds):
    found = of_layers(layer, layers.Dense(2))
    assert {kind for kind in KINDS if found[kind]} == kinds


def test_attention_and_embeddings_show():
    tokens = keras.Input((8,), dtype="int32")
    x = layers.Embedding(20, 6)(tokens)
    found = of_model(keras.Model(tokens, layers.Dense(2)(layers.MultiHeadAttention(2, 3)(x, x))))
    assert found["attending"] and found["embedded"] and not found["recurrent"]


def test_weights_are_those_that_train():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(4)])
    every = of_model(model)
    assert every["n_weights"] == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    model.layers[0].trainable = False
    frozen = of_model(model)
    assert (every["n_weights"] - frozen["n_weights"], every["depth"] - frozen["depth"]) == (6 * 5 + 5, 1)


def test_depth_and_width_are_of_the_layers_that_multiply():
    found = of_layers(layers.Conv1D(3, 2), layers.Flatten(), layers.Dense(7), layers.Dropout(0.5), layers.Dense(2))
    assert (found["depth"], found["width"]) == (3, 12)  # 2 x 6, 7 x 3, 7


def test_an_embedding_looks_up_and_multiplies_nothing():
    found = of_layers(layers.Embedding(20, 6), layers.Flatten(), layers.Dense(2), shape=(8,), dtype="int32")
    assert (found["depth"], found["width"]) == (1, 8 * 6)


def test_a_dense_layer_of_the_shape_of_an_embedding_counts():
    lookup = layers.Embedding(6, 4)
    found = of_layers(lookup, layers.Flatten(), layers.Dense(6), layers.Dense(4), shape=(3,), dtype="int32")
    assert found["depth"] == 2


def test_a_model_that_multiplies_nothing_has_a_width_all_the_same():
    found = of_layers(layers.BatchNormalization())
    assert (found["depth"], found["width"]) == (0, 1)
