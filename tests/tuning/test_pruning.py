import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune.tuning.pruning import Asha, stopped

values = st.lists(st.floats(allow_infinity=False), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, []), (2, [1]), (5, [1]), (6, [1, 3]), (17, [1, 3]), (18, [1, 3, 9]), (54, [1, 3, 9, 27])]
)
def test_rungs_are_powers_up_to_half_of_the_budget(epochs, rungs):
    assert Asha(epochs, "minimize").rungs == rungs


@pytest.mark.parametrize(
    ("epochs", "passes", "rungs"),
    [
        (10, 5, [1, 3, 9]),  # 27 is beyond half of 50
        (10, 10, [1, 3, 9, 20]),  # 27 is in the third pass: after the second one
        (20, 3, [1, 3, 9, 20]),
        (2, 5, [1, 2]),
        (5, 20, [1, 3, 5, 25]),
        (1, 10, [1, 3]),
    ],
)
def test_rungs_beyond_the_first_pass_are_whole_passes(epochs, passes, rungs):
    assert Asha(epochs, "minimize", passes=passes).rungs == rungs
    assert all(rung <= epochs or rung % epochs == 0 for rung in rungs)
    assert all(2 * rung <= epochs * passes for rung in rungs)


def test_best_third_of_all_that_ever_came_stays():
    asha = Asha(9, "minimize")
    assert asha.judge(1, [5.0, 1.0, 3.0]) == [False, True, False]
    # Six have come: the best two are 1.0 and 2.0.
    assert asha.judge(1, [2.0, 4.0, 6.0]) == [True, False, False]
    # Nothing of rung 1 counts at rung 3; whoever comes first stays.
    assert asha.judge(3, [9.0]) == [True]


def test_maximising_is_the_mirror_image():
    assert Asha(9, "maximize").judge(1, [5.0, 1.0, 3.0]) == [True, False, False]


@given(values, st.randoms())
def test_order_of_lanes_does_not_matter(reports, random):
    order = list(range(len(reports)))
    random.shuffle(order)
    straight = Asha(9, "minimize").judge(1, reports)
    shuffled = Asha(9, "minimize").judge(1, [reports[i] for i in order])
    assert [straight[i] for i in order] == shuffled


@given(values)
def test_nan_never_stays_and_some_finite_one_does(reports):
    stays = Asha(9, "minimize").judge(1, reports)
    assert not any(stay for stay, value in zip(stays, reports, strict=True) if math.isnan(value))
    finite = [value for value in reports if not math.isnan(value)]
    if finite:
        assert stays[reports.index(min(finite))]


def test_what_an_earlier_run_reached_is_learned():
    study = optuna.create_study()
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        trial = study.ask()
        trial.report(value, 1)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    resumed = Asha(9, "minimize")
    resumed.learn(study.get_trials())
    assert resumed.judge(1, [2.5]) == [False]
    assert resumed.judge(1, [1.5]) == [True]


def test_optuna_can_ask_for_one_trial_at_a_time():
    study = optuna.create_study(pruner=Asha(9, "minimize"))
    outcomes = []
    for value in (1.0, 2.0, 3.0, 0.5):
        trial = study.ask()
        trial.report(value, 1)
        outcomes.append(trial.should_prune())
        study.tell(trial, value)
    assert outcomes == [False, True, True, False]


class Trial:
    def __init__(self, number):
        self.number = number


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.floats(allow_infinity=False)), max_size=12), st.randoms())
def test_who_is_stopped_does_not_depend_on_the_order_of_reports(reports, random):
    reported = [(Trial(number), step, value) for number, (step, value) in enumerate(reports)]
    shuffled = random.sample(reported, len(reported))
    straight = stopped(Asha(9, "minimize"), reported)
    assert straight == stopped(Asha(9, "minimize"), shuffled)
    assert straight <= {trial.number for trial, step, _ in reported if step != 2}
    assert stopped(None, reported) == set()
