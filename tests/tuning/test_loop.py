import itertools

import optuna
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.tuning import records, study
from adamtune.tuning.loop import Budget, Ticked, TrialEnded, search
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import space
from tests.tuning.fakes import FakeEngine

COMPLETE, PRUNED, FAIL = (getattr(optuna.trial.TrialState, name) for name in ("COMPLETE", "PRUNED", "FAIL"))
ADAM = optimizers.get("adam")
SPACE = space(ADAM, "auto", 1)


def run(stored=None, engine=None, budget=None, *, epochs=9, sampler="random", pruner=None, seed=0, searched=SPACE):
    stored = stored or optuna.create_study()
    engine = engine or FakeEngine()
    budget = budget or Budget(trials=12)
    return stored, search(stored, searched, engine, budget, epochs=epochs, sampler=sampler, pruner=pruner, seed=seed)


def states(stored):
    return [trial.state for trial in stored.get_trials()]


@pytest.mark.parametrize("n_lanes", [1, 4, 16])
@pytest.mark.parametrize("n_trials", [1, 5, 12])
def test_exactly_as_many_trials_as_asked(n_lanes, n_trials):
    stored, events = run(engine=FakeEngine(n_lanes), budget=Budget(trials=n_trials))
    assert len([e for e in events if isinstance(e, TrialEnded)]) == n_trials
    assert states(stored) == [COMPLETE] * n_trials


def test_lanes_stay_full_while_there_are_trials():
    _, events = run(engine=FakeEngine(4), budget=Budget(trials=12), epochs=3)
    # Three waves of three ticks; what runs after each tick is counted after the freed lanes.
    assert [e.running for e in events if isinstance(e, Ticked)] == [4, 4, 0] * 3


def test_every_report_is_stored_with_what_is_needed_to_replay_it():
    stored, events = run(engine=FakeEngine(4), budget=Budget(trials=6), epochs=3)
    list(events)
    for trial in stored.get_trials():
        config = records.config_of(trial)
        assert config.learning_rate == trial.params["learning_rate"]
        assert sorted(trial.intermediate_values) == [1, 2, 3]
        assert trial.value == trial.intermediate_values[3]
        assert trial.user_attrs["start_tick"] == (0 if trial.number < 4 else 3)
        assert trial.user_attrs["epochs"] == 3
        assert trial.user_attrs["diverged"] == 0
    assert records.last_tick(stored) == 6


def test_starting_configs_come_first_and_exactly():
    # The space cannot hold this epsilon, which it does not search, nor this rate, which lies outside.
    given = OptimizerConfig("adam", learning_rate=0.9, epsilon=0.5)
    stored, engine = optuna.create_study(), FakeEngine(2)
    study.enqueue(stored, SPACE, [OptimizerConfig("adam"), given])
    _, events = run(stored, engine, Budget(trials=4))
    list(events)
    assert engine.loaded[:2] == [OptimizerConfig("adam"), given]
    assert records.config_of(stored.get_trials()[1]) == given
    assert stored.get_trials()[1].params["learning_rate"] == ADAM.hyper("learning_rate").high


def test_pruned_trials_make_room_at_once():
    stored, events = run(engine=FakeEngine(4), budget=Budget(trials=30), pruner=Asha(9, "minimize"))
    ended = [e for e in events if isinstance(e, TrialEnded)]
    assert states(stored).count(COMPLETE) + states(stored).count(PRUNED) == 30
    assert {e.epochs for e in ended if e.state == "pruned"} <= {1, 3}
    for trial in stored.get_trials(states=(PRUNED,)):
        assert trial.value == trial.intermediate_values[trial.last_step]


def test_diverged_trial_is_told_a_penalty_and_ends_alone():
    engine = FakeEngine(4, diverges_above=1e-2)
    stored, events = run(engine=engine, budget=Budget(trials=20), epochs=3)
    ended = [e for e in events if isinstance(e, TrialEnded)]
    wild = [t for t in stored.get_trials() if records.diverged(t)]
    assert wild and len(wild) < 20
    assert all(config_of.learning_rate > 1e-2 for config_of in map(records.config_of, wild))
    assert {e.number for e in ended if e.state == "diverged"} == {t.number for t in wild}
    worst = max(v for t in stored.get_trials() for v in t.intermediate_values.values())
    for trial in wild:
        assert trial.state == COMPLETE  # a failed trial would teach the sampler nothing
        assert 3.0 <= trial.value <= max(3.0, worst)
        assert list(trial.intermediate_values) == [1]  # NaN is not reported
        assert trial.user_attrs["epochs"] == 2
    assert not records.diverged(records.ranked(stored)[0])


def test_penalty_is_mirrored_when_maximising():
    stored = optuna.create_study(direction="maximize")
    _, events = run(stored, FakeEngine(4, diverges_above=1e-2), Budget(trials=20), epochs=3)
    list(events)
    wild = [t.value for t in stored.get_trials() if records.diverged(t)]
    # The worst seen when it diverged: at least the untrained model's 3.0 and the first wave's first reports.
    assert wild and max(wild) <= min(3.0, *(t.intermediate_values[1] for t in stored.get_trials()[:4]))


def test_study_where_everything_diverges_comes_to_its_end():
    stored, events = run(engine=FakeEngine(4, diverges_above=0.0), budget=Budget(trials=8))
    list(events)
    assert states(stored) == [COMPLETE] * 8
    assert records.ranked(stored) == []


def test_budget_of_epochs_is_spent_and_not_exceeded_by_more_than_a_trial():
    for epochs in (1, 9, 10, 40):
        stored, events = run(engine=FakeEngine(4), budget=Budget(epochs=epochs), epochs=9)
        trained = [e.epochs for e in events if isinstance(e, Ticked)][-1]
        assert epochs <= trained < epochs + 9
        assert set(states(stored)) == {COMPLETE}


def test_timeout_keeps_what_is_finished_and_fails_the_rest(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr("adamtune.tuning.loop.time.monotonic", lambda: next(now))
    stored, events = run(engine=FakeEngine(4), budget=Budget(trials=100, seconds=4), epochs=3)
    list(events)
    assert states(stored).count(COMPLETE) == 4
    failed = stored.get_trials(states=(FAIL,))
    assert failed and {t.user_attrs["stopped"] for t in failed} == {"timeout"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interruption_keeps_everything_and_leaves_nothing_running(error):
    def interrupt(engine):
        if engine.clock == 5:
            raise error

    stored, events = run(engine=FakeEngine(4, on_tick=interrupt), epochs=3)
    with pytest.raises(error):
        list(events)
    assert states(stored) == [COMPLETE] * 4 + [FAIL] * 4
    assert {t.user_attrs["stopped"] for t in stored.get_trials(states=(FAIL,))} == {"interrupted"}
    # The reports of the ticks before are kept.
    assert all(list(t.intermediate_values) == [1] for t in stored.get_trials(states=(FAIL,)))


def test_interruption_while_asking_leaves_nothing_running(monkeypatch):
    started, asked = records.started, []

    def interrupt(*arguments):
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        started(*arguments)

    monkeypatch.setattr("adamtune.tuning.loop.records.started", interrupt)
    stored, events = run(engine=FakeEngine(4))
    with pytest.raises(KeyboardInterrupt):
        list(events)
    assert states(stored) == [FAIL] * 3


def test_closing_the_generator_leaves_nothing_running():
    stored, events = run(engine=FakeEngine(4))
    next(events)
    events.close()
    assert set(states(stored)) == {FAIL}


def test_second_run_counts_what_is_there_and_goes_on():
    stored, events = run(engine=FakeEngine(4), budget=Budget(trials=6))
    list(events)
    engine = FakeEngine(4)
    _, events = run(stored, engine, Budget(trials=10))
    list(events)
    assert states(stored) == [COMPLETE] * 10
    assert len(engine.loaded) == 4
    # Nothing that was tried is suggested again.
    rates = [t.params["learning_rate"] for t in stored.get_trials()]
    assert len(set(rates)) == 10


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_same_seed_same_study(sampler):
    def rates(seed):
        stored, events = run(
            engine=FakeEngine(4),
            budget=Budget(trials=16),
            sampler=sampler,
            seed=seed,
            pruner=Asha(9, "minimize"),
            searched=space(ADAM, "auto", 60),
        )
        list(events)
        return [(t.params, t.state, t.value) for t in stored.get_trials()]

    assert rates(3) == rates(3)
    assert rates(3) != rates(4)


def test_long_trials_report_few_steps_but_every_rung():
    stored, events = run(engine=FakeEngine(1), budget=Budget(trials=1), epochs=200, pruner=Asha(200, "minimize"))
    list(events)
    steps = set(stored.get_trials()[0].intermediate_values)
    assert {1, 3, 9, 27, 81, 200} <= steps
    assert len(steps) <= 30
