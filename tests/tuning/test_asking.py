import dataclasses
import math
from collections import Counter

import optuna
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.tuning import asking, policies, records, storage, study
from adamtune.tuning.asking import Asking
from adamtune.tuning.loop import Budget, search
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import Wave, space
from tests.tuning.fakes import FakePrograms

ADAM, NADAM, RMSPROP, SGD = (optimizers.get(name) for name in ("adam", "nadam", "rmsprop", "sgd"))
THREE = [ADAM, SGD, NADAM]
SCHEDULES = {"schedule": ["constant", "cosine", "inverse_time"], "decay": (1e-5, 1e-2), "final": (1e-3, 0.5)}
WIDE = {"learning_rate": (1e-4, 1e-1), "beta_1": (0.5, 0.99), "momentum": (0.5, 0.99)}
COMPLETE, FAIL = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL


def tune(searched, n_trials=60, *, stored=None, sampler="tpe", seed=0, at_once=8, lanes=4, starting=True, **options):
    stored = stored or optuna.create_study()
    if starting and not stored.get_trials():
        study.enqueue(stored, searched, searched.defaults())
    programs = FakePrograms(lanes, **options)
    pruner = Asha(9, "minimize")
    pruner.learn(stored.get_trials())
    events = search(
        stored,
        searched,
        programs,
        Budget(trials=n_trials),
        epochs=9,
        at_once=at_once,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
    )
    return stored, events


def told(stored):
    return [(trial.params, trial.state, trial.value, trial.user_attrs) for trial in stored.get_trials()]


@pytest.fixture
def no_independent_sampling(monkeypatch):
    def refuse(sampler, study, trial, name, distribution):
        raise AssertionError(f"{name} of trial {trial.number} was drawn on its own")

    for sampler in (optuna.samplers.TPESampler, optuna.samplers.RandomSampler):
        monkeypatch.setattr(sampler, "sample_independent", refuse)


@pytest.mark.parametrize(
    "searched",
    [
        space(ADAM, "auto", 100),
        space(THREE, WIDE, 60),
        space(THREE, WIDE | SCHEDULES, 60),
        space(ADAM, {"learning_rate": (1e-4, 1e-1)} | SCHEDULES, 60),
        space([*THREE, RMSPROP], WIDE | SCHEDULES, 60, all_of_them=True),
        space([ADAM, SGD], WIDE, 60, all_of_them=True),
    ],
    ids=["one", "three", "three-schedules", "schedules", "all", "one-survivor"],
)
@pytest.mark.parametrize("starting", [True, False])
@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
def test_no_parameter_is_ever_drawn_without_the_others_of_its_point(
    searched, starting, sampler, no_independent_sampling
):
    stored, events = tune(searched, starting=starting, sampler=sampler)
    list(events)
    assert len(stored.get_trials(states=records.FINISHED)) == 60
    for trial in stored.get_trials():
        config = records.config_of(trial)
        assert (
            trial.params.keys()
            == searched.walk(
                lambda missing, trial=trial: {name: trial.params[name] for name in missing},
                rule=config.optimizer if "optimizer" not in trial.params and searched.several else None,
            ).keys()
        )


def test_tpe_is_asked_once_there_is_enough_and_not_before(monkeypatch):
    asked, sample = [], optuna.samplers.TPESampler.sample_relative

    def watch(sampler, study, trial, known):
        finished = study.get_trials(deepcopy=False, states=records.FINISHED)
        asked.append((trial.number, Counter(each.params["optimizer"] for each in finished)))
        return sample(sampler, study, trial, known)

    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", watch)
    _, events = tune(space(THREE, WIDE, 60), at_once=1, lanes=1)
    list(events)
    number, finished = asked[0]
    assert number == 12 and finished == {"adam": 4, "sgd": 4, "nadam": 4}
    assert {number for number, _ in asked} == set(range(12, 60))


def test_while_a_trial_runs_only_what_it_has_keeps_others_away():
    stored, events = tune(space(THREE, WIDE, 60))
    list(events)
    for trial in stored.get_trials()[30:]:
        rule = trial.params["optimizer"]
        given = "".join(value for key, value in trial.system_attrs.items() if key.startswith("tpe:relative_params"))
        assert rule in given
        assert not any(f"{other}." in given.replace(f"{rule}.", "") for other in {"adam", "sgd"} - {rule})


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "random"])
@pytest.mark.parametrize("all_of_them", [False, True])
def test_same_seed_same_study(sampler, all_of_them):
    searched = space([*THREE, RMSPROP], WIDE, 60, all_of_them=all_of_them)

    def once(seed):
        stored, events = tune(searched, 40, sampler=sampler, seed=seed)
        list(events)
        return told(stored)

    assert once(1) == once(1)
    if sampler != "random" or not all_of_them:
        assert once(1) != once(2)


def test_defaults_come_first_and_exactly():
    searched = space(THREE, WIDE, 60)
    stored, events = tune(searched)
    next(events)
    events.close()
    configs = [records.config_of(trial) for trial in stored.get_trials()[:3]]
    assert configs == [OptimizerConfig("adam"), OptimizerConfig("sgd"), OptimizerConfig("nadam")]


def test_all_of_them_begin_with_the_wave_and_go_on_with_the_better_half():
    # The fake makes nadam and sgd much worse.
    searched = space([ADAM, SGD, NADAM, RMSPROP], WIDE, 60, all_of_them=True)
    stored, events = tune(searched)
    list(events)
    wave, later = stored.get_trials()[:16], stored.get_trials()[16:]
    assert Counter(records.config_of(trial).optimizer for trial in wave) == dict.fromkeys(searched.parts, 4)
    assert not any("optimizer" in trial.params for trial in wave)
    assert {trial.params["optimizer"] for trial in later} == {"adam", "rmsprop"}
    # Nobody is asked before the wave has ended.
    assert min(t.datetime_start for t in later) >= max(t.datetime_complete for t in wave)


def test_small_budget_looks_once_and_goes_on_with_one():
    # Seven trials: a wave of four, and three that are too few for two optimizers.
    searched = space([ADAM, SGD, NADAM, RMSPROP], WIDE, 7, all_of_them=True)
    stored, events = tune(searched, 7)
    list(events)
    defaults, later = stored.get_trials()[:4], stored.get_trials()[4:]
    assert [records.config_of(trial) for trial in defaults] == searched.defaults()
    assert len(later) == 3
    assert {trial.distributions["optimizer"].choices for trial in later} in ({("adam",)}, {("rmsprop",)})


def test_tpe_learns_from_as_many_trials_of_each_survivor_as_without_a_wave(monkeypatch):
    asked, sample = [], optuna.samplers.TPESampler.sample_relative

    def watch(sampler, study, trial, known):
        finished = study.get_trials(deepcopy=False, states=records.FINISHED)
        asked.append(Counter(records.rule_of(each) for each in finished))
        return sample(sampler, study, trial, known)

    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", watch)
    searched = dataclasses.replace(space([*THREE, RMSPROP], WIDE, 60, all_of_them=True), wave=Wave(1, 3))
    stored, events = tune(searched, 40, at_once=1, lanes=1)
    list(events)
    (survivors,) = {t.distributions["optimizer"].choices for t in stored.get_trials() if "optimizer" in t.params}
    assert {rule: asked[0][rule] for rule in survivors} == dict.fromkeys(survivors, 4)


@pytest.mark.parametrize("stop_after", [1, 4, 9, 15, 20, 25])
def test_wave_that_was_interrupted_goes_on_where_it_stopped(stop_after):
    searched = space([ADAM, SGD, NADAM, RMSPROP], WIDE, 60, all_of_them=True)
    undisturbed, events = tune(searched, 40)
    list(events)
    stored, events = tune(searched, 40)
    for _, _event in zip(range(stop_after), events, strict=False):
        pass
    events.close()
    assert len(stored.get_trials(states=records.FINISHED)) < 40
    _, events = tune(searched, 40, stored=stored)
    list(events)

    def wave(of):
        trials = [trial for trial in of.get_trials(states=records.FINISHED) if "optimizer" not in trial.params]
        return sorted(records.config_of(trial).to_json() for trial in trials)

    def choices(of):
        return {trial.distributions["optimizer"].choices for trial in of.get_trials() if "optimizer" in trial.params}

    assert len(stored.get_trials(states=records.FINISHED)) == 40
    assert wave(stored) == wave(undisturbed)
    assert choices(stored) == choices(undisturbed) == {("adam", "rmsprop")}


def test_resumed_study_draws_nothing_twice_and_nothing_alone(no_independent_sampling):
    searched = space(THREE, WIDE | SCHEDULES, 60)
    stored, events = tune(searched)
    for _, _event in zip(range(12), events, strict=False):
        pass
    events.close()
    _, events = tune(searched, stored=stored)
    list(events)
    points = [tuple(sorted(trial.params.items())) for trial in stored.get_trials() if trial.params]
    assert len(set(points)) == len(points)
    assert len(stored.get_trials(states=records.FINISHED)) == 60


def test_resume_with_the_same_trials_asks_for_the_same():
    searched = space(THREE, WIDE, 60)
    stored, events = tune(searched, 20, at_once=4)
    list(events)
    copy = optuna.create_study()
    copy.add_trials(stored.get_trials())
    once, again = (Asking(each, searched, "tpe", 0).next()[1] for each in (stored, copy))
    assert once == again


@pytest.mark.parametrize("all_of_them", [False, True])
def test_study_in_a_database_is_the_one_in_memory(tmp_path, all_of_them):
    searched = space([*THREE, RMSPROP], WIDE | SCHEDULES, 60, all_of_them=all_of_them)
    database = storage.open_storage(f"sqlite:///{tmp_path / 'test.db'}")
    inside, events = tune(searched, 40, stored=optuna.create_study(storage=database))
    list(events)
    outside, events = tune(searched, 40)
    list(events)
    assert told(inside) == told(outside)
    storage.close(database)


def test_sampler_object_is_asked_for_everything():
    sampler = optuna.samplers.RandomSampler(seed=5)
    stored, events = tune(space(THREE, WIDE, 60), 10, sampler=sampler)
    list(events)
    assert stored.sampler is sampler
    assert len({trial.params["optimizer"] for trial in stored.get_trials()}) == 3


def test_trial_that_somebody_else_lined_up_in_part_is_completed():
    searched = space(THREE, WIDE, 60)
    stored = optuna.create_study()
    stored.enqueue_trial({"optimizer": "sgd", "sgd.learning_rate": 0.05})
    _, events = tune(searched, 3, stored=stored)
    list(events)
    config = records.config_of(stored.get_trials()[0])
    assert (config.optimizer, config.learning_rate) == ("sgd", 0.05)
    assert math.isfinite(config.momentum)


def test_tpe_that_is_told_its_parameters_suggests_what_it_does_when_it_finds_them_itself():
    """A shortcut, and no other sampler."""
    searched = space(ADAM, "auto", 1000)

    def suggested(shortcut):
        stored, events = tune(searched, 24)
        list(events)
        for number in range(24, 40):
            own = policies.sampler_for("tpe", 7, number, conditional=not shortcut)
            sampler = asking._Whole(own, searched.distributions) if shortcut else own
            trial = stored._storage.get_trial(stored.ask()._trial_id)
            found = sampler.infer_relative_search_space(stored, trial)
            yield sampler.sample_relative(stored, trial, found)

    points = list(suggested(True))
    assert points == list(suggested(False))
    assert all(set(point) == set(searched.distributions) for point in points)
