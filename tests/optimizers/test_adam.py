"""Adam: figures that are known of it, its limit in momentum SGD, and both of its conventions."""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing import path

ADAM, SGD = optimizers.get("adam"), optimizers.get("sgd")
ALGORITHM_1 = {"epsilon_after_correction": True}


def test_path_on_rosenbrock():
    # From (1.5, 1.5), as other float64 programs of Algorithm 1 have it.
    def gradient(w, t):
        x, y = w[0], w[1]
        return keras.ops.stack([2 * (x - 1) - 400 * x * (y - x * x), 200 * (y - x * x)])

    values = {"learning_rate": 0.01, "epsilon": 1e-8, **ALGORITHM_1}
    weights = path(ADAM, values, gradient, [1.5, 1.5], steps=100)
    known = {
        1: (1.49, 1.51),
        10: (1.40295544, 1.59737122),
        100: (1.30006932, 1.69496017),
    }
    for step, point in known.items():
        np.testing.assert_allclose(weights[step - 1], point, atol=1e-8, err_msg=f"step {step}")


@pytest.mark.parametrize(("epsilon", "end"), [(1e-7, 0.0762492), (1e-3, 0.0767501), (1.0, 0.3904880)])
def test_epsilon_after_the_correction_is_that_of_algorithm_1(epsilon, end):
    # On x**2 from 1, ten steps of 0.1; before the correction: 0.0762499, 0.0836905, 0.8800006, see test_references.
    values = {"learning_rate": 0.1, "epsilon": epsilon, **ALGORITHM_1}
    assert path(ADAM, values, lambda w, t: 2 * w, 1.0, steps=10)[-1] == pytest.approx(end, abs=1e-7)


def test_first_step_without_correction():
    # Kingma & Ba 2015, section 6.4: the nearer beta_2 is to one, the longer; 3.2 and 10 learning rates here.
    g = np.array([1e-3, -1.0, 40.0])
    for beta_1, beta_2, length in ((0.9, 0.999, 0.1 / np.sqrt(1e-3)), (0.9, 0.9999, 10.0), (0.0, 0.75, 2.0)):
        values = {"learning_rate": 0.01, "beta_1": beta_1, "beta_2": beta_2, "epsilon": 0.0, "bias_correction": False}
        step = path(ADAM, values, lambda w, t: g, np.zeros(3), steps=1)[0]
        np.testing.assert_allclose(step, -0.01 * length * np.sign(g), rtol=1e-9, err_msg=f"{values}")


def test_a_large_epsilon_makes_momentum_of_adam():
    """Choi et al. 2019, arXiv 1910.05446: Adam contains momentum SGD, at a rate of lr * epsilon / (1 - beta_1)."""
    rate, curvature, epsilons = 0.05, np.array([1.0, 0.3, 0.1]), np.array([1e2, 1e4, 1e6])
    adam = [
        {"learning_rate": rate * epsilon / (1 - 0.9), "epsilon": epsilon, "bias_correction": False}
        for epsilon in epsilons
    ]
    start = np.array([[3.0, -2.0, 5.0]])
    ours, theirs = (
        path(rule, values, lambda w, t: curvature * w, start.repeat(len(values), axis=0), steps=100)
        for rule, values in ((ADAM, adam), (SGD, [{"learning_rate": rate, "momentum": 0.9}]))
    )
    difference = np.abs(ours - theirs).max(axis=(0, 2))
    assert (difference < [1.8e-2, 1.4e-4, 1.4e-6]).all()
    np.testing.assert_allclose(difference * epsilons, difference[-1] * epsilons[-1], rtol=0.01)


def test_without_correction_there_is_one_epsilon(seed):
    gradients = np.random.default_rng(seed).normal(size=(50, 4))
    values = [
        {"epsilon": 0.1, "bias_correction": False, "epsilon_after_correction": after, "amsgrad": amsgrad}
        for amsgrad in (False, True)
        for after in (False, True)
    ]
    weights = path(ADAM, values, lambda w, t: 0 * w + gradients[t - 1], np.ones((4, 4)), steps=50)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 2], weights[:, 3])


@pytest.mark.parametrize("name", ["adam", "adamw", "amsgrad"])
def test_keras_own_class_is_used_where_it_computes_the_same(name):
    for values, reason in (
        ({"epsilon_after_correction": True}, "adds epsilon before"),
        ({"bias_correction": False}, "always corrects"),
        ({"epsilon": 0.0}, "divides 0 by 0"),
    ):
        config = OptimizerConfig(name, **values)
        assert type(config.to_keras()) is getattr(optimizers, optimizers.get(name).class_name)
        with pytest.raises(ConfigError, match=reason):
            config.to_keras(builtin="always")
    made = OptimizerConfig(name).to_keras(builtin="always")
    assert type(made) is (keras.optimizers.AdamW if name == "adamw" else keras.optimizers.Adam)
    assert made.amsgrad is (name == "amsgrad")
