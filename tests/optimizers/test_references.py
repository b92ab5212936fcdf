"""The rules against keras.optimizers, and against theorems, identities and figures that are known of them."""

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.optimizers._moments import bias_correction
from adamtune.testing import carried, floatx, path
from tests.optimizers import oracles, papers

STEPS = 100
ADAM, SGD = optimizers.get("adam"), optimizers.get("sgd")
ADAMW, NADAM, RMSPROP = optimizers.get("adamw"), optimizers.get("nadam"), optimizers.get("rmsprop")


@pytest.fixture
def gradients(seed):
    """Gradients of many sizes, from 1e-4 to 10, that turn their signs."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, 6)) * 10.0 ** rng.uniform(-4, 1, size=(STEPS, 6))


@pytest.mark.parametrize(("epsilon", "end"), [(1e-7, 0.0762499), (1e-3, 0.0836905), (1.0, 0.8800006)])
def test_epsilon_is_added_before_the_correction(epsilon, end):
    # On x**2 from 1, ten steps of 0.1. Added after the correction, the three would end at .0762492, .0767501, .3904880.
    weights = path(ADAM, {"learning_rate": 0.1, "epsilon": epsilon}, lambda w, t: 2 * w, 1.0, steps=10)
    assert weights[-1] == pytest.approx(end, abs=1e-7)


def test_amsgrad_takes_the_maximum_before_the_correction():
    # optax takes it after, and ends at 0.775578; the paper corrects nothing, and ends at -0.4896.
    given = [3.0, -0.5, 0.3, 0.1, 0.7, -0.2]
    weights = path(ADAM, {"learning_rate": 0.1, "amsgrad": True}, lambda w, t: given[t - 1], 1.0, steps=6)
    assert weights[-1] == pytest.approx(0.675361, abs=1e-6)


# ----------------------------------------------------------------------------------------------- Keras' classes


def trained(optimizer, gradients, dtype):
    variable = keras.Variable(np.linspace(-1, 1, gradients.shape[1]), dtype=dtype)
    weights = []
    for g in gradients:
        optimizer.apply([ops.convert_to_tensor(g, dtype=dtype)], [variable])
        weights.append(variable.numpy())
    return np.stack(weights)


# Where a rule is not at its defaults what Keras' class is, or hardly moves there: the values at which it does both.
LIKE_KERAS = {
    "adadelta": {"learning_rate": 1.0},
    "adafactor": {"epsilon_1": 2.0**-40},
    "nadam": {"schedule_decay": 1.0},
}
IN_KERAS = [name for name in optimizers.names() if optimizers.get(name).builtin]
assert set(LIKE_KERAS) <= set(IN_KERAS)


def in_keras(configs):
    """Those that a class of Keras computes too."""
    return [config for config in configs if not oracles.refusal(config, "keras")]


# The values that the papers are held to, in float32.
KERAS_CASES = in_keras(
    OptimizerConfig(name, **(values | {k: v for k, v in LIKE_KERAS.get(name, {}).items() if k != "learning_rate"}))
    for name in IN_KERAS
    for values in papers.get(name).VALUES
)


def test_every_class_of_keras_that_is_a_rule_is_compared():
    assert {config.optimizer for config in KERAS_CASES} == {config.optimizer for config in EXACT} == set(IN_KERAS)


@pytest.mark.parametrize("config", KERAS_CASES, ids=repr)
def test_our_class_is_that_of_keras_in_float32(config, gradients):
    ours, theirs = (trained(config.to_keras(builtin=b), gradients[:50], "float32") for b in ("never", "always"))
    assert type(config.to_keras(builtin="always")).__module__.startswith("keras.")
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


# Keras puts a beta into float32 before it uses it in float64: these are exact in both. Each flag one by one, and a
# momentum where there may be one.
EXACT = in_keras(
    oracles.exact(name, **(LIKE_KERAS.get(name, {}) | change))
    for name in IN_KERAS
    for change in (
        {"learning_rate": 2.0**-7},
        *({h.name: not h.default} for h in optimizers.get(name).hypers if h.scale == "flag"),
        *({h.name: 0.75} for h in optimizers.get(name).hypers if h.scale == "complement" and not h.default),
    )
)
# keras.optimizers.Nadam has its 0.96 in float32, and on JAX keras.ops.mean is in float32, which Adafactor makes use of.
ROUNDED = {"nadam": 1e-7, "adafactor": 1e-6}


@pytest.mark.parametrize("config", EXACT, ids=repr)
def test_our_class_is_that_of_keras_in_float64(config, gradients):
    with floatx("float64"):
        ours, theirs = (trained(config.to_keras(builtin=b), gradients[:50], "float64") for b in ("never", "always"))
    tolerance = ROUNDED.get(config.optimizer, 1e-12)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


# Everything that Keras does around a rule, one by one and together.
AROUND = [
    {"weight_decay": 0.5},
    {"clipvalue": 1e-2},
    {"clipnorm": 0.1},
    {"global_clipnorm": 0.1},
    {"global_clipnorm": 1e6},
    {"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 5},
    {"gradient_accumulation_steps": 3},
    {"loss_scale_factor": 8.0},
    {"weight_decay": 0.5, "clipnorm": 0.1, "use_ema": True, "schedule": "cosine", "warmup": 0.1, "final": 0.1},
]
SURROUNDED = in_keras(
    OptimizerConfig(name, **({"learning_rate": 1e-2} | LIKE_KERAS.get(name, {}) | around))
    for name in IN_KERAS
    # One by one where it may matter how a rule remembers, and for all of them what they meet most and all together.
    for around in (AROUND if name in ("adam", "nadam", "sgd") else (AROUND[0], AROUND[-1]))
)


@pytest.mark.parametrize("config", SURROUNDED, ids=repr)
def test_what_stands_around_is_that_of_keras(config, gradients):
    made = [config.to_keras(steps=STEPS, builtin=builtin) for builtin in ("never", "always")]
    ours, theirs = (trained(optimizer, gradients[:30], "float32") for optimizer in made)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert np.abs(ours[-1] - ours[0]).max() > 1e-3
    averages = [getattr(optimizer, "_model_variables_moving_average", []) for optimizer in made]
    for one, other in zip(*averages, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# --------------------------------------------------------------------------------------- theorems and identities


def test_adam_fails_where_amsgrad_does_not():
    """Reddi et al. 2018, theorem 1: the gradient is 3 every third step, else -1, so the best of [-1, 1] is -1."""
    beta_2, steps = 1 / (1 + 3**2), 1000
    rate = 0.5 * np.sqrt(1 - beta_2)
    lanes = [{"beta_1": 0.0, "beta_2": beta_2, "epsilon": 0.0, "amsgrad": amsgrad} for amsgrad in (False, True)]
    h = carried(ADAM, lanes, rank=1)
    x = ops.zeros((2,), "float64")
    slots = tuple(ops.zeros((2,), "float64") for _ in ADAM.slots)
    for t in range(1, steps + 1):
        now = ops.convert_to_tensor(float(t), dtype="float64")
        h.learning_rate = rate / ops.sqrt(now)
        g = ops.full((2,), 3.0 if t % 3 == 1 else -1.0, dtype="float64")
        ready, _ = ADAM.prepare(h, (), now, None)
        x, slots = ADAM.update(g, x, slots, ready, now)
        x = ops.clip(x, -1.0, 1.0)
    adam, amsgrad = ops.convert_to_numpy(x)
    assert adam > 0.9
    assert amsgrad < -0.9


def first_step(rule, values, g):
    return path(rule, values, lambda w, t: g, np.zeros_like(g), steps=1)[0]


def test_first_steps():
    g = np.array([1e-6, -3e-2, 1.0, -40.0])
    for amsgrad in (False, True):
        for betas in ((0.9, 0.999), (0.0, 0.3), (0.999, 0.9)):
            values = dict(learning_rate=0.01, beta_1=betas[0], beta_2=betas[1], epsilon=0.0, amsgrad=amsgrad)
            np.testing.assert_allclose(first_step(ADAM, values, g), -0.01 * np.sign(g), rtol=1e-12)
    nadam = {"learning_rate": 0.01, "beta_1": 0.75, "epsilon": 0.0, "schedule_decay": 0.5}
    mu, next_mu = (0.75 * (1 - 0.5 * 0.96 ** (0.5 * t)) for t in (1, 2))
    length = 0.01 * (1 + next_mu * (1 - 0.75) / (1 - mu * next_mu))
    np.testing.assert_allclose(first_step(NADAM, nadam, g), -length * np.sign(g), rtol=1e-12)
    rmsprop = {"learning_rate": 0.01, "rho": 0.75, "epsilon": 0.0}
    np.testing.assert_allclose(first_step(RMSPROP, rmsprop, g), -0.01 * np.sign(g) / np.sqrt(0.25), rtol=1e-12)
    sgd = {"learning_rate": 0.01, "momentum": 0.75}
    np.testing.assert_allclose(first_step(SGD, sgd, g), -0.01 * g, rtol=1e-12)
    np.testing.assert_allclose(first_step(SGD, sgd | {"nesterov": True}, g), -0.01 * 1.75 * g, rtol=1e-12)


def test_epsilon_acts_on_the_first_step_as_the_docstring_says():
    # An epsilon of 1e-7 here is one of 1e-7 / sqrt(1 - 0.999) = 3.2e-6 in Algorithm 1, where it would halve the step.
    g = np.array([1e-7 / np.sqrt(1 - 0.999)])
    np.testing.assert_allclose(first_step(ADAM, {"learning_rate": 1.0}, g), [-0.5], rtol=1e-9)


def test_adam_does_not_see_the_scale_of_the_loss(gradients):
    values = {"epsilon": 0.0}
    small, large = (
        path(ADAM, values, lambda w, t, scale=scale: scale * gradients[t - 1], np.ones(6), STEPS)
        for scale in (1.0, 1e5)
    )
    np.testing.assert_allclose(small, large, rtol=1e-10)


def test_a_large_epsilon_makes_adam_momentum_sgd(gradients):
    # With beta_2 = 0 there is no correction of the root; epsilon in Adam divides the rate.
    adam = {"learning_rate": 1e9, "beta_1": 0.0, "beta_2": 0.0, "epsilon": 1e10}
    ours = path(ADAM, adam, lambda w, t: gradients[t - 1], np.zeros(6), STEPS)
    sgd = path(SGD, {"learning_rate": 0.1}, lambda w, t: gradients[t - 1], np.zeros(6), STEPS)
    np.testing.assert_allclose(ours, sgd, rtol=1e-6)


def test_amsgrad_is_adam_while_gradients_grow(gradients):
    growing = np.abs(gradients).cumsum(axis=0) * np.sign(gradients)
    plain, amsgrad = (
        path(ADAM, {"amsgrad": flag}, lambda w, t: growing[t - 1], np.ones(6), STEPS) for flag in (False, True)
    )
    np.testing.assert_array_equal(plain, amsgrad)


def test_nesterov_without_momentum_is_sgd(gradients):
    plain, nesterov = (
        path(SGD, {"nesterov": flag}, lambda w, t: gradients[t - 1], np.ones(6), STEPS) for flag in (False, True)
    )
    np.testing.assert_array_equal(plain, nesterov)


@pytest.mark.parametrize("one_minus_beta", [1.0, 0.5, 1e-3, 1e-6, 1e-7])
def test_bias_correction_is_exact_near_one(one_minus_beta):
    t = np.array([1, 2, 10, 1000, 100_000], "float32")
    beta = np.float32(one_minus_beta)
    ours = ops.convert_to_numpy(bias_correction(ops.convert_to_tensor(beta), ops.convert_to_tensor(t)))
    with np.errstate(divide="ignore"):  # log1p(-1): no memory at all, and the correction is 1
        truth = -np.expm1(t.astype("float64") * np.log1p(-np.float64(beta)))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, truth, rtol=1e-6)


def test_adam_near_one_needs_no_float64(gradients):
    # Keras' class is 19 % off here: its float32 beta of 1 - 1e-7 is another number.
    values = {"learning_rate": 0.1, "beta_2": 1 - 1e-7}
    ours = path(ADAM, values, lambda w, t: gradients[t - 1], np.zeros(6), 20, "float32")
    truth = np.stack(list(papers.get("adam").paper(gradients[:20], np.zeros(6), 0.1, 0.9, 1 - 1e-7, 1e-7, False)))
    np.testing.assert_allclose(ours, truth, rtol=1e-4, atol=1e-5)
    theirs = trained(keras.optimizers.Adam(**values), gradients[:20], "float32") - np.linspace(-1, 1, 6)
    assert np.abs(theirs[-1] - truth[-1]).max() > 0.01
    assert type(OptimizerConfig("adam", **values).to_keras()) is optimizers.Adam


def test_adamw_without_decay_is_adam(gradients):
    adamw, adam = (
        path(rule, values, lambda w, t: gradients[t - 1], np.ones(6), STEPS)
        for rule, values in ((ADAMW, {"weight_decay": 0.0}), (ADAM, {}))
    )
    np.testing.assert_array_equal(adamw, adam)


def test_adamw_is_adam_with_decay(gradients):
    adamw, adam = (
        path(rule, {"weight_decay": 0.25}, lambda w, t: gradients[t - 1], np.ones(6), STEPS) for rule in (ADAMW, ADAM)
    )
    np.testing.assert_array_equal(adamw, adam)
    # And once only: a weight without gradients shrinks by its share a step.
    still = path(ADAMW, {"learning_rate": 0.5, "weight_decay": 0.5}, lambda w, t: 0 * w, 1.0, steps=4)
    np.testing.assert_allclose(still, 0.75 ** np.arange(1, 5), rtol=1e-15)
    for builtin in ("always", "never"):
        optimizer = OptimizerConfig("adamw", learning_rate=0.5, weight_decay=0.5).to_keras(builtin=builtin)
        np.testing.assert_allclose(trained(optimizer, np.zeros((4, 2)), "float32")[-1], [-(0.75**4), 0.75**4])


def test_nadam_without_memory_is_adam_without(gradients):
    # beta_1 = 0: nothing to look ahead along. Their epsilons stand on two sides of the correction.
    values = {"beta_1": 0.0, "epsilon": 0.0}
    nadam, adam = (path(rule, values, lambda w, t: gradients[t - 1], np.ones(6), STEPS) for rule in (NADAM, ADAM))
    np.testing.assert_allclose(nadam, adam, rtol=1e-10)


def test_nadams_are_two():
    # Six gradients from 1 with a rate of 0.1, in float64: Keras 3 and PyTorch (which is Keras 2).
    given = [3.0, -0.5, 0.3, 0.1, 0.7, -0.2]
    values = [{"learning_rate": 0.1, "schedule_decay": psi} for psi in (1.0, 0.004)]
    weights = path(NADAM, values, lambda w, t: 0 * w + given[t - 1], np.ones(2), steps=6)
    np.testing.assert_allclose(weights[-1], [0.838628, 0.843212], atol=1e-6)


def test_nadam_moves_its_product_once_a_step_whatever_the_number_of_weights():
    optimizer = optimizers.Nadam(schedule_decay=0.5, beta_1=0.5)
    variables = [keras.Variable(np.ones(shape)) for shape in ((), (2,), (3, 2))]
    for _ in range(3):
        optimizer.apply([ops.ones(variable.shape) for variable in variables], variables)
    product = np.prod([0.5 * (1 - 0.5 * 0.96 ** (0.5 * t)) for t in (1, 2, 3)])
    (scalar,) = (variable for variable in optimizer.variables if variable.path.endswith("mu_product"))
    np.testing.assert_allclose(scalar.numpy(), product, rtol=1e-6)


def test_rmsprop_takes_no_root_of_what_rounding_left_below_zero():
    # The same gradients again and again: their spread is 0, and float32 puts it on both sides of that.
    values = {"learning_rate": 0.01, "rho": 0.5, "epsilon": 1e-12, "centered": True}
    given = np.random.default_rng(0).uniform(0.1, 3, 100)
    weights = path(RMSPROP, values, lambda w, t: 0 * w + given, np.ones(100), 60, "float32")
    assert np.isfinite(weights).all()
    theirs = trained(keras.optimizers.RMSprop(**values), np.tile(given, (60, 1)), "float32")
    assert np.isnan(theirs[-1]).any()
