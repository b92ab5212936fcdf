"""Adafactor: what it remembers of which shape, its rates, and what Keras' class does otherwise."""

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.optimizers import Place
from adamtune.testing import path
from tests.optimizers import papers

ADAFACTOR = optimizers.get("adafactor")
PAPER = papers.get("adafactor")
SHAPES = [(), (3,), (1, 7), (7, 1), (4, 5), (2, 3, 3, 4)]


def paper(gradients, start, **values):
    given = {hyper.name: hyper.default for hyper in ADAFACTOR.hypers} | values
    return np.stack(list(PAPER.paper(gradients, start, **given)))


def keras_weights(optimizer, start, gradients):
    variable = keras.Variable(start, dtype="float32")
    for g in gradients:
        optimizer.apply([ops.convert_to_tensor(g, dtype="float32")], [variable])
    return variable.numpy()


@pytest.mark.parametrize("values", PAPER.VALUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_of_every_rank_are_the_papers(shape, values):
    rng = np.random.default_rng(0)
    start, given = rng.normal(size=shape), rng.normal(size=(30, *shape))
    ours = path(ADAFACTOR, values, lambda w, t: given[t - 1], start, steps=30)
    np.testing.assert_allclose(ours, paper(given, start, **values), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("values", [{}, {"learning_rate": 0.3, "decay_rate": 0.5, "epsilon_1": 1e-12}])
@pytest.mark.parametrize("shape", [(3,), (4, 5), (2, 3, 3, 4)])
def test_keras_computes_the_same_where_every_element_has_gradients(shape, values):
    rng = np.random.default_rng(0)
    start, given = rng.normal(size=shape), rng.normal(size=(30, *shape))
    ours = path(ADAFACTOR, values, lambda w, t: given[t - 1], start, 30, "float32")
    arguments = ADAFACTOR.builtin.arguments(values)
    theirs = keras_weights(keras.optimizers.Adafactor(**arguments), start, given)
    np.testing.assert_allclose(theirs, ours[-1], rtol=1e-5, atol=1e-6)


def test_an_input_and_a_unit_that_were_never_on_make_no_nan():
    # Row 1 and column 2 never have a gradient. Keras' product of two means of 1e-30 is 0 in float32; one of 1e-15 is
    # not, and then both are the same.
    rng = np.random.default_rng(0)
    start, given = rng.normal(size=(4, 5)), rng.normal(size=(30, 4, 5))
    given[:, 1] = given[:, :, 2] = 0
    for scale in (1e-8, 1.0, 1e3):
        scaled = scale * given
        ours = path(ADAFACTOR, {"learning_rate": 0.01}, lambda w, t, g=scaled: g[t - 1], start, 30, "float32")
        truth = paper(scaled, start, learning_rate=0.01)
        np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5)
    theirs = keras_weights(keras.optimizers.Adafactor(0.01), start, given)
    assert np.isnan(theirs).all()
    safe = OptimizerConfig("adafactor", learning_rate=0.01, epsilon_1=1e-15)
    theirs = keras_weights(safe.to_keras(builtin="always"), start, 1e3 * given)
    ours = path(ADAFACTOR, safe.hypers, lambda w, t: 1e3 * given[t - 1], start, 30, "float32")
    np.testing.assert_allclose(theirs, ours[-1], rtol=1e-5, atol=1e-6)


def test_keras_class_is_taken_only_where_it_computes_the_same():
    assert type(OptimizerConfig("adafactor").to_keras()) is optimizers.Adafactor
    made = OptimizerConfig("adafactor", decay_rate=0.7, epsilon_1=1e-12).to_keras()
    assert type(made) is keras.optimizers.Adafactor
    assert (made.beta_2_decay, made.epsilon_1, made.clip_threshold) == (-0.7, 1e-12, 1.0)
    for values, reason in (({}, "divides 0 by 0"), ({"relative_step": False}, "relative_step=False too")):
        with pytest.raises(ConfigError, match=reason):
            OptimizerConfig("adafactor", **values).to_keras(builtin="always")


def test_a_matrix_is_remembered_by_its_rows_and_columns():
    sizes = {
        shape: sum(int(np.prod(each)) for each in ADAFACTOR.slot_shapes(Place("kernel", shape))) for shape in SHAPES
    }
    assert sizes == {(): 3, (3,): 5, (1, 7): 9, (7, 1): 9, (4, 5): 10, (2, 3, 3, 4): 43}
    optimizer = optimizers.Adafactor()
    optimizer.build([keras.Variable(np.ones((100, 100)))])
    assert sum(int(np.prod(variable.shape)) for variable in optimizer.variables[2:]) == 201


def test_the_first_step_is_the_sign_where_squares_are_rows_times_columns():
    rng = np.random.default_rng(0)
    rows, columns = np.exp(rng.normal(size=4)), np.exp(rng.normal(size=5))
    g = np.outer(rows, columns) * rng.choice([-1, 1], size=(4, 5))
    for shape in ((4, 5), (20,)):
        start = np.full(shape, 2.0)
        weights = path(ADAFACTOR, {"learning_rate": 0.01}, lambda w, t: g.reshape(w.shape), start, steps=1)
        np.testing.assert_allclose(weights[0], 2 - 2 * 0.01 * np.sign(g).reshape(shape), rtol=1e-12)


def test_the_relative_step_is_a_choice_here():
    # A scalar that falls by its rate a step: the gradient stays 1, so u is 1.
    lanes = [{"learning_rate": 0.6, "relative_step": flag} for flag in (True, False)]
    weights = path(ADAFACTOR, lanes, lambda w, t: 0 * w + 1, np.ones(2), steps=4)
    shares = 1 - np.minimum(0.6, 1 / np.sqrt([1, 2, 3, 4]))
    np.testing.assert_allclose(weights, np.stack([shares.cumprod(), 0.4 ** np.arange(1, 5)], axis=1), rtol=1e-9)
    start, given = np.ones(1), np.ones((4, 1))
    one, other = (
        keras_weights(keras.optimizers.Adafactor(0.6, relative_step=flag), start, given) for flag in (True, False)
    )
    np.testing.assert_array_equal(one, other)


def test_a_step_is_clipped_to_its_root_mean_square():
    # Small gradients, then one of a hundred times their size.
    given = np.where(np.arange(20) < 19, 1.0, 100.0)
    lanes = [{"learning_rate": 0.01, "epsilon_2": 1.0, "clip_threshold": limit} for limit in (0.5, 1.0, 10.0)]
    weights = path(ADAFACTOR, lanes, lambda w, t: 0 * w + given[t - 1], np.zeros((3, 2)), steps=20)
    steps = (weights[:-1] - weights[1:])[:, :, 0] / 0.01
    u = 100 / np.sqrt(20**-0.8 * 1e4 + 1 - 20**-0.8)
    assert 3 < u < 10
    np.testing.assert_allclose(steps[-2], [0.5, 1.0, 1.0], rtol=1e-9)
    np.testing.assert_allclose(steps[-1], [0.5, 1.0, u], rtol=1e-9)
