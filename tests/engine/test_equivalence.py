"""A lane is a plain Keras run: the same rows in the same order give the same losses and the same weights.

The oracle is `model.compile(...).fit(...)`, one trial at a time, through the engine that does nothing else. What is
tried stands in `cases`; the same cases make the tables of docs/equivalence.md.
"""

import pytest

from tests.engine import cases, equality, problems
from tests.engine.equality import STRATEGIES, compare, measured


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", cases.LAYERS, ids=str)
def test_layers_train_as_in_keras_fit(case, strategy):
    compare(case, strategy, "never", case.tolerance)


def test_a_case_that_differs_is_noticed():
    """The measure sees another training: a rate that is off by a millionth."""
    case = cases.Case("off", compared=1)
    found = measured(case, "never").differences("looped")
    moved = cases.Case(
        "off", configs={"fast": cases.adam(learning_rate=0.05 * (1 + 1e-6)), "": cases.adam()}, compared=1
    )
    other = equality.Measured(moved)
    other._plain = measured(case, "never")._plain
    assert max(found.values()) < cases.EXACT < max(other.differences("looped").values())


@pytest.mark.parametrize(
    ("n", "batch_size"), [(20, 32), (80, 16), (82, 16)], ids=["less than a batch", "whole batches", "one row more"]
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_batch_shape_equals_keras_fit(n, batch_size, strategy):
    with problems.precision("float64"):
        task, stream = problems.make_task(n=n, batch_size=batch_size)
        configs = [cases.sgd()]
        engine = equality.open_engine(task, stream, configs, strategy)
        reports = equality.train(engine, configs)
        [(plain, _)] = equality.expected(task, stream, configs)
        for ours, theirs in zip(reports, plain, strict=True):
            assert ours[0].train_loss == pytest.approx(theirs.train_loss, rel=cases.EXACT)
            assert ours[0].val_loss == pytest.approx(theirs.val_loss, rel=cases.EXACT)


def test_judging_in_several_blocks_equals_keras_evaluate():
    with problems.precision("float64"):
        task, stream = problems.make_task(problems.noisy, n=5400, batch_size=512)  # 1,080 judge: 1,024 and 56
        assert len(stream.split.valid) % 1024 == 56
        configs = [cases.adam()]
        engine = equality.open_engine(task, stream, configs)
        plain = equality.OneByOne(task, task.build(stream.seed), stream, "never")
        assert engine.initial_loss() == pytest.approx(plain.initial_loss(), rel=cases.UNTRAINED)
        for each in (engine, plain):
            each.load({0: configs[0]})
            each.tick()
        ours, theirs = engine.reports()[0], plain.reports()[0]
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=cases.MEANS)
        assert ours.metric == pytest.approx(theirs.metric, rel=cases.MEANS)


def test_untrained_loss_equals_keras_evaluate():
    with problems.precision("float64"):
        task, stream = problems.make_task(problems.noisy)
        engine = equality.open_engine(task, stream, [cases.adam()] * 2)
        oracle = equality.OneByOne(task, task.build(stream.seed), stream)
        assert engine.initial_loss() == pytest.approx(oracle.initial_loss(), rel=cases.UNTRAINED)
