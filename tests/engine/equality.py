"""Measures how far lanes are from plain Keras runs: the same rows in the same order, through `model.fit`."""

from __future__ import annotations

import functools

import keras
import pytest

from adamtune import optimizers
from adamtune.engine import plan as plans
from adamtune.engine.feed import Feed
from adamtune.engine.forward import Forward
from adamtune.engine.lanes import LaneEngine
from adamtune.engine.one_by_one import OneByOne
from adamtune.engine.program import NotStackable, Program, Structure
from adamtune.testing.fits import apart
from tests.engine import problems

TICKS, REFILLED_AT = 4, 2


class Refused(Exception):
    """The text says why it is not trained in lanes of that strategy."""


def open_engine(task, stream, configs, strategy="stacked", *, n_lanes=None, at_once=None, width=None):
    """Lanes for these configs, compiled; raises NotStackable."""
    backend = plans.BACKENDS[keras.backend.backend()]()
    model = task.build(stream.seed)
    program = Program(
        Forward(model, task),
        optimizers.get(configs[0].optimizer),
        Structure.needed(
            {name for config in configs for name in config.hypers},
            [config.options for config in configs],
            plans.scales_loss(model),
        ),
        strategy,
        task.batch_size,
        backend,
    )
    feed = Feed(task, backend, at_once, strategy == "looped" and backend.LOOPED_SINGLY)
    engine = LaneEngine(task, model, program, feed, n_lanes or len(configs), stream, width)
    engine.compile()
    return engine


def train(engine, configs, ticks=TICKS):
    """Every config in its lane; halfway the last one takes over the first lane, anew. Returns reports by tick."""
    engine.load(dict(enumerate(configs)))
    reports = []
    for tick in range(ticks):
        if tick == REFILLED_AT:
            engine.free([0])
            engine.load({0: configs[-1]})
        engine.tick()
        reports.append(engine.reports())
    return reports


def expected(task, stream, configs, builtin="never", compared=None):
    """The same through `model.fit`: by lane its reports, one a tick, and its weights at the end."""
    runs, on_jax = [], keras.backend.backend() == "jax"
    for lane, config in enumerate(configs[:compared]):
        # XLA takes seconds to compile each small training, and changes it by rounding. JAX cannot do without.
        model = task.build(stream.seed)
        oracle = OneByOne(task, model, stream, builtin, jit_compile=on_jax)
        oracle.load({0: config})
        model.run_eagerly = not on_jax  # of so few steps, to trace them takes longer
        seen = []
        for tick in range(TICKS):
            if lane == 0 and tick == REFILLED_AT:
                oracle.free([0])
                oracle.load({0: configs[-1]})
                model.run_eagerly = not on_jax
            oracle.tick()
            seen.append(oracle.reports()[0])
        runs.append((seen, oracle.weights(0)))
    return runs


class Measured:
    """A case and what Keras does for it, which is computed once for both strategies, when it is first needed."""

    def __init__(self, case, builtin="never"):
        self.case, self._builtin = case, builtin
        self._plain = None

    def differences(self, strategy):
        """By label the largest relative difference between a lane and its plain Keras run.

        Raises
        ------
        Refused
        """
        case = self.case
        # Not every schedule is one of Keras' own.
        chosen = {
            label: config
            for label, config in case.configs.items()
            if self._builtin != "always" or not config._unlike_builtin()
        }
        with problems.precision(case.precision):
            configs = list(chosen.values())
            task, stream = problems.make_task(case.model, case.kind, **case.prepared)
            model = task.build(stream.seed)
            for config in configs:
                reason = plans.why_not_lanes(model, config.options)
                if reason:
                    raise Refused(f"one by one: {reason}")
            try:
                engine = open_engine(task, stream, configs, strategy)
            except NotStackable as problem:
                raise Refused(str(problem)) from None
            reports = train(engine, configs)
            if self._plain is None:
                self._plain = expected(task, stream, configs, self._builtin, case.compared)
            assert engine.n_programs == n_programs(strategy)
            return {
                label: _largest(engine, lane, [each[lane] for each in reports], *plain)
                for lane, (label, plain) in enumerate(zip(chosen, self._plain, strict=False))
            }


def n_programs(strategy):
    """Training programs of one rule: where batches come one by one, the short one has its own."""
    singly = plans.BACKENDS[keras.backend.backend()]().LOOPED_SINGLY
    return 2 if strategy == "looped" and singly else 1


def _largest(engine, lane, ours, theirs, weights):
    assert [each.epoch for each in ours] == [each.epoch for each in theirs]
    numbers = [
        apart(getattr(mine, name), getattr(plain, name))
        for mine, plain in zip(ours, theirs, strict=True)
        for name in ("train_loss", "val_loss", "metric", "value")
    ]
    # The weights and, where there is batch norm, its moving statistics.
    return max(numbers + [apart(*pair) for pair in zip(engine.weights(lane), weights, strict=True)])


measured = functools.cache(Measured)
# On a CPU the plan would loop convolutions; stacked ones are tried all the same where the backend has them.
STRATEGIES = ("stacked", "looped")


def compare(case, strategy, builtin, tolerance):
    """Hold lanes to a case, or to the reason why they refuse it."""
    try:
        found = measured(case, builtin).differences(strategy)
    except Refused as refused:
        if not case.refused:
            assert strategy == "stacked" and keras.backend.backend() == "tensorflow", refused
            pytest.skip(f"goes looped: {refused}")
        assert case.refused in str(refused)
        return
    assert not case.refused
    assert max(found.values()) <= tolerance, found
