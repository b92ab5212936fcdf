"""Lanes do not know of each other, and neither who sits where nor who sat there before changes a number."""

import time

import keras
import numpy as np
import pytest
from keras import ops

from adamtune.config import OptimizerConfig
from adamtune.engine.one_by_one import OneByOne
from adamtune.errors import LaneStatus, OutOfMemory
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


class Trap(keras.layers.Layer):
    """Hands its rows on and has a loss of a weight of its own, which stays finite whatever becomes of the weight.

    "gradients": below 0 the loss is the root of 0, whose gradient is NaN. "infinite": at 0 the gradient is infinite.
    "weights": the first step is ten times the learning rate, the loss is bounded.
    """

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.w = self.add_weight(shape=(), initializer="zeros" if kind == "weights" else "ones")

    def call(self, x):
        w = ops.convert_to_tensor(self.w)
        falling = ops.where(w > 0, w, 0.0)
        if self.kind == "gradients":
            nothing = ops.where(w > 0, w, w - ops.stop_gradient(w))
            self.add_loss(falling + ops.where(w <= 0, ops.sqrt(ops.square(nothing)), 0.0))
        elif self.kind == "infinite":
            self.add_loss(falling + ops.where(ops.equal(w, 0.0), ops.sqrt(w), 0.0))
        else:
            self.add_loss(-10.0 * ops.tanh(w))
        return x


def trapped(kind):
    def build(X, y):
        return keras.Sequential([keras.Input((6,)), Trap(kind), keras.layers.Dense(3, trainable=False)])

    return build


# By what is not finite: a model, configs that stay and that break, and rows of a batch: of 86, in two steps or in one.
BROKEN = {
    "gradients": (trapped("gradients"), CALM, cases.sgd(learning_rate=2.0), 60),
    "infinite": (trapped("infinite"), OptimizerConfig("lion"), OptimizerConfig("lion", learning_rate=1.0), 60),
    "weights": (trapped("weights"), cases.sgd(learning_rate=1e-3), cases.sgd(learning_rate=3e38), 100),
    "float16": (cases.under("mixed_float16", cases.dense), CALM, cases.sgd(learning_rate=1e6), 16),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_finite_ends_its_lane_and_leaves_its_neighbours_bit_identical(what, strategy):
    """However finite the loss is: NaN in gradients alone, infinity in a slot or in the weights of an epoch's end."""
    model, calm, wild, batch_size = BROKEN[what]
    task, stream = problems.make_task(model, batch_size=batch_size)
    engine = equality.open_engine(task, stream, [calm] * 3, strategy)
    seen = []
    for configs in ([calm] * 3, [calm, wild, calm]):
        engine.restart(stream, task.build(stream.seed))
        engine.load(dict(enumerate(configs)))
        reports = []
        for _ in range(2):
            engine.tick()
            reports.append(engine.reports())
        seen.append((reports, [engine.weights(lane) for lane in (0, 2)]))
    (alone, weights), (beside, beside_weights) = seen
    lost = beside[0][1]
    assert lost.status is LaneStatus.DIVERGED
    assert np.isfinite(lost.train_loss) or what == "float16"
    for tick in range(2):
        for lane in (0, 2):
            assert beside[tick][lane].status is LaneStatus.RUNNING
            assert beside[tick][lane] == alone[tick][lane]
    for ours, theirs in zip(keras.tree.flatten(beside_weights), keras.tree.flatten(weights), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_finite_ends_a_trial_that_trains_alone(what):
    model, calm, wild, batch_size = BROKEN[what]
    task, stream = problems.make_task(model, batch_size=batch_size)
    engine = OneByOne(task, task.build(stream.seed), stream)
    for config, status in ((wild, LaneStatus.DIVERGED), (calm, LaneStatus.RUNNING)):
        engine.load({0: config})
        engine._model.run_eagerly = keras.backend.backend() != "jax"
        engine.tick()
        assert engine.reports()[0].status is status
        engine.free([0])


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


def test_groups_of_lanes_train_as_all_lanes_together():
    configs = [cases.adam(learning_rate=rate) for rate in (0.01, 0.02, 0.05, 0.1)]
    task, stream = problems.make_task(problems.noisy)
    together, grouped = (equality.open_engine(task, stream, configs, width=width) for width in (4, 2))
    expected, found = equality.train(together, configs), equality.train(grouped, configs)
    for ours, theirs in zip(found, expected, strict=True):
        # Another width is another program, so not to the bit.
        assert [report.val_loss for report in ours] == pytest.approx([report.val_loss for report in theirs], rel=1e-5)
    assert grouped.n_programs == together.n_programs


def test_lanes_that_stay_move_together_and_go_on_where_they_were():
    """Of three groups with one trial each, one is left; a new trial takes a place that somebody left."""
    configs = [cases.adam(learning_rate=rate) for rate in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)]
    task, stream = problems.make_task(problems.noisy)
    still, moving = (equality.open_engine(task, stream, configs, width=2) for _ in range(2))
    trained = {"still": [], "moving": []}
    moving._program.train, calls = counted(moving._program.train)
    for engine, reports in zip((still, moving), trained.values(), strict=True):
        engine.load(dict(enumerate(configs)))
        engine.tick()
        if engine is moving:
            engine.free([1, 3, 4])
            calls.clear()
        for _ in range(2):
            engine.tick()
            reports.append({report.lane: report for report in engine.reports()})
    assert len(calls) == 2 * 2, "of three groups, two train in each of two ticks"
    for before, after in zip(trained["still"], trained["moving"], strict=True):
        assert set(after) == {0, 2, 5}
        for lane, report in after.items():
            assert report.epoch == before[lane].epoch
            assert report.val_loss == pytest.approx(before[lane].val_loss, rel=1e-6)
    for lane in (0, 2, 5):
        for ours, theirs in zip(moving.weights(lane), still.weights(lane), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    moving.load({1: configs[1]})
    moving.tick()
    assert [(report.lane, report.epoch) for report in moving.reports()] == [(0, 4), (1, 1), (2, 4), (5, 4)]


def counted(function):
    """The function, and a list that grows with each call of it."""
    calls = []

    def call(*arguments):
        calls.append(len(arguments))
        return function(*arguments)

    return call, calls


def short_of_memory(engine, most):
    """Let the backend say that its memory does not hold more than so many lanes at once."""
    train, backend = engine._program.train, keras.backend.backend()

    def failing(lanes, *arguments):
        if engine.n_lanes > most:
            if backend == "jax":
                import jax

                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1099511627776 bytes.")
            import tensorflow as tf

            raise tf.errors.ResourceExhaustedError(None, None, "failed to allocate memory")
        return train(lanes, *arguments)

    engine._program.train = failing


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_too_many_lanes_for_the_memory_are_halved_until_they_fit(strategy):
    configs = [CALM] * 8
    task, stream = problems.make_task(problems.noisy)
    engine = equality.open_engine(task, stream, configs, strategy, width=4)
    short_of_memory(engine, 2)
    for n_lanes in (8, 4):
        engine.load(dict(enumerate(configs[:n_lanes])))
        with pytest.raises(OutOfMemory):
            engine.tick()
        engine.halve()
    assert (engine.n_lanes, engine.clock) == (2, 0)
    assert equality.train(engine, configs[:2]) == run(configs[:2], strategy)[1]


def test_a_group_that_still_trains_writes_nothing_into_the_lanes_that_are_made_next(monkeypatch):
    """One group is short of memory at once, the other trains on for a while."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    configs = [cases.adam(learning_rate=rate) for rate in (0.01, 0.02, 0.05, 0.1)]
    task, stream = problems.make_task(problems.noisy)
    engine = equality.open_engine(task, stream, configs, width=2)
    engine.load(dict(enumerate(configs)))
    engine.tick()
    train, slow = engine._program.train, engine._lanes[1].calls

    def failing(lanes, *arguments):
        if lanes.calls is not slow:
            raise MemoryError
        time.sleep(0.3)
        return train(lanes, *arguments)

    slow = engine._lanes[1].calls
    engine._program.train = failing
    with pytest.raises(OutOfMemory):
        engine.tick()
    engine.halve()
    engine._program.train = train
    engine.clock = 0
    expected = equality.open_engine(task, stream, configs[:2])
    assert equality.train(engine, configs[:2]) == equality.train(expected, configs[:2])


def test_rows_that_find_no_memory_on_the_host_halve_the_lanes_too():
    """They are read block by block, in a thread of their own."""
    configs = [CALM] * 4
    task, stream = problems.make_task()
    engine = equality.open_engine(task, stream, configs, at_once=32)
    expected = equality.train(engine, configs)
    engine.restart(stream, task.build(stream.seed))
    placed = engine._feed._placed

    def failing(index):
        if engine.n_lanes > 2:
            raise MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,) and data type float64")
        return placed(index)

    engine._feed._placed = failing
    engine.load(dict(enumerate(configs)))
    with pytest.raises(OutOfMemory, match="Unable to allocate"):
        engine.tick()
    engine.halve()
    found = equality.train(engine, configs[:2])
    # Another width is another program, so not to the bit.
    assert [report.val_loss for report in found[-1]] == pytest.approx(
        [report.val_loss for report in expected[-1][:2]], rel=1e-5
    )


def test_lanes_are_halved_until_there_is_room_to_make_them(monkeypatch):
    task, stream = problems.make_task(problems.noisy)
    engine = equality.open_engine(task, stream, [CALM] * 16)
    expected, empty = engine.initial_loss(), engine._program.empty

    def short(most):
        def failing(initial, n_lanes):
            if n_lanes > most:
                raise MemoryError
            return empty(initial, n_lanes)

        return failing

    monkeypatch.setattr(engine._program, "empty", short(2))
    engine.halve()
    assert engine.n_lanes == 2 and engine.initial_loss() == pytest.approx(expected)
    placed = engine._program.placed

    def full(lanes):
        if engine.n_lanes > 1:
            raise MemoryError
        return placed(lanes)

    monkeypatch.setattr(engine._program, "placed", full)
    engine.restart(stream, task.build(stream.seed))
    assert engine.n_lanes == 1 and engine.initial_loss() == pytest.approx(expected)
    monkeypatch.setattr(engine._program, "empty", short(0))
    assert np.isnan(engine.initial_loss())
    with pytest.raises(OutOfMemory, match="smaller batch_size"):
        engine.halve()


def test_one_lane_that_does_not_fit_the_memory_says_what_to_do():
    task, stream = problems.make_task(problems.noisy)
    engine = equality.open_engine(task, stream, [CALM])
    with pytest.raises(OutOfMemory, match="smaller batch_size"):
        engine.halve()


def test_other_errors_of_a_tick_are_raised_as_they_are():
    task, stream = problems.make_task(problems.noisy)
    engine = equality.open_engine(task, stream, [CALM])

    def failing(*arguments):
        raise ValueError("something else")

    engine._program.train = failing
    engine.load({0: CALM})
    with pytest.raises(ValueError, match="something else"):
        engine.tick()
