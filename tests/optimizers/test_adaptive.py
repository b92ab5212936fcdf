"""Adagrad, Adadelta, RMSprop, Yogi and AdaBelief against theorems, identities and figures that are known of them."""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.testing import path

STEPS = 100
ADAM, ADAGRAD, ADADELTA, RMSPROP, YOGI, ADABELIEF = (
    optimizers.get(name) for name in ("adam", "adagrad", "adadelta", "rmsprop", "yogi", "adabelief")
)
# What each is without a floor under its root.
BARE = [
    pytest.param(ADAGRAD, {"initial_accumulator_value": 0.0, "epsilon": 0.0}, id="adagrad"),
    pytest.param(RMSPROP, {"epsilon": 0.0}, id="rmsprop"),
    pytest.param(YOGI, {"initial_accumulator_value": 0.0, "epsilon": 0.0}, id="yogi"),
    pytest.param(ADABELIEF, {"epsilon": 0.0}, id="adabelief"),
]


@pytest.fixture
def gradients(seed):
    """Gradients of many sizes, from 1e-4 to 10, that turn their signs."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, 6)) * 10.0 ** rng.uniform(-4, 1, size=(STEPS, 6))


# -------------------------------------------------------------------------------------------- Wilson et al. 2017


def wilsons_problem(n_positive=28, n_negative=12):
    """Least squares of section 3.3, whose features are 0 or 1 but for the first, which is the label.

    The next two are always 1, and then each sample has features of its own: one where positive, five where negative.
    """
    y = np.array([1.0] * n_positive + [-1.0] * n_negative)
    own = np.where(y > 0, 1, 5)
    private = np.zeros((len(y), own.sum()))
    for row, (end, n) in enumerate(zip(own.cumsum(), own, strict=True)):
        private[row, end - n : end] = 1.0
    return np.column_stack([y, np.ones_like(y), np.ones_like(y), private]), y


@pytest.mark.parametrize(
    ("name", "values", "generalises"),
    [
        ("sgd", {"learning_rate": 0.01}, True),
        ("adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0, "epsilon": 0.0}, False),
        ("rmsprop", {"learning_rate": 0.03, "schedule": "inverse_sqrt", "epsilon": 0.0}, False),
        ("adam", {"learning_rate": 0.03, "schedule": "inverse_sqrt", "epsilon": 1e-30}, False),
    ],
)
def test_adaptive_methods_memorise_what_gradient_descent_generalises(name, values, generalises):
    """Wilson et al. 2017, arXiv 1705.08292, lemma 3.1 and section 3.3: all fit the samples, and differ on new ones."""
    x, y = wilsons_problem()
    w = path(optimizers.get(name), values, lambda w, t: x.T @ (x @ np.asarray(w) - y), np.zeros(x.shape[1]), 300)[-1]
    assert (np.sign(x @ w) == y).all()
    # A new sample's own features have never been seen: their weights are 0. Half of them are negative.
    labels = np.array([1.0, -1.0])
    wrong = np.mean(np.sign(w[0] * labels + w[1] + w[2]) != labels)
    assert wrong == (0.0 if generalises else 0.5)
    # The solution of an adaptive method is a number times the signs of x^T y, which counts a label as it counts a 1.
    spread = np.ptp(np.abs(w)) / np.abs(w).max()
    assert spread > 0.1 if generalises else spread < 1e-9


# ------------------------------------------------------------------------------------------------- first steps


def first_step(rule, values, g):
    return path(rule, values, lambda w, t: g, np.zeros_like(g), steps=1)[0]


def test_first_steps():
    g = np.array([1e-6, -3e-2, 1.0, -40.0])
    nothing = {"initial_accumulator_value": 0.0, "epsilon": 0.0}
    for outside in (False, True):
        where = {"epsilon_outside_root": outside}
        adagrad = {"learning_rate": 0.01, **nothing, **where}
        np.testing.assert_allclose(first_step(ADAGRAD, adagrad, g), -0.01 * np.sign(g), rtol=1e-12)
        rmsprop = {"learning_rate": 0.01, "rho": 0.75, "epsilon": 0.0, **where}
        np.testing.assert_allclose(first_step(RMSPROP, rmsprop, g), -0.02 * np.sign(g), rtol=1e-12)
    yogi = {"learning_rate": 0.01, "beta_1": 0.75, "beta_2": 0.96, **nothing}
    np.testing.assert_allclose(first_step(YOGI, yogi, g), -0.01 * 0.25 / 0.2 * np.sign(g), rtol=1e-12)
    yogi["bias_correction"] = True
    np.testing.assert_allclose(first_step(YOGI, yogi, g), -0.01 * np.sign(g), rtol=1e-12)
    adabelief = {"learning_rate": 0.01, "beta_1": 0.75, "epsilon": 0.0}
    np.testing.assert_allclose(first_step(ADABELIEF, adabelief, g), -0.01 / 0.75 * np.sign(g), rtol=1e-12)


def test_the_start_of_adagrads_sum_shortens_the_first_step():
    assert first_step(ADAGRAD, {"learning_rate": 1.0}, np.array([0.01])) == pytest.approx(-0.0316, abs=1e-4)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-4, 1.0])
def test_epsilon_sets_the_first_step_of_adadelta(epsilon):
    g = np.array([1e-6, -3e-2, 1.0, -40.0])
    for rate in (1e-3, 1.0):
        step = first_step(ADADELTA, {"learning_rate": rate, "rho": 0.9, "epsilon": epsilon}, g)
        np.testing.assert_allclose(step, -rate * np.sqrt(epsilon / (0.1 * g**2 + epsilon)) * g, rtol=1e-12)


def test_adadelta_stands_still_at_the_rate_of_keras():
    # On 0.5 * w**2 from w = 1, with the other values of Keras.
    left = {rate: path(ADADELTA, {"learning_rate": rate}, lambda w, t: w, 1.0, 500)[-1] for rate in (1e-3, 1.0)}
    assert left[1e-3] > 0.99
    assert left[1.0] < 0.5


# ------------------------------------------------------------------------------------------- epsilon and its place


def test_epsilon_under_the_root_is_another_number_than_beside_it():
    # The root of the mean square is 0.1 * sqrt(0.1); epsilon under it is 0.01, and beside it.
    values = {"learning_rate": 0.1, "epsilon": 1e-2}
    for outside, step in ((False, 0.0953), (True, 0.2403)):
        found = first_step(RMSPROP, values | {"epsilon_outside_root": outside}, np.array([-0.1]))
        assert found == pytest.approx(step, abs=5e-5)


@pytest.mark.parametrize("name", ["adagrad", "rmsprop"])
def test_keras_own_class_is_used_where_it_computes_the_same(name):
    own, theirs = (getattr(module, optimizers.get(name).class_name) for module in (optimizers, keras.optimizers))
    for hypers, cls in (
        ({}, theirs),
        ({"epsilon": 0.1}, theirs),
        ({"epsilon_outside_root": True}, own),
        ({"epsilon": 0.0} | ({"initial_accumulator_value": 0.0} if name == "adagrad" else {}), own),
    ):
        assert type(OptimizerConfig(name, **hypers).to_keras()) is cls, hypers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rule", "bare"), BARE)
def test_a_gradient_of_zero_makes_no_nan(rule, bare, dtype):
    # A unit that is dead at first: its first gradients are 0, and nothing is added to their root.
    flags = [hyper.name for hyper in rule.hypers if hyper.scale == "flag"]
    lanes = [bare, *(bare | {flag: True} for flag in flags)]
    given = [np.array([0.0, 1.0])] * 3 + [np.array([2.0, 0.0])] * 3
    weights = path(rule, lanes, lambda w, t: 0 * w + given[t - 1], np.ones((len(lanes), 2)), 6, dtype)
    assert np.isfinite(weights).all()
    np.testing.assert_array_equal(weights[2, :, 0], 1.0)
    assert (weights[-1] != 1.0).all()


# ------------------------------------------------------------------------------------------- the scale of the loss


def scaled(rule, values, gradients, scale):
    return path(rule, values, lambda w, t: scale * gradients[t - 1], np.ones(6), STEPS)


@pytest.mark.parametrize(("rule", "bare"), BARE)
def test_the_scale_of_the_loss_does_not_matter_without_a_floor(rule, bare, gradients):
    small, large = (scaled(rule, bare, gradients, scale) for scale in (1.0, 1e5))
    np.testing.assert_allclose(small, large, rtol=1e-9)


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (ADAGRAD, {"epsilon": 0.0}),
        (ADADELTA, {"learning_rate": 1.0, "epsilon": 1e-2}),
        (YOGI, {"epsilon": 0.0, "initial_accumulator_value": 1.0}),
    ],
    ids=["adagrad", "adadelta", "yogi"],
)
def test_the_scale_of_the_loss_matters_where_a_sum_starts_above_zero(rule, values, gradients):
    small, large = (scaled(rule, values, gradients, scale) for scale in (1e-2, 1.0))
    assert np.abs(small - large)[-1].max() > 0.05 * np.abs(large[-1] - 1).max()


# ------------------------------------------------------------------------------------------------------ Yogi


def test_a_calm_does_not_make_yogis_steps_large():
    # One gradient of 10, then 500 of 0.01: Adam has forgotten the first one, Yogi has not.
    values = {"learning_rate": 0.01, "beta_1": 0.0, "beta_2": 0.9, "epsilon": 1e-8}
    last = {}
    for rule in (ADAM, YOGI):
        weights = path(rule, values, lambda w, t: 0 * w + (10.0 if t == 1 else 0.01), np.zeros(1), 501)[:, 0]
        last[rule.name] = weights[-2] - weights[-1]
    assert last["adam"] == pytest.approx(0.01, rel=1e-3)
    # v is 0.1 * 10^2 and loses 0.1 * 0.01^2 a step.
    assert last["yogi"] == pytest.approx(0.01 * 0.01 / np.sqrt(10 - 500 * 1e-5), rel=1e-3)


def test_yogi_with_bias_correction_is_that_of_optax():
    # By optax.yogi(0.1) of optax 0.2.8 in float64, which starts m at 1e-6 as well.
    given = [3.0, -0.5, 0.3, 0.1, 0.7, -0.2]
    values = {"learning_rate": 0.1, "bias_correction": True}
    weights = path(YOGI, values, lambda w, t: given[t - 1], 1.0, steps=6)
    np.testing.assert_allclose(weights[[0, -1]], [0.90003857, 0.67585496], atol=1e-8)
    # So a weight moves without gradients: m is 9e-6 after its correction, v is 1e-3.
    still = path(YOGI, values, lambda w, t: 0.0, 0.0, steps=1)
    assert still[0] == pytest.approx(-0.1 * 9e-6 / (np.sqrt(1e-3) + 1e-3), rel=1e-9)


# -------------------------------------------------------------------------------------------------- AdaBelief


def test_steps_of_adabelief_grow_to_the_floor_where_gradients_stay_the_same():
    values = {"learning_rate": 1e-3, "beta_2": 0.9}
    for epsilon in (1e-16, 1e-4):
        given = values | {"epsilon": epsilon}
        weights = path(ADABELIEF, given, lambda w, t: 0 * w + 0.3, np.zeros(1), 1000)[:, 0]
        floor = np.sqrt(epsilon / 0.1) + epsilon
        assert weights[-2] - weights[-1] == pytest.approx(1e-3 * 0.3 / floor, rel=1e-6)


def test_steps_of_adabelief_stay_finite_in_float32():
    values = {"learning_rate": 1e-3, "beta_2": 0.9}
    given = np.array([1e-12, 1e-3, 0.3, 7.0, 1e6])
    weights = path(ADABELIEF, values, lambda w, t: 0 * w + given, np.zeros(5), 1000, "float32")
    assert np.isfinite(weights).all()
    # Where epsilon counts, and where it is the rounding of m that keeps them apart.
    steps = weights[-2] - weights[-1]
    assert steps[0] == pytest.approx(1e-3 * 1e-12 / np.sqrt(1e-15), rel=1e-2)
    assert (steps[2:] < 1e-3 * 1e8).all() and (steps[2:] > 1e-3 * 1e5).all()


def test_adabelief_believes_in_steady_gradients_and_not_in_those_that_turn():
    # Of the same size, and so the same to Adam's second moment.
    sizes = np.ones((STEPS, 2))
    sizes[1::2, 1] = -1.0
    weights = path(ADABELIEF, {"learning_rate": 1e-3}, lambda w, t: sizes[t - 1], np.zeros(2), STEPS)
    steps = np.abs(np.diff(weights, axis=0))[-1]
    assert steps[0] > 3e-3
    assert steps[1] < 1e-4
