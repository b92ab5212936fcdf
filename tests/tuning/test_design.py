import dataclasses
import math
from collections import Counter

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.tuning import design, records
from adamtune.tuning.space import Wave, space

ADAM, NADAM, RMSPROP, SGD = (optimizers.get(name) for name in ("adam", "nadam", "rmsprop", "sgd"))
RATES = {"learning_rate": (1e-4, 1e-1)}
THREE = space([ADAM, SGD, NADAM], RATES | {"beta_1": (0.5, 0.99), "momentum": (0.5, 0.99)}, 1)
CHOICE = space(ADAM, RATES | {"schedule": ["constant", "inverse_time", "cosine"], "decay": (1e-5, 1e-2)}, 1)
ALL = space([ADAM, SGD, NADAM, RMSPROP], RATES, 64, all_of_them=True)
FINISHED = records.FINISHED
COMPLETE, FAIL = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL


def add(study, searched, params, rule=None, value=0.0, state=COMPLETE):
    """A stored trial of these parameters."""
    distributions = {}
    searched.walk(lambda missing: distributions.update(missing) or params, rule=rule)
    config = searched.config(params, rule)
    given = {"value": value} if state == COMPLETE else {}
    study.add_trial(
        optuna.create_trial(
            params=params, distributions=distributions, user_attrs={"config": config.to_json()}, state=state, **given
        )
    )


def designed(searched, n, seed=0, study=None):
    study = study or optuna.create_study()
    for _ in range(n):
        add(study, searched, design.next_point(searched, study.get_trials(), list(searched.parts), seed))
    return [trial.params for trial in study.get_trials()]


@pytest.mark.parametrize("searched", [THREE, CHOICE])
def test_same_seed_same_design(searched):
    assert designed(searched, 12) == designed(searched, 12)
    assert designed(searched, 12) != designed(searched, 12, seed=1)


def test_optimizers_and_schedules_take_turns():
    assert Counter(params["optimizer"] for params in designed(THREE, 12)) == {"adam": 4, "sgd": 4, "nadam": 4}
    seen = designed(CHOICE, 9)
    assert Counter(params["schedule"] for params in seen) == {"constant": 3, "inverse_time": 3, "cosine": 3}
    assert all(("decay" in params) == (params["schedule"] == "inverse_time") for params in seen)


def test_design_fills_the_range_evenly():
    rates = [math.log10(p["adam.learning_rate"]) for p in designed(THREE, 48) if p["optimizer"] == "adam"]
    # Sixteen points of a Sobol sequence: one in each sixteenth of the range.
    assert sorted(int((rate + 4) / 3 * 16) for rate in rates) == list(range(16))


def test_trial_that_was_cut_off_has_its_turn_again():
    study = optuna.create_study()
    first = design.next_point(THREE, [], list(THREE.parts), 0)
    add(study, THREE, first, state=FAIL)
    again = design.next_point(THREE, study.get_trials(), list(THREE.parts), 0)
    assert again["optimizer"] == first["optimizer"] == "adam"
    assert again["adam.learning_rate"] != first["adam.learning_rate"]


def test_design_is_over_when_every_choice_was_seen_often_enough():
    study = optuna.create_study()
    for n in range(12):
        assert not design.is_over(THREE, study.get_trials(), list(THREE.parts), FINISHED)
        designed(THREE, 1, study=study)
        assert len(study.get_trials()) == n + 1
    assert design.is_over(THREE, study.get_trials(), list(THREE.parts), FINISHED)
    # As many of two optimizers alone are not enough: TPE would know nothing of the third.
    study = optuna.create_study()
    for params in designed(THREE, 30):
        if params["optimizer"] != "sgd":
            add(study, THREE, params)
    assert not design.is_over(THREE, study.get_trials(), list(THREE.parts), FINISHED)
    assert design.next_point(THREE, study.get_trials(), list(THREE.parts), 0)["optimizer"] == "sgd"


def finish_wave(values=lambda config: 1.0, searched=ALL, n=99):
    study = optuna.create_study()
    for _ in range(n):
        config = design.wave(searched, study.get_trials())
        if config is None:
            break
        add(study, searched, searched.params(config), config.optimizer, values(config))
    return study


def test_wave_is_the_default_and_spread_rates_of_each():
    configs = [records.config_of(trial) for trial in finish_wave().get_trials()]
    assert configs[:4] == [OptimizerConfig(rule) for rule in ("adam", "sgd", "nadam", "rmsprop")]
    assert Counter(config.optimizer for config in configs) == dict.fromkeys(ALL.parts, 4)
    rates = [config.learning_rate for config in configs if config.optimizer == "adam"]
    # In each quarter of the range one: the default is in the second.
    assert rates == pytest.approx([1e-3, 10**-3.625, 10**-2.125, 10**-1.375])


@pytest.mark.parametrize(
    ("each", "adam", "sgd"),
    [
        (1, [1e-3], [1e-2]),
        (2, [1e-3, 10**-1.75], [1e-2, 10**-3.25]),
        (3, [1e-3, 10**-3.5, 10**-1.5], [1e-2, 10**-3.5, 10**-2.5]),
    ],
)
def test_smaller_wave_tries_rates_far_from_the_default(each, adam, sgd):
    searched = dataclasses.replace(ALL, wave=Wave(each, 2))
    configs = [records.config_of(trial) for trial in finish_wave(searched=searched).get_trials()]
    assert len(configs) == each * 4
    for rule, rates in (("adam", adam), ("sgd", sgd)):
        assert [c.learning_rate for c in configs if c.optimizer == rule] == pytest.approx(rates)


def test_wave_of_a_rate_that_is_not_searched_is_the_default_alone():
    searched = space([ADAM, NADAM], {"beta_1": (0.5, 0.99)}, 64, all_of_them=True)
    assert len(finish_wave(searched=searched).get_trials()) == 2


def test_wave_keeps_what_every_config_has_besides():
    kept = ALL.keeping({"use_ema": True, "clipnorm": 1.0})
    study = optuna.create_study()
    for _ in range(8):
        config = design.wave(kept, study.get_trials())
        assert config.options == {"use_ema": True} and config.clipnorm == 1.0
        add(study, kept, kept.params(config), config.optimizer)


def test_better_half_survives_the_wave():
    order = {"nadam": 0.1, "sgd": 0.2, "adam": 0.3, "rmsprop": 0.4}
    study = finish_wave(lambda config: order[config.optimizer] + config.learning_rate)
    minimize, maximize = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
    assert design.survivors(ALL, study.get_trials(), minimize) == ("sgd", "nadam")
    assert design.survivors(ALL, study.get_trials(), maximize) == ("adam", "rmsprop")
    for staying, names in ((1, ("nadam",)), (3, ("adam", "sgd", "nadam"))):
        other = dataclasses.replace(ALL, wave=Wave(4, staying))
        assert design.survivors(other, study.get_trials(), minimize) == names


def test_design_goes_on_until_enough_is_known_of_the_survivors():
    searched = dataclasses.replace(ALL, wave=Wave(1, 2))
    study, among = finish_wave(searched=searched), ("adam", "sgd")
    for _ in range(20):  # others do not count, however many there are
        add(study, searched, {"rmsprop.learning_rate": 0.05}, "rmsprop")
    begun = 0
    while not design.is_over(searched, study.get_trials(), among, FINISHED):
        point, begun = design.next_point(searched, study.get_trials(), among, 0), begun + 1
        add(study, searched, point)
    assert begun == 8  # STARTUP with the default of each


def test_nobody_survives_before_the_wave_has_ended():
    direction = optuna.study.StudyDirection.MINIMIZE
    study = finish_wave(n=15)
    assert design.survivors(ALL, study.get_trials(), direction) is None
    last = design.wave(ALL, study.get_trials())
    study.enqueue_trial(ALL.params(last), user_attrs={"config": last.to_json()})
    # All have begun, and the last one has not ended.
    assert design.wave(ALL, study.get_trials()) is None
    assert design.survivors(ALL, study.get_trials(), direction) is None
    trial = study.ask()
    study.tell(trial, state=FAIL)
    assert design.wave(ALL, study.get_trials()) == last
    add(study, ALL, ALL.params(last), last.optimizer)
    assert len(design.survivors(ALL, study.get_trials(), direction)) == 2


def test_survivors_stay_what_they_were():
    study = finish_wave(lambda config: config.optimizer != "adam")
    chosen = design.survivors(ALL, study.get_trials(), study.direction)
    assert chosen[0] == "adam"
    study.add_trial(
        optuna.create_trial(
            params={"optimizer": "adam"}, distributions={"optimizer": CategoricalDistribution(chosen)}, value=1.0
        )
    )
    for rule in ("nadam", "rmsprop"):  # somebody lines up more without a choice, and they do very well
        add(study, ALL, {f"{rule}.learning_rate": 0.05}, rule, value=-5.0)
    assert design.survivors(ALL, study.get_trials(), study.direction) == chosen
