"""Metrics that take all judging rows together: the same numbers in lanes as one by one, and no program of their own."""

import functools
from dataclasses import replace

import keras
import numpy as np
import pytest

from adamtune import engine as engines
from adamtune.engine import reuse
from adamtune.engine.one_by_one import OneByOne
from adamtune.engine.plan import Plan
from adamtune.engine.program import Structure
from adamtune.errors import LaneStatus
from adamtune.tasks import judging
from tests.engine import cases, equality, problems

AVERAGED = [cases.OptimizerConfig("schedule_free_adamw", learning_rate=0.05)] * 2


def area():
    return keras.metrics.AUC(num_thresholds=1000, name="area")


def scored(metric, build=problems.smooth, **options):
    """A task that is judged by that metric, and its stream."""
    task, stream = problems.make_task(build, **options)
    metric, objective = judging.choose_metric(metric, task.data, task.loss, problems.N_CLASSES)
    assert isinstance(metric, judging.Scorer)
    return replace(task, metric=metric, objective=objective, direction="maximize"), stream


def report(engine, config):
    engine.load({0: config})
    engine.tick()
    return engine.reports()[0]


@functools.cache
def oracle():
    """Two epochs through `model.fit`, and the score of the untrained model."""
    task, stream = scored("neg_log_loss")
    model = task.build(stream.seed)
    engine = OneByOne(task, model, stream, "never", jit_compile=keras.backend.backend() == "jax")
    return report(engine, cases.adam()), following(engine), engine.initial_loss()


def following(engine):
    engine.tick()
    return engine.reports()[0]


@pytest.mark.parametrize("strategy", equality.STRATEGIES)
def test_lanes_are_scored_as_one_by_one(strategy):
    with problems.precision("float64"):
        task, stream = scored("neg_log_loss")
        engine = equality.open_engine(task, stream, [cases.adam()] * 2, strategy)
        first, second, untrained = oracle()
        for ours, theirs in ((report(engine, cases.adam()), first), (following(engine), second)):
            assert ours.value == ours.metric == pytest.approx(theirs.metric, rel=cases.MEANS)
            assert theirs.value == theirs.metric < 0 < theirs.val_loss == pytest.approx(ours.val_loss, rel=cases.MEANS)
        assert first.value != second.value
        assert engine.initial_loss() == pytest.approx(untrained, rel=cases.MEANS)
        assert engine.n_programs == equality.n_programs(strategy)


@pytest.mark.parametrize("at_once", [None, 8], ids=["on the device", "in blocks"])
def test_several_batches_of_judging_rows_are_scored_together(at_once, monkeypatch):
    monkeypatch.setattr("adamtune.engine.feed.JUDGED_AT_ONCE", 8)
    task, stream = scored(area(), problems.plain)
    assert len(stream.split.valid) == 22  # 8, 8 and 6
    engine = equality.open_engine(task, stream, AVERAGED, at_once=at_once)
    told = report(engine, AVERAGED[0])
    model = task.build(stream.seed)
    model.set_weights(engine.weights(0))
    said = model.predict(task.data.x.take(stream.split.valid), verbose=0)
    assert task.scorer(stream.split.valid, said) == pytest.approx(told.value, rel=1e-3)
    assert told.val_loss == pytest.approx(float(task.loss(task.data.y[stream.split.valid], said)), rel=1e-5)


def test_the_score_one_by_one_is_that_of_the_averaged_weights():
    task, stream = scored("neg_log_loss", problems.plain)
    engine = OneByOne(task, task.build(stream.seed), stream, "never")
    told, model = report(engine, AVERAGED[0]), task.build(stream.seed)
    trained = engine._model.predict(task.data.x.take(stream.split.valid), verbose=0)
    model.set_weights(engine.weights(0))
    averaged = model.predict(task.data.x.take(stream.split.valid), verbose=0)
    assert told.value == pytest.approx(task.scorer(stream.split.valid, averaged), rel=1e-5)
    assert told.value != pytest.approx(task.scorer(stream.split.valid, trained), rel=1e-5)


def test_groups_of_lanes_are_each_scored_by_what_they_said():
    task, stream = scored("neg_log_loss", problems.plain)
    configs = [cases.adam(learning_rate=rate) for rate in (0.01, 0.02, 0.05, 0.1)]
    engine = equality.open_engine(task, stream, configs, width=2)
    engine.load(dict(enumerate(configs)))
    engine.tick()
    for each in engine.reports():  # of three classes and no weights, both are the cross-entropy
        assert each.value == pytest.approx(-each.val_loss, rel=1e-5)
    assert len({each.value for each in engine.reports()}) == 4


def test_a_lane_whose_loss_diverges_ends_and_its_neighbours_go_on():
    task, stream = scored("neg_log_loss")
    wild = cases.sgd(learning_rate=1e30)
    engine = equality.open_engine(task, stream, [wild, cases.sgd()])
    engine.load({0: wild, 1: cases.sgd()})
    engine.tick()
    lost, calm = engine.reports()
    assert lost.status is LaneStatus.DIVERGED
    assert calm.status is LaneStatus.RUNNING and np.isfinite(calm.value)


def test_a_score_that_is_no_number_ends_the_trial_where_the_loss_is_one():
    def never(estimator, X, y):
        raise ValueError("there is no score")

    task, stream = scored(never, problems.plain)
    for engine in (
        equality.open_engine(task, stream, [cases.sgd()]),
        OneByOne(task, task.build(stream.seed), stream),
    ):
        with pytest.warns(UserWarning, match="never has no value for the outputs of a trial.*there is no score"):
            found = report(engine, cases.sgd())
        assert np.isfinite([found.train_loss, found.val_loss]).all()
        assert (found.status, np.isnan(found.metric)) == (LaneStatus.DIVERGED, True)
        with pytest.warns(UserWarning, match="there is no score"):
            assert np.isnan(engine.initial_loss())


def test_metrics_share_the_program_that_trains():
    """Only what judges differs: the loss and accuracy inside the program, scores of the outputs outside."""
    reuse.forget()
    seen = set()
    for metric in ("f1_macro", "roc_auc_ovr"):
        task, stream = scored(metric, problems.plain)
        programs = engines.Programs(task, Plan("stacked", 2, 2, "", "CPU"), [stream], Structure(), task.build(7))
        report(programs("sgd"), cases.sgd())
        seen.add(id(programs._programs["sgd"]))
        assert programs.n_programs == 1
    assert len(seen) == 1
    reuse.forget()


def test_a_probe_counts_what_the_scorer_takes(monkeypatch):
    task, stream = scored("f1_macro", problems.plain)
    engine = equality.open_engine(task, stream, [cases.sgd()] * 4)
    monkeypatch.setattr(engine, "_seconds_of_scoring", lambda outputs: 1000.0 * outputs.shape[-1])
    assert 4 * 3000 < engine.seconds_a_tick() < 4 * 3000 + 1000
