import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import sqlalchemy

from adamtune import AdamTuner, AdamTunerRegressor, OptimizerConfig, optimizers, recommend, recommending
from adamtune.errors import StudyError
from adamtune.recommending import store
from adamtune.tuning import records
from adamtune.tuning.prior import Prior
from adamtune.tuning.space import Space, space
from tests import small
from tests.small import X, Y, network, stamp, told, trials

WIDE = {"learning_rate": (1e-5, 1.0), "beta_1": (0.1, 0.99), "beta_2": (0.5, 0.99999), "epsilon": (1e-8, 1.0)}

tuned = partial(small.tuned, start_from="shipped")


@pytest.fixture
def runs(tmp_path):
    return f"sqlite:///{tmp_path / 'runs.db'}"


def read(url):
    """What a database has learned, and what was recommended to its studies."""
    engine = sqlalchemy.create_engine(url)
    found = store.read(engine), store.recommended(engine)
    engine.dispose()
    return found


def lined_up(tuner):
    return [records.config_of(trial) for trial in trials(tuner) if "fixed_params" in trial.system_attrs]


@pytest.fixture
def draws(monkeypatch):
    """By trial, whether the prior drew its point."""
    found, point = {}, Prior.point

    def watch(prior, study, searched, among, seed, number):
        drawn = point(prior, study, searched, among, seed, number)
        found[number] = drawn is not None
        return drawn

    monkeypatch.setattr(Prior, "point", watch)
    return found


# ------------------------------------------------------------------------------------------------------ where it begins


@pytest.mark.parametrize(("n_trials", "listed"), [(2, 0), (6, 2), (18, 5)])
def test_a_list_within_the_space_comes_after_the_default_and_is_a_third_of_the_trials_at_most(n_trials, listed):
    tuner = tuned(space=WIDE, n_trials=n_trials)
    first, *others = lined_up(tuner)
    assert first == OptimizerConfig("adam")
    assert len(others) in (listed, listed - 1)  # the default may be on the list
    searched = Space.from_json(stamp(tuner).space)
    assert all(searched.holds(config) for config in others)
    assert [config.found for config in others] == [None] * len(others)


@pytest.mark.parametrize("start_from", [None, [OptimizerConfig("adam", learning_rate=0.05)]], ids=["none", "own"])
def test_without_experience_there_are_the_default_and_what_was_given(start_from, draws):
    tuner = tuned(space=WIDE, n_trials=12, start_from=start_from)
    assert lined_up(tuner) == [OptimizerConfig("adam"), *(start_from or [])]
    assert not any(draws.values())


def test_early_trials_are_drawn_near_what_is_known(draws):
    tuned(space=WIDE, n_trials=12)
    assert any(draws.values())


def test_a_study_with_the_default_settings_learns_from_what_is_shipped():
    searched = space(optimizers.get("adam"), "auto", AdamTuner().n_trials)
    assert any(searched.holds(config) for config in recommending.known("memory", "last")[0].configs)


@pytest.mark.parametrize("settings", [{"optimizer": "adafactor"}, {"space": {"learning_rate": (0.5, 0.6)}}], ids=repr)
def test_where_nothing_known_lies_in_the_space_the_study_is_as_without(settings):
    assert told(tuned(**settings)) == told(tuned(**settings, start_from=None))


def test_the_same_seed_and_store_give_the_same_study(runs):
    tuned(space=WIDE, n_trials=8, storage=runs)
    again = [tuned(space=WIDE, n_trials=9, start_from="store", storage=_copy(runs, n)) for n in (1, 2)]
    assert told(again[0]) == told(again[1])


def _copy(url, number):
    path = Path(url.removeprefix("sqlite:///"))
    other = path.with_name(f"copy {number}.db")
    other.write_bytes(path.read_bytes())
    return f"sqlite:///{other}"


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": ["adam", "sgd"], "space": {"learning_rate": (1e-4, 1.0)}},
        {"patience": 1, "epochs": 3},
        {"cv": 2},
        {"n_seeds": 2},
        {"metric": "accuracy"},
        {"model": None},
    ],
    ids=repr,
)
def test_every_kind_of_study_starts_from_experience_and_leaves_some(settings, runs):
    tuner = tuned(**{"n_trials": 8, "storage": runs} | settings)
    (entry,), _ = read(runs)
    finished = {trial.number for trial in trials(tuner, "complete")}
    assert {each.trial_number for each in entry.evaluations} <= finished
    assert all(math.isfinite(each.last) and math.isfinite(each.best) for each in entry.evaluations)
    assert all(each.best <= each.last for each in entry.evaluations)
    again = tuned(**{"n_trials": 8, "storage": runs, "start_from": "store"} | settings)
    assert len(trials(again, "complete", "pruned")) >= 8


def test_regression_and_frames_learn_too(runs):
    import pandas as pd

    frame = pd.DataFrame(X, columns=list("abcd")).assign(text=np.array(["x", "y", "z"])[Y])
    settings = {"n_trials": 3, "epochs": 2, "confirm": 0, "refit": False, "verbose": 0, "random_state": 0}
    AdamTunerRegressor(storage=runs, **settings).fit(frame, X[:, 0])
    (entry,), _ = read(runs)
    assert entry.source.kind == "table-regression" and entry.source.features.regression


# ------------------------------------------------------------------------------------------------------ what it leaves


def test_a_study_leaves_what_its_trials_came_to(database_url):
    tuner = tuned(n_trials=8, storage=database_url)
    (entry,), _ = read(database_url)
    assert entry.study_name == tuner.study_.study_name
    assert entry.source.name == tuner.study_.study_name.rpartition("/")[0]
    complete = {trial.number: trial for trial in trials(tuner, "complete")}
    assert {each.trial_number for each in entry.evaluations} == set(complete)
    for each in entry.evaluations:
        trial = complete[each.trial_number]
        assert each.config == records.config_of(trial)
        assert each.last == pytest.approx(trial.value)
        assert each.best == pytest.approx(min(trial.intermediate_values.values()))
    assert entry.source.features.n_rows == 61 - math.ceil(0.2 * 61)  # the others judge


def test_the_same_task_is_one_task_however_often_it_is_studied(runs):
    for seed in (0, 1):
        tuned(storage=runs, random_state=seed)
    assert len(read(runs)[0]) == 1
    tuned(storage=runs, epochs=3)
    tuned(X=X + 1, storage=runs)
    tuned(y=Y[::-1].copy(), storage=runs)
    assert len(read(runs)[0]) == 4


def test_what_was_recommended_is_kept_with_what_became_of_it(database_url):
    tuner = tuned(space=WIDE, n_trials=9, storage=database_url)
    _, listed = read(database_url)
    assert [each.place for each in listed] == [1, 2, 3]
    by_number = {trial.number: trial for trial in trials(tuner)}
    for each in listed:
        assert each.low <= each.gain <= each.high
        trial = by_number[each.trial_number]
        assert records.config_of(trial) == each.config
        assert each.loss == pytest.approx(trial.user_attrs["val_loss"], rel=1e-6)
    assert [each.config for each in listed if each.config != OptimizerConfig("adam")] == lined_up(tuner)[1:]


def test_without_a_list_no_outcome_is_written(runs):
    tuned(storage=runs, start_from=None)
    entries, listed = read(runs)
    assert len(entries) == 1 and listed == []


def test_a_study_in_memory_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMTUNE_STORAGE", f"sqlite:///{tmp_path / 'mine.db'}")
    monkeypatch.chdir(tmp_path)
    tuned(storage="memory", start_from="store")
    assert list(tmp_path.iterdir()) == []


def test_a_study_in_which_all_diverged_leaves_nothing(runs):
    def linear(X, y):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])

    settings = {"n_trials": 3, "epochs": 2, "verbose": 0, "random_state": 0}
    with pytest.raises(StudyError, match=r"no trial .* trained to a finite loss"):
        AdamTunerRegressor(linear, storage=runs, **settings).fit(1e30 * X, X[:, 0])
    assert read(runs) == ([], [])


def test_no_row_of_the_data_is_stored(runs):
    secret = "a name that nobody may read"
    tuned(y=np.array([secret, "no", "yes"])[Y], storage=runs)
    assert secret.encode() not in Path(runs.removeprefix("sqlite:///")).read_bytes()


# -------------------------------------------------------------------------------------------------- what it is good for


def test_a_task_is_known_again_after_its_study(runs):
    tuner = tuned(n_trials=8, storage=runs, random_state=1)
    asked = {"epochs": 2, "batch_size": 16, "epoch": "last"}
    found = recommend(X, Y, network, storage=runs, **asked)
    assert found.method == "exact"
    assert found.configs[0].found_with(None) == records.config_of(records.ranked(tuner.study_)[0])
    for other in ({"model": None}, {"epochs": 3}, {"X": X + 1}):
        assert recommend(**{"X": X, "y": Y, "model": network, "storage": runs} | asked | other).method == "alike"


def test_a_later_study_starts_from_an_earlier_one_only_where_it_is_told_to(runs):
    earlier = tuned(space=WIDE, n_trials=12, storage=runs)
    best = records.config_of(records.ranked(earlier.study_)[0])
    later = {
        source: lined_up(tuned(space=WIDE, n_trials=9, storage=runs, start_from=source, random_state=1))
        for source in ("store", "shipped", None)
    }
    assert best in later["store"]
    assert best not in later[None]
    fresh = tuned(space=WIDE, n_trials=9, random_state=1)
    assert later["shipped"] == lined_up(fresh)


def test_what_was_tried_with_another_optimizer_is_no_start(runs):
    tuned(storage=runs)
    tuner = tuned(optimizer="sgd", storage=runs, start_from="store")
    assert {config.optimizer for config in lined_up(tuner)} == {"sgd"}


def test_a_study_that_is_resumed_keeps_its_prior_and_lines_nothing_up_again(runs, draws):
    settings = {"space": WIDE, "study_name": "mine", "resume": True, "lanes": 1}
    whole = tuned(n_trials=14, storage="memory", **{**settings, "resume": False})
    drawn = dict(draws)
    first = tuned(n_trials=14, storage=runs, callbacks=[_stop_after(8)], **settings)
    before = lined_up(first)
    note = records.get_note(first.study_, "experience")
    # What is known by now is another thing.
    _poison(runs)
    draws.clear()
    second = tuned(n_trials=14, storage=runs, **settings)
    assert lined_up(second) == before
    assert records.get_note(second.study_, "experience") == note
    assert [(t.params, t.value) for t in trials(second)] == [(t.params, t.value) for t in trials(whole)]
    assert {number: drawn[number] for number in draws} == draws and any(drawn.values())


def _stop_after(number):
    return lambda study, trial: study.stop() if trial.number >= number - 1 else None


def test_a_study_that_began_without_experience_gets_none_on_resume(runs, draws):
    settings = {"space": WIDE, "study_name": "mine", "resume": True, "storage": runs}
    tuned(n_trials=6, start_from=None, **settings)
    tuned(n_trials=12, **settings)
    assert not any(draws.values())


def test_a_study_that_goes_on_remembers_its_later_trials(runs):
    tuner = tuned(n_trials=6, storage=runs)
    tuner.continue_fit(6)
    (entry,), listed = read(runs)
    assert len(entry.evaluations) == len(trials(tuner, "complete")) > 6 / 2
    assert len(listed) == 2


# ------------------------------------------------------------------------------------------------------------ poison


def _poison(url):
    """Write what was shipped with all regrets reversed: what was best is worst."""
    engine = sqlalchemy.create_engine(url)
    store.add(engine, map(_reversed, recommending.shipped()))
    engine.dispose()


def _reversed(entry):
    losses = [each.last for each in entry.evaluations if each.last is not None]
    best = min(losses)

    def turned(loss):
        regret = 1.0 if loss is None else min((loss - best) / (entry.untrained - best), 1.0)
        return best + (1 - regret) * (entry.untrained - best) * 0.999

    return replace(
        entry, evaluations=tuple(replace(e, last=turned(e.last), best=turned(e.last)) for e in entry.evaluations)
    )


def test_experience_that_misleads_is_dropped_after_a_few_trials(runs, draws, monkeypatch):
    _poison(runs)
    monkeypatch.setattr(recommending, "shipped", list)
    settings = {"space": WIDE, "n_trials": 36, "epochs": 3, "storage": runs, "lanes": 2}
    poisoned = tuned(start_from="store", **settings)
    assert len(lined_up(poisoned)) > 3
    assert any(draws.values())
    assert not any(drawn for number, drawn in draws.items() if number >= 24)
    # It ends about where a study ends that knew nothing.
    plain = tuned(start_from=None, **settings | {"storage": "memory"})
    values = [sorted(trial.value for trial in trials(tuner, "complete")) for tuner in (poisoned, plain)]
    first = trials(plain)[0].value
    assert values[0][0] < first and values[1][0] < first
