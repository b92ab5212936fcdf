"""Muon: which weights are matrices, what its step is in singular values, and Keras' class."""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.optimizers import muon
from adamtune.optimizers._rule import Place, places
from adamtune.testing import floatx, path

RULE, ADAM = optimizers.get("muon"), optimizers.get("adam")
STEPS = 20
# One step of this is minus the near orthogonal matrix times the root of the longer side.
PLAIN = {"learning_rate": 1.0, "rms_rate": 1.0, "weight_decay": 0.0}


@pytest.fixture
def rng(seed):
    return np.random.default_rng(seed)


def run(gradients, **values):
    return path(RULE, values, lambda w, t: gradients[t - 1], np.ones(gradients.shape[1:]), len(gradients))


# ------------------------------------------------------------------------------------------------ where it is


def test_hidden_matrices_and_convolutions_have_muon():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name="convolution"),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.SeparableConv2D(4, 3, name="separable"),
            keras.layers.Conv2DTranspose(2, 3, name="transposed"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Reshape((-1, 2)),
            keras.layers.GRU(4, name="recurrent"),  # its bias has rank 2
            keras.layers.Dense(5, name="hidden"),
            keras.layers.Dense(3, name="output"),
        ]
    )
    at = {place.path: RULE.update_at(place) for place in places(model.trainable_variables)}
    found = {"/".join(path.split("/")[-2:]) for path, update in at.items() if update is muon.update}
    assert found == {
        "convolution/kernel",
        "separable/pointwise_kernel",
        "gru_cell/kernel",
        "gru_cell/recurrent_kernel",
        "hidden/kernel",
    }
    assert set(at.values()) == {muon.update, muon.adam}


def test_an_embedding_is_no_matrix():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(5, 2), keras.layers.Dense(4)])
    assert {RULE.update_at(place) for place in places(model.trainable_variables)} == {muon.adam}
    assert RULE.update_at(Place("model/attention/query/kernel", (4, 2, 2))) is muon.adam


def test_all_others_have_adam_with_its_share_of_the_rate(rng):
    gradients = rng.normal(size=(STEPS, 7))
    ours = run(
        gradients,
        learning_rate=0.1,
        adam_lr_ratio=0.25,
        adam_beta_1=0.8,
        adam_beta_2=0.9,
        epsilon=1e-3,
        weight_decay=0.0,
    )
    values = {"learning_rate": 0.025, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}
    adams = path(ADAM, values, lambda w, t: gradients[t - 1], np.ones(7), STEPS)
    np.testing.assert_allclose(ours, adams, rtol=1e-12)


def test_a_convolution_is_the_matrix_of_its_filters(rng):
    gradients = rng.normal(size=(STEPS, 2, 3, 3, 4))
    flat = run(gradients.reshape(STEPS, 18, 4), learning_rate=0.1)
    np.testing.assert_allclose(run(gradients, learning_rate=0.1).reshape(flat.shape), flat, rtol=1e-12)


# ------------------------------------------------------------------------------------------------- what it is


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (6, 6)])
def test_singular_values_of_a_step_are_near_one(shape, rng):
    # From 0.3 % of the norm up the polynomial takes all to 0.68 .. 1.21.
    u, _, v = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    g = u @ np.diag(np.geomspace(1, 0.01, min(shape))) @ v
    (weights,) = run(g[None], **PLAIN)
    step = (1 - weights) / np.sqrt(max(shape))
    values = np.linalg.svd(step, compute_uv=False)
    assert (values > 0.68).all() and (values < 1.21).all()
    # Moonlight: elements of the size of rms_rate.
    assert 0.68 < np.sqrt(((1 - weights) ** 2).mean()) < 1.21


def test_a_direction_below_the_reach_of_five_rounds_stays_small():
    (weights,) = run(np.diag([1.0, 1e-6])[None], **PLAIN)
    assert 1 - weights[1, 1] < 1e-3 * np.sqrt(2)


def test_a_rotated_gradient_makes_a_rotated_step(rng):
    gradients = rng.normal(size=(STEPS, 4, 3))
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (4, 3))
    steps, rotated = (1 - run(each, **PLAIN) for each in (gradients, left @ gradients @ right))
    np.testing.assert_allclose(rotated, left @ steps @ right, atol=1e-9)
    transposed = 1 - run(np.swapaxes(gradients, 1, 2), **PLAIN)
    np.testing.assert_allclose(transposed, np.swapaxes(steps, 1, 2), atol=1e-9)


def test_the_scale_of_the_loss_does_not_matter(rng):
    # But for the floor of 1e-7 under the norm.
    gradients = rng.normal(size=(STEPS, 4, 3))
    np.testing.assert_allclose(run(1e4 * gradients, **PLAIN), run(gradients, **PLAIN), atol=1e-4)


def test_a_moving_average_as_momentum_is_the_same_direction(rng):
    # Jordan's and PyTorch's form: m = mu m + (1 - mu) g, then (1 - mu) g + mu m.
    gradients, mu = rng.normal(size=(STEPS, 4, 3)), 0.9
    m, averages = np.zeros((4, 3)), []
    for g in gradients:
        m = mu * m + (1 - mu) * g
        averages.append((1 - mu) * g + mu * m)
    ours = run(gradients, **PLAIN, momentum=mu)
    np.testing.assert_allclose(ours, run(np.stack(averages), **PLAIN, momentum=0.0), atol=1e-4)


# On JAX the norm of Keras goes through float32.
NEAR = 1e-7 if keras.backend.backend() == "jax" else 1e-9


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", NEAR)])
def test_it_is_that_of_keras_with_the_output_layer_excluded(dtype, tolerance, nesterov, rng):
    values = {
        "learning_rate": 2**-5,
        "momentum": 0.875,
        "adam_beta_1": 0.875,
        "adam_beta_2": 1 - 2**-6,
        "adam_lr_ratio": 0.5,
    }
    values |= {"nesterov": nesterov, "rms_rate": 0.25, "weight_decay": 0.25}
    with floatx(dtype):
        # The longer sides are squares: Keras takes their root in float32.
        units = {"one": 9, "two": 16, "top": 3}
        layers = [keras.layers.Dense(n, name=name, dtype=dtype) for name, n in units.items()]
        model = keras.Sequential([keras.Input((4,)), *layers])
        start = model.get_weights()
        gradients = [[rng.normal(size=w.shape) for w in start] for _ in range(STEPS)]
        made = optimizers.Muon(**values)
        theirs = keras.optimizers.Muon(**values, adam_weight_decay=0.25, exclude_layers=["top"])
        ends = []
        for optimizer in (made, theirs):
            model.set_weights(start)
            for now in gradients:
                optimizer.apply([keras.ops.convert_to_tensor(g, dtype=dtype) for g in now], model.trainable_variables)
            ends.append(model.get_weights())
    for one, other, first in zip(*ends, start, strict=True):
        assert np.abs(one - first).max() > 0.01
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
