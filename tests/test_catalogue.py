"""The tables of what there is to know about each optimizer."""

import json

import pytest
from rich.console import Console

from adamtune import catalogue, optimizers


def shown(what, width=80):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_every_optimizer_is_in_the_table_with_its_numbers():
    text = " ".join(shown(catalogue.table(), 300).split())
    for name in optimizers.names():
        rule = optimizers.get(name)
        assert f"{rule.name} {rule.family} {len(rule.slots)} learning_rate" in text
        assert all(hyper.name in text for hyper in rule.hypers)


@pytest.mark.parametrize("name", optimizers.names())
def test_a_page_says_all_there_is_to_know(name):
    rule = optimizers.get(name)
    text = shown(catalogue.page(rule), 400)
    for said in (rule.source, *(hyper.meaning for hyper in rule.hypers), *rule.slots, ">>>"):
        assert said in text
    equations = [line for line in rule.notes.splitlines() if line.startswith("    ") and "=" in line]
    assert equations and all(line in text for line in equations)


def test_facts_are_json():
    for name in optimizers.names():
        facts = catalogue.facts(optimizers.get(name))
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
        rate = facts["hypers"][0]
        assert rate["name"] == "learning_rate" and rate["low"] <= rate["default"] <= rate["high"]


def test_prose_flows_and_equations_stay():
    notes = "One\nparagraph.\n\n    w = w - g\n    t = t + 1\n\n- a\n  b\n- c\n\n>>> 1\n1"
    flowing = "One paragraph.\n\n    w = w - g\n    t = t + 1\n\n- a b\n- c\n\n>>> 1\n1"
    assert catalogue._flowing(notes) == flowing
