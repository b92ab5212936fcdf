import importlib.util

import optuna
import pytest

from adamtune import optimizers
from adamtune.errors import SettingError
from adamtune.tuning import policies
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import space

ADAM, SGD = optimizers.get("adam"), optimizers.get("sgd")
TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.parametrize("name", ["tpe", "random", "qmc"])
def test_known_sampler_is_what_was_given(name):
    assert policies.check_sampler(name) == name == policies.name_of(name)


@pytest.mark.parametrize(("given", "near"), [("tep", "Did you mean 'tpe'"), (None, "There are"), (3, "There are")])
def test_unknown_sampler_is_refused_with_the_names(given, near):
    with pytest.raises(SettingError, match=near):
        policies.check_sampler(given)


@pytest.mark.parametrize(("given", "near"), [("ahsa", "Did you mean 'asha'"), (0, "There are"), (True, "There are")])
def test_unknown_pruner_is_refused_with_the_names(given, near):
    with pytest.raises(SettingError, match=near):
        policies.check_pruner(given)
    with pytest.raises(SettingError, match=near):
        policies.pruner_for(given, 9, "minimize")


def test_gp_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match="pip install torch"):
        policies.check_sampler("gp")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert policies.check_sampler("gp", space(ADAM, "auto", 1)) == "gp"
    with pytest.raises(SettingError, match="choice of optimizer"):
        policies.check_sampler("gp", space([ADAM, SGD], "auto", 1))


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
def test_gp_is_made_with_every_argument():
    assert isinstance(policies.sampler_for("gp", 0, 0), optuna.samplers.GPSampler)


def test_objects_are_used_as_they_are():
    sampler, pruner = optuna.samplers.CmaEsSampler(), optuna.pruners.ThresholdPruner(upper=1.0)
    assert policies.check_sampler(sampler) is sampler
    assert policies.pruner_for(pruner, 9, "minimize") is pruner
    assert (policies.name_of(sampler), policies.name_of(pruner)) == ("CmaEsSampler", "ThresholdPruner")


def test_a_sampler_that_unpickles_is_kept_from_databases():
    policies.check_stored(optuna.samplers.RandomSampler())
    with pytest.raises(SettingError, match="nothing in a database is run"):
        policies.check_stored(optuna.samplers.CmaEsSampler())


def test_pruners_by_name():
    asha = policies.pruner_for("asha", 9, "maximize", passes=3)
    assert isinstance(asha, Asha) and asha.rungs == [1, 3, 9]
    hyperband = policies.pruner_for("hyperband", 9, "minimize", passes=3)
    assert (hyperband._min_resource, hyperband._max_resource, hyperband._reduction_factor) == (1, 27, 3)
    assert type(policies.pruner_for("median", 9, "minimize")) is optuna.pruners.MedianPruner
    assert policies.pruner_for("none", 9, "minimize") is policies.pruner_for(None, 9, "minimize") is None
    assert policies.name_of(None) == "none"


@pytest.mark.parametrize(
    ("sampler", "answer"),
    [
        ("tpe", True),
        ("gp", True),
        ("random", False),
        ("qmc", False),
        (optuna.samplers.TPESampler(), True),
        (optuna.samplers.RandomSampler(), False),
    ],
)
def test_what_learns_is_known(sampler, answer):
    assert policies.learns(sampler) is answer


def test_each_trial_has_a_sampler_of_its_own():
    def first(seed, number):
        study = optuna.create_study(sampler=policies.sampler_for("random", seed, number))
        return study.ask(space(ADAM, "auto", 1).distributions).params

    assert first(1, 2) == first(1, 2)
    assert len({first(*each)["learning_rate"] for each in [(1, 2), (1, 3), (2, 2)]}) == 3
