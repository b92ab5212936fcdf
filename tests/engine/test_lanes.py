"""Lanes do not know of each other, and neither who sits where nor who sat there before changes a number."""

import keras
import numpy as np
import pytest

from adamtune.config import OptimizerConfig
from adamtune.engine.one_by_one import OneByOne
from adamtune.errors import LaneStatus
from tests.engine import cases, equality, problems

STRATEGIES = ("stacked", "looped")
CALM, WILD = cases.sgd(), OptimizerConfig("sgd", learning_rate=1e30)


def run(configs, strategy="stacked", model=problems.noisy, **options):
    task, stream = problems.make_task(model, **options)
    engine = equality.open_engine(task, stream, configs, strategy)
    return engine, equality.train(engine, configs)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_diverged_lane_leaves_its_neighbours_bit_identical(strategy):
    first, alone = run([CALM, CALM, CALM], strategy)
    second, beside = run([CALM, WILD, CALM], strategy)
    for tick in range(equality.TICKS):
        assert beside[tick][1].status is LaneStatus.DIVERGED
        for lane in (0, 2):
            assert beside[tick][lane] == alone[tick][lane]
    for lane in (0, 2):
        for ours, theirs in zip(first.weights(lane), second.weights(lane), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_seat_of_a_diverged_trial_is_as_good_as_new(strategy):
    """The first lane is taken over halfway by the last config."""
    _, diverged = run([WILD, CALM], strategy)
    _, calm = run([CALM, CALM], strategy)
    assert diverged[equality.REFILLED_AT - 1][0].status is LaneStatus.DIVERGED
    assert [each[0] for each in diverged[equality.REFILLED_AT :]] == [each[0] for each in calm[equality.REFILLED_AT :]]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_order_of_lanes_does_not_matter(strategy):
    configs = [cases.adam(learning_rate=rate) for rate in (0.01, 0.02, 0.05)]
    task, stream = problems.make_task(problems.noisy)
    seen = []
    for order in ([0, 1, 2], [2, 0, 1]):
        engine = equality.open_engine(task, stream, configs, strategy)
        engine.load({lane: configs[which] for lane, which in enumerate(order)})
        for _ in range(2):
            engine.tick()
        seen.append({which: engine.reports()[lane].val_loss for lane, which in enumerate(order)})
    assert seen[0] == seen[1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_lane_beside_one_with_clipping_is_not_clipped(strategy):
    """A stage that a program has changes nothing in a lane that does without it."""
    task, stream = problems.make_task(problems.noisy)
    plain, clipped = cases.adam(), cases.adam(clipnorm=1e-3, weight_decay=0.5)
    alone = equality.train(equality.open_engine(task, stream, [plain, plain], strategy), [plain, plain])
    beside = equality.train(equality.open_engine(task, stream, [clipped, plain], strategy), [clipped, plain])
    # Another program, so not to the bit.
    assert beside[-1][1].val_loss == pytest.approx(alone[-1][1].val_loss, rel=1e-5)
    assert beside[1][0].val_loss != pytest.approx(alone[1][0].val_loss, rel=1e-3)


def test_empty_lanes_report_nothing_and_a_freed_one_is_quiet():
    task, stream = problems.make_task()
    engine = equality.open_engine(task, stream, [CALM], n_lanes=4)
    engine.tick()
    assert engine.reports() == []
    engine.load({2: CALM, 3: CALM})
    engine.tick()
    assert [report.lane for report in engine.reports()] == [2, 3]
    engine.free([2])
    engine.tick()
    assert [(report.lane, report.epoch) for report in engine.reports()] == [(3, 2)]


def test_same_seed_gives_the_same_bits_and_another_seed_others():
    def last(seed):
        return run([cases.adam()] * 2, seed=seed)[1][-1]

    assert last(7) == last(7)
    assert last(7) != last(8)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_restart_meets_another_stream_without_another_program(strategy):
    task, stream = problems.make_task(problems.noisy)
    _, other = problems.make_task(problems.noisy, seed=8)
    configs = [cases.adam(), cases.adam(learning_rate=0.05)]
    engine = equality.open_engine(task, stream, configs, strategy)
    equality.train(engine, configs)
    compiled = engine.n_programs
    engine.restart(other, task.build(other.seed))
    assert equality.train(engine, configs) == equality.train(
        equality.open_engine(task, other, configs, strategy), configs
    )
    assert engine.n_programs == compiled


def test_a_training_that_is_resumed_goes_on_with_the_same_order():
    """A caller that sets the clock forward meets the rows and masks of that tick."""
    task, stream = problems.make_task(problems.noisy)
    engine = equality.open_engine(task, stream, [CALM])
    reports = equality.train(engine, [CALM])
    again = equality.open_engine(task, stream, [CALM])
    again.clock = equality.REFILLED_AT
    again.load({0: CALM})
    again.tick()
    assert again.reports() == reports[equality.REFILLED_AT]


def test_probe_leaves_no_trace():
    task, stream = problems.make_task(problems.noisy)
    probed, engine = (equality.open_engine(task, stream, [CALM]) for _ in range(2))
    assert probed.seconds_a_tick() > 0
    assert equality.train(probed, [CALM]) == equality.train(engine, [CALM])


def test_one_by_one_has_one_seat():
    task, stream = problems.make_task()
    engine = OneByOne(task, task.build(stream.seed), stream)
    engine.tick()
    assert engine.reports() == []
    with pytest.raises(ValueError, match="one lane, 0"):
        engine.load({1: CALM})


def test_convolutions_of_stacked_lanes_are_refused_where_there_are_none(capfd):
    """TensorFlow has no stacked form of a convolution and says so at length; one sentence is enough."""
    case = next(case for case in cases.LAYERS if case.name == "Conv2D, MaxPooling2D")
    task, stream = problems.make_task(case.model, case.kind)
    if keras.backend.backend() == "jax":
        equality.open_engine(task, stream, [CALM, CALM])
        return
    with pytest.raises(equality.NotStackable, match="TensorFlow cannot stack Conv2D"):  # one lane alone it can
        equality.open_engine(task, stream, [CALM, CALM])
    assert "pfor" not in capfd.readouterr().err
