"""The stages around a rule: lanes against what Keras computes for each of them alone, also with what is not finite."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from adamtune.errors import ConfigError
from adamtune.optimizers import gradients as stages

SHAPES = ((), (3,), (2, 4), (2, 3, 2))
NONE = {hyper.name: hyper.default for hyper in stages.CLIPS}
LIMITS = [
    {},
    {"clipvalue": 0.5},
    {"clipvalue": 1e9},
    {"clipnorm": 0.3},
    {"clipnorm": 1e9},
    {"global_clipnorm": 0.3},
    {"global_clipnorm": 1e9},
]


def clipped(given, lanes, dtype="float64"):
    """Gradients, each of shape (lanes, *shape), after `clip` with one limit per lane."""
    columns = {name: ops.convert_to_tensor([{**NONE, **lane}[name] for lane in lanes], dtype) for name in NONE}
    results = stages.clip([ops.convert_to_tensor(g, dtype) for g in given], SimpleNamespace(**columns))
    return [ops.convert_to_numpy(g) for g in results]


def clipped_by_keras(given, limit):
    optimizer = keras.optimizers.SGD(0.1, **limit)
    results = optimizer._clip_gradients([ops.convert_to_tensor(g) for g in given])
    return [ops.convert_to_numpy(g) for g in results]


@pytest.fixture
def given(seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(len(LIMITS), *shape)) for shape in SHAPES]


@pytest.mark.parametrize("what", ["finite", "zero", "a zero weight", "nan", "inf", "-inf"])
def test_each_lane_is_clipped_as_keras_does(given, what):
    # Of three weights one has something odd in it; the first lane has no limit and must not see it.
    if what == "zero":
        given = [0 * g for g in given]
    elif what == "a zero weight":
        given[1] = 0 * given[1]
    elif what != "finite":
        given[2][:, 0, 1] = float(what)
    ours = clipped(given, LIMITS)
    for lane, limit in enumerate(LIMITS):
        theirs = clipped_by_keras([g[lane] for g in given], limit)
        for one, other in zip(ours, theirs, strict=True):
            assert one[lane].shape == other.shape
            np.testing.assert_allclose(one[lane], other, rtol=1e-14, err_msg=f"{limit}")
    for one, before in zip(ours, given, strict=True):
        np.testing.assert_array_equal(one[0], before[0])


def test_one_lane_is_a_lane(given):
    for lane, limit in enumerate(LIMITS):
        every, alone = clipped(given, LIMITS), clipped([g[lane : lane + 1] for g in given], [limit])
        for one, other in zip(every, alone, strict=True):
            np.testing.assert_allclose(one[lane : lane + 1], other, rtol=1e-15)


def test_a_lane_of_nan_leaves_its_neighbours_alone(given):
    sound = clipped(given, LIMITS, "float32")
    for g in given:
        g[1::2] = np.nan
    for one, other in zip(clipped(given, LIMITS, "float32"), sound, strict=True):
        np.testing.assert_array_equal(one[::2], other[::2])
        assert np.isnan(one[1::2]).all()


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 3, 2)])
def test_decay_is_that_of_keras_per_lane(shape, seed):
    # As many lanes as the weight is wide: numbers that met the wrong axis would not be noticed by their shape.
    weight = np.random.default_rng(seed).normal(size=shape)
    rates, shares = np.array([0.5, 0.25, 0.125]), np.array([0.0, 0.5, 1.0])
    ours = ops.convert_to_numpy(stages.decay(*(ops.convert_to_tensor(each) for each in (weight, rates, shares))))
    for lane in range(3):
        optimizer = keras.optimizers.SGD(float(rates[lane]), weight_decay=float(shares[lane]))
        variable = keras.Variable(weight[lane], dtype="float64")
        optimizer.apply([ops.zeros(shape[1:], "float64")], [variable])
        np.testing.assert_allclose(ours[lane], ops.convert_to_numpy(variable), rtol=1e-15)


def test_no_decay_leaves_what_is_not_finite():
    weight = ops.convert_to_tensor([[np.inf, -np.inf, 1.0]] * 2)
    after = stages.decay(weight, ops.convert_to_tensor([0.1, 0.1]), ops.convert_to_tensor([0.0, 0.1]))
    np.testing.assert_array_equal(after[0], [np.inf, -np.inf, 1.0])


def test_average_is_that_of_keras_per_lane(seed):
    weights = np.random.default_rng(seed).normal(size=(6, 3, 3)).astype("float32")
    momenta = np.array([0.0, 0.75, 0.99], "float32")
    average = ops.full((3, 3), np.nan, "float32")  # whatever was there before the first update does not count
    for t, weight in enumerate(weights):
        momentum = ops.convert_to_tensor(momenta * (t > 0))
        average = stages.ema(average, ops.convert_to_tensor(weight), momentum)
    for lane in range(3):
        optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=float(momenta[lane]))
        variable = keras.Variable(np.zeros(3), dtype="float32")
        for weight in weights:
            optimizer.apply([variable - weight[lane]], [variable])
        optimizer.finalize_variable_values([variable])
        np.testing.assert_allclose(average[lane], variable.numpy(), rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------------------------------- the catalogue


def test_what_means_none_is_legal_and_carried():
    for hyper in stages.HYPERS:
        assert hyper.check(hyper.default) == hyper.default
        assert hyper.carry(hyper.default) == (0.0 if hyper is stages.WEIGHT_DECAY else np.inf)
        for end in (hyper.low, hyper.high):
            assert hyper.check(end) == end


def test_names_and_defaults_are_those_of_keras():
    config = keras.optimizers.SGD().get_config()
    for option in stages.OPTIONS:
        assert config[option.name] == option.default
    assert {hyper.name for hyper in stages.HYPERS} <= set(config)


@pytest.mark.parametrize(
    ("name", "legal", "illegal"),
    [
        ("use_ema", [True, False], [None, 1, "yes"]),
        ("ema_momentum", [0, 0.5, 1.0], [None, -0.1, 1.1, "0.5", True, float("nan")]),
        ("ema_overwrite_frequency", [None, 1, 10], [0, -1, 1.5, True]),
        ("gradient_accumulation_steps", [None, 2, 10], [0, 1, 2.5, True]),
        ("loss_scale_factor", [None, 0.5, 1024], [0, -1.0, float("inf"), float("nan"), "2"]),
    ],
)
def test_options_are_checked(name, legal, illegal):
    (option,) = (option for option in stages.OPTIONS if option.name == name)
    for value in legal:
        assert option.check(value) == value
        # Keras takes what we take.
        keras.optimizers.SGD(**{"use_ema": True, name: value})
    for value in illegal:
        with pytest.raises(ConfigError, match=f"{name}=.*expected"):
            option.check(value)


def test_one_limit_only():
    stages.one_clip({"clipnorm": 1.0, "clipvalue": np.inf})
    with pytest.raises(ConfigError, match=r"clipnorm and global_clipnorm are given.*leave one only"):
        stages.one_clip({"clipnorm": 1.0, "global_clipnorm": 1.0})
