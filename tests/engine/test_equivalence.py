"""A lane is a plain Keras run: the same rows in the same order give the same losses and the same weights.

The oracle is `model.compile(...).fit(...)`, one trial at a time, through the engine that does nothing else.
"""

import keras
import numpy as np
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine.one_by_one import OneByOne
from adamtune.engine.tensorflow_lanes import TensorFlowLanes
from adamtune.errors import LaneStatus
from tests.engine import problems

# Keras' own classes round their betas to float32 first, so equality in float64 wants betas that float32 holds exactly.
CONFIGS = {
    "adam": [
        OptimizerConfig("adam", learning_rate=2.0**-7, beta_1=0.875, beta_2=1 - 2.0**-10),
        OptimizerConfig("adam", learning_rate=0.003, beta_1=0.75, beta_2=1 - 2.0**-7, amsgrad=True),
        OptimizerConfig("adam", learning_rate=0.03, beta_1=0.5, beta_2=1 - 2.0**-10, epsilon=1e-3),
        OptimizerConfig("adam", learning_rate=0.01, beta_1=0.0, beta_2=1 - 2.0**-10),
    ],
    "sgd": [
        OptimizerConfig("sgd", learning_rate=0.1),
        OptimizerConfig("sgd", learning_rate=0.03, momentum=0.875),
        OptimizerConfig("sgd", learning_rate=0.03, momentum=0.875, nesterov=True),
        OptimizerConfig("sgd", learning_rate=0.3, momentum=0.5),
    ],
}
TICKS, REFILLED, REFILLED_AT = 5, 1, 2


@pytest.fixture(params=["float64", "float32"])
def floatx(request):
    before = keras.config.floatx()
    use(request.param)
    yield request.param
    use(before)


def use(floatx):
    # Keras makes its policy from floatx once, so a switch has to name both.
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)


def run(engine, lane, config, refill):
    """Train `config` in a lane for all ticks, or `refill` in its place from REFILLED_AT on."""
    engine.load({lane: config})
    reports = []
    for tick in range(TICKS):
        if refill is not None and tick == REFILLED_AT:
            engine.free([lane])
            engine.load({lane: refill})
        engine.tick()
        reports.append(engine.reports()[0])
    return reports


def lanes_of(task, stream, configs):
    """All configs as lanes; lane REFILLED is taken over by the first config at REFILLED_AT."""
    engine = TensorFlowLanes(task, task.build(stream.seed), optimizers.get(configs[0].optimizer), len(configs), stream)
    engine.load(dict(enumerate(configs)))
    reports = []
    for tick in range(TICKS):
        if tick == REFILLED_AT:
            engine.free([REFILLED])
            engine.load({REFILLED: configs[0]})
        engine.tick()
        reports.append(engine.reports())
    return engine, reports


def compare(task, stream, configs, builtin, tolerance):
    engine, reports = lanes_of(task, stream, configs)
    for lane, config in enumerate(configs):
        oracle = OneByOne(task, task.build(stream.seed), stream, builtin)
        expected = run(oracle, 0, config, configs[0] if lane == REFILLED else None)
        for tick in range(TICKS):
            ours, theirs = reports[tick][lane], expected[tick]
            assert ours.epoch == theirs.epoch
            for name in ("train_loss", "val_loss", "metric", "value"):
                np.testing.assert_allclose(
                    getattr(ours, name), getattr(theirs, name), rtol=tolerance, err_msg=f"{config} tick {tick} {name}"
                )
        # Weights and, where there is batch norm, its moving statistics.
        for mine, plain in zip(engine.weights(lane), oracle.weights(0), strict=True):
            np.testing.assert_allclose(mine, plain, rtol=0, atol=tolerance * max(1.0, np.abs(plain).max()))
    assert engine.n_programs == 1


@pytest.mark.parametrize("rule", CONFIGS)
@pytest.mark.parametrize(
    ("network", "builtin"), [(problems.noisy, "never"), (problems.noisy, "always"), (problems.plain, "always")]
)
def test_lane_equals_keras_fit(rule, network, builtin, floatx):
    task, stream = problems.make_task(network)
    # float32: 1e-4 where the loss falls, which it does for all of these.
    compare(task, stream, CONFIGS[rule], builtin, 1e-9 if floatx == "float64" else 1e-4)


def test_weighted_rows_equal_keras_fit(floatx):
    task, stream = problems.make_task(problems.noisy, weighted=True)
    compare(task, stream, CONFIGS["adam"][:2], "never", 1e-9 if floatx == "float64" else 1e-4)


def test_decaying_rate_equals_keras_fit(floatx):
    configs = [OptimizerConfig("adam", learning_rate=0.01, decay=0.05), OptimizerConfig("adam", learning_rate=0.01)]
    task, stream = problems.make_task()
    compare(task, stream, configs, "never", 1e-9 if floatx == "float64" else 1e-4)


@pytest.mark.parametrize(
    ("n", "batch_size"), [(20, 32), (160, 32), (161, 32)], ids=["less than a batch", "whole batches", "one row more"]
)
def test_every_batch_shape_equals_keras_fit(n, batch_size):
    task, stream = problems.make_task(n=n, batch_size=batch_size)
    compare(task, stream, CONFIGS["sgd"][:2], "never", 1e-4)


def test_diverged_lane_leaves_its_neighbours_bit_identical():
    task, stream = problems.make_task(problems.noisy)
    calm, wild = CONFIGS["sgd"][0], OptimizerConfig("sgd", learning_rate=1e30)
    _, alone = lanes_of(task, stream, [calm, calm, calm])
    _, beside = lanes_of(task, stream, [calm, calm, wild])
    for tick in range(TICKS):
        assert beside[tick][2].status is LaneStatus.DIVERGED
        for lane in (0, 1):
            assert beside[tick][lane] == alone[tick][lane]


def test_seat_of_a_diverged_trial_is_as_good_as_new():
    task, stream = problems.make_task(problems.noisy)
    calm, wild = CONFIGS["sgd"][0], OptimizerConfig("sgd", learning_rate=1e30)
    fresh = run(OneByOne(task, task.build(stream.seed), stream), 0, wild, calm)
    _, reports = lanes_of(task, stream, [calm, wild])
    assert reports[REFILLED_AT - 1][REFILLED].status is LaneStatus.DIVERGED
    np.testing.assert_allclose(reports[-1][REFILLED].val_loss, fresh[-1].val_loss, rtol=1e-4)


def test_same_seed_gives_the_same_bits_and_another_seed_others():
    def last(seed):
        task, stream = problems.make_task(problems.noisy, seed=seed)
        return lanes_of(task, stream, CONFIGS["adam"][:2])[1][-1]

    assert last(7) == last(7)
    assert last(7) != last(8)


def test_untrained_loss_equals_keras_evaluate(floatx):
    task, stream = problems.make_task(problems.noisy)
    model = task.build(stream.seed)
    lanes = TensorFlowLanes(task, model, optimizers.get("adam"), 2, stream)
    oracle = OneByOne(task, model, stream)
    np.testing.assert_allclose(lanes.initial_loss(), oracle.initial_loss(), rtol=1e-12 if floatx == "float64" else 1e-5)


def test_restart_meets_another_stream_without_another_program():
    task, stream = problems.make_task(problems.noisy)
    _, other = problems.make_task(problems.noisy, seed=8)
    configs = CONFIGS["adam"][:2]
    engine, _ = lanes_of(task, stream, configs)
    engine.restart(other, task.build(other.seed))
    engine.load(dict(enumerate(configs)))
    engine.tick()
    fresh = TensorFlowLanes(task, task.build(other.seed), optimizers.get("adam"), 2, other)
    fresh.load(dict(enumerate(configs)))
    fresh.tick()
    assert engine.reports() == fresh.reports()
    assert engine.n_programs == 1
