"""NAdamW: what it is without each of its parts, and which of the Nadams it is."""

import numpy as np
import pytest

from adamtune import optimizers
from adamtune.testing import path

ADAMW, NADAM, NADAMW = (optimizers.get(name) for name in ("adamw", "nadam", "nadamw"))
STEPS = 50


@pytest.fixture
def gradients(seed):
    return np.random.default_rng(seed).normal(size=(STEPS, 4))


@pytest.mark.parametrize("without", [{"nesterov": False}, {"beta_1": 0.0}])
def test_without_looking_ahead_it_is_adamw(without, gradients):
    # beta_1 = 0 leaves nothing to look ahead along.
    common = {"learning_rate": 0.01, "weight_decay": 0.5, "beta_1": without.get("beta_1", 0.9), "epsilon": 0.1}
    adamw, nadamw, other = (
        path(rule, common | values, lambda w, t: gradients[t - 1], np.ones(4), STEPS)
        for rule, values in ((ADAMW, {"epsilon_after_correction": True}), (NADAMW, without), (NADAMW, {"beta_1": 0.9}))
    )
    np.testing.assert_allclose(nadamw, adamw, rtol=1e-12)
    if "nesterov" in without:
        assert np.abs(other - nadamw).max() > 1e-3


def test_first_steps_of_the_nadams():
    # (1 + beta_1) lr here; with corrections for t + 1 and t, which nadam has once its momentum is full, as in optax,
    # (1 + beta_1 / (1 + beta_1)) lr.
    g, common = np.array([1e-6, -3e-2, 1.0, -40.0]), {"learning_rate": 0.01, "beta_1": 0.75, "epsilon": 0.0}
    for rule, values, length in (
        (NADAMW, {"weight_decay": 0.0}, 1.75),
        (NADAM, {"schedule_decay": 1e6}, 1 + 0.75 / 1.75),
    ):
        step = path(rule, common | values, lambda w, t: g, np.zeros(4), steps=1)[0]
        np.testing.assert_allclose(step, -0.01 * length * np.sign(g), rtol=1e-12)


def test_it_decays_once_and_by_default(gradients):
    still = path(NADAMW, {"learning_rate": 0.5, "weight_decay": 0.5}, lambda w, t: 0 * w, 1.0, steps=4)
    np.testing.assert_allclose(still, 0.75 ** np.arange(1, 5), rtol=1e-15)
    decayed, kept = (
        path(NADAMW, values, lambda w, t: gradients[t - 1], np.ones(4), STEPS) for values in ({}, {"weight_decay": 0.0})
    )
    share = (1 - 1e-2 * 1e-3) ** STEPS
    np.testing.assert_allclose(decayed[-1] - kept[-1], share - 1, rtol=0.05)


def test_it_does_not_see_the_scale_of_the_loss(gradients):
    values = {"epsilon": 0.0}
    small, large = (
        path(NADAMW, values, lambda w, t, scale=scale: scale * gradients[t - 1], np.ones(4), STEPS)
        for scale in (1.0, 1e5)
    )
    np.testing.assert_allclose(small, large, rtol=1e-10)
