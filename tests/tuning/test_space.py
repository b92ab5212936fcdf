import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, SettingError
from adamtune.tuning.space import STARTUP_EACH, Space, Wave, space

ADAM, ADAMW, NADAM, SGD = (optimizers.get(name) for name in ("adam", "adamw", "nadam", "sgd"))


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
    # Several optimizers share the trials; of all of them half are gone after the wave.
    for rules, wave in (([ADAM, SGD], False), ([ADAM, SGD, ADAMW, NADAM], True)):
        shared = space(rules, "auto", 2 * n_trials, all_of_them=wave)
        assert set(shared.parts["adam"].free) == names


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


# Ranges of what every optimizer has, and of what single ones or single schedules have.
EVERY = {"learning_rate": (1e-4, 1e-1), "beta_1": (0.5, 0.99), "momentum": (0.0, 0.99), "warmup": (1e-3, 0.1)}
EVERY |= {"final": (1e-3, 0.5), "decay": (1e-5, 1e-2), "nesterov": (False, True), "clipnorm": (0.1, 10.0)}


@given(st.integers(0, 10**6))
def test_every_sample_is_a_legal_config_and_comes_back(seed):
    several = space([ADAM, SGD, NADAM], {"schedule": ["cosine", "inverse_time"]} | EVERY, 100)
    for found in (space(ADAM, "auto", 100), space(SGD, "auto", 100), several):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        trial = study.ask()
        params = found.walk(lambda missing, trial=trial: {n: trial._suggest(n, d) for n, d in missing.items()})
        assert params == trial.params
        config = found.config(params)
        assert OptimizerConfig.from_json(config.to_json()) == config
        back = found.params(config)
        assert back.keys() == params.keys()
        for name, value in params.items():
            assert math.isclose(back[name], value, rel_tol=1e-9) if isinstance(value, float) else back[name] == value


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
        ("wide", SettingError, "'auto', the name of a published space"),
        ("playbok", SettingError, "Did you mean 'playbook'"),
        ("algoperf-adamw", SettingError, "made for adamw, not for adam.*'sivaprasad-adam'"),
        ({"one_minus_beta_1": 0.1, "beta_1": (0.8, 0.99)}, SettingError, "gives 'beta_1' twice"),
        ({"learning_rate": (1e-3, 1e-1), "schedule": "cosin"}, ConfigError, "Did you mean 'cosine'"),
        ({"learning_rate": (1e-3, 1e-1), "final": 0.1}, SettingError, "write 'schedule' with one of 'exponential'"),
        ({"decay": (1e-5, 1e-3), "final": 0.1}, SettingError, "no schedule"),
        ({"decay": (1e-5, 1e-3), "schedule": "cosine"}, SettingError, "'schedule': 'inverse_time' or leave it out"),
        ({"clipnorm": (0.1, 1.0), "clipvalue": 0.5}, ConfigError, "leave one"),
        ({"learning_rate": ("a", "b")}, SettingError, "a pair"),
        ({"learning_rate": (1e-3, 1e-1), "schedule": []}, SettingError, "a list of names"),
        ({"learning_rate": (1e-3, 1e-1), "schedule": 3}, SettingError, "a list of names"),
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
        (None, SettingError, "or a mapping"),
    ],
)
def test_senseless_space_is_refused_with_the_way_out(given_space, error, text):
    with pytest.raises(error, match=text):
        space(ADAM, given_space, 64)


@pytest.mark.parametrize(
    "found",
    [
        space(ADAM, "auto", 100),
        space(SGD, "auto", 1),
        space(ADAM, {"learning_rate": (1e-3, 1e-2), "beta_2": 0.9, "clipnorm": 1.0}, 1),
        space([ADAM, SGD], "auto", 100, all_of_them=True),
        space([ADAM, SGD], "auto", np.int64(8), all_of_them=True),
        space([SGD, ADAM], {"schedule": ["cosine", "linear", "inverse_time"]} | EVERY, 1),
        space(ADAM, {"beta_1": FloatDistribution(0.5, 0.9, step=0.1), "schedule": "cosine", "final": 0.1}, 1),
    ],
)
def test_stored_space_is_the_same_space(found):
    back = Space.from_json(found.to_json())
    assert back == found
    assert list(back.parts) == list(found.parts)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"optimizer": "adam", "free": {}, "fixed": {}}', '{"parts": 1}'])
def test_foreign_text_is_no_space(text):
    with pytest.raises(ConfigError, match="space"):
        Space.from_json(text)


def test_several_optimizers_are_a_choice_and_names_that_carry_it():
    found = space([ADAM, SGD], {"learning_rate": (1e-4, 1e-1), "beta_1": 0.8, "sgd": {"momentum": (0.5, 0.99)}}, 1)
    assert set(found.distributions) == {
        "optimizer",
        "adam.learning_rate",
        "sgd.learning_rate",
        "sgd.one_minus_momentum",
    }
    adam = found.config({"optimizer": "adam", "adam.learning_rate": 0.01})
    assert adam == OptimizerConfig("adam", learning_rate=0.01, beta_1=0.8)
    sgd = found.config({"optimizer": "sgd", "sgd.learning_rate": 0.1, "sgd.one_minus_momentum": 0.25})
    assert sgd == OptimizerConfig("sgd", learning_rate=0.1, momentum=0.75)
    assert found.params(sgd) == {"optimizer": "sgd", "sgd.learning_rate": 0.1, "sgd.one_minus_momentum": 0.25}
    assert found.defaults() == [OptimizerConfig("adam", beta_1=0.8), OptimizerConfig("sgd")]
    with pytest.raises(SettingError, match="searches adam, sgd"):
        found.params(OptimizerConfig("nadam"))
    with pytest.raises(SettingError, match="names one twice"):
        space([ADAM, ADAM], "auto", 1)


def test_what_is_said_of_one_optimizer_goes_before_what_is_said_of_all():
    found = space([ADAM, SGD], {"learning_rate": (1e-4, 1e-1), "sgd": {"learning_rate": 0.5}}, 1)
    assert set(found.distributions) == {"optimizer", "adam.learning_rate"}
    assert found.config({"optimizer": "sgd"}) == OptimizerConfig("sgd", learning_rate=0.5)
    # Said under the other name it is the same hyper.
    found = space([ADAM, NADAM], {"beta_1": (0.5, 0.9), "adam": {"one_minus_beta_1": (0.1, 0.2)}}, 1)
    assert found.distributions["adam.one_minus_beta_1"] == FloatDistribution(0.1, 0.2, log=True)
    # Who is not named is searched as without a mapping.
    found = space([ADAM, SGD], {"adam": {"learning_rate": (1e-4, 1e-1)}}, 1)
    assert set(found.parts["sgd"].free) == {"learning_rate", "one_minus_momentum"}
    # A published space may be meant for one of them.
    found = space([ADAM, SGD], {"adam": "taskset-adam1p"}, 1)
    assert found.distributions["adam.learning_rate"] == FloatDistribution(1e-8, 10.0, log=True)


def test_hyper_that_no_optimizer_has_is_refused():
    with pytest.raises(ConfigError, match="'adam' or 'sgd' does not have"):
        space([ADAM, SGD], {"rho": 0.9}, 1)
    with pytest.raises(ConfigError, match="'sgd' does not have"):
        space([ADAM, SGD], {"sgd": {"beta_1": 0.9}}, 1)


def test_schedule_is_fixed_or_chosen():
    fixed = space(ADAM, {"learning_rate": (1e-4, 1e-1), "schedule": "cosine", "warmup": 0.05}, 1)
    assert set(fixed.distributions) == {"learning_rate"} and not fixed.conditional
    assert fixed.config({"learning_rate": 0.01}) == OptimizerConfig(
        "adam", learning_rate=0.01, schedule="cosine", warmup=0.05
    )
    wanted = {"learning_rate": (1e-4, 1e-1), "decay": (1e-5, 1e-2), "final": (1e-3, 0.5), "warmup": (1e-3, 0.1)}
    chosen = space(ADAM, wanted | {"schedule": ["constant", "inverse_time", "linear", "cosine"]}, 1)
    assert chosen.conditional
    for schedule, own in (("constant", {}), ("inverse_time", {"decay": 0.001}), ("cosine", {"final": 0.1})):
        config = OptimizerConfig("adam", learning_rate=0.01, schedule=schedule, warmup=0.05, **own)
        point = {"learning_rate": 0.01, "schedule": schedule, "warmup": 0.05, **own}
        assert chosen.params(config) == point
        assert chosen.config(point) == config
    # A schedule that is not searched has no place; the first stands for it.
    assert chosen.params(OptimizerConfig("adam", schedule="inverse_sqrt"))["schedule"] == "constant"
    assert space(ADAM, {"decay": (1e-5, 1e-2)}, 1).parts["adam"].schedules == ("inverse_time",)


def test_all_of_them_keep_their_choice_out_of_the_starting_configs():
    found = space([ADAM, SGD], {"learning_rate": (1e-4, 1e-1)}, 1, all_of_them=True)
    assert found.params(OptimizerConfig("sgd")) == {"sgd.learning_rate": 0.01}
    assert found.config({"sgd.learning_rate": 0.1}, "sgd") == OptimizerConfig("sgd", learning_rate=0.1)
    assert space([ADAM], "auto", 1, all_of_them=True).wave is None


@given(st.integers(1, 5000), st.integers(2, 60))
def test_wave_fits_its_budget(n_trials, n_optimizers):
    wave = Wave.within(n_trials, n_optimizers)
    rest = n_trials - wave.each * n_optimizers
    half = (n_optimizers + 1) // 2
    assert 1 <= wave.each <= STARTUP_EACH and 1 <= wave.staying <= half
    assert wave.each == 1 or rest >= n_trials / 2
    assert wave.staying == 1 or rest >= wave.staying * 2 * STARTUP_EACH
    # One more would be too many.
    assert wave.each == STARTUP_EACH or (wave.each + 1) * n_optimizers > n_trials / 2
    assert wave.staying == half or rest < (wave.staying + 1) * 2 * STARTUP_EACH


@pytest.mark.parametrize(
    ("n_trials", "n_optimizers", "wave"),
    [(64, 25, Wave(1, 4)), (100, 25, Wave(2, 6)), (1000, 25, Wave(4, 13)), (10, 25, Wave(1, 1)), (64, 4, Wave(4, 2))],
)
def test_wave_of_a_budget(n_trials, n_optimizers, wave):
    assert Wave.within(n_trials, n_optimizers) == wave


def test_study_without_a_wave_is_stored_as_it_was():
    stored = space(ADAM, "auto", 100).to_json()
    assert '"all": false' in stored and Space.from_json(stored).wave is None
    with pytest.raises(ConfigError, match="not one of this version"):
        Space.from_json(stored.replace('"all": false', '"all": true'))


@pytest.mark.parametrize(
    ("rules", "wanted", "names"),
    [
        (ADAM, "auto", set()),
        ([ADAM, SGD], {"learning_rate": (1e-4, 1e-1), "clipnorm": 1.0}, {"clipnorm"}),
        ([ADAM, SGD], {"learning_rate": (1e-4, 1e-1), "sgd": {"clipvalue": (0.1, 1.0)}}, {"clipvalue"}),
        (ADAM, {"learning_rate": (1e-4, 1e-1), "weight_decay": 0.0}, set()),
        (ADAMW, {"learning_rate": (1e-4, 1e-1)}, {"weight_decay"}),
    ],
)
def test_structure_is_what_is_ever_switched_on(rules, wanted, names):
    assert space(rules, wanted, 1).structure() == names


def test_best_outside_of_the_space_is_said_to_lie_outside():
    found = space(ADAM, {"learning_rate": (1e-4, 1e-1)}, 1)
    (sentence,) = found.near_bounds(OptimizerConfig("adam", learning_rate=0.9))
    assert "learning_rate=0.9 lies outside" in sentence
    assert found.near_bounds(OptimizerConfig("sgd", learning_rate=0.9)) == []
    both = space([ADAM, SGD], {"learning_rate": (1e-4, 1e-1)}, 1)
    (sentence,) = both.near_bounds(OptimizerConfig("sgd", learning_rate=0.099))
    assert sentence.startswith("sgd.learning_rate=0.099 lies within 5 %")


def test_best_near_a_bound_is_said():
    found = space(ADAM, "auto", 100)
    inside = {"learning_rate": 1e-3, "beta_1": 0.9, "epsilon": 1e-5, "beta_2": 0.99, "decay": 1e-4, "warmup": 0.01}
    inside |= {"weight_decay": 1e-3}
    assert found.near_bounds(OptimizerConfig("adam", **inside)) == []
    (sentence,) = found.near_bounds(OptimizerConfig("adam", **inside | {"learning_rate": 0.09}))
    assert "learning_rate=0.09" in sentence and "upper bound 0.1" in sentence
    (sentence,) = found.near_bounds(OptimizerConfig("adam", **inside | {"beta_1": 0.9895}))
    assert "lower bound 0.01" in sentence


def test_natural_ends_are_no_bounds_to_warn_of():
    found = space(ADAM, "auto", 100)
    natural = {"beta_1": 0.0, "beta_2": 0.99, "epsilon": 1e-10, "decay": 1e-7, "warmup": 1e-5, "weight_decay": 0.0}
    assert found.near_bounds(OptimizerConfig("adam", learning_rate=1e-3, **natural)) == []
    shares = space(ADAM, {"schedule": "linear", "final": (1e-3, 1.0)}, 1)
    assert shares.near_bounds(OptimizerConfig("adam", schedule="linear", final=1.0)) == []


@pytest.mark.parametrize("n_trials", [1, 30, 100])
def test_the_default_of_an_automatic_space_is_the_optimizers_own(n_trials):
    assert space(ADAM, "auto", n_trials).defaults() == [OptimizerConfig("adam")]
