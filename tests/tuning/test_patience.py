import math
from types import SimpleNamespace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus
from adamtune.tuning import curves, records
from adamtune.tuning.confirm import confirm
from adamtune.tuning.loop import Budget, TrialEnded, search
from adamtune.tuning.patience import Course
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import space
from tests.tuning.fakes import FakeEngine

SPACE = space(optimizers.get("adam"), "auto", 1)
BEST = 3  # the epoch at which every trial is best


class Overfits(FakeEngine):
    """The loss falls up to epoch 3 and rises again; one above 0.05 is NaN in its fifth epoch."""

    def _report(self, lane, config, age):
        loss, status = abs(math.log10(config.learning_rate) + 2) + 0.125 * abs(age - BEST), LaneStatus.RUNNING
        if config.learning_rate > self._above and age == 5:
            loss, status = math.nan, LaneStatus.DIVERGED
        return Report(lane, age, loss, status, loss, loss, None)


def studied(patience, epochs=10, passes=1, n_trials=6, pruner=None, engine=None):
    study, engines = optuna.create_study(), {}
    events = search(
        study,
        SPACE,
        lambda rule, number: engines.setdefault(number, engine or Overfits(2)),
        Budget(trials=n_trials),
        epochs=epochs,
        passes=passes,
        at_once=2,
        sampler="random",
        pruner=pruner,
        seed=0,
        patience=patience,
    )
    return study, list(events)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(1, 30), st.sampled_from([1.0, -1.0]))
def test_a_course_is_worth_its_best_epoch_and_ends_when_that_is_long_ago(values, patience, sign):
    course = Course(len(values), "minimize" if sign == 1.0 else "maximize", patience)
    for epoch, value in enumerate(values, 1):
        course.take(epoch, value)
        if course.is_over:
            break
    seen = [sign * value for value in values[:epoch]]
    assert sign * course.value == min(seen)
    assert course.epoch == 1 + seen.index(min(seen))
    assert course.is_over and (epoch == len(values) or epoch - course.epoch == patience)


def test_without_patience_a_course_goes_to_its_end_and_is_worth_its_last_epoch():
    course = Course(3, "minimize")
    for epoch, value in enumerate([0.1, 0.5, 0.3], 1):
        assert not course.is_over
        course.take(epoch, value)
    assert (course.value, course.epoch, course.is_over) == (0.3, 3, True)


def test_a_trial_ends_when_its_patience_does_and_counts_as_its_best_epoch():
    study, events = studied(patience=2)
    for trial in study.get_trials():
        assert trial.state.name == "COMPLETE"
        assert trial.value == abs(math.log10(trial.params["learning_rate"]) + 2)
        assert (trial.user_attrs["best_epoch"], trial.user_attrs["epochs"]) == (BEST, BEST + 2)
        assert records.counted(trial, 10) == BEST
        assert trial.intermediate_values[BEST + 2] == trial.value  # the best so far
        assert curves.read(study)[trial.number].epochs == BEST + 2
    ended = [event for event in events if isinstance(event, TrialEnded)]
    assert {(event.state, event.epochs) for event in ended} == {("complete", BEST + 2)}


def test_its_lane_is_free_at_once():
    engine = Overfits(2)
    studied(patience=2, engine=engine)
    assert engine.clock == 3 * (BEST + 2)


def test_each_pass_has_a_best_epoch_and_the_value_is_their_mean():
    study, _ = studied(patience=2, passes=2, n_trials=2)
    for trial in study.get_trials():
        assert trial.value == pytest.approx(abs(math.log10(trial.params["learning_rate"]) + 2))
        assert [trial.user_attrs[key] for key in ("best_epoch", "best_epoch_1", "epochs")] == [
            BEST,
            BEST,
            2 * (BEST + 2),
        ]
        assert records.counted(trial, 10, 1) == BEST
        assert curves.read(study)[trial.number].epochs == 2 * (BEST + 2)


def test_what_diverges_is_no_better_for_having_been_good():
    study, _ = studied(patience=3, engine=Overfits(2, diverges_above=1e-6))
    assert [records.diverged(trial) for trial in study.get_trials()] == [True] * 6
    assert records.ranked(study) == []


def test_pruned_trials_have_a_best_epoch_too():
    study, _ = studied(patience=8, pruner=Asha(10, "minimize"), n_trials=9)
    pruned = [trial for trial in study.get_trials() if trial.state.name == "PRUNED"]
    assert pruned
    for trial in pruned:
        assert trial.user_attrs["best_epoch"] == min(trial.user_attrs["epochs"], BEST)


def test_winners_are_confirmed_by_their_best_epochs():
    task = SimpleNamespace(epochs=10, direction="minimize", build=lambda seed: seed)
    config = OptimizerConfig("adam", learning_rate=1e-3)
    engine = Overfits(2)
    passes = [SimpleNamespace(seed=seed) for seed in (0, 1)]
    (found,) = list(confirm(task, lambda rule: engine, [config], passes, patience=2))[-1]
    assert found.values == (1.0, 1.0)
    (found,) = list(confirm(task, lambda rule: engine, [config], passes))[-1]
    assert found.values == (1.0 + 0.125 * 7,) * 2
