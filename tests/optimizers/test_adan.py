"""Adan: its first step, what the differences of gradients do, and its two decays."""

import numpy as np
import pytest

from adamtune import optimizers
from adamtune.testing import path

ADAN, ADAM = optimizers.get("adan"), optimizers.get("adam")
GRADIENTS = np.random.default_rng(0).normal(size=(30, 6))


def test_the_first_step_has_the_length_of_the_rate():
    g = np.array([1e-6, -3e-2, 1.0, -40.0])
    lanes = [
        {"learning_rate": 0.01, "beta_1": beta_1, "beta_2": beta_2, "beta_3": beta_3, "epsilon": 0.0}
        for beta_1, beta_2, beta_3 in ((0.98, 0.92, 0.99), (0.0, 0.5, 0.9), (0.9, 0.0, 0.0))
    ]
    weights = path(ADAN, lanes, lambda w, t: 0 * w + g, np.zeros((3, 4)), steps=1)
    np.testing.assert_allclose(weights[0], [-0.01 * np.sign(g)] * 3, rtol=1e-12)


def test_the_difference_counts_with_beta_2():
    # Gradients 1 and 3 with a memory of differences alone: v / (1 - b^2) is 2 / (1 + b) for b = beta_2 = 0.92. With
    # optax's 1 - b where b stands before it, the second step would be 0.976 long; with a first difference from a
    # gradient of 0, 0.909.
    values = {"learning_rate": 1.0, "beta_1": 0.0, "beta_3": 0.0, "epsilon": 0.0}
    weights = path(ADAN, values, lambda w, t: 0 * w + (1.0, 3.0)[t - 1], 0.0, steps=2)
    step = (3 + 0.92 * 2 / 1.92) / (3 + 0.92 * 2)
    np.testing.assert_allclose(weights, [-1, -1 - step], rtol=1e-12)
    assert step == pytest.approx(0.818, abs=1e-3)


def test_without_differences_it_is_adam():
    values = {"learning_rate": 0.01, "beta_1": 0.8, "epsilon": 0.0}
    adan = path(ADAN, values | {"beta_2": 0.0, "beta_3": 0.95}, lambda w, t: GRADIENTS[t - 1], np.ones(6), 30)
    adam = path(ADAM, values | {"beta_2": 0.95}, lambda w, t: GRADIENTS[t - 1], np.ones(6), 30)
    np.testing.assert_allclose(adan, adam, rtol=1e-12)


def test_it_does_not_see_the_scale_of_the_loss():
    one, other = (
        path(ADAN, {"epsilon": 0.0}, lambda w, t, scale=scale: scale * GRADIENTS[t - 1], np.ones(6), 30)
        for scale in (1.0, 1e5)
    )
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_proximal_decay_never_crosses_zero():
    lanes = [{"learning_rate": 0.5, "weight_decay": 8.0, "no_prox": no_prox} for no_prox in (False, True)]
    weights = path(ADAN, lanes, lambda w, t: 0 * w, np.ones((2, 1)), steps=3)[:, :, 0]
    np.testing.assert_allclose(weights, [[5.0**-t, (-3.0) ** t] for t in (1, 2, 3)], rtol=1e-12)


def test_where_decay_and_step_meet():
    # One step of -1 from 1, at lr weight_decay = 1: half of what is left after the step, or the step off nothing.
    lanes = [{"learning_rate": 1.0, "weight_decay": 1.0, "no_prox": no_prox} for no_prox in (False, True)]
    weights = path(ADAN, [lane | {"epsilon": 0.0} for lane in lanes], lambda w, t: 0 * w - 1, np.ones((2, 1)), steps=1)
    np.testing.assert_allclose(weights[0, :, 0], [1.0, 1.0], rtol=1e-12)
    weights = path(ADAN, [lane | {"epsilon": 0.0} for lane in lanes], lambda w, t: 0 * w - 1, [[5.0]] * 2, steps=1)
    np.testing.assert_allclose(weights[0, :, 0], [3.0, 1.0], rtol=1e-12)


def test_without_a_decay_both_are_the_same():
    plain, other = (path(ADAN, {"no_prox": flag}, lambda w, t: GRADIENTS[t - 1], np.ones(6), 30) for flag in (0, 1))
    np.testing.assert_array_equal(plain, other)
