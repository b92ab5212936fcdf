"""The schedules against numpy, against the classes of Keras, and as what a Keras optimizer holds."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import Found, OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.optimizers import schedules
from adamtune.testing import floatx, path

RATE, STEPS = 0.03, 200
UPDATES = np.array([0, 1, 2, 9, 10, 19, 20, 21, 100, 199, 200, 1000, 1_000_000])
DECAYS = [0.0, 1e-7, 1e-3, 0.37, 5.0]
# Every schedule, at the ends of its hypers and in between.
CASES = [
    *({"schedule": "inverse_time", "decay": decay} for decay in DECAYS),
    {"schedule": "constant"},
    {"schedule": "inverse_sqrt"},
    *({"schedule": "exponential", "final": final} for final in (1e-4, 0.3, 1.0)),
    *({"schedule": name, "final": final} for name in ("linear", "cosine") for final in (0.0, 0.1, 1.0)),
]
WARMUPS = [0.0, 0.001, 0.05, 0.1, 0.5, 1.0]
# Those that fall towards an end, after they were held for a while.
HELD = [
    {"schedule": name, "final": 0.1, "hold": hold}
    for name in ("exponential", "linear", "cosine")
    for hold in (0.001, 0.3, 1.0)
]


def scheduled(learning_rate=RATE, schedule="constant", **hypers):
    return SimpleNamespace(schedule=schedule, hypers={"learning_rate": learning_rate, **hypers})


def rates(lanes, updates=UPDATES, steps=STEPS, dtype="float64"):
    """The rates of all lanes in one call, of shape (updates, lanes)."""
    rows = np.array([schedules.row(lane, steps) for lane in lanes])
    h = SimpleNamespace(
        learning_rate=ops.convert_to_tensor([lane.hypers["learning_rate"] for lane in lanes], dtype),
        **{name: ops.convert_to_tensor(column, dtype) for name, column in zip(schedules.COLUMNS, rows.T, strict=True)},
    )
    return ops.convert_to_numpy(schedules.learning_rate(h, ops.convert_to_tensor(updates[:, None], dtype)))


# On JAX `keras.ops.cos` goes through float32, and XLA rounds a step of several operations in its own way.
ON_JAX = keras.backend.backend() == "jax"
NEAR = {"float32": 1e-7 * RATE if ON_JAX else 0.0, "float64": 1e-7 * RATE if ON_JAX else 1e-17}


def by_hand(i, schedule, decay=0.0, final=0.0, warmup=0.0, hold=0.0):
    """The rate after i updates, one number at a time."""
    w = min(round(warmup * STEPS), STEPS - 1)
    if i < w:
        return RATE * (i + 1) / (w + 1)
    h = min(round(hold * STEPS), STEPS - 1 - w)
    a, left = max(i - w - h, 0), STEPS - w - h
    falls = {
        "constant": lambda: 1.0,
        "inverse_time": lambda: 1 / (1 + decay * a),
        "inverse_sqrt": lambda: 1 / np.sqrt(a + 1),
        "exponential": lambda: final ** (a / left),
        "linear": lambda: final if a >= left else 1 + (final - 1) * a / left,
        "cosine": lambda: final if a >= left else final + (1 - final) * (1 + np.cos(np.pi * a / left)) / 2,
    }
    return RATE * falls[schedule]()


@pytest.mark.parametrize("warmup", WARMUPS)
def test_lanes_of_all_schedules_are_what_is_written(warmup):
    ours = rates([scheduled(**case, warmup=warmup) for case in [*CASES, *HELD]])
    for lane, case in enumerate([*CASES, *HELD]):
        theirs = [by_hand(i, **case, warmup=warmup) for i in UPDATES]
        np.testing.assert_allclose(ours[:, lane], theirs, rtol=1e-12, atol=NEAR["float64"], err_msg=f"{case}")


def test_a_lane_of_nan_leaves_its_neighbours_alone():
    lanes = [scheduled(**case) for case in CASES]
    broken = [scheduled(np.nan, **case) if lane % 2 else lanes[lane] for lane, case in enumerate(CASES)]
    np.testing.assert_array_equal(rates(broken)[:, ::2], rates(lanes)[:, ::2])


@pytest.mark.parametrize("decay", DECAYS)
def test_inverse_time_is_the_decay_of_keras_2(decay):
    # keras 2.2.4, optimizers.py: lr = lr * (1. / (1. + decay * iterations)), iterations from 0
    ours = rates([scheduled(schedule="inverse_time", decay=decay)], steps=None)[:, 0]
    np.testing.assert_allclose(ours, RATE * (1.0 / (1.0 + decay * UPDATES)), rtol=1e-15)


@pytest.mark.parametrize(
    "case",
    [*CASES, *({"schedule": "cosine", "final": final, "warmup": w} for final in (0.0, 0.3) for w in WARMUPS)],
    ids=str,
)
def test_schedules_are_those_of_keras(case):
    config = scheduled(**case)
    if config.schedule in ("constant", "inverse_sqrt"):
        assert bool(schedules.unlike_builtin(config)) == (config.schedule == "inverse_sqrt")
        assert config.schedule != "constant" or schedules.builtin(config, STEPS) is None
        return
    assert schedules.unlike_builtin(config) == ""
    name, arguments = schedules.builtin(config, STEPS)
    theirs = getattr(keras.optimizers.schedules, name)(**arguments)
    ours = rates([config], dtype="float32")[:, 0]
    # Also beyond the end. Near a rate of 0 the cosine's rounding is all there is: 1e-6 of the first rate.
    np.testing.assert_allclose(ours, [theirs(int(i)) for i in UPDATES], rtol=1e-6, atol=1e-7 * RATE)


@pytest.mark.parametrize("schedule", sorted(set(schedules.names()) - {"cosine"}))
def test_keras_has_warmup_for_cosine_only(schedule):
    assert "no " in schedules.unlike_builtin(scheduled(schedule=schedule, warmup=0.1))


@pytest.mark.parametrize("case", HELD, ids=str)
def test_keras_holds_no_rate(case):
    assert "hold" in schedules.unlike_builtin(scheduled(**case))


def test_a_rate_is_held_and_then_falls_to_the_same_end():
    held = rates([scheduled(schedule="cosine", final=0.1, warmup=0.1, hold=0.5)], np.arange(STEPS + 1))[:, 0]
    assert (held[20:121] == RATE).all() and (np.diff(held[120:]) < 0).all()
    np.testing.assert_allclose(held[-1], 0.1 * RATE)


@pytest.mark.parametrize("schedule", ["constant", "inverse_time", "inverse_sqrt"])
def test_only_what_falls_towards_an_end_is_held(schedule):
    assert schedules.choose(schedule, {"hold": 0.0})[1].get("hold") is None
    with pytest.raises(ConfigError, match=r"hold=0\.2 is given.* write schedule='exponential' or schedule='linear'"):
        schedules.choose(schedule, {"hold": 0.2})


def test_constant_is_no_decay():
    np.testing.assert_array_equal(rates([scheduled()], steps=None)[:, 0], np.full(len(UPDATES), RATE))


def test_the_rate_rises_to_the_top_and_falls_from_there():
    lanes = [scheduled(**case, warmup=0.05) for case in [*CASES, *HELD]]
    every = rates(lanes, np.arange(STEPS))
    assert (every[0] == RATE / 11).all() and (every > 0).all()
    np.testing.assert_allclose(np.diff(every[:11], axis=0), RATE / 11)
    np.testing.assert_allclose(every[10], RATE)
    assert (np.diff(every[10:], axis=0) <= 1e-18).all()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_short_training_has_a_finite_rate(steps):
    lanes = [scheduled(**case, warmup=warmup) for case in [*CASES, *HELD] for warmup in WARMUPS]
    every = rates(lanes, np.arange(steps), steps, "float32")
    assert np.isfinite(every).all() and (every > 0).all() and (every <= np.float32(RATE)).all()


# -------------------------------------------------------------------------------------------- numbers for a program


def test_a_row_is_its_columns():
    row = schedules.row(scheduled(schedule="cosine", final=0.1, warmup=0.05, hold=0.2), 100)
    assert dict(zip(schedules.COLUMNS, row, strict=True)) == {
        "schedule": 5.0,
        "decay": 0.0,
        "final": 0.1,
        "warmup_steps": 5.0,
        "hold_steps": 20.0,
        "steps": 100.0,
    }
    assert all(type(number) is float for number in row)
    assert schedules.row(scheduled(), None)[-1] == np.inf


@pytest.mark.parametrize(
    "case", [{"schedule": "constant", "warmup": 0.1}, *({"schedule": s} for s in ("exponential", "linear", "cosine"))]
)
def test_a_share_of_the_training_needs_its_length(case):
    with pytest.raises(ConfigError, match=r"length is not known: write steps=epochs \* ceil"):
        schedules.row(scheduled(**case), None)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "10", np.float64(3)])
def test_steps_are_a_whole_number(steps):
    for schedule in ("constant", "cosine"):
        with pytest.raises(ConfigError, match="expected the number of updates"):
            schedules.row(scheduled(schedule=schedule), steps)


# ------------------------------------------------------------------------------------------------- inside of Keras


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [*CASES, *HELD], ids=str)
def test_keras_schedule_computes_in_the_type_of_the_model(case, dtype):
    with floatx(dtype):
        schedule = optimizers.LearningRate(RATE, steps=STEPS, warmup=0.05, **case)
        given = [schedule(ops.convert_to_tensor(int(step), "int64")) for step in UPDATES]
    assert all(keras.backend.standardize_dtype(rate.dtype) == dtype for rate in given)
    ours = rates([scheduled(**case, warmup=0.05)], dtype=dtype)[:, 0]
    rates_given = [ops.convert_to_numpy(rate) for rate in given]
    np.testing.assert_allclose(rates_given, ours, rtol=1e-15 if dtype == "float64" else 3e-7, atol=NEAR[dtype])


@pytest.mark.parametrize("name", optimizers.names())
def test_our_class_moves_its_rate_as_lanes_do(name, seed):
    gradients = np.random.default_rng(seed).normal(size=(30, 4))
    lanes = [
        *(OptimizerConfig(name, decay=decay) for decay in (0.0, 1e-3, 0.3)),
        *(OptimizerConfig(name, warmup=0.2, found=Found(1, 1, 30), **case) for case in CASES[5:]),
    ]
    start = np.ones((len(lanes), 4))
    values = [c.hypers | {"schedule": c.schedule} for c in lanes]
    ours = path(lanes[0].rule, values, lambda w, t: 0 * w + gradients[t - 1], start, 30)
    for lane, config in enumerate(lanes):
        with floatx("float64"):
            optimizer = config.to_keras(builtin="never")
            variable = keras.Variable(start[lane], dtype="float64")
            for g in gradients:
                optimizer.apply([ops.convert_to_tensor(g)], [variable])
        np.testing.assert_allclose(variable.numpy(), ours[-1, lane], rtol=1e-12, err_msg=f"{config}")


@pytest.mark.parametrize("warmup", [{}, {"warmup": 0.1}])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_keras_schedule_round_trip(case, warmup):
    schedule = optimizers.LearningRate(RATE, steps=STEPS, **case, **warmup)
    assert schedule.get_config() == {"learning_rate": RATE, "steps": STEPS, **case, **warmup}
    data = json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    again = keras.optimizers.schedules.deserialize(data)
    assert type(again) is optimizers.LearningRate
    assert again.get_config() == schedule.get_config()


def test_keras_schedule_reads_what_older_ones_wrote():
    again = optimizers.LearningRate.from_config({"learning_rate": 0.03, "decay": 0.1})
    assert again.get_config() == {"learning_rate": 0.03, "schedule": "inverse_time", "decay": 0.1}


def test_optimizer_round_trip_with_its_schedule():
    made = OptimizerConfig("sgd", learning_rate=0.5, decay=0.25).to_keras(builtin="never")
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(made))))
    assert again.get_config() == made.get_config()
    again.build([keras.Variable(0.0)])
    again.iterations.assign(4)
    assert float(again.learning_rate) == 0.25


@pytest.mark.parametrize(
    ("hypers", "class_name"),
    [
        ({"decay": 0.1}, "InverseTimeDecay"),
        ({"schedule": "exponential"}, "ExponentialDecay"),
        ({"schedule": "linear"}, "PolynomialDecay"),
        ({"schedule": "cosine"}, "CosineDecay"),
        ({"schedule": "cosine", "warmup": 0.1}, "CosineDecay"),
    ],
)
def test_classes_of_keras_keep_the_schedule_of_keras(hypers, class_name):
    # A saved model then loads without adamtune.
    for builtin in ("auto", "always"):
        made = OptimizerConfig("adam", **hypers).to_keras(steps=100, builtin=builtin)
        assert type(made) is keras.optimizers.Adam
        assert type(made.get_config()["learning_rate"]) is dict
        assert made.get_config()["learning_rate"]["class_name"] == class_name
        assert made.get_config()["learning_rate"]["registered_name"] is None


@pytest.mark.parametrize("schedule", ["inverse_tiem", "", None, [], {}, 3, "x" * 10_000])
def test_unknown_schedule(schedule):
    with pytest.raises(ConfigError, match="There are: constant, inverse_time") as caught:
        schedules.get(schedule)
    assert len(str(caught.value)) < 300
    assert ("Did you mean 'inverse_time'?" in str(caught.value)) == (schedule == "inverse_tiem")


@pytest.mark.parametrize(
    ("hypers", "message"),
    [
        ({"decya": 0.1}, "Did you mean 'decay'"),
        ({"decay": -1}, "decay >= 0"),
        ({"schedule": "cosine"}, "length is not known"),
        ({"schedule": "cosine", "steps": 10, "final": 1.1}, "expected 1 >= final >= 0"),
        ({"schedule": "exponential", "steps": 10, "final": 0.0}, "expected 1 >= final > 0"),
        (
            {"schedule": "linear", "steps": 10, "decay": 0.1},
            "a linear schedule has none: write schedule='inverse_time'",
        ),
        ({"steps": 10, "warmup": 2}, "expected 1 >= warmup >= 0"),
    ],
)
def test_keras_schedule_refuses(hypers, message):
    with pytest.raises(ConfigError, match=message):
        optimizers.LearningRate(0.1, **hypers)
