"""Prodigy over several weights at once, against its paper and optax, and the bound that its estimate keeps."""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.testing import floatx, path
from tests.optimizers import oracles
from tests.optimizers.papers import prodigy as paper

RULE = optimizers.get("prodigy")
STEPS = 60
STARTS = [np.linspace(-1, 1, 6).reshape(2, 3), np.array(0.7), np.linspace(2, 0.1, 3)]


@pytest.fixture
def gradients(seed):
    """For each step, the gradients of three weights of different sizes."""
    rng = np.random.default_rng(seed)
    return [
        [size * rng.normal(size=start.shape) for size, start in zip((1, 10, 0.1), STARTS, strict=True)]
        for _ in range(STEPS)
    ]


def trained(gradients, **values):
    """The weights after the last step of our class in float64, and the estimate after each."""
    with floatx("float64"):
        optimizer = optimizers.Prodigy(**values)
        variables = [keras.Variable(start, dtype="float64") for start in STARTS]
        estimates = []
        for now in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in now], variables)
            (d,) = (float(each) for each in optimizer.variables if each.path.endswith("/d"))
            estimates.append(d)
    return [variable.numpy() for variable in variables], np.array(estimates)


@pytest.mark.parametrize("values", paper.VALUES)
def test_all_weights_share_one_estimate(values, gradients):
    *_, theirs = paper.several(gradients, STARTS, **values)
    for one, other in zip(trained(gradients, **values)[0], theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("safeguard_warmup", [False, True])
def test_with_bias_correction_it_is_that_of_optax(safeguard_warmup, gradients):
    oracles.needs("optax")
    import jax
    import optax

    values = {"learning_rate": 0.5, "beta_1": 0.875, "beta_2": 1 - 2**-6, "weight_decay": 2**-4, "d0": 2**-10}
    # Towards somewhere, so that the estimate grows.
    drifting = [[g + size for g, size in zip(now, (1, 10, 0.1), strict=True)] for now in gradients]
    with jax.enable_x64(True):
        theirs = optax.contrib.prodigy(
            values["learning_rate"],
            (values["beta_1"], values["beta_2"]),
            estim_lr0=values["d0"],
            weight_decay=values["weight_decay"],
            safeguard_warmup=safeguard_warmup,
        )
        weights = [jax.numpy.asarray(start) for start in STARTS]
        state = theirs.init(weights)
        for now in drifting:
            updates, state = theirs.update([jax.numpy.asarray(g) for g in now], state, weights)
            weights = optax.apply_updates(weights, updates)
        weights, d = [np.asarray(weight) for weight in weights], float(state.estim_lr)
    ours, estimates = trained(drifting, **values, bias_correction=True, safeguard_warmup=safeguard_warmup)
    assert d > 1.5 * values["d0"]
    assert estimates[-1] == pytest.approx(d, rel=1e-6)
    for one, other in zip(ours, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("distance", [1e-2, 1.0, 1e3])
def test_the_estimate_finds_the_distance_and_never_exceeds_it(distance):
    # Where the loss is convex, sum(g (w - minimum)) >= 0, so n <= sum(s (w_0 - minimum)) <= |s|_1 max|w_0 - minimum|.
    minimum, curvature = distance * np.array([1.0, -0.5, 0.25]), np.array([1.0, 0.3, 0.1])
    estimates, weights = [], keras.Variable(np.zeros(3), dtype="float64")
    with floatx("float64"):
        optimizer = optimizers.Prodigy()
        for _ in range(100):
            g = curvature * (weights.numpy() - minimum)
            optimizer.apply([keras.ops.convert_to_tensor(g)], [weights])
            estimates.append(float(next(each for each in optimizer.variables if each.path.endswith("/d"))))
    assert (np.diff(estimates) >= 0).all()
    assert 0.05 * distance < estimates[-1] <= distance
    assert np.abs(weights.numpy() - minimum).max() < 0.1 * distance


def test_the_scale_of_the_loss_does_not_matter(gradients):
    noise = np.stack([now[0] for now in gradients])
    ours, scaled = (
        path(RULE, {"epsilon": 1e-30}, lambda w, t, c=c: c * (w + noise[t - 1]), STARTS[0], STEPS) for c in (1.0, 1e4)
    )
    np.testing.assert_allclose(ours, scaled, rtol=1e-6)


def test_growth_is_limited_but_from_the_first_estimate():
    pushes = [[np.ones(start.shape) for start in STARTS]] * STEPS
    free, limited = (trained(pushes, d0=1e-6, growth_rate=limit)[1] for limit in (np.inf, 1.02))
    factors = limited[1:] / limited[:-1]
    left = int(np.argmax(limited > 1e-6))
    assert limited[left] == free[left] > 1.02e-6
    np.testing.assert_allclose(factors[left:], 1.02, rtol=1e-6)
    assert (free[1:] / free[:-1]).max() > 1.3


def test_nothing_to_divide_by_leaves_the_estimate(gradients):
    # optax has NaN from the first such step on.
    zeros = [[0 * g for g in now] for now in gradients[:3]]
    weights, estimates = trained([*zeros, *gradients], learning_rate=0.3)
    assert (estimates[:3] == 1e-6).all() and estimates[-1] > 1e-6
    assert all(np.isfinite(weight).all() for weight in weights)
