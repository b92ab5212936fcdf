"""Schedule-Free AdamW: its averages, Keras' and optax's trained path, and a rate that rises."""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.testing import floatx, path
from tests.optimizers import oracles
from tests.optimizers.papers import schedule_free_adamw as paper

RULE, ADAM = optimizers.get("schedule_free_adamw"), optimizers.get("adam")
STEPS = 60
START = np.linspace(-1, 1, 5)
# Exact in float32, in which Keras and optax take a beta.
EXACT = {"learning_rate": 2**-5, "beta_1": 0.875, "beta_2": 1 - 2**-6, "epsilon": 2**-20}


@pytest.fixture
def gradients(seed):
    return np.random.default_rng(seed).normal(size=(STEPS, 5))


def trained(optimizer, gradients):
    """The weights after each step of a class of Keras in float64."""
    variable = keras.Variable(START, dtype="float64")
    weights = []
    for g in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g)], [variable])
        weights.append(variable.numpy())
    return np.stack(weights)


def averaged(gradients, values):
    """What our class judges, after all gradients."""
    with floatx("float64"):
        optimizer = optimizers.ScheduleFreeAdamW(**values)
        trained(optimizer, gradients)
    ((_, average),) = optimizer.averages()
    return np.asarray(average)


@pytest.mark.parametrize("values", paper.VALUES)
def test_what_is_judged_is_the_average_of_the_paper(values, gradients):
    *_, (_, x) = paper.both(gradients, START, **values)
    np.testing.assert_allclose(averaged(gradients, values), x, rtol=1e-7)


def test_without_beta_1_it_is_adam_and_the_mean_of_its_weights(gradients):
    values = {"learning_rate": 0.1, "beta_1": 0.0, "epsilon": 0.0}
    ours, adams = (path(rule, values, lambda w, t: gradients[t - 1], START, STEPS) for rule in (RULE, ADAM))
    np.testing.assert_allclose(ours, adams, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(averaged(gradients, values), adams.mean(axis=0), rtol=1e-5)


def test_early_steps_count_for_less_while_the_rate_rises(gradients):
    # After k = 30 steps of warmup the rate is the top one; step i has the share (i + 1) / (k + 1) of it. Those of the
    # fall that follows count like the top one.
    values = paper.VALUES[0] | {"learning_rate": 0.1}
    i = np.arange(STEPS)
    rates = 0.1 * np.minimum((i + 1) / 31, 1) / (1 + 0.1 * np.maximum(i - 30, 0))
    for power in (0.0, 2.0, 8.0):
        expected = list(paper.paper(gradients, START, **values | {"learning_rate": rates, "weight_lr_power": power}))
        with_warmup = values | {"weight_lr_power": power, "warmup": 0.5, "decay": 0.1}
        ours = path(RULE, with_warmup, lambda w, t: gradients[t - 1], START, STEPS)
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_a_rate_that_starts_at_zero_is_no_division_by_zero(gradients, power):
    rises = keras.optimizers.schedules.PolynomialDecay(0.0, 4, end_learning_rate=0.1)
    optimizer = optimizers.ScheduleFreeAdamW(learning_rate=rises, weight_lr_power=power)
    assert np.isfinite(trained(optimizer, gradients)).all()


def test_a_high_power_of_a_small_rate_is_still_a_weight(gradients):
    # 1e-4**16 is 0 in float32; at a constant rate the power must not matter at all.
    low, high = (
        path(
            RULE,
            {"learning_rate": 1e-4, "weight_lr_power": power},
            lambda w, t: gradients[t - 1],
            START,
            STEPS,
            "float32",
        )
        for power in (0.0, 16.0)
    )
    np.testing.assert_array_equal(low, high)


def like_keras(gradients, rates, takes_the_new_z):
    """The y of keras.optimizers.ScheduleFreeAdamW, which takes x out of y, with a share of 1 / t."""
    y = z = START
    v, beta_1, beta_2 = np.zeros(5), EXACT["beta_1"], EXACT["beta_2"]
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = beta_2 * v + (1 - beta_2) * g**2
        old, z = z, z - rate * g / (np.sqrt(v / (1 - beta_2**t)) + EXACT["epsilon"])
        x = (y - (1 - beta_1) * (z if takes_the_new_z else old)) / beta_1
        y = (1 - beta_1) * z + beta_1 * ((1 - 1 / t) * x + z / t)
        yield y


@pytest.mark.parametrize("warmup_steps", [0, 31])
def test_the_trained_path_is_what_keras_means(warmup_steps, gradients):
    # On TensorFlow what it calls the old z is the variable, and so the new z by the time it is read.
    rates = EXACT["learning_rate"] * np.minimum(np.arange(1, STEPS + 1) / max(warmup_steps, 1), 1)
    with floatx("float64"):
        theirs = trained(keras.optimizers.ScheduleFreeAdamW(**EXACT, warmup_steps=warmup_steps), gradients)
    on_tensorflow = keras.backend.backend() == "tensorflow"
    np.testing.assert_allclose(theirs, list(like_keras(gradients, rates, on_tensorflow)), rtol=1e-9, atol=1e-12)
    # A share of 1 / t is what ours has with a power of 0, or without a warmup.
    warm = {"warmup": 0.5 * bool(warmup_steps), "schedule": "constant", "weight_lr_power": 0.0}
    ours = path(RULE, EXACT | warm, lambda w, t: gradients[t - 1], START, STEPS)
    np.testing.assert_allclose(ours, list(like_keras(gradients, rates, False)), rtol=1e-9, atol=1e-12)


def test_the_average_is_that_of_optax(gradients):
    oracles.needs("optax")
    import jax
    import optax

    values = {**EXACT, "weight_decay": 0.25}
    with jax.enable_x64(True):
        theirs = optax.contrib.schedule_free_adamw(
            values["learning_rate"], None, values["beta_1"], values["beta_2"], values["epsilon"], weight_decay=0.25
        )
        y = jax.numpy.asarray(START)
        state = theirs.init(y)
        for g in gradients:
            update, state = theirs.update(jax.numpy.asarray(g), state, y)
            y = optax.apply_updates(y, update)
        x = np.asarray(optax.contrib.schedule_free_eval_params(state, y))
    np.testing.assert_allclose(averaged(gradients, values), x, rtol=1e-6)


def test_a_training_goes_on_where_the_model_was_given_the_average(gradients):
    # As at the end of an epoch: between two steps the model holds x.
    paths = []
    for swaps in (False, True):
        with floatx("float64"):
            optimizer = optimizers.ScheduleFreeAdamW(learning_rate=0.1)
            variable = keras.Variable(START, dtype="float64")
            for t, g in enumerate(gradients):
                optimizer.apply([keras.ops.convert_to_tensor(g)], [variable])
                if swaps and t == 9:
                    ((_, average),) = optimizer.averages()
                    variable.assign(average)
        paths.append(variable.numpy())
    np.testing.assert_array_equal(*paths)
