"""AdaBound and AMSBound: what they are when the bounds are open, when they have closed, and under a schedule."""

import numpy as np
import pytest

from adamtune import optimizers
from adamtune.testing import path

STEPS = 100
ADAM, SGD, ADABOUND, AMSBOUND = (optimizers.get(name) for name in ("adam", "sgd", "adabound", "amsbound"))
BOTH = pytest.mark.parametrize("rule", [ADABOUND, AMSBOUND], ids=["adabound", "amsbound"])


@pytest.fixture
def gradients(seed):
    """Gradients of many sizes, from 1e-4 to 10, that turn their signs."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, 6)) * 10.0 ** rng.uniform(-4, 1, size=(STEPS, 6))


def run(rule, values, gradients, dtype="float64"):
    return path(rule, values, lambda w, t: gradients[t - 1], np.zeros(6), STEPS, dtype)


@BOTH
def test_closed_bounds_make_it_sgd_along_the_mean(rule, gradients):
    values = {"final_lr": 0.3, "gamma": 1e20}
    # The mean by hand; without memory it is the gradient, and all is SGD.
    m, means = np.zeros(6), []
    for g in gradients:
        m = 0.9 * m + 0.1 * g
        means.append(m)
    np.testing.assert_allclose(run(rule, values, gradients), -0.3 * np.cumsum(means, axis=0), rtol=1e-10, atol=1e-12)
    sgd = run(SGD, {"learning_rate": 0.3}, gradients)
    np.testing.assert_allclose(run(rule, values | {"beta_1": 0.0}, gradients), sgd, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rule", "amsgrad"), [(ADABOUND, False), (AMSBOUND, True)], ids=["adabound", "amsbound"])
def test_open_bounds_leave_adam(rule, amsgrad, gradients):
    values = {"learning_rate": 0.01, "beta_2": 0.9, "epsilon": 1e-8}
    open_wide = run(rule, values | {"final_lr": 1e-3, "gamma": 1e-15}, gradients)
    np.testing.assert_allclose(open_wide, run(ADAM, values | {"amsgrad": amsgrad}, gradients), rtol=1e-10, atol=1e-14)


def test_amsbound_is_adabound_while_gradients_grow_and_not_after(gradients):
    values = {"learning_rate": 0.01, "beta_2": 0.9, "gamma": 1e-6}
    growing = np.abs(gradients).cumsum(axis=0) * np.sign(gradients)
    adabound, amsbound = (run(rule, values, growing) for rule in (ADABOUND, AMSBOUND))
    np.testing.assert_array_equal(adabound, amsbound)
    adabound, amsbound = (run(rule, values, growing[::-1]) for rule in (ADABOUND, AMSBOUND))
    assert np.abs(adabound - amsbound).max() > 0.1 * np.abs(adabound).max()


def authors(gradients, rates, final_lr, gamma):
    """The authors' loop, whose `base_lr` is the rate of the first step, with their other defaults."""
    w = m = v = np.zeros(6)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.999 * v + (1 - 0.999) * g * g
        final = final_lr * rate / rates[0]
        low, high = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        step_size = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        w = w - np.clip(step_size / (np.sqrt(v) + 1e-8), low, high) * m
        yield w


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ({"schedule": "inverse_time", "decay": 0.1}, 0.01 / (1 + 0.1 * np.arange(STEPS))),
        ({"schedule": "linear", "final": 0.25}, 0.01 * (1 - 0.75 * np.arange(STEPS) / STEPS)),
    ],
    ids=["inverse_time", "linear"],
)
def test_the_final_rate_follows_a_falling_schedule_as_the_authors_does(schedule, rates, gradients):
    values = {"learning_rate": 0.01, "final_lr": 0.1, "gamma": 0.1}
    theirs = np.stack(list(authors(gradients, rates, 0.1, 0.1)))
    np.testing.assert_allclose(run(ADABOUND, values | schedule, gradients), theirs, rtol=1e-9, atol=1e-12)


@BOTH
def test_a_warmup_does_not_raise_the_final_rate(rule):
    # Bounds that are closed from the start, so each step is the final rate at that step; the authors' would be 5 times
    # final_lr once the warmup, whose first rate is a fifth, is over.
    values = {"final_lr": 0.1, "gamma": 1e20, "beta_1": 0.0, "warmup": 0.04, "schedule": "linear", "final": 0.5}
    weights = path(rule, values, lambda w, t: -1.0, 0.0, steps=STEPS)
    steps = np.diff(weights, prepend=0.0)
    np.testing.assert_allclose(steps[:5], 0.1, rtol=1e-9)
    # And it falls with the rate again: to half of it at the end.
    np.testing.assert_allclose(steps[[52, 99]], [0.1 * 0.75, 0.1 * (0.5 + 0.5 / 96)], rtol=1e-9)


def test_the_lower_bound_is_exact_in_float32():
    # 1 - 1 / (gamma t + 1) as a difference would be off by 3e-4 here.
    values = {"learning_rate": 1e-12, "gamma": 2.3e-4, "beta_1": 0.0}
    step = path(ADABOUND, values, lambda w, t: -1.0, 0.0, 1, "float32")[0]
    assert step == pytest.approx(0.1 * 2.3e-4 / (1 + 2.3e-4), rel=1e-6)


@BOTH
def test_a_clipped_step_sees_the_scale_of_the_loss(rule, gradients):
    # At the bounds a step is proportional to the gradient, between them it does not depend on its scale.
    for gamma, is_like_sgd in ((1e20, True), (1e-15, False)):
        values = {"epsilon": 0.0, "gamma": gamma}
        small, large = (run(rule, values, scale * gradients) for scale in (1.0, 8.0))
        np.testing.assert_allclose(large, (8.0 if is_like_sgd else 1.0) * small, rtol=1e-9, atol=1e-13)


@BOTH
def test_neither_a_rate_nor_a_gradient_of_zero_makes_a_nan(rule):
    # A linear schedule that ends at 0, on a unit that is dead at first, without a floor under the root.
    values = {"schedule": "linear", "final": 0.0, "epsilon": 0.0}
    given = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    weights = path(rule, values, lambda w, t: given[t - 1], 1.0, 6, "float32")
    assert np.isfinite(weights).all()
    np.testing.assert_array_equal(weights[:3], 1.0)
    assert weights[3] < 1.0
