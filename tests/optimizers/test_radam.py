"""RAdam: when it begins to divide, how far it trusts, and what it is before and after."""

import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.optimizers.radam import length
from adamtune.testing import path

ADAM, RADAM, SGD = (optimizers.get(name) for name in ("adam", "radam", "sgd"))


def steps_on(g, values, steps, dtype="float64"):
    """Lengths of the steps on always the same gradient."""
    weights = path(RADAM, {"epsilon": 0.0, **values}, lambda w, t: 0 * w + g, 0.0, steps, dtype)
    return np.abs(np.diff(weights, prepend=0.0))


def rho(one_minus_beta_2, t, dtype):
    return ops.convert_to_numpy(length(*(ops.convert_to_tensor(each, dtype=dtype) for each in (one_minus_beta_2, t))))


@pytest.mark.parametrize(
    ("dtype", "beta_2"), [("float64", 0.9), ("float64", 0.99), ("float32", 0.999), ("float32", 1 - 1e-5)]
)
@pytest.mark.parametrize(("threshold", "first"), [(4, 5), (5, 6)])
def test_the_first_step_that_divides(beta_2, dtype, threshold, first):
    # Before, steps are in proportion to the gradient; after, they are not, and shorter than the rate.
    values = {"learning_rate": 1e-3, "beta_2": beta_2, "threshold": threshold}
    steps = steps_on(1000.0, values, 10, dtype)
    np.testing.assert_allclose(steps[: first - 1], 1.0, rtol=1e-5)
    assert (steps[first - 1 :] < 1e-3).all()


def test_no_step_meets_the_threshold():
    # So it does not matter that PyTorch asks for more than 5 and optax for 5 at least.
    t = np.arange(1.0, 1000.0)
    for one_minus_beta_2 in (0.3, 0.1, 0.05, 0.01, 1e-3, 1e-4):
        found = rho(one_minus_beta_2, t, "float64")
        assert (np.diff(found[:50]) > 0).all()
        assert min(np.abs(found - 4).min(), np.abs(found - 5).min()) > 1e-4


@pytest.mark.parametrize("one_minus_beta_2", [1.0, 0.5, 0.3, 0.1, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-11)])
def test_the_length_is_exact_near_one(one_minus_beta_2, dtype, tolerance):
    # As in the paper's section 4.2: what has the mean age of the exponential average, summed up one by one.
    carried = float(np.dtype(dtype).type(one_minus_beta_2))
    t = np.array([1, 2, 5, 6, 7, 30, 100, 1000, 20_000])
    shares = (1 - carried) ** np.arange(t.max())
    ages = np.cumsum(shares * np.arange(1, t.max() + 1)) / np.cumsum(shares)
    np.testing.assert_allclose(rho(one_minus_beta_2, t, dtype), 2 * ages[t - 1] - 1, rtol=tolerance)


def test_with_little_memory_it_is_sgd_for_ever(seed):
    # At beta_2 = 2/3 rho_inf is 5, and for a threshold of 4 enough.
    gradients = np.random.default_rng(seed).normal(size=(100, 4))
    lanes = [
        {"beta_2": beta_2, "threshold": threshold} for beta_2, threshold in ((0, 1), (0.5, 1), (0.6, 4), (2 / 3, 5))
    ]
    radam, sgd = (
        path(rule, [{"learning_rate": 0.01, **v} for v in values], lambda w, t: 0 * w + gradients[t - 1], start, 100)
        for rule, values, start in (
            (RADAM, [{"beta_1": 0.0, **lane} for lane in lanes], np.ones((4, 4))),
            (SGD, [{}], np.ones((1, 4))),
        )
    )
    np.testing.assert_allclose(radam, np.repeat(sgd, 4, axis=1), rtol=1e-12)


def test_it_ends_as_adam(seed):
    gradients = np.random.default_rng(seed).normal(size=(120, 4))
    lanes = [{"beta_2": 0.8, "epsilon": 0.1, "epsilon_after_correction": after} for after in (False, True)]
    radam, adam = (
        np.diff(path(rule, lanes, lambda w, t: 0 * w + gradients[t - 1], np.ones((2, 4)), 120), axis=0)
        for rule in (RADAM, ADAM)
    )
    np.testing.assert_allclose(radam[-40:], adam[-40:], rtol=1e-5)
    assert np.abs(radam[:20] / adam[:20] - 1).max() > 0.1


def test_trust_grows():
    # On a constant gradient Adam's step is the rate, so what is left of it is r; rho is 5.389565 at first, 19 at last.
    r = steps_on(7.0, {"learning_rate": 1.0, "beta_2": 0.9}, 100)[5:]
    assert r[0] == pytest.approx(np.sqrt(1.389565 * 3.389565 * 19 / (15 * 17 * 5.389565)), rel=1e-6)
    assert (np.diff(r) > 0).all()
    assert 0.99 < r[-1] < 1
