import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.tuning import records, study
from adamtune.tuning.loop import Budget, search
from adamtune.tuning.prior import NOTHING, Prior
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import space
from tests.tuning.fakes import FakePrograms

ADAM, ADAMW, NADAM, SGD = (optimizers.get(name) for name in ("adam", "adamw", "nadam", "sgd"))
RATES = {"learning_rate": (1e-5, 1.0)}
WIDE = RATES | {
    "beta_1": (0.5, 0.99),
    "momentum": (0.5, 0.99),
    "schedule": ["constant", "cosine"],
    "final": (1e-3, 0.5),
}
SPACES = {
    "one": space(ADAM, "auto", 100),
    "mapping": space(ADAM, RATES | {"beta_1": optuna.distributions.FloatDistribution(0.5, 0.9)}, 10),
    "several": space([ADAM, SGD], WIDE, 60),
}
GOOD = (
    OptimizerConfig("adam", learning_rate=0.01, beta_1=0.8),
    OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9, schedule="cosine", final=0.1),
)


def drawn(searched, prior=None, *, numbers=range(200), seed=0, among=None, stored=None):
    """The points that a prior draws for trials of these numbers, by number."""
    prior, among = prior or Prior(GOOD), among or tuple(searched.parts)
    stored = stored or optuna.create_study()
    points = {number: prior.point(stored, searched, among, seed, number) for number in numbers}
    return {number: point for number, point in points.items() if point is not None}


def tune(searched, starting, prior=None, n_trials=24, *, lanes=4, sampler="tpe", seed=0, stored=None):
    """A study of fake trainings, in which a rate of 0.01 is best."""
    stored = stored or optuna.create_study()
    if not stored.get_trials():
        study.enqueue(stored, searched, starting)
    pruner = Asha(9, "minimize")
    pruner.learn(stored.get_trials())
    settings = {"epochs": 9, "at_once": lanes, "sampler": sampler, "pruner": pruner, "seed": seed}
    list(search(stored, searched, FakePrograms(lanes), Budget(trials=n_trials), prior=prior, **settings))
    return stored


def told(stored):
    return [(trial.params, trial.state, trial.value) for trial in stored.get_trials()]


def rates(stored, trials):
    return [records.config_of(trial).learning_rate for trial in stored.get_trials()[trials]]


# --------------------------------------------------------------------------------------------------------- single draws


@pytest.mark.parametrize("searched", SPACES.values(), ids=SPACES)
def test_a_draw_is_a_point_of_the_space(searched):
    points = drawn(searched)
    assert points
    for point in points.values():
        again = searched.walk(lambda missing, point=point: {name: point[name] for name in missing})
        assert again == point
        for name, value in point.items():
            assert searched.distributions[name]._contains(searched.distributions[name].to_internal_repr(value))
        assert searched.holds(searched.config(point))


@given(st.integers(0, 2**31), st.integers(0, 10**6))
def test_a_draw_is_decided_by_seed_and_number_alone(seed, number):
    one, two = (drawn(SPACES["several"], Prior(GOOD), seed=seed, numbers=[number]) for _ in range(2))
    assert one == two


def test_another_seed_draws_others():
    assert drawn(SPACES["one"]) != drawn(SPACES["one"], seed=1)


def test_a_draw_lies_near_a_config_and_seldom_at_it():
    away = [math.log10(point["learning_rate"] / 0.01) for point in drawn(SPACES["mapping"], Prior(GOOD[:1])).values()]
    assert any(away) and sorted(map(abs, away))[len(away) // 2] < 0.5
    assert min(away) < 0 < max(away)


def test_choices_are_those_of_a_config():
    for point in drawn(SPACES["several"]).values():
        assert (point["optimizer"], point[f"{point['optimizer']}.schedule"]) in {
            ("adam", "constant"),
            ("sgd", "cosine"),
        }


def test_every_config_has_its_turn():
    found = {point["optimizer"] for point in drawn(SPACES["several"]).values()}
    assert found == {"adam", "sgd"}


def test_the_first_is_always_drawn_and_later_ones_ever_more_seldom():
    prior = Prior(GOOD[:1])
    assert len(drawn(SPACES["one"], prior, numbers=[0])) == 1
    counts = [
        sum(len(drawn(SPACES["one"], prior, seed=seed, numbers=[number])) for seed in range(300))
        for number in (1, 5, 25, 125)
    ]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 4
    assert counts[0] > 150 > counts[2] > 0


def test_an_empty_prior_draws_nothing():
    assert drawn(SPACES["one"], NOTHING) == drawn(SPACES["one"], Prior()) == {}


def test_configs_of_optimizers_that_are_not_searched_any_more_are_left_out():
    assert {point["optimizer"] for point in drawn(SPACES["several"], among=("sgd",)).values()} == {"sgd"}
    assert drawn(SPACES["several"], Prior(GOOD[:1]), among=("sgd",)) == {}


def test_after_a_wave_draws_are_of_the_optimizers_that_stayed():
    searched = space([ADAM, SGD, NADAM, ADAMW], RATES, 40, all_of_them=True)
    points = drawn(searched, among=("adam", "sgd"))
    assert {point["optimizer"] for point in points.values()} == {"adam", "sgd"}
    stored = tune(searched, [], Prior(GOOD), 40)
    assert len(stored.get_trials(states=records.FINISHED)) == 40


# -------------------------------------------------------------------------------------------------------- whole studies

SEARCHED = space(ADAM, RATES, 10)
LISTS = {
    "good": [OptimizerConfig("adam", learning_rate=rate) for rate in (0.008, 0.009, 0.011, 0.0125, 0.013)],
    "bad": [OptimizerConfig("adam", learning_rate=rate) for rate in (0.5, 0.6, 0.7, 0.8, 0.9)],
}


def watched(monkeypatch):
    """Numbers of the trials for which the prior was asked, and for which it drew."""
    asked, point = {}, Prior.point

    def watch(prior, stored, searched, among, seed, number):
        found = point(prior, stored, searched, among, seed, number)
        asked[number] = found is not None
        return found

    monkeypatch.setattr(Prior, "point", watch)
    return asked


def test_a_good_prior_draws_trials_to_the_end(monkeypatch):
    asked = watched(monkeypatch)
    near = [
        sum(abs(math.log10(rate) + 2) < 1 for rate in rates(tune(SEARCHED, LISTS["good"], prior, 60), slice(5, 15)))
        for prior in (NOTHING, Prior(tuple(LISTS["good"])))
    ]
    assert near[0] < near[1]
    assert any(drew for number, drew in asked.items() if number > 30)


def test_a_prior_whose_trials_rank_worse_is_dropped_after_a_few(monkeypatch):
    asked = watched(monkeypatch)
    wrong = tuple(LISTS["bad"])
    stored = tune(SEARCHED, wrong, Prior(wrong), 60, lanes=1)
    assert any(asked.values())
    assert not any(drew for number, drew in asked.items() if number >= 20)
    # It would have gone on, had the list not been tried.
    assert any(number >= 20 for number in drawn(SEARCHED, Prior(wrong), numbers=range(60)))
    assert min(abs(math.log10(rate) + 2) for rate in rates(stored, slice(20, None))) < 0.2


def test_few_trials_say_nothing_of_a_prior():
    stored = tune(SEARCHED, LISTS["bad"][:3], None, 24)
    assert drawn(SEARCHED, Prior(tuple(LISTS["bad"])), stored=stored) == drawn(SEARCHED, Prior(tuple(LISTS["bad"])))


def test_trials_that_diverged_count_as_the_worst():
    """They have no rank, and a list of nothing else is as wrong as it can be."""
    stored = optuna.create_study()
    for config in LISTS["good"]:
        stored.enqueue_trial(SEARCHED.params(config), user_attrs={"config": config.to_json()})
    for number in range(10):
        trial = stored.ask(SEARCHED.distributions)
        records.asked(trial, SEARCHED.config(trial.params))
        records.trained(trial, 9, number < 5, {})
        stored.tell(trial, 100.0)
    assert drawn(SEARCHED, Prior(tuple(LISTS["good"])), stored=stored) == {}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", optuna.samplers.RandomSampler(seed=0)], ids=str)
def test_beside_a_sampler_that_does_not_learn_or_is_not_ours_it_has_no_say(sampler, monkeypatch):
    asked = watched(monkeypatch)
    tune(SEARCHED, [], Prior(tuple(LISTS["good"])), 12, sampler=sampler)
    assert any(asked.values()) == (sampler == "tpe")


def test_without_a_prior_a_study_is_as_it_was():
    starting = LISTS["good"][:2]
    assert told(tune(SEARCHED, starting, NOTHING)) == told(tune(SEARCHED, starting))
    assert told(tune(SEARCHED, starting, Prior(GOOD))) != told(tune(SEARCHED, starting))


def test_a_study_that_is_resumed_goes_on_as_an_undisturbed_one():
    prior, starting = Prior(GOOD[:1]), LISTS["good"]
    whole = tune(SEARCHED, starting, prior, 24, lanes=1)
    parts = tune(SEARCHED, starting, prior, 9, lanes=1)
    assert told(tune(SEARCHED, starting, prior, 24, lanes=1, stored=parts)) == told(whole)


# ------------------------------------------------------------------------------------------- what a space says it holds

HELD = [
    ({}, {}, True),
    ({}, {"learning_rate": 1e-5}, True),
    ({}, {"learning_rate": 1e-6}, False),
    ({}, {"learning_rate": 2.0}, False),
    ({}, {"beta_1": 0.8}, False),
    ({}, {"decay": 1e-3}, False),
    ({}, {"clipnorm": 1.0}, False),
    ({}, {"use_ema": True}, False),
    ({}, {"schedule": "cosine"}, False),
    ({"beta_1": 0.8}, {"beta_1": 0.8}, True),
    ({"beta_1": 0.8}, {}, False),
    ({"beta_1": (0.8, 0.99)}, {"beta_1": 0.95}, True),
    ({"beta_1": (0.8, 0.99)}, {"beta_1": 0.5}, False),
    ({"amsgrad": (False, True)}, {"amsgrad": True}, True),
    ({"clipnorm": 1.0}, {"clipnorm": 1.0}, True),
    ({"clipnorm": 1.0}, {}, False),
    ({"weight_decay": (1e-4, 1e-1)}, {"weight_decay": 1e-2}, True),
    ({"weight_decay": (1e-4, 1e-1)}, {}, False),
    ({"schedule": "cosine"}, {"schedule": "cosine"}, True),
    ({"schedule": "cosine"}, {}, False),
    ({"schedule": ["constant", "linear"]}, {}, True),
    ({"schedule": ["constant", "linear"]}, {"schedule": "linear"}, True),
    ({"schedule": ["constant", "linear"]}, {"schedule": "linear", "final": 0.5}, False),
    ({"schedule": ["constant", "linear"], "final": (1e-3, 0.9)}, {"schedule": "linear", "final": 0.5}, True),
    ({"decay": (1e-6, 1e-2)}, {"decay": 1e-3}, True),
]


@pytest.mark.parametrize(("searched", "config", "held"), HELD, ids=repr)
def test_a_space_holds_its_points_and_no_others(searched, config, held):
    assert space(ADAM, RATES | searched, 10).holds(OptimizerConfig("adam", **config)) == held


def test_a_space_holds_no_config_of_another_optimizer():
    assert not SEARCHED.holds(OptimizerConfig("nadam"))
    assert SPACES["several"].holds(OptimizerConfig("sgd", momentum=0.9))


AUTO = {
    "few": space(ADAM, "auto", 10),
    "more": space(ADAM, "auto", 30),
    "many": space(ADAM, "auto", 64),
    "all": space([ADAM, SGD, NADAM, ADAMW], "auto", 400, all_of_them=True),
    "clipped": space(ADAM, "auto", 10).keeping({"clipnorm": 1.0}),
    "averaged": space(ADAM, "auto", 10).keeping({"use_ema": True}),
}
STEPS = {"steps": space(ADAM, RATES | {"beta_1": optuna.distributions.FloatDistribution(0.5, 0.9, step=0.1)}, 10)}


@pytest.mark.parametrize("searched", AUTO.values(), ids=AUTO)
def test_an_automatic_space_holds_its_defaults(searched):
    for config in searched.defaults():
        assert searched.holds(config), config


EVERY = AUTO | SPACES | STEPS


@pytest.mark.parametrize("searched", EVERY.values(), ids=EVERY)
@given(seed=st.integers(0, 10**6))
def test_a_space_holds_whatever_is_drawn_from_it(searched, seed):
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    config = searched.config(searched.walk(lambda missing: {n: trial._suggest(n, d) for n, d in missing.items()}))
    assert searched.holds(config), config
