"""The catalogue, and the two ways into it from outside."""

import importlib.metadata
import warnings
from dataclasses import replace

import keras
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing.fits import in_catalogue

SGD = optimizers.get("sgd")
MINE = replace(SGD, name="mine", class_name="Mine", builtin=None)


@pytest.fixture
def catalogue():
    """Whatever a test adds is gone after it."""
    with in_catalogue(MINE):
        yield


def test_a_registered_rule_is_one_of_the_catalogue(catalogue):
    assert optimizers.get("Mine") is MINE
    assert "mine" in optimizers.names() and "Mine" in dir(optimizers)
    assert "adamtune>Mine" in optimizers.register()
    assert OptimizerConfig.from_json(OptimizerConfig("mine", momentum=0.5).to_json()).momentum == 0.5
    made = OptimizerConfig("mine", momentum=0.5).to_keras()
    assert type(made) is optimizers.Mine
    assert type(keras.optimizers.deserialize(keras.optimizers.serialize(made))) is optimizers.Mine


def test_names_are_taken_once():
    for clash in (replace(MINE, name="sgd"), replace(MINE, class_name="SGD")):
        for force in (False, True):
            with pytest.raises(ConfigError, match="already: give the rule another name"):
                optimizers.register(clash, replace=force)
    with pytest.raises(ConfigError, match="replace=True"):
        optimizers.register(replace(SGD, source="another"))
    optimizers.register(SGD)  # the same one again
    with pytest.raises(ConfigError, match="expected a Rule, got str"):
        optimizers.register("mine")
    assert "mine" not in optimizers.names() and optimizers.get("sgd") is SGD


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "Mine"}, "write 'mine'"),
        ({"class_name": "mine"}, "begins with a capital"),
        ({"class_name": "LearningRate"}, "none of AveragedWeights"),
        ({"class_name": "Rule"}, "none of AveragedWeights"),
    ],
)
def test_names_that_could_not_be_found_are_refused(wrong, says):
    with pytest.raises(ConfigError, match=says):
        optimizers.register(replace(MINE, **wrong))


def test_names_stay_sorted(catalogue):
    assert optimizers.names() == sorted(optimizers.names())


def test_a_rule_can_take_the_place_of_its_namesake(catalogue):
    newer = replace(MINE, source="newer")
    optimizers.register(newer, replace=True)
    assert optimizers.get("mine") is newer
    assert optimizers.Mine.rule is newer
    optimizers.register(MINE, replace=True)
    assert keras.saving.get_registered_object("adamtune>Mine") is optimizers.Mine
    assert optimizers.Mine.rule is MINE


class Entry:
    def __init__(self, name, load):
        self.name, self.value, self.load = name, f"package:{name}", load


def broken():
    raise ImportError("no such thing")


def test_installed_packages_offer_rules(monkeypatch):
    known = optimizers.names()
    monkeypatch.setattr(optimizers, "_RULES", {})  # as in a process that begins
    builds_on_another = lambda: optimizers.get("sgd") and MINE  # noqa: E731
    entries = [
        Entry("mine", builds_on_another),
        Entry("bad", broken),
        Entry("worse", lambda: 3),
        Entry("sgd", lambda: SGD),
    ]
    offered = lambda group: entries if group == "adamtune.optimizers" else []  # noqa: E731
    monkeypatch.setattr(importlib.metadata, "entry_points", offered)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = dict(optimizers._catalogue())
    assert found["mine"] is MINE and set(found) == {"mine", *known}
    assert [str(each.message).split(" is left out: ")[1] for each in said] == [
        "no such thing",
        "expected a Rule, got int: see adamtune.optimizers.Rule.",
    ]
