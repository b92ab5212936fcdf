import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune.config import Found, OptimizerConfig
from adamtune.recommending.describing import Description
from adamtune.recommending.evidence import FAR, Evidence, Source
from adamtune.recommending.features import Features
from adamtune.recommending.portfolio import DEFAULT, Portfolio, choose, likely

RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]
CONFIGS = tuple(OptimizerConfig("adam", learning_rate=rate) for rate in RATES)
CONFIGS += (OptimizerConfig("sgd", learning_rate=0.1), OptimizerConfig("lion"))
KNOWN = CONFIGS.index(DEFAULT)
SEEN = Features(False, n_rows=800, n_inputs=10, n_outputs=2, batch_size=32, epochs=8, n_weights=5000, depth=3, width=64)
TASK = Description("table-classification", SEEN, "fingerprint", "rows")
FREE = {"low": (), "high": ()}


def tried(best, n=12, exact=None):
    """Evidence of tasks of growing batches on which the rate at that index is the best, the others evenly worse."""
    sources = tuple(
        Source(f"task {i}", "table-classification", "tables", f"data {i}", replace(SEEN, batch_size=8 + 8 * i))
        for i in range(n)
    )
    away = np.abs(np.arange(len(CONFIGS)) - best) / len(CONFIGS)
    regret = np.clip(away + 0.01 * np.random.default_rng(0).normal(size=(n, len(CONFIGS))), 0, 1)
    if exact is not None:
        sources = (*sources[:-1], replace(sources[-1], fingerprint=exact))
    return Evidence(sources, CONFIGS, regret, sure=1.28)


BETTER = tried(4)  # than the default


def lengths(portfolio):
    return len(portfolio), len(set(portfolio.configs))


def test_nothing_known_gives_the_default_and_says_so():
    nothing = Evidence((), (), np.zeros((0, 0)))
    found = choose(nothing, TASK, 5, FREE)
    assert (found.configs, found.method, found.abstains) == ([DEFAULT], "default", True)
    assert "No study is known" in found.explain()


@pytest.mark.parametrize("k", [1, 3, len(CONFIGS), 100])
def test_a_list_has_k_configs_and_none_twice(k):
    for evidence in (BETTER, tried(KNOWN), tried(4, exact=TASK.fingerprint)):
        assert lengths(choose(evidence, TASK, k, FREE)) == (min(k, len(CONFIGS)),) * 2


def test_a_longer_list_begins_with_the_shorter_one():
    assert choose(BETTER, TASK, 3, FREE).configs == choose(BETTER, TASK, 6, FREE).configs[:3]


def test_the_same_evidence_gives_the_same_list():
    assert choose(tried(4), TASK, 5, FREE) == choose(BETTER, TASK, 5, FREE)


def test_the_best_goes_first_where_it_surely_beats_the_default():
    found = choose(BETTER, TASK, 3, FREE)
    assert found.configs[0].learning_rate == RATES[4]
    assert found[0].gain > 0 and found[0].better_on == 1.0
    assert (found.method, found.abstains, found.n_sources, found.why) == ("alike", False, 12, ())


def test_the_default_goes_first_where_nothing_surely_beats_it():
    found = choose(tried(KNOWN), TASK, 3, FREE)
    assert found.configs[0].found_with(None) == DEFAULT
    assert found[0].gain == pytest.approx(0.0)
    assert not found.abstains


def test_better_on_the_mean_is_not_surely_better():
    regret = np.full_like(BETTER.regret, 0.6)
    regret[:, KNOWN] = 0.5
    regret[:, CONFIGS.index(OptimizerConfig("sgd", learning_rate=0.1))] = [0.2, 0.75] * 5 + [0.2] * 2
    found = choose(replace(BETTER, regret=regret), TASK, 3, FREE)
    assert [config.optimizer for config in found.configs[:2]] == ["adam", "sgd"]
    assert found.configs[0].found_with(None) == DEFAULT
    assert "Nothing is known to beat the default" in found.explain() and not found.abstains


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("name", ["n_inputs", "n_weights", "batch_size", "epochs"])
def test_far_outside_the_default_goes_first_and_says_what_is_far(name, side):
    seen = [getattr(each.features, name) for each in BETTER.sources]
    large = replace(BETTER, sources=tuple(_larger(each, name) for each in BETTER.sources)) if side < 0 else BETTER
    far = max(seen) * int(20 * FAR) if side > 0 else 1
    found = choose(large, replace(TASK, features=replace(SEEN, **{name: far})), 3, FREE)
    assert found.abstains
    assert found.configs[0].found_with(None) == DEFAULT
    assert "times outside of all that was studied" in found.explain()
    assert lengths(found) == (3, 3)
    near = max(seen) * int(FAR / 4)
    assert not choose(BETTER, replace(TASK, features=replace(SEEN, **{name: near})), 3, FREE).abstains


def _larger(source, name):
    return replace(source, features=replace(source.features, **{name: 10_000 * getattr(source.features, name)}))


@pytest.mark.parametrize("evidence", [BETTER, tried(KNOWN), tried(4, exact="fingerprint")], ids=["a", "b", "exact"])
@given(st.lists(st.booleans(), min_size=len(CONFIGS), max_size=len(CONFIGS)).filter(any))
def test_only_what_is_allowed_is_on_the_list(evidence, allowed):
    found = choose(evidence, TASK, 4, FREE, allowed)
    permitted = {config for config, may in zip(CONFIGS, allowed, strict=True) if may}
    assert {config.found_with(None) for config in found.configs} <= permitted
    assert len(found) == min(4, sum(allowed))


def test_where_none_that_was_tried_on_this_very_task_is_allowed_other_tasks_say_what_is():
    evidence = tried(4, exact=TASK.fingerprint)
    evidence.regret[-1, CONFIGS.index(OptimizerConfig("lion"))] = np.nan
    found = choose(evidence, TASK, 2, FREE, [config.optimizer == "lion" for config in CONFIGS])
    assert [config.optimizer for config in found.configs] == ["lion"]


def test_the_gain_grows_with_the_list_and_lies_in_its_interval():
    spread = {"low": (-0.1, -0.2), "high": (0.3, 0.3)}
    found = choose(BETTER, TASK, 5, spread)
    gains = [each.gain for each in found]
    assert gains == sorted(gains)
    for place, each in enumerate(found):
        low, high = each.interval
        assert -1 <= low <= each.gain <= high <= 1
        assert (low, high) == pytest.approx((each.gain - (0.1 if place == 0 else 0.2), min(1.0, each.gain + 0.3)))


def test_without_a_measured_spread_the_interval_is_wide():
    (only,) = choose(BETTER, TASK, 1, {})
    assert only.interval == (only.gain - 1, 1.0)


def test_every_config_says_for_which_training_it_is_meant():
    for evidence in (BETTER, tried(4, exact=TASK.fingerprint)):
        assert {each.found for each in choose(evidence, TASK, 3, FREE).configs} == {Found(8, 32, SEEN.steps)}


# --------------------------------------------------------------------------------------------- a task that is known


def test_a_task_that_was_studied_gets_its_own_best_in_their_order():
    evidence = tried(4, exact=TASK.fingerprint)
    evidence.regret[-1] = np.linspace(1, 0, len(CONFIGS))  # where the others say something else
    evidence.regret[-1, -1] = np.nan
    found = choose(evidence, TASK, 3, FREE)
    assert (found.method, found.n_sources, found.abstains) == ("exact", 1, False)
    assert [config.found_with(None) for config in found.configs] == list(CONFIGS[-2:-5:-1])
    assert "This very task has been studied" in found.explain()
    assert [source.name for source, apart in found.neighbours] == ["task 11"]


def test_a_task_without_a_fingerprint_is_none_of_those_without():
    assert choose(BETTER, replace(TASK, fingerprint=""), 3, FREE).method == "alike"


# ----------------------------------------------------------------------------------------------------------- a prior


def test_a_prior_is_of_those_that_are_best_by_themselves():
    assert [config.learning_rate for config in likely(BETTER, TASK, 1, [True] * len(CONFIGS))] == [RATES[4]]
    some = likely(BETTER, TASK, 3, [config.optimizer == "adam" for config in CONFIGS])
    assert {config.learning_rate for config in some} == set(RATES[3:])
    assert len(likely(BETTER, TASK, 100, [True] * len(CONFIGS))) == len(CONFIGS)


def test_without_a_study_there_is_no_prior():
    assert likely(BETTER.without([True] * 12), TASK, 3, [True] * len(CONFIGS)) == ()


# -------------------------------------------------------------------------------------------------------- how it reads

FOUND = choose(BETTER, replace(TASK, assumed=("rows: 800",)), 3, {"low": (-0.1,), "high": (0.1,)})


def test_a_portfolio_is_a_sequence():
    assert list(FOUND) == [FOUND[0], FOUND[1], FOUND[2]] == list(FOUND.places)
    assert FOUND[-1] in FOUND
    assert FOUND.configs == [each.config for each in FOUND]
    assert isinstance(FOUND, Portfolio)


def test_an_explanation_names_every_config_what_is_like_it_and_what_was_assumed():
    said = FOUND.explain()
    for config in FOUND.configs:
        assert repr(config) in said
    for source, _ in FOUND.neighbours:
        assert source.name in said
    assert "Assumed: rows: 800." in said
    assert f"{SEEN.steps:,} updates" in said
    assert FOUND.neighbours[0][0].features == SEEN


def test_as_plain_data_it_says_the_same():
    data = json.loads(json.dumps(FOUND.to_dict(), allow_nan=False))
    for rank, (each, written) in enumerate(zip(FOUND, data["recommendations"], strict=True), 1):
        assert OptimizerConfig.from_dict(written["config"]) == each.config
        assert (written["rank"], written["gain"], tuple(written["interval"])) == (rank, each.gain, each.interval)
    assert Features.from_dict(data["features"]) == SEEN
    assert [each["task"] for each in data["neighbours"]] == [source.name for source, _ in FOUND.neighbours]
    assert (data["method"], data["abstains"], data["n_sources"]) == ("alike", False, 12)


def test_its_code_compiles_a_model_with_the_first_config():
    code = FOUND.to_code()
    assert code.startswith("model.compile(optimizer=")
    made = eval(code.removeprefix("model.compile(optimizer=").removesuffix(", loss=...)"), {"keras": keras})
    expected = FOUND.configs[0].to_keras().get_config()
    assert made.get_config() == expected | {"name": made.name}
