import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, SettingError
from adamtune.tuning.space import Space, space

ADAM, SGD = optimizers.get("adam"), optimizers.get("sgd")


@pytest.mark.parametrize(
    ("n_trials", "names"),
    [
        (1, {"learning_rate"}),
        (24, {"learning_rate"}),
        (25, {"learning_rate", "one_minus_beta_1", "epsilon"}),
        (60, {"learning_rate", "one_minus_beta_1", "epsilon", "one_minus_beta_2", "amsgrad", "decay"}),
    ],
)
def test_more_trials_free_more_hypers(n_trials, names):
    assert set(space(ADAM, "auto", n_trials).free) == names


def test_betas_are_searched_on_the_log_of_their_distance_from_one():
    found = space(ADAM, "auto", 100).distributions["one_minus_beta_1"]
    assert isinstance(found, FloatDistribution) and found.log
    assert (found.low, found.high) == (1e-2, 1.0)


def test_sampled_numbers_become_the_hypers():
    config = space(ADAM, "auto", 100).config(
        {
            "learning_rate": 0.01,
            "one_minus_beta_1": 0.25,
            "one_minus_beta_2": 0.125,
            "epsilon": 1e-3,
            "amsgrad": True,
            "decay": 1e-4,
        }
    )
    assert config == OptimizerConfig(
        "adam", learning_rate=0.01, beta_1=0.75, beta_2=0.875, epsilon=1e-3, amsgrad=True, decay=1e-4
    )


@given(st.integers(0, 10**6))
def test_every_sample_is_a_legal_config_and_comes_back(seed):
    for rule in (ADAM, SGD):
        found = space(rule, "auto", 100)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        params = study.ask(found.distributions).params
        back = found.params(found.config(params))
        assert all(math.isclose(back[name], params[name], rel_tol=1e-9) for name in params)


def test_mapping_frees_and_fixes():
    found = space(
        ADAM,
        {"learning_rate": (1e-4, 1e-2), "beta_1": (0.8, 0.99), "beta_2": 0.95, "amsgrad": (False, True)},
        n_trials=1,
    )
    rate, beta = found.distributions["learning_rate"], found.distributions["one_minus_beta_1"]
    assert (rate.low, rate.high) == (1e-4, 1e-2)
    assert (beta.low, beta.high) == pytest.approx((0.01, 0.2))
    assert found.distributions["amsgrad"] == CategoricalDistribution([False, True])
    config = found.config({"learning_rate": 1e-3, "one_minus_beta_1": 0.1, "amsgrad": False})
    assert (config.beta_1, config.beta_2, config.epsilon) == (0.9, 0.95, 1e-7)


def test_own_distribution_is_searched_in_the_hypers_own_terms():
    found = space(ADAM, {"beta_1": FloatDistribution(0.5, 0.9)}, n_trials=1)
    assert found.config({"beta_1": 0.7}).beta_1 == 0.7
    assert found.params(OptimizerConfig("adam", beta_1=0.6)) == {"beta_1": 0.6}


@pytest.mark.parametrize(
    ("given_space", "error", "text"),
    [
        ("wide", SettingError, "'auto' or a mapping"),
        ({"lerning_rate": (1e-4, 1e-2)}, ConfigError, "did you mean|Did you mean 'learning_rate'"),
        ({"learning_rate": (1e-2, 1e-2)}, SettingError, "two different bounds"),
        ({"learning_rate": (0.0, 1.0)}, SettingError, "above 0"),
        ({"learning_rate": (1e-4, 1e-3, 1e-2)}, SettingError, "a pair"),
        ({"beta_1": (0.5, 1.0)}, SettingError, "above 0"),
        ({"beta_1": FloatDistribution(0.5, 1.0)}, SettingError, "out of range"),
        ({"beta_1": 1.5}, ConfigError, "0 <= beta_1 < 1"),
        ({"amsgrad": (0.0, 0.5)}, SettingError, "a flag"),
        ({"beta_1": 0.9}, SettingError, "frees nothing"),
        ({}, SettingError, "frees nothing"),
        (None, SettingError, "'auto' or a mapping"),
    ],
)
def test_senseless_space_is_refused_with_the_way_out(given_space, error, text):
    with pytest.raises(error, match=text):
        space(ADAM, given_space, 64)


@pytest.mark.parametrize("rule", [ADAM, SGD])
def test_stored_space_is_the_same_space(rule):
    found = space(rule, "auto", 100)
    assert Space.from_json(found.to_json()) == found
    own = space(rule, {"learning_rate": (1e-3, 1e-2)} | ({"beta_2": 0.9} if rule is ADAM else {}), 1)
    assert Space.from_json(own.to_json()) == own


def test_best_near_a_bound_is_said():
    found = space(ADAM, "auto", 100)
    inside = {"learning_rate": 1e-3, "beta_1": 0.9, "epsilon": 1e-5, "beta_2": 0.99, "decay": 1e-4}
    assert found.near_bounds(OptimizerConfig("adam", **inside)) == []
    (sentence,) = found.near_bounds(OptimizerConfig("adam", **inside | {"learning_rate": 0.09}))
    assert "learning_rate=0.09" in sentence and "upper bound 0.1" in sentence
    (sentence,) = found.near_bounds(OptimizerConfig("adam", **inside | {"beta_1": 0.9895}))
    assert "lower bound 0.01" in sentence


def test_natural_ends_are_no_bounds_to_warn_of():
    found = space(ADAM, "auto", 100)
    config = OptimizerConfig("adam", learning_rate=1e-3, beta_1=0.0, beta_2=0.99, epsilon=1e-10, decay=1e-7)
    assert found.near_bounds(config) == []
