"""Lion: its sign, its two betas, its decay, and Keras' class."""

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing import path
from tests.optimizers import papers

LION = optimizers.get("lion")
GRADIENTS = np.random.default_rng(0).normal(size=(30, 6))


def test_without_memory_it_is_the_descent_along_the_sign():
    # Old gradients a million times larger, whose rounding is larger than the new ones, leave nothing behind.
    gradients = GRADIENTS * np.where(np.arange(30) % 2, 1e-6, 1e6)[:, None]
    values = {"learning_rate": 0.25, "beta_1": 0.0, "beta_2": 0.0}
    weights = path(LION, values, lambda w, t: gradients[t - 1], np.zeros(6), steps=30, dtype="float32")
    np.testing.assert_array_equal(weights, -0.25 * np.sign(gradients).cumsum(axis=0))


def test_the_mean_moves_after_the_step_and_more_slowly():
    # After a gradient of 1 the mean is 0.01, so it takes one below -0.09 to turn the step. Moved before the step it
    # would take one below -0.0908, with the beta of the step one below -0.9.
    second = np.array([-0.0895, -0.0905, -0.5, 0.0])
    weights = path(LION, {"learning_rate": 1.0}, lambda w, t: 0 * w + (1.0 if t == 1 else second), np.zeros(4), 2)
    np.testing.assert_array_equal(weights, [[-1, -1, -1, -1], [-2, 0, 0, -2]])


def test_it_does_not_see_the_scale_of_the_loss():
    one, other = (
        path(LION, {}, lambda w, t, scale=scale: scale * GRADIENTS[t - 1], np.ones(6), 30) for scale in (1, 2.0**40)
    )
    np.testing.assert_array_equal(one, other)


def test_the_decay_around_every_rule_is_that_of_algorithm_2():
    values = {"learning_rate": 0.01, "weight_decay": 3.0}
    ours = path(LION, values, lambda w, t: GRADIENTS[t - 1], np.ones(6), 30)
    w, m = np.ones(6), np.zeros(6)
    for g, weight in zip(GRADIENTS, ours, strict=True):
        w = w - 0.01 * (np.sign(0.9 * m + 0.1 * g) + 3.0 * w)
        m = 0.99 * m + 0.01 * g
        np.testing.assert_allclose(weight, w, rtol=1e-13)


@pytest.mark.parametrize("values", [values for values in papers.get("lion").VALUES if values["beta_1"]])
def test_it_is_that_of_keras(values):
    variable = keras.Variable(np.ones(6))
    optimizer = OptimizerConfig("lion", **values).to_keras(builtin="always")
    assert type(optimizer) is keras.optimizers.Lion
    for g in GRADIENTS:
        optimizer.apply([ops.convert_to_tensor(g, dtype="float32")], [variable])
    ours = path(LION, values, lambda w, t: GRADIENTS[t - 1], np.ones(6), 30, "float32")
    np.testing.assert_allclose(variable.numpy(), ours[-1], rtol=1e-6, atol=1e-6)


def test_keras_refuses_what_is_ours_then():
    config = OptimizerConfig("lion", beta_1=0.0)
    assert type(config.to_keras()) is optimizers.Lion
    with pytest.raises(ConfigError, match="refuses beta_1=0"):
        config.to_keras(builtin="always")
    with pytest.raises(ValueError, match="beta_1"):
        keras.optimizers.Lion(beta_1=0.0)
