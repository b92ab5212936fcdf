"""LAMB: the length of its steps, where a norm is 0, its decay, and Keras' class."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing import path
from tests.optimizers import papers

LAMB = optimizers.get("lamb")
SHAPES = [(), (3,), (4, 5), (2, 3, 3, 4)]


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_step_is_a_share_of_the_weight(shape, weight_decay):
    rng = np.random.default_rng(0)
    start, given = (
        rng.normal(size=shape),
        rng.normal(size=(10, *shape)) * 10.0 ** rng.uniform(-5, 5, size=10).reshape(-1, *(1,) * len(shape)),
    )
    values = {"learning_rate": 0.03, "weight_decay": weight_decay}
    weights = [start, *path(LAMB, values, lambda w, t: given[t - 1], start, steps=10)]
    for old, new in pairwise(weights):
        assert np.sqrt(((new - old) ** 2).sum()) == pytest.approx(0.03 * np.sqrt((old**2).sum()), rel=1e-9)


def test_a_weight_of_zeros_takes_the_step_of_adam():
    g = np.random.default_rng(0).normal(size=(4, 5))
    values = {"learning_rate": 0.03, "epsilon": 0.0}
    lamb, adam = (
        path(optimizers.get(name), values, lambda w, t: g, np.zeros((4, 5)), steps=1)[0] for name in ("lamb", "adam")
    )
    np.testing.assert_allclose(lamb, adam, rtol=1e-12)
    np.testing.assert_allclose(lamb, -0.03 * np.sign(g), rtol=1e-12)


def test_a_weight_without_gradients_shrinks_by_the_rate_whatever_the_decay():
    lanes = [{"learning_rate": 0.5, "weight_decay": decay} for decay in (0.0, 1e-4, 1.0)]
    weights = path(LAMB, lanes, lambda w, t: 0 * w, np.ones((3, 2, 2)), steps=3)
    for lane, share in enumerate((1, 0.5, 0.5)):
        np.testing.assert_allclose(weights[:, lane, 0, 0], share ** np.arange(1, 4), rtol=1e-12)


def test_it_does_not_see_the_scale_of_the_loss():
    given = np.random.default_rng(0).normal(size=(30, 4, 5))
    one, other = (
        path(LAMB, {"epsilon": 0.0}, lambda w, t, scale=scale: scale * given[t - 1], np.ones((4, 5)), 30)
        for scale in (1.0, 1e5)
    )
    np.testing.assert_allclose(one, other, rtol=1e-12)


def keras_weights(optimizer, starts, gradients):
    variables = [keras.Variable(start) for start in starts]
    for step in zip(*gradients, strict=True):
        optimizer.apply([ops.convert_to_tensor(g, dtype="float32") for g in step], variables)
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("values", [each for each in papers.get("lamb").VALUES if each["epsilon"]])
def test_it_is_that_of_keras_without_decay(values):
    # Of several weights at once, one of them 0 at the start: every weight has its own ratio.
    rng = np.random.default_rng(0)
    starts = [np.zeros(3), *(rng.normal(size=shape) for shape in SHAPES)]
    gradients = [rng.normal(size=(10, *start.shape)) for start in starts]
    values = values | {"weight_decay": 0.0}
    optimizer = OptimizerConfig("lamb", **values).to_keras(builtin="always")
    assert type(optimizer) is keras.optimizers.Lamb
    for start, given, theirs in zip(starts, gradients, keras_weights(optimizer, starts, gradients), strict=True):
        ours = path(LAMB, values, lambda w, t, given=given: given[t - 1], start, 10, "float32")
        np.testing.assert_allclose(theirs, ours[-1], rtol=1e-5, atol=1e-6)


def test_keras_has_another_decay():
    config = OptimizerConfig("lamb", weight_decay=0.1)
    assert type(config.to_keras()) is optimizers.Lamb
    with pytest.raises(ConfigError, match="outside of the trust ratio"):
        config.to_keras(builtin="always")
    starts, gradients = [np.ones((2, 2))], [np.zeros((3, 2, 2))]
    values = {"learning_rate": 0.5, "weight_decay": 0.1}
    for optimizer, share in ((keras.optimizers.Lamb(**values), 0.95), (optimizers.Lamb(**values), 0.5)):
        np.testing.assert_allclose(keras_weights(optimizer, starts, gradients)[0], share**3, rtol=1e-6)
    assert "loses its bias correction" in LAMB.builtin.unlike(OptimizerConfig("lamb", beta_2=1 - 1e-6).hypers)
    assert "divides 0 by 0" in LAMB.builtin.unlike(OptimizerConfig("lamb", epsilon=0).hypers)
