import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.optimizers import schedules
from adamtune.testing import floatx, path

UPDATES = np.array([0, 1, 2, 10, 999, 1_000_000])
DECAYS = [0.0, 1e-7, 1e-3, 0.37, 5.0]


def rates(rate, decay, dtype="float64"):
    h = SimpleNamespace(learning_rate=ops.convert_to_tensor(rate, dtype), decay=ops.convert_to_tensor(decay, dtype))
    return ops.convert_to_numpy(schedules.learning_rate(h, ops.convert_to_tensor(UPDATES, dtype)))


@pytest.mark.parametrize("decay", DECAYS)
def test_inverse_time_is_the_decay_of_keras_2(decay):
    # keras 2.2.4, optimizers.py: lr = lr * (1. / (1. + decay * iterations)), iterations from 0
    np.testing.assert_allclose(rates(0.03, decay), 0.03 * (1.0 / (1.0 + decay * UPDATES)), rtol=1e-15)


@pytest.mark.parametrize("decay", DECAYS)
def test_inverse_time_is_that_of_keras(decay):
    theirs = keras.optimizers.schedules.InverseTimeDecay(0.03, decay_steps=1, decay_rate=decay)
    np.testing.assert_allclose(rates(0.03, decay, "float32"), [theirs(step) for step in UPDATES], rtol=1e-6)


def test_constant_is_no_decay():
    np.testing.assert_array_equal(rates(0.03, 0.0), np.full(len(UPDATES), 0.03))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decay", DECAYS)
def test_keras_schedule_computes_in_the_type_of_the_model(decay, dtype):
    with floatx(dtype):
        schedule = optimizers.LearningRate(0.03, decay=decay)
        given = [schedule(ops.convert_to_tensor(int(step), "int64")) for step in UPDATES]
    assert all(keras.backend.standardize_dtype(rate.dtype) == dtype for rate in given)
    np.testing.assert_array_equal([ops.convert_to_numpy(rate) for rate in given], rates(0.03, decay, dtype))


@pytest.mark.parametrize("name", optimizers.names())
def test_our_class_moves_its_rate_as_lanes_do(name, seed):
    gradients = np.random.default_rng(seed).normal(size=(30, 4))
    lanes = [OptimizerConfig(name, decay=decay) for decay in (0.0, 1e-3, 0.3)]
    start = np.ones((len(lanes), 4))
    ours = path(lanes[0].rule, [c.hypers for c in lanes], lambda w, t: 0 * w + gradients[t - 1], start, 30)
    for lane, config in enumerate(lanes):
        with floatx("float64"):
            optimizer = config.to_keras(builtin="never")
            variable = keras.Variable(start[lane], dtype="float64")
            for g in gradients:
                optimizer.apply([ops.convert_to_tensor(g)], [variable])
        np.testing.assert_allclose(variable.numpy(), ours[-1, lane], rtol=1e-12, err_msg=f"{config}")


def test_keras_schedule_round_trip():
    schedule = optimizers.LearningRate(0.03, decay=0.1)
    assert schedule.get_config() == {"learning_rate": 0.03, "decay": 0.1}
    data = json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    again = keras.optimizers.schedules.deserialize(data)
    assert type(again) is optimizers.LearningRate
    assert again.get_config() == schedule.get_config()


def test_optimizer_round_trip_with_its_schedule():
    made = OptimizerConfig("sgd", learning_rate=0.5, decay=0.25).to_keras(builtin="never")
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(made))))
    assert again.get_config() == made.get_config()
    again.build([keras.Variable(0.0)])
    again.iterations.assign(4)
    assert float(again.learning_rate) == 0.25


def test_classes_of_keras_keep_the_schedule_of_keras():
    # A saved model then loads without adamtune.
    for builtin in ("auto", "always"):
        made = OptimizerConfig("adam", decay=0.1).to_keras(builtin=builtin)
        assert type(made.get_config()["learning_rate"]) is dict
        assert made.get_config()["learning_rate"]["class_name"] == "InverseTimeDecay"
        assert made.get_config()["learning_rate"]["registered_name"] is None


@pytest.mark.parametrize("schedule", ["inverse_tiem", "", None, [], {}, 3, "x" * 10_000])
def test_unknown_schedule(schedule):
    with pytest.raises(ConfigError, match="There are: constant, inverse_time") as caught:
        schedules.get(schedule)
    assert len(str(caught.value)) < 300
    assert ("Did you mean 'inverse_time'?" in str(caught.value)) == (schedule == "inverse_tiem")


@pytest.mark.parametrize(
    ("hypers", "message"), [({"decya": 0.1}, "Did you mean 'decay'"), ({"decay": -1}, "decay >= 0")]
)
def test_keras_schedule_refuses(hypers, message):
    with pytest.raises(ConfigError, match=message):
        optimizers.LearningRate(0.1, **hypers)
