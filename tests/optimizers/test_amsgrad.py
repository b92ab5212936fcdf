"""AMSGrad: its three forms apart, and the theorem that it was made for."""

from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing import carried, path
from tests.optimizers import papers

ADAM, AMSGRAD = optimizers.get("adam"), optimizers.get("amsgrad")
KERAS, PAPER, OPTAX = {}, {"bias_correction": False}, {"corrected_maximum": True, "epsilon_after_correction": True}


def test_forms_are_three():
    # Six gradients from 1 with a rate of 0.1, in float64: Keras and PyTorch, the paper, optax.
    given = [3.0, -0.5, 0.3, 0.1, 0.7, -0.2]
    values = [{"learning_rate": 0.1, "epsilon": 1e-8, **form} for form in (KERAS, PAPER, OPTAX)]
    weights = path(AMSGRAD, values, lambda w, t: 0 * w + given[t - 1], np.ones(3), steps=6)
    np.testing.assert_allclose(weights[-1], [0.675361, -0.4896, 0.775578], atol=5e-5)
    np.testing.assert_allclose(weights[-1, [0, 2]], [0.675361, 0.775578], atol=1e-6)


def test_is_adam_with_its_mask(seed):
    gradients = np.random.default_rng(seed).normal(size=(50, 4)) * 0.9 ** np.arange(50)[:, None]
    common = {"learning_rate": 0.01, "beta_2": 0.9, "epsilon": 0.1}
    lanes = [common | values for values in ({}, {"epsilon_after_correction": True}, {"bias_correction": False})]
    ours, mask, adam = (
        path(rule, [lane | more for lane in lanes], lambda w, t: 0 * w + gradients[t - 1], np.ones((3, 4)), steps=50)
        for rule, more in ((AMSGRAD, {}), (ADAM, {"amsgrad": True}), (ADAM, {}))
    )
    np.testing.assert_array_equal(ours, mask)
    assert (np.abs(ours - adam).max(axis=(0, 2)) > 1e-3).all()


def test_every_form_is_adam_while_gradients_grow(seed):
    growing = np.random.default_rng(seed).uniform(size=(50, 4)).cumsum(axis=0) * [1, -1, 1, -1]
    for correction in (True, False):
        forms = [{"bias_correction": correction, "corrected_maximum": maximum} for maximum in (False, True)]
        ours = path(AMSGRAD, forms, lambda w, t: 0 * w + growing[t - 1], np.ones((2, 4)), steps=50)
        adam = path(ADAM, {"bias_correction": correction}, lambda w, t: growing[t - 1], np.ones(4), steps=50)
        np.testing.assert_allclose(ours, np.stack([adam, adam], axis=1), rtol=1e-12)


def test_a_corrected_maximum_never_forgets_the_first_gradient():
    # After one gradient of 100 all are 1. Corrected at once it divides by 100 for ever; raw, v starts at 100**2 / 1000.
    values = [{"learning_rate": 1.0, "beta_1": 0.0, "epsilon": 0.0, **form} for form in (OPTAX, KERAS)]
    weights = path(AMSGRAD, values, lambda w, t: 0 * w + (100.0 if t == 1 else 1.0), np.zeros(2), steps=200)
    corrected, raw = weights[-2] - weights[-1]
    assert corrected == pytest.approx(1 / 100, rel=1e-9)
    assert raw == pytest.approx(np.sqrt((1 - 0.999**200) / 10), rel=1e-3)


# ------------------------------------------------------------------- Reddi et al. 2018: where Adam goes the wrong way


def theorem(rule, forms, large, steps):
    """Weights and mean regrets of theorem 1, (forms, sizes): every third gradient is large, others -1, on [-1, 1]."""
    lanes = [{"beta_1": 0.0, "beta_2": 1 / (1 + size**2), "epsilon": 0.0, **form} for form in forms for size in large]
    h = vars(carried(rule, lanes, rank=1))
    often, rare = np.full(len(lanes), -1.0), np.tile(large, len(forms))
    x, regret = ops.zeros((len(lanes),), "float64"), 0.0
    slots = tuple(ops.zeros((len(lanes),), "float64") for _ in rule.slots)
    for t in range(1, steps + 1):
        now = ops.convert_to_tensor(float(t), dtype="float64")
        rate = 0.5 * ops.sqrt(h["one_minus_beta_2"] / now)
        g = ops.convert_to_tensor(rare if t % 3 == 1 else often, dtype="float64")
        regret = regret + g * (x + 1)
        ready, _ = rule.prepare(SimpleNamespace(**h | {"learning_rate": rate}), (), now, None)
        x, slots = rule.update(g, x, slots, ready, now)
        x = ops.clip(x, -1.0, 1.0)
    return [ops.convert_to_numpy(each).reshape(len(forms), len(large)) for each in (x, regret / steps)]


def test_reaches_the_minimum_that_adam_misses():
    (adam,), (adams,) = theorem(ADAM, [PAPER], [3.0, 10.0], 1000)
    np.testing.assert_allclose(adam, 0.984, atol=1e-3)
    np.testing.assert_allclose(adams, [0.678, 5.306], atol=1e-3)
    weights, regrets = theorem(AMSGRAD, [PAPER, KERAS, OPTAX], [3.0, 10.0], 1000)
    np.testing.assert_allclose(weights, -1, atol=1e-3)
    np.testing.assert_allclose(regrets[0], [0.024, 0.038], atol=1e-3)
    assert (regrets < adams / 10).all()


@pytest.mark.parametrize(
    ("name", "form", "end", "regret"),
    [
        ("adam", KERAS, 0.948, 0.681),
        ("amsgrad", KERAS, -0.901, 0.419),
        ("amsgrad", PAPER, -0.801, 0.438),
        ("amsgrad", OPTAX, -0.921, 0.147),
    ],
)
def test_online_example_of_section_3(name, form, end, regret):
    # f is 1010 x every 101st time, else -10 x, on [-1, 1]: 10,000 steps with a rate of 0.5 / sqrt(t). In numpy, where
    # the step does not depend on x and is in proportion to the rate.
    rule, n = optimizers.get(name), np.arange(1, 10_001)
    g = np.where(n % 101 == 1, 1010.0, -10.0)
    values = {hyper.name: hyper.default for hyper in rule.hypers} | {"beta_2": 0.99, "epsilon": 1e-8, **form}
    path_without_bounds = np.array(list(papers.get(name).paper(g, np.zeros(()), **values | {"learning_rate": 1.0})))
    x = [0.0]
    for step in np.diff(path_without_bounds, prepend=0) * 0.5 / np.sqrt(n):
        x.append(min(max(x[-1] + step, -1.0), 1.0))
    assert x[-1] == pytest.approx(end, abs=1e-3)
    assert np.mean(g * (np.array(x[:-1]) + 1)) == pytest.approx(regret, abs=1e-3)


def test_keras_has_no_corrected_maximum():
    with pytest.raises(ConfigError, match="maximum before"):
        OptimizerConfig("amsgrad", corrected_maximum=True).to_keras(builtin="always")
