"""Trials of several passes: folds, seeds, both; what a value means then, and who goes on."""

import numpy as np
import optuna
import pytest
from sklearn.model_selection import KFold

from adamtune.engine.lanes import LaneEngine
from adamtune.engine.one_by_one import OneByOne
from adamtune.errors import DataError, SettingError
from adamtune.tuning import records
from tests.small import SETTINGS, Interrupted, X, Y, start_ticks, trials, tuned, watch_runs

GROUPS = np.arange(61) % 9


def passes_of(run, trial):
    """The value of each pass of a trial, trained alone by `model.fit`."""
    values = []
    for stream, tick in zip(run.streams, start_ticks(trial), strict=True):
        alone = OneByOne(run.task, run.task.build(stream.seed), stream)
        alone.clock = tick
        alone.load({0: records.config_of(trial)})
        for _ in range(run.task.epochs):
            alone.tick()
        values.append(alone.reports()[0].value)
    return values


def stored(trial):
    return [trial.user_attrs[name] for name in sorted(trial.user_attrs) if name.startswith("pass_")]


class AtSteps(optuna.pruners.BasePruner):
    """Ends trials at these steps, the first trial at the first; those beyond go on to the end."""

    steps = (1, 2, 3, 4, 5)

    def prune(self, study, trial):
        return trial.last_step == dict(enumerate(self.steps)).get(trial.number)


@pytest.fixture(scope="module")
def folded():
    """A study with cv=3, and its Run: 61 rows, so a row is left out of training in some folds."""
    with pytest.MonkeyPatch.context() as patch:
        runs = watch_runs(patch)
        tuner = tuned(cv=3, n_trials=8, lanes=2, confirm=2, refit=True, pruner=AtSteps())
    return tuner, runs[0]


@pytest.fixture(scope="module")
def seeded():
    """The same with two seeds of two folds."""
    with pytest.MonkeyPatch.context() as patch:
        runs = watch_runs(patch)
        tuner = tuned(cv=2, n_seeds=2, n_trials=3, pruner=None)
    return tuner, runs[0]


@pytest.mark.parametrize("study", ["folded", "seeded"])
def test_value_is_the_mean_of_plain_fits(study, request):
    tuner, run = request.getfixturevalue(study)
    complete = trials(tuner, "complete")
    for trial in (complete[0], complete[-1]):
        alone = passes_of(run, trial)
        np.testing.assert_allclose(stored(trial), alone, rtol=1e-4)
        np.testing.assert_allclose(trial.value, np.mean(alone), rtol=1e-4)


@pytest.mark.parametrize("study", ["folded", "seeded"])
def test_passes_share_one_program(study, request):
    tuner, run = request.getfixturevalue(study)
    assert tuner.n_programs_ == 1
    assert records.read_stamp(tuner.study_).passes == len(run.streams) == {"folded": 3, "seeded": 4}[study]


def test_every_row_judges_in_one_fold_and_trains_in_the_others(folded):
    _, run = folded
    judged = np.concatenate([stream.split.valid for stream in run.streams])
    assert len(set(judged)) == len(judged) >= 61 - 2
    for stream in run.streams:
        assert not set(stream.split.valid) & set(stream.split.train)
        assert {stream.split.n_train for stream in run.streams} == {40}
        ever = set(np.concatenate([stream.order(tick) for tick in range(len(stream.split.train))]))
        assert ever == set(stream.split.train)
    assert len({stream.seed for stream in run.streams}) == 1


def test_seeds_see_the_same_folds_with_other_weights(seeded):
    _, run = seeded
    first, second = run.streams[:2], run.streams[2:]
    assert len({stream.seed for stream in run.streams}) == 2
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.split.valid, other.split.valid)
        assert one.seed != other.seed


def test_pruned_config_does_not_enter_the_next_pass(folded):
    tuner, _ = folded
    for trial, steps in zip(trials(tuner), [*AtSteps.steps, 6, 6, 6], strict=True):
        assert trial.user_attrs["epochs"] == trial.last_step == steps
        assert (len(start_ticks(trial)), len(stored(trial))) == (-(-steps // 2), steps // 2)


def test_winner_of_folds_is_trained_on_all_rows(folded):
    tuner, _ = folded
    assert int(tuner.model_.optimizer.iterations) == 2 * -(-61 // 16)
    assert tuner.best_config_.found.steps == 2 * -(-40 // 16)
    assert tuner.best_spread_ > 0 and tuner.predict(X).shape == (61,)


def test_splitter_is_used_as_it_is(monkeypatch):
    runs = watch_runs(monkeypatch)
    splitter = KFold(2, shuffle=True, random_state=5)
    tuned(cv=splitter, n_trials=2)
    for stream, (train, valid) in zip(runs[0].streams, splitter.split(X), strict=True):
        np.testing.assert_array_equal(np.sort(stream.split.train), train)
        assert set(stream.split.valid) <= set(valid) and len(valid) - len(stream.split.valid) <= 1


@pytest.mark.parametrize("settings", [{"cv": 3}, {"validation_split": 0.3}, {"validation_split": 0.3, "n_seeds": 2}])
def test_groups_stay_whole(settings, monkeypatch):
    runs = watch_runs(monkeypatch)
    tuner = tuned(fit={"groups": GROUPS}, n_trials=2, **settings)
    assert len(trials(tuner, "complete")) >= 1
    for stream in runs[0].streams:
        assert not set(GROUPS[stream.split.train]) & set(GROUPS[stream.split.valid])
    if "cv" in settings:
        assert set().union(*(GROUPS[stream.split.valid] for stream in runs[0].streams)) == set(range(9))


def test_study_of_folds_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    settings = {
        "cv": 3,
        "n_trials": 6,
        "lanes": 2,
        "study_name": "mine",
        "resume": True,
        "start_from": None,
        "storage": f"sqlite:///{tmp_path / 'studies.db'}",
    }
    with monkeypatch.context() as patch:
        Interrupted(patch, LaneEngine, "tick", at=8)
        with pytest.raises(KeyboardInterrupt):
            tuned(**settings)
    runs = watch_runs(monkeypatch)
    tuner = tuned(**settings)
    states = [trial.state.name for trial in trials(tuner)]
    assert "FAIL" in states and states.count("COMPLETE") + states.count("PRUNED") == 6 and "RUNNING" not in states
    for trial in trials(tuner, "complete"):
        assert trial.value == pytest.approx(np.mean(stored(trial)), rel=1e-6)
    cut = next(trial for trial in trials(tuner, "fail"))
    last = trials(tuner, "complete")[-1]
    assert last.number > cut.number
    np.testing.assert_allclose(stored(last), passes_of(runs[0], last), rtol=1e-4)
    # A tick of a program is used once: the second part begins after the last of the first.
    assert start_ticks(last)[0] > start_ticks(cut)[0]


def test_other_number_of_passes_is_another_study(tmp_path):
    settings = {"study_name": "mine", "resume": True, "storage": f"sqlite:///{tmp_path / 'studies.db'}"}
    tuned(cv=2, n_trials=1, **settings)
    with pytest.raises(Exception, match="passes: stored 2, asked 3"):
        tuned(cv=3, n_trials=2, **settings)


@pytest.mark.parametrize(
    ("settings", "fit", "error", "text"),
    [
        ({"cv": 3}, {"validation_data": (X, Y)}, SettingError, "only one can say which rows judge: leave one out"),
        ({}, {"validation_data": (X, Y), "groups": GROUPS}, DataError, "leave one of them out"),
        ({"cv": 3}, {"groups": GROUPS[:-1]}, DataError, r"groups has shape \(60,\), expected \(61,\)"),
        ({"cv": 10}, {"groups": GROUPS}, DataError, "10 folds of 9 groups.*Write cv=9"),
        ({"cv": 1}, {}, SettingError, "cv=1: expected at least 2 folds, or cv=None"),
        ({"cv": "five"}, {}, SettingError, "a number of folds such as cv=5"),
        ({"cv": []}, {}, SettingError, "no folds"),
        ({"n_seeds": 0}, {}, SettingError, "n_seeds=0.*at least 1"),
        ({"cv": 3, "refit": "train"}, {}, SettingError, "a trial is several: write True"),
        ({"n_seeds": 2, "refit": "train"}, {}, SettingError, "a trial is several: write True"),
    ],
)
def test_what_does_not_go_together_says_what_to_write(settings, fit, error, text, monkeypatch):
    monkeypatch.setattr(LaneEngine, "tick", lambda engine: pytest.fail("a tick was trained"))
    with pytest.raises(error, match=text):
        tuned(fit=fit, **SETTINGS | settings)
