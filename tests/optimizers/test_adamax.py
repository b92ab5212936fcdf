"""Adamax: the bound of its steps, and what one large gradient does to it."""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing import path

ADAM, ADAMAX = optimizers.get("adam"), optimizers.get("adamax")
PLAIN = {"learning_rate": 1.0, "epsilon": 0.0}


def steps(rule, values, gradients):
    weights = path(rule, values, lambda w, t: gradients[t - 1], np.zeros(gradients.shape[1:]), len(gradients))
    return np.diff(weights, axis=0, prepend=0)


def test_first_step_is_as_long_as_the_rate():
    g = np.array([[1e-6, -3e-2, 1.0, -40.0]])
    for values in ({}, {"beta_1": 0.0}, {"beta_2": 0.3}):
        np.testing.assert_allclose(steps(ADAMAX, PLAIN | values, g), -np.sign(g), rtol=1e-12)


def test_does_not_see_the_scale_of_the_loss(seed):
    gradients = np.random.default_rng(seed).normal(size=(50, 4))
    small, large = (steps(ADAMAX, PLAIN, scale * gradients) for scale in (1.0, 1e5))
    np.testing.assert_allclose(small, large, rtol=1e-10)


def test_a_step_is_bounded_where_beta_2_is_above_beta_1(seed):
    # The worst there is: gradients that shrink as fast as u does.
    bound = (1 - 0.9) / (1 - 0.9 / 0.999)
    worst = steps(ADAMAX, PLAIN, 0.999 ** np.arange(300.0))
    assert np.abs(worst).max() == pytest.approx(bound, rel=1e-9)
    assert 1.009 < bound < 1.01
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(200, 50)) * 10.0 ** rng.uniform(-4, 1, size=(200, 50))
    assert np.abs(steps(ADAMAX, PLAIN, noise)).max() < bound
    assert np.abs(steps(ADAMAX, PLAIN | {"beta_2": 0.7}, 0.7 ** np.arange(50.0))).max() > 1000


def test_a_large_gradient_counts_in_full_and_for_long():
    gradients = np.ones((300, 1))
    gradients[0] = 100
    adamax, adam = (-steps(rule, PLAIN, gradients)[199, 0] for rule in (ADAMAX, ADAM))
    assert adamax == pytest.approx(1 / 100 / 0.999**199, rel=1e-6)
    # Adam's v holds 1 - beta_2 of the square, and its correction is at 0.18 here: after many more steps it is 1 / 3.3.
    assert adam == pytest.approx(np.sqrt((1 - 0.999**200) / (10 * 0.999**199 + 1 - 0.999**199)), rel=1e-3)
    # As in the docstring: u is at 100 * beta_2**k, and down at 1 again after 4,600 updates.
    assert 4600 < np.log(100) / -np.log(0.999) < 4610


def test_epsilon_in_the_maximum_is_remembered():
    # A gradient of 1 and one of 0.3, divided by 0.9 * (1 + 1), and in Keras' form by 0.9 * 1 + 1.
    values = {"learning_rate": 1.0, "beta_1": 0.0, "beta_2": 0.9, "epsilon": 1.0}
    gradients = np.array([1.0, 0.3])
    inside, outside = (steps(ADAMAX, values | {"epsilon_in_maximum": flag}, gradients) for flag in (True, False))
    np.testing.assert_allclose(inside, [-1 / 2, -0.3 / 1.8])
    np.testing.assert_allclose(outside, [-1 / 2, -0.3 / 1.9])


def test_keras_own_class_is_used_where_it_computes_the_same():
    # u needs no correction: a beta_2 near one is as good in Keras' float32 as in ours.
    for values in ({}, {"beta_2": 1 - 1e-6}):
        assert type(OptimizerConfig("adamax", **values).to_keras(builtin="always")) is keras.optimizers.Adamax
    for values, reason in (
        ({"epsilon_in_maximum": True}, "adds epsilon to the quotient"),
        ({"beta_1": 1 - 1e-6}, "loses"),
        ({"epsilon": 0.0, "epsilon_in_maximum": True}, "divides 0 by 0"),
    ):
        with pytest.raises(ConfigError, match=reason):
            OptimizerConfig("adamax", **values).to_keras(builtin="always")
