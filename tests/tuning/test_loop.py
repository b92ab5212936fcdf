import math
import random
import time

import optuna
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus, OutOfMemory
from adamtune.tuning import curves, records, study
from adamtune.tuning.asking import Asking
from adamtune.tuning.loop import Budget, Halved, Ticked, TrialEnded, _Program, search
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import space
from tests.tuning.fakes import PASS, FakeEngine, FakePrograms, loss_of

COMPLETE, PRUNED, FAIL = (getattr(optuna.trial.TrialState, name) for name in ("COMPLETE", "PRUNED", "FAIL"))
ADAM = optimizers.get("adam")
SPACE = space(ADAM, "auto", 1)
SEVERAL = space([ADAM, optimizers.get("sgd"), optimizers.get("nadam")], "auto", 1)


def run(
    stored=None, engine=None, budget=None, *, epochs=9, sampler="random", pruner=None, seed=0, searched=SPACE, ahead=0
):
    stored = stored or optuna.create_study()
    engine = engine or FakeEngine()
    budget = budget or Budget(trials=12)
    options = {"epochs": epochs, "at_once": engine.n_lanes, "sampler": sampler, "pruner": pruner, "seed": seed}
    return stored, search(stored, searched, lambda rule, number: engine, budget, ahead=ahead, **options)


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


def test_all_that_come_to_a_rung_in_a_tick_are_judged_together():
    # From worst to best: judged one by one, whoever comes first would stay.
    stored = optuna.create_study()
    study.enqueue(stored, SPACE, [OptimizerConfig("adam", learning_rate=10.0**-k) for k in (5, 4, 3, 2)])
    _, events = run(stored, FakeEngine(4), Budget(trials=4), pruner=Asha(9, "minimize"))
    list(events)
    assert [trial.user_attrs["epochs"] for trial in stored.get_trials()] == [1, 1, 3, 9]


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


@pytest.mark.parametrize("pruner", [None, Asha(3, "minimize")], ids=["all", "asha"])
def test_fewer_trials_diverge_as_a_study_learns(pruner):
    """More than half of the space diverges; what is told of that makes a sampler stay away, and settle elsewhere."""
    wide = space(ADAM, {"learning_rate": (1e-5, 1e3)}, 1)

    def diverged(sampler):
        """Diverged trials of the first half and of the last, over the same seeds."""
        first, last = 0, 0
        for seed in range(6):
            options = {"epochs": 3, "searched": wide, "sampler": sampler, "pruner": pruner, "seed": seed}
            stored, events = run(engine=FakeEngine(4, diverges_above=3e-2), budget=Budget(trials=48), **options)
            list(events)
            lost = [records.diverged(trial) for trial in stored.get_trials()]
            first, last = first + sum(lost[:24]), last + sum(lost[24:])
            if sampler == "tpe":
                assert records.ranked(stored)[0].params["learning_rate"] == pytest.approx(0.01, rel=0.3)
        return first, last

    first, last = diverged("tpe")
    assert last < 0.8 * first
    assert last < 0.7 * diverged("random")[1]


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
    engine = FakeEngine(4)
    monkeypatch.setattr("adamtune.tuning.loop.time.monotonic", lambda: engine.clock)  # a tick takes a second
    stored, events = run(engine=engine, budget=Budget(trials=100, seconds=4), epochs=3)
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
    assert {t.user_attrs["stopped"] for t in stored.get_trials(states=(FAIL,))} == {
        "lost" if error is RuntimeError else "interrupted"
    }
    # The reports of the ticks before are kept.
    assert all(list(t.intermediate_values) == [1] for t in stored.get_trials(states=(FAIL,)))


def test_interruption_while_asking_leaves_nothing_running(monkeypatch):
    once, asked = Asking.next, []

    def interrupt(asking):
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return once(asking)

    monkeypatch.setattr(Asking, "next", interrupt)
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


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("initial", [math.nan, math.inf, 3.0])
def test_penalty_is_finite_whatever_the_untrained_model_does(initial, direction):
    engine = FakeEngine(4, diverges_above=0.0)
    engine.initial = initial
    # It says nothing in its first epoch either: nothing finite is known at all.
    engine.reports = lambda: [
        Report(lane, 2, math.nan, LaneStatus.DIVERGED, math.nan, math.nan, None) for lane in sorted(engine._seats)
    ]
    stored, events = run(optuna.create_study(direction=direction), engine, Budget(trials=6))
    list(events)
    assert states(stored) == [COMPLETE] * 6
    values = {trial.value for trial in stored.get_trials()}
    assert values == ({3.0} if initial == 3.0 else {1e9 if direction == "minimize" else -1e9})


class AnyOrder(FakeEngine):
    """Reports its lanes in another order at every tick."""

    def reports(self):
        seen = super().reports()
        random.Random(self.clock).shuffle(seen)
        return seen


@pytest.mark.parametrize("pruner", [Asha(9, "minimize"), optuna.pruners.MedianPruner(2), None])
def test_order_of_lanes_changes_nothing(pruner):
    def once(engine):
        own = Asha(9, "minimize") if isinstance(pruner, Asha) else pruner
        stored, events = run(engine=engine, budget=Budget(trials=30), pruner=own, sampler="tpe")
        ended = [(e.number, e.state, e.value) for e in events if isinstance(e, TrialEnded)]
        return ended, [(t.params, t.state, t.value, t.intermediate_values) for t in stored.get_trials()]

    assert once(FakeEngine(4)) == once(AnyOrder(4))


PRUNERS = [
    lambda: optuna.pruners.MedianPruner(n_startup_trials=2),
    lambda: optuna.pruners.PercentilePruner(25.0, n_startup_trials=1),
    lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
    lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    lambda: optuna.pruners.ThresholdPruner(upper=1.6, n_warmup_steps=2),
]


@pytest.mark.parametrize("make", PRUNERS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pruners_of_optuna_judge_as_in_a_loop_in_the_order_of_trials(make, seed):
    stored = optuna.create_study(study_name="same")  # Hyperband's brackets depend on the name
    _, events = run(stored, FakeEngine(4), Budget(trials=30), pruner=make(), seed=seed)
    list(events)
    trials = stored.get_trials()
    assert PRUNED in states(stored) and COMPLETE in states(stored)
    # The same ticks over again with Optuna's own calls: all report, then each in its turn is asked.
    again, asked, ended = optuna.create_study(study_name="same", pruner=make()), {}, {}
    for tick in range(max(t.user_attrs["start_tick"] + t.user_attrs["epochs"] for t in trials)):
        for trial in trials:
            if trial.user_attrs["start_tick"] == tick:
                asked[trial.number] = again.ask()
        ages = {number: tick - trials[number].user_attrs["start_tick"] + 1 for number in asked if number not in ended}
        for number, age in ages.items():
            asked[number].report(loss_of(records.config_of(trials[number]), age), age)
        for number, age in ages.items():
            if age == 9 or asked[number].should_prune():
                ended[number] = (COMPLETE, age) if age == 9 else (PRUNED, age)
        for number in ages:
            if number in ended:
                state, age = ended[number]
                value = loss_of(records.config_of(trials[number]), age)
                again.tell(asked[number], *([value] if state == COMPLETE else []), state=state)
    assert ended == {t.number: (t.state, t.user_attrs["epochs"]) for t in trials}


def tune(programs, budget=None, *, searched=SEVERAL, stored=None, at_once=8, pruner=None, seed=0, **options):
    stored = stored or optuna.create_study()
    options = {"epochs": 9, "sampler": "random"} | options
    events = search(
        stored, searched, programs, budget or Budget(trials=24), at_once=at_once, pruner=pruner, seed=seed, **options
    )
    return stored, events


def test_each_optimizer_trains_in_its_own_program_opened_when_needed():
    programs = FakePrograms(4)
    stored, events = tune(programs)
    assert not programs.opened
    list(events)
    assert set(programs.opened) == {("adam", 0), ("sgd", 0), ("nadam", 0)}
    for (rule, _), engine in programs.opened.items():
        assert {config.optimizer for config in engine.loaded} == {rule}
    assert sum(len(engine.loaded) for engine in programs.opened.values()) == 24
    assert states(stored) == [COMPLETE] * 24


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("at_once", [1, 3, 8, 40])
def test_no_lane_is_idle_while_its_queue_waits_and_no_program_waits_for_long(passes, at_once, monkeypatch):
    tick, fill, rounds, last = _Program.tick, _Program.fill, {}, {}

    def watched_fill(program):
        fill(program)
        rounds[program] = rounds.get(program, 0) + 1
        if not program.seats:
            last[program] = rounds[program]
        assert rounds[program] - last.get(program, 0) <= 3

    def watched_tick(program):
        assert not program.queue or len(program.seats) == program.engine.n_lanes
        last[program] = rounds[program]
        return tick(program)

    monkeypatch.setattr(_Program, "tick", watched_tick)
    monkeypatch.setattr(_Program, "fill", watched_fill)
    stored, events = tune(FakePrograms(4), at_once=at_once, passes=passes, pruner=Asha(9, "minimize", passes=passes))
    running = []
    for event in events:
        if isinstance(event, Ticked):
            running.append(len(stored.get_trials(states=(optuna.trial.TrialState.RUNNING,))))
            assert event.running <= running[-1]
    assert max(running) <= at_once and last
    assert len(stored.get_trials(states=records.FINISHED)) == 24


def test_full_programs_do_not_wait_for_others():
    # Two of adam fill its lanes; the one of sgd waits two rounds for another of its kind.
    stored, programs = optuna.create_study(), FakePrograms(2)
    configs = [OptimizerConfig("adam"), OptimizerConfig("adam", learning_rate=0.01), OptimizerConfig("sgd")]
    study.enqueue(stored, SEVERAL, configs)
    _, events = tune(programs, Budget(trials=3), stored=stored, at_once=3)
    ticks = [dict.fromkeys(programs.opened, 0)]
    for event in events:
        if isinstance(event, Ticked):
            ticks.append({key: engine.clock for key, engine in programs.opened.items()})
    assert ticks[1:4] == [{("adam", 0): n, ("sgd", 0): int(n == 3)} for n in (1, 2, 3)]
    assert programs.opened["sgd", 0].clock == programs.opened["adam", 0].clock == 9


def test_trial_goes_through_all_passes_and_its_value_is_the_mean():
    programs = FakePrograms(4)
    stored, events = tune(programs, Budget(trials=10), passes=3, searched=SPACE, at_once=8)
    ended = [e for e in events if isinstance(e, TrialEnded)]
    assert len(ended) == 10 and {e.epochs for e in ended} == {27}
    assert set(programs.opened) == {("adam", number) for number in range(3)}
    for trial in stored.get_trials():
        config, attrs = records.config_of(trial), trial.user_attrs
        values = [loss_of(config, 9, number) for number in range(3)]
        assert [attrs[f"pass_{number}"] for number in range(3)] == values
        assert trial.value == pytest.approx(sum(values) / 3)
        assert attrs["epochs"] == 27 and {"start_tick", "start_tick_1", "start_tick_2"} <= set(attrs)
        # What stands at a step is the mean of the passes that are over and the present one.
        curve = trial.intermediate_values
        assert curve[9] == values[0] and curve[27] == trial.value
        some = [step for step in curve if 9 < step < 18]
        assert some
        for step in some:
            assert curve[step] == pytest.approx((values[0] + loss_of(config, step - 9, 1)) / 2)
    assert loss_of(config, 9, 1) - loss_of(config, 9, 0) == pytest.approx(PASS)


def test_one_pass_writes_what_it_always_wrote():
    stored, events = tune(FakePrograms(4), Budget(trials=4), searched=SPACE, at_once=4)
    list(events)
    keys = {"config", "lane", "start_tick", "epochs", "diverged", "train_loss", "val_loss"}
    assert all(set(trial.user_attrs) == keys for trial in stored.get_trials())


def test_who_is_pruned_or_diverges_enters_no_further_pass():
    programs = FakePrograms(4, diverges_above=3e-2)
    pruner = Asha(9, "minimize", passes=4)
    assert pruner.rungs == [1, 3, 9]
    stored, events = tune(programs, Budget(trials=40), passes=4, searched=SPACE, pruner=pruner)
    list(events)
    seen = {number: len(engine.loaded) for (_, number), engine in programs.opened.items()}
    assert states(stored).count(PRUNED) > 5 and any(map(records.diverged, stored.get_trials()))
    assert seen[0] == 40 and seen[3] < seen[0]
    for trial in stored.get_trials(states=(PRUNED,)):
        assert trial.user_attrs["epochs"] in pruner.rungs
        assert "start_tick_1" not in trial.user_attrs
        # A rung at the end of a pass is judged when the pass is over, so its value is known.
        assert ("pass_0" in trial.user_attrs) == (trial.user_attrs["epochs"] == 9)
    assert all(t.user_attrs["epochs"] in (2, 36) for t in stored.get_trials(states=(COMPLETE,)))


@pytest.mark.parametrize("stop_after", [3, 12, 17, 26])
def test_interrupted_passes_leave_nothing_running_and_clocks_go_on(stop_after):
    stored, events = tune(FakePrograms(4), Budget(trials=12), passes=3, searched=SPACE, at_once=8)
    for _, _event in zip(range(stop_after), events, strict=False):
        pass
    events.close()
    assert states(stored).count(FAIL) == 8
    before = {number: records.last_tick(stored, "adam", number, 9) for number in range(3)}
    programs = FakePrograms(4, clock=lambda rule, number: records.last_tick(stored, rule, number, 9))
    n_stored = len(stored.get_trials())
    _, events = tune(programs, Budget(trials=12), stored=stored, passes=3, searched=SPACE, at_once=8)
    list(events)
    assert len(stored.get_trials(states=(COMPLETE,))) == 12
    for trial in stored.get_trials()[n_stored:]:
        assert trial.user_attrs["start_tick"] >= before[0]
        assert trial.user_attrs["start_tick_1"] >= before[1]
        assert trial.user_attrs["start_tick_2"] >= before[2]


def test_clock_of_a_program_is_the_last_of_its_own_trials():
    programs = FakePrograms(2)
    stored, events = tune(programs, Budget(trials=12), passes=2, at_once=6)
    list(events)
    for (rule, number), engine in programs.opened.items():
        # The last trial of a program may have been alone in it for a while, never the other way round.
        assert records.last_tick(stored, rule, number, 9) <= engine.clock
        ends = [
            t.user_attrs["start_tick_1" if number else "start_tick"] + 9
            for t in stored.get_trials()
            if records.rule_of(t) == rule
        ]
        assert records.last_tick(stored, rule, number, 9) == max(ends)


def test_budget_of_epochs_counts_every_pass():
    stored, events = tune(FakePrograms(4), Budget(epochs=100), passes=3, searched=SPACE, at_once=4)
    trained = [e.epochs for e in events if isinstance(e, Ticked)][-1]
    assert 100 <= trained < 100 + 27
    assert set(states(stored)) == {COMPLETE}


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "random"])
def test_same_seed_same_study_with_several_optimizers_and_passes(sampler):
    def once(seed):
        options = {"passes": 2, "sampler": sampler, "pruner": Asha(9, "minimize", passes=2), "seed": seed}
        stored, events = tune(FakePrograms(4, diverges_above=5e-2), Budget(trials=30), **options)
        list(events)
        return [(t.params, t.state, t.value, t.intermediate_values, t.user_attrs) for t in stored.get_trials()]

    assert once(3) == once(3)
    assert once(3) != once(4)


# ------------------------------------------------------------------------------------ asking while lanes train


class Watched(optuna.samplers.RandomSampler):
    """Notes how many trials have ended, and which are asked and have not, whenever it is asked."""

    def __init__(self):
        super().__init__(seed=0)
        self.seen = []

    def infer_relative_search_space(self, study, trial):
        trials = study.get_trials(deepcopy=False)
        self.seen.append((trial.number, sum(t.state.is_finished() for t in trials)))
        return super().infer_relative_search_space(study, trial)


@pytest.mark.parametrize("pruner", [None, Asha(9, "minimize")], ids=["all", "asha"])
@pytest.mark.parametrize("slow", [0.0, 0.02], ids=["quick ticks", "slow ticks"])
def test_what_is_asked_ahead_does_not_depend_on_who_is_faster(pruner, slow):
    def tuned(on_tick):
        engine, sampler = FakeEngine(4, on_tick=on_tick), Watched()
        given = Asha(9, "minimize") if pruner else None
        stored, events = run(engine=engine, budget=Budget(trials=24), ahead=4, sampler=sampler, pruner=given)
        assert len([event for event in events if isinstance(event, TrialEnded)]) == 24
        return [(t.params, t.state, t.value, t.user_attrs) for t in stored.get_trials()], sampler.seen

    expected = tuned(lambda engine: None)
    assert tuned(lambda engine: time.sleep(slow)) == expected


def test_trials_are_asked_while_lanes_train_and_no_more_than_allowed():
    asked_in_a_tick, running = [], []

    def on_tick(engine):
        before = len(stored.get_trials(deepcopy=False))
        time.sleep(0.05)
        trials = stored.get_trials(deepcopy=False)
        asked_in_a_tick.append(len(trials) - before)
        running.append(sum(trial.state == optuna.trial.TrialState.RUNNING for trial in trials))

    stored = optuna.create_study()
    list(run(stored, FakeEngine(4, on_tick=on_tick), Budget(trials=20), epochs=3, ahead=4)[1])
    assert max(asked_in_a_tick) > 0
    assert max(running) <= 4 + 4
    assert states(stored) == [COMPLETE] * 20


def test_who_is_asked_ahead_knows_no_less_than_the_tick_before():
    """What ended in a tick is told before anybody is asked in the next one."""
    engine, sampler = FakeEngine(4), Watched()
    _, events = run(engine=engine, budget=Budget(trials=16), epochs=3, ahead=4, sampler=sampler)
    list(events)
    # Waves of four end together: while the second trains, the third is asked and knows the first.
    known = dict(sampler.seen)
    assert [known[number] for number in range(8, 12)] == [4] * 4


def test_an_error_of_a_tick_is_raised_and_leaves_nothing_running():
    def on_tick(engine):
        if engine.clock == 2:
            raise RuntimeError("the device is gone")

    stored, events = run(engine=FakeEngine(4, on_tick=on_tick), ahead=4)
    with pytest.raises(RuntimeError, match="the device is gone"):
        list(events)
    assert set(states(stored)) == {FAIL}


# ----------------------------------------------------------------------------------------------- short memory


def holding(most):
    """What to do in a tick for an engine whose memory holds so many lanes."""

    def on_tick(engine):
        if engine.n_lanes > most and engine.clock > 4:
            engine.clock -= 1
            raise OutOfMemory("too many")

    return on_tick


@pytest.mark.parametrize("ahead", [0, 8])
@pytest.mark.parametrize("pruner", [None, Asha(9, "minimize")], ids=["all", "asha"])
def test_short_memory_halves_the_lanes_and_loses_no_trial(ahead, pruner):
    engine = FakeEngine(8, on_tick=holding(2))
    stored, events = run(engine=engine, budget=Budget(trials=12), ahead=ahead, pruner=pruner)
    events = list(events)
    assert [event.lanes for event in events if isinstance(event, Halved)] == [4, 2]
    assert len(stored.get_trials()) == 12 and set(states(stored)) <= {COMPLETE, PRUNED}
    for trial in stored.get_trials():
        config = records.config_of(trial)
        # Begun anew, and yet every step is there once.
        assert trial.intermediate_values == {
            step: loss_of(config, step) for step in range(1, trial.user_attrs["epochs"] + 1)
        }
        assert curves.read(stored)[trial.number].epochs == trial.user_attrs["epochs"]
    noted = records.get_note(stored, "out_of_memory")
    assert [note["lanes"] for note in noted] == [4, 2]


def test_trials_that_lost_their_lanes_are_judged_once_at_a_rung():
    class Counting(Asha):
        judged = 0

        def judge(self, rung, values):
            self.judged += len(values) * (rung == 1)
            return super().judge(rung, values)

    pruner = Counting(9, "minimize")
    stored, events = run(engine=FakeEngine(4, on_tick=holding(2)), budget=Budget(trials=10), pruner=pruner)
    list(events)
    assert pruner.judged == len(stored.get_trials()) == 10


def test_programs_that_are_halved_share_what_may_be_asked():
    """Of many programs that take turns each keeps half: together they are asked for half, not for one trial."""
    programs = FakePrograms(4, on_tick=holding(2))
    stored = optuna.create_study()
    options = {"at_once": 12, "sampler": "random", "pruner": None, "seed": 0}
    running = [
        event.running
        for event in search(stored, SEVERAL, programs, Budget(trials=40), epochs=9, **options)
        if isinstance(event, Ticked)
    ]
    assert states(stored) == [COMPLETE] * 40
    assert {engine.n_lanes for engine in programs.opened.values()} == {2}
    assert max(running[-20:]) > 2


def test_program_that_opens_with_fewer_lanes_is_recorded_too():
    class Tight(FakePrograms):
        def __call__(self, rule, number=0):
            self.n_lanes = 4 >> number
            return super().__call__(rule, number)

    stored, options = optuna.create_study(), {"at_once": 4, "sampler": "random", "pruner": None, "seed": 0}
    events = list(search(stored, SPACE, Tight(4), Budget(trials=8), epochs=3, passes=2, **options))
    assert [event.lanes for event in events if isinstance(event, Halved)] == [2]
    assert records.get_note(stored, "out_of_memory") == [{"lanes": 2, "trials": 0}]
    assert states(stored) == [COMPLETE] * 8


def test_one_lane_that_does_not_fit_ends_the_study_with_the_reason():
    def on_tick(engine):
        raise OutOfMemory("too many")

    stored, events = run(engine=FakeEngine(2, on_tick=on_tick))
    with pytest.raises(OutOfMemory, match="one lane does not fit"):
        list(events)
    assert set(states(stored)) == {FAIL}


# ---------------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("passes", [1, 2])
def test_the_whole_curve_of_every_trial_is_kept(passes):
    programs = FakePrograms(4)
    stored = optuna.create_study()
    options = {"at_once": 4, "sampler": "random", "pruner": None, "seed": 0}
    list(search(stored, SPACE, programs, Budget(trials=6), epochs=40, passes=passes, **options))
    found = curves.read(stored)
    for trial in stored.get_trials():
        config, curve = records.config_of(trial), found[trial.number]
        assert len(trial.intermediate_values) < curve.epochs == 40 * passes
        expected = [loss_of(config, age, number) for number in range(passes) for age in range(1, 41)]
        assert curve.val_loss.tolist() == pytest.approx(expected)


def test_an_interrupted_study_keeps_the_curves_of_what_was_running():
    def on_tick(engine):
        if engine.clock == 3:
            raise KeyboardInterrupt

    stored, events = run(engine=FakeEngine(4, on_tick=on_tick))
    with pytest.raises(KeyboardInterrupt):
        list(events)
    assert [curve.epochs for curve in curves.read(stored).values()] == [2] * 4
