import gc
import math
import subprocess
import sys
import threading
import time

import numpy as np
import optuna
import pytest

from adamtune import OptimizerConfig, begin_trial, finish_trial, report_epoch, summary
from adamtune.errors import ConfigError, SettingError, StudyError
from adamtune.own_loop import OpenTrial
from adamtune.tuning import curves, records, sharing, storage

COMPLETE, PRUNED, FAIL, RUNNING = (
    getattr(optuna.trial.TrialState, name) for name in ("COMPLETE", "PRUNED", "FAIL", "RUNNING")
)


def stored(url, name="mine"):
    return optuna.load_study(study_name=name, storage=url)


def states(url):
    return [trial.state for trial in stored(url).trials]


def train(trial, *values, **losses):
    """Report the values until the trial is over; returns how many were reported."""
    for epoch, value in enumerate(values, 1):
        if report_epoch(trial, value, **losses):
            return epoch
    return len(values)


# ------------------------------------------------------------------------------------------- what is stored


def test_trial_is_stored_as_one_of_an_adamtuner(database_url):
    def begin():
        return begin_trial("mine", "nadam", epochs=4, n_trials=4, pruner="none", storage=database_url, random_state=0)

    train(begin(), 4.0, 3.0, 2.0, 1.0, train_loss=0.5)
    first = begin()
    train(first, 5.0, math.inf)
    second = begin()
    train(second, 3.0)
    with begin() as third:
        train(third, 1.5, 0.5)
    finish_trial(second)
    assert begin() is None

    study = stored(storage.resolve_url(database_url))
    complete, _, early, _ = trials = study.trials
    assert [trial.state for trial in trials] == [COMPLETE] * 4
    assert [trial.value for trial in trials] == [1.0, 5.0, 3.0, 0.5]
    assert complete.intermediate_values == {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}
    assert [trial.user_attrs["epochs"] for trial in trials] == [4, 2, 1, 2]
    assert [records.diverged(trial) for trial in trials] == [False, True, False, False]
    assert (complete.user_attrs["train_loss"], complete.user_attrs["val_loss"]) == (0.5, 1.0)
    assert records.config_of(early) == second.config and second.config.optimizer == "nadam"
    assert [trial.number for trial in records.ranked(study)] == [3, 0, 2]
    drawn = curves.read(study)
    assert drawn[0] == curves.Curve([0.5] * 4, [4.0, 3.0, 2.0, 1.0])
    assert drawn[1].epochs == 2 and math.isinf(drawn[1].val_loss[1])


def test_first_trial_is_the_default_and_all_are_of_the_space(begin, url):
    while trial := begin(space={"learning_rate": (1e-3, 1e-2), "epsilon": 1e-5}, n_trials=4):
        train(trial, 1.0, 1.0, 1.0, 1.0)
    found = [records.config_of(trial) for trial in stored(url).trials]
    assert len({config.learning_rate for config in found}) == 4
    assert found[0].learning_rate == 1e-3 and all(1e-3 <= config.learning_rate <= 1e-2 for config in found)
    assert {config.epsilon for config in found} == {1e-5}


def test_same_seed_suggests_the_same(begin):
    names = ("one", "other")
    for name in names:
        while trial := begin(name, sampler="tpe", n_trials=13, epochs=1):
            report_epoch(trial, abs(math.log(trial.config.learning_rate / 0.02)))
    one, other = ([records.config_of(trial) for trial in stored_of(begin, name)] for name in names)
    assert one == other and len(set(one)) == 13


def stored_of(begin, name):
    """Trials of a study that is complete, through a trial that comes on top."""
    trial = begin(name, sampler="tpe", n_trials=99, epochs=1)
    return trial._run.trial.study.get_trials()[:13]


def test_study_is_shown_as_any_other(begin, url):
    trial = begin(objective="accuracy", direction="maximize")
    train(trial, 0.5, 0.75, 0.7, 0.875, val_loss=0.25)
    found = summary.of_study(stored(url))
    assert (found.objective, found.direction, found.counts["complete"]) == ("accuracy", "maximize", 1)
    assert found.best[0].value == 0.875 and found.config == trial.config
    shown = str(summary.render(found).renderables[0])
    assert "4 epochs, sampler random, pruner asha, in loops of one's own" in shown
    own = stored(url).trials[0].user_attrs
    assert (own["accuracy"], own["val_loss"]) == (0.875, 0.25)
    assert curves.read(stored(url))[0].metric.tolist() == [0.5, 0.75, np.float32(0.7), 0.875]


def test_steps_are_carried_by_the_config_and_needed_where_a_schedule_ends_with_the_training(begin, url):
    cosine = {"learning_rate": (1e-3, 1e-1), "schedule": "cosine"}
    trial = begin(space=cosine, batch_size=8, steps=40)
    assert (trial.config.found.steps, trial.config.found.batch_size, trial.config.found.epochs) == (40, 8, 4)
    assert 40.0 in trial.config.row()
    train(trial, 1.0, 1.0, 1.0, 1.0)
    assert summary.of_study(stored(url)).config == trial.config
    for share in (cosine, {"learning_rate": (1e-3, 1e-1), "warmup": 0.1}):
        with pytest.raises(SettingError, match="share of the training: give steps"):
            begin("other", space=share)


def test_long_trial_is_stored_at_some_epochs_and_keeps_its_whole_curve(begin, url):
    trial = begin(epochs=100, pruner="none")
    assert train(trial, *range(100)) == 100
    assert len(stored(url).trials[0].intermediate_values) <= 25
    assert curves.read(stored(url))[0].val_loss.tolist() == list(range(100))
    assert stored(url).trials[0].value == 99


# ------------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("pruner", ["asha", optuna.pruners.MedianPruner(n_startup_trials=1)])
def test_pruner_stops_the_worse_trial(begin, url, direction, pruner):
    sign = records.sign(direction)

    def reported(value):
        trial = begin(pruner=pruner, objective="score", direction=direction)
        return trial, train(trial, *[sign * value] * 4)

    good, epochs = reported(1.0)
    assert (good.state, good.value, epochs) == ("complete", sign, 4)
    bad, epochs = reported(2.0)
    assert (bad.state, epochs) == ("pruned", 1)
    better, _ = reported(0.5)
    assert better.state == "complete"
    assert states(url) == [COMPLETE, PRUNED, COMPLETE]
    assert stored(url).trials[1].value == 2 * sign
    finish_trial(bad)
    assert states(url)[1] == PRUNED


def test_trials_that_run_are_compared_with_one_another(begin):
    good, bad = begin(), begin()
    assert good.number != bad.number and good.config != bad.config
    assert not report_epoch(good, 1.0)
    assert report_epoch(bad, 2.0) and bad.state == "pruned"
    assert not report_epoch(good, 1.0)


@pytest.mark.parametrize(("value", "train_loss"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_diverged_trial_is_told_the_worst_value_and_never_the_best(begin, url, value, train_loss):
    train(begin(pruner="none"), 1.0, 7.0, 3.0, 2.0)
    trial = begin(pruner="none")
    assert report_epoch(trial, value, train_loss=train_loss)
    assert trial.state == "diverged"
    assert (stored(url).trials[1].state, stored(url).trials[1].value) == (COMPLETE, 7.0)
    assert [each.number for each in records.ranked(stored(url))] == [0]


# -------------------------------------------------------------------------------------------- being cut off


def test_trial_that_is_left_by_an_exception_fails_and_the_next_one_begins(begin, url):
    with pytest.raises(KeyboardInterrupt), begin() as trial:
        report_epoch(trial, 1.0)
        raise KeyboardInterrupt
    assert (trial.state, states(url)) == ("failed", [FAIL])
    assert stored(url).trials[0].user_attrs["stopped"] == "interrupted"
    assert curves.read(stored(url))[0].epochs == 1
    assert begin().number == 1


def test_trial_that_nobody_holds_any_more_has_failed(begin, url):
    trial = begin()
    report_epoch(trial, 1.0)
    assert states(url) == [RUNNING]
    del trial
    gc.collect()
    assert states(url) == [FAIL]


def test_process_that_ends_lets_its_trial_fail_and_loads_no_backend(url):
    code = f"""if True:
        import sys
        from adamtune import begin_trial, report_epoch
        trial = begin_trial("mine", storage={url!r})
        report_epoch(trial, 1.0)
        assert not {{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules)
        raise SystemExit(3)
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    assert states(url) == [FAIL]


def test_trial_of_a_killed_process_has_failed_and_is_tried_again(begin, url):
    killed = begin(n_trials=1)
    config, killed._run.process = killed.config, -1  # another one: this process does not end it
    del killed
    with begin(n_trials=1) as trial:
        assert trial.config == config
        train(trial, 1.0)
    assert states(url) == [FAIL, COMPLETE]
    assert stored(url).trials[0].user_attrs["stopped"] == "lost"
    assert begin(n_trials=1) is None


# --------------------------------------------------------------------------------------------------- sharing


@pytest.mark.parametrize("after", [1, 2, 3])
def test_trial_that_others_took_for_lost_is_over_with_a_warning(begin, url, after):
    trial = begin(epochs=4)
    train(trial, *[1.0] * (after - 1))
    study = stored(url)
    study.tell(trial.number, state=FAIL)
    with pytest.warns(UserWarning, match=f"trial {trial.number} was ended elsewhere.*taken for dead"):
        assert report_epoch(trial, 1.0)
    assert trial.state == "failed"
    with pytest.raises(StudyError, match=r"is over \(failed\)"):
        report_epoch(trial, 1.0)
    assert states(url) == [FAIL]
    assert begin(epochs=4).number == 1


def test_trial_that_others_took_for_lost_is_not_told_to_be_complete(begin, url):
    trial = begin(epochs=4)
    report_epoch(trial, 1.0)
    stored(url).tell(trial.number, state=FAIL)
    with pytest.warns(UserWarning, match="was ended elsewhere"):
        finish_trial(trial)
    assert (trial.state, states(url)) == ("failed", [FAIL])


def test_whoever_asks_at_the_same_moment_tries_another_point(database_url):
    found, together = [], threading.Barrier(4)

    def work():
        together.wait()
        for _ in range(2):
            trial = begin_trial("mine", epochs=1, storage=database_url, random_state=0)
            report_epoch(trial, 1.0)
            found.append(trial)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(trial.number for trial in found) == list(range(8))
    assert len({trial.config for trial in found}) == 8


def test_trial_waits_for_the_config_of_an_earlier_one(begin, url, monkeypatch):
    begin(sampler="tpe")
    study = stored(url)
    earlier = study.ask()  # by another process, which has not come further yet
    begun = []
    asking = threading.Thread(target=lambda: begun.append(begin(sampler="tpe")))
    asking.start()
    time.sleep(0.5)
    assert not begun
    earlier.set_user_attr("config", OptimizerConfig("adam").to_json())
    asking.join()
    assert begun[0].number == 2
    study.ask()
    monkeypatch.setattr(sharing, "_ASKED_WITHIN", 0.1)
    assert begin(sampler="tpe").number == 4  # but not for ever


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"optimizer": "sgd"}, "optimizer"),
        ({"epochs": 5}, "epochs"),
        ({"objective": "loss"}, "objective"),
        ({"direction": "maximize"}, "direction"),
        ({"random_state": 1}, "seed"),
        ({"space": {"learning_rate": (1e-4, 1e-2)}}, "space"),
        ({"steps": 9, "batch_size": 3}, "batch_size"),
    ],
)
def test_stored_study_is_joined_only_by_its_like(begin, settings, field):
    begin()
    with pytest.raises(StudyError, match=f"made for another {field}"):
        begin(**settings)


def test_automatic_space_and_seed_are_those_of_the_stored_study(begin):
    begin(n_trials=10)
    assert begin(n_trials=1000, random_state=None)._run.stamp.space == begin(n_trials=10)._run.stamp.space


# --------------------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"study": " "}, SettingError, "expected the name of a study"),
        ({"optimizer": "all"}, SettingError, "name those to choose from"),
        ({"optimizer": "adma"}, ConfigError, "optimizer='adma' is unknown"),
        ({"epochs": 0}, SettingError, "epochs=0"),
        ({"n_trials": 1.5}, SettingError, "n_trials=1.5"),
        ({"objective": "accuracy"}, SettingError, "write which is better"),
        ({"objective": ""}, SettingError, "expected the name of what is reported"),
        ({"direction": "up"}, SettingError, "direction='up'"),
        ({"steps": 10}, SettingError, "give both"),
        ({"sampler": "tpx"}, SettingError, "Did you mean 'tpe'"),
        ({"pruner": "ash"}, SettingError, "Did you mean 'asha'"),
        ({"storage": "memory"}, SettingError, "keeps nothing from one trial to the next"),
        ({"random_state": -1}, SettingError, "random_state=-1"),
    ],
)
def test_wrong_arguments_are_refused_before_a_study_is_made(url, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        begin_trial(**{"study": "mine", "storage": url} | settings)
    assert not list(tmp_path.iterdir())


def test_trial_that_is_over_takes_no_report(begin, url):
    trial = begin()
    train(trial, 4.0, 3.0, 2.0, 1.0)
    with pytest.raises(StudyError, match=r"is over \(complete\) after 4 epochs"):
        report_epoch(trial, 0.5)
    assert stored(url).trials[0].value == 1.0


@pytest.mark.parametrize("value", ["0.5", None, [1.0, 2.0], {}])
def test_value_that_is_no_number_is_refused_and_the_trial_goes_on(begin, value):
    trial = begin()
    with pytest.raises(SettingError, match="expected a number; one that is NaN"):
        report_epoch(trial, value)
    assert (trial.epoch, trial.state) == (0, "running")
    assert not report_epoch(trial, np.float32(0.5)) and trial.value == 0.5


def test_val_loss_is_not_given_twice(begin):
    with pytest.raises(SettingError, match="which is the val_loss"):
        report_epoch(begin(), 1.0, val_loss=2.0)


def test_trial_without_a_report_fails_instead_of_running_on(begin, url):
    with pytest.raises(StudyError, match="ends without a value"):
        finish_trial(begin())
    assert states(url) == [FAIL]


def test_what_is_no_open_trial_is_refused():
    for call in (finish_trial, lambda trial: report_epoch(trial, 1.0)):
        with pytest.raises(SettingError, match="None once the study has all its trials"):
            call(None)


def test_repr_says_how_far_a_trial_is(begin):
    trial = begin()
    assert isinstance(trial, OpenTrial)
    report_epoch(trial, 1.0)
    assert repr(trial).startswith("<trial 0, running after 1 of 4 epochs: OptimizerConfig('adam'")
