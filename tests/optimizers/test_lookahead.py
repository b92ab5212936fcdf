"""Lookahead around Adam and SGD: what it is at alpha = 1, its rounds."""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine.one_by_one import OneByOne
from adamtune.optimizers import AveragedWeights
from adamtune.optimizers._lookahead import around
from adamtune.testing import floatx, path
from tests.engine import problems
from tests.optimizers import papers

STEPS = 23
START = np.linspace(-1, 1, 5)
CASES = [("lookahead_adam", "adam"), ("lookahead_sgd", "sgd")]


@pytest.fixture
def gradients(seed):
    return np.random.default_rng(seed).normal(size=(STEPS, 5))


@pytest.mark.parametrize("period", [1, 4, 100])
@pytest.mark.parametrize(("name", "inner"), CASES)
def test_all_of_the_way_is_the_inner_optimizer(name, inner, period, gradients):
    for values in papers.get(inner).VALUES:
        values = values | {"weight_decay": 0.1}
        lookahead = values | {"slow_step_size": 1.0, "sync_period": period}
        ours, theirs = (
            path(optimizers.get(rule), given, lambda w, t: gradients[t - 1], START, STEPS)
            for rule, given in ((name, lookahead), (inner, values))
        )
        # To the bit; but XLA may round the same step in another order where there is more around it.
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-15)


def slow_weights(optimizer, gradients):
    with floatx("float64"):
        variable = keras.Variable(START, dtype="float64")
        for g in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(g)], [variable])
    ((_, slow),) = optimizer.averages()
    return np.asarray(slow), variable.numpy()


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 10, STEPS])
def test_what_is_judged_are_the_slow_weights(steps, gradients):
    # Decay included: the slow weights start where the model did, not where the first decay left it.
    values = papers.get("lookahead_sgd").VALUES[0] | {"weight_decay": 0.3}
    inner = papers.get("sgd").paper
    *_, (fast, slow) = papers.get("lookahead_sgd").lookahead(inner, gradients[:steps], START, **values)
    with floatx("float64"):
        optimizer = optimizers.LookaheadSGD(**values)
    ours = slow_weights(optimizer, gradients[:steps])
    np.testing.assert_allclose(ours, (slow, fast), rtol=1e-7)
    assert np.array_equal(ours[0], START) == (steps < 5) and np.array_equal(*ours) == (steps % 5 == 0)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_a_round_on_a_quadratic_shrinks_each_eigenvalue_by_its_share(alpha):
    # Zhang et al. 2019, section 3: 1 - alpha + alpha (1 - lr lambda)^k a round.
    curvature, k, rate = np.array([0.1, 1.0, 3.0]), 4, 0.3
    values = {"learning_rate": rate, "sync_period": k, "slow_step_size": alpha}
    weights = path(optimizers.get("lookahead_sgd"), values, lambda w, t: curvature * w, np.ones(3), 5 * k)
    shrinks = 1 - alpha + alpha * (1 - rate * curvature) ** k
    np.testing.assert_allclose(weights[k - 1 :: k], shrinks ** np.arange(1, 6)[:, None], rtol=1e-9)


def test_it_goes_around_another_rule(gradients):
    # One with scalars and a preparation of its own.
    made = around(optimizers.get("nadam"), "lookahead_nadam", "LookaheadNadam", "notes")
    assert (made.averaged, made.scalars, made.notes) == ("slow", optimizers.get("nadam").scalars, "notes")
    values = {"learning_rate": 0.1, "slow_step_size": 1.0}
    ours, theirs = (
        path(rule, given, lambda w, t: gradients[t - 1], START, STEPS)
        for rule, given in ((made, values), (optimizers.get("nadam"), {"learning_rate": 0.1}))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-15)


def test_the_trial_after_is_not_given_the_weights_of_the_one_before():
    # Fewer updates than a round: what is judged are the initial weights.
    task, stream = problems.make_task(n=40)
    model = task.build(stream.seed)
    initial = model.get_weights()
    engine = OneByOne(task, model, stream)
    judged = []
    for rate in (0.5, 0.5):
        engine.clock = 0
        engine.load({0: OptimizerConfig("lookahead_sgd", learning_rate=rate, sync_period=10)})
        engine.tick()
        judged.append(engine.reports()[0])
        for one, other in zip(engine.weights(0), initial, strict=True):
            np.testing.assert_array_equal(one, other)
        engine.free([0])
    assert judged[0] == judged[1]


def test_the_callback_can_be_used_again(gradients):
    x = gradients.astype("float32")
    callback = AveragedWeights(swap_on_epoch=True)
    models = []
    for _ in range(2):
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
        model.compile(optimizers.LookaheadSGD(learning_rate=0.5, sync_period=3), "mse", run_eagerly=True)
        judged = []
        look = lambda epoch, logs, model=model, judged=judged: judged.append(model.get_weights())  # noqa: E731
        seen = keras.callbacks.LambdaCallback(on_epoch_end=look)
        model.fit(
            x, x[:, :2], batch_size=4, epochs=2, validation_data=(x, x[:, :2]), verbose=0, callbacks=[callback, seen]
        )
        models.append(model)
        loss = model.evaluate(x, x[:, :2], verbose=0, callbacks=[callback])
        assert loss == pytest.approx(model.history.history["val_loss"][-1], rel=1e-6)
        for one, (_, average), seen_last in zip(
            model.get_weights(), model.optimizer.averages(), judged[-1], strict=True
        ):
            np.testing.assert_array_equal(one, average)
            np.testing.assert_array_equal(seen_last, average)
    for one, (_, average) in zip(models[0].get_weights(), models[0].optimizer.averages(), strict=True):
        np.testing.assert_array_equal(one, average)
