import pytest
from optuna.distributions import FloatDistribution

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import SettingError
from adamtune.tuning import published
from adamtune.tuning.space import Space, space

FITTING = [(name, rule) for rule in map(optimizers.get, optimizers.names()) for name in published.names(rule)]


@pytest.mark.parametrize(("name", "rule"), FITTING, ids=[f"{name}-{rule.name}" for name, rule in FITTING])
def test_every_published_space_is_one(name, rule):
    assert published.source(name)
    for n_trials in (1, 12, 30, 100):
        found = space(rule, name, n_trials)
        assert Space.from_json(found.to_json()) == found
        assert found.params(found.defaults()[0])


@pytest.mark.parametrize(("name", "rule"), FITTING, ids=[f"{name}-{rule.name}" for name, rule in FITTING])
@pytest.mark.parametrize("end", ["low", "high"])
def test_both_ends_are_legal(name, rule, end):
    found = space(rule, name, 100)

    def bound(distribution):
        return getattr(distribution, end, None) or getattr(distribution, "choices", (0.0,))[0]

    params = found.walk(lambda missing: {each: bound(distribution) for each, distribution in missing.items()})
    config = found.config(params)  # which refuses what is out of range
    for each, parameter in found.free.items():
        assert config.hypers[parameter.hyper.name] == parameter.value(params[each])
    assert OptimizerConfig.from_json(config.to_json()) == config


def test_names_are_those_that_fit():
    assert "algoperf-nesterov" in published.names(optimizers.get("sgd"))
    assert "algoperf-nesterov" not in published.names(optimizers.get("adam"))
    assert {name for name, _ in FITTING} == set(published.names())


def test_numbers_are_those_published():
    adam = optimizers.get("adam")
    assert space(adam, "taskset-adam4p", 1).distributions == {
        "learning_rate": FloatDistribution(1e-8, 10.0, log=True),
        "one_minus_beta_1": FloatDistribution(1e-4, 1.0, log=True),
        "one_minus_beta_2": FloatDistribution(1e-6, 1.0, log=True),
        "epsilon": FloatDistribution(1e-10, 1e3, log=True),
    }
    assert space(optimizers.get("adagrad"), "taskset-adagrad", 1).distributions == {
        "learning_rate": FloatDistribution(1e-8, 10.0, log=True),
        "initial_accumulator_value": FloatDistribution(1e-10, 1e3, log=True),
    }
    assert space(optimizers.get("nadamw"), "algoperf-nadamw", 1).distributions == {
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "one_minus_beta_1": FloatDistribution(4e-3, 0.1, log=True),
        "weight_decay": FloatDistribution(5e-3, 1.0, log=True),
    }
    nesterov = space(optimizers.get("sgd"), "algoperf-nesterov", 1)
    config = nesterov.config({"learning_rate": 0.5, "one_minus_momentum": 0.1, "final": 1e-3})
    assert (config.schedule, config.nesterov, config.final, config.momentum) == ("linear", True, 1e-3, 0.9)


@pytest.mark.parametrize(("n_trials", "n_free"), [(9, 1), (10, 2), (25, 3), (60, 4)])
@pytest.mark.parametrize("name", ["adam", "nadam", "nadamw"])
def test_playbook_frees_more_as_there_is_more_to_learn_from(name, n_trials, n_free):
    found = space(optimizers.get(name), "playbook", n_trials)
    assert len(found.free) == n_free
    assert found.defaults()[0].hypers.get("weight_decay", 0.0) == 0.0


def test_space_for_others_says_which_fit():
    with pytest.raises(SettingError, match=r"made for adam, not for sgd.*'algoperf-nesterov'"):
        space([optimizers.get("adam"), optimizers.get("sgd")], "seed", 10)
