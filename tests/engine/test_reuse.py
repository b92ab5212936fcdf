"""A program is used again by what cannot tell it from its own, and by nothing else."""

import dataclasses

import keras
import numpy as np
import pytest

from adamtune import engine as engines
from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine import reuse
from adamtune.engine.plan import Plan
from adamtune.engine.program import Structure
from tests.engine import problems

layers = keras.layers


@pytest.fixture(autouse=True)
def nothing_kept():
    reuse.forget()
    yield
    reuse.forget()


def small(width=4, activation="relu", residual=False, rate=0.1, name=None):
    inputs = keras.Input((6,))
    first = layers.Dense(width, activation="tanh", name=name)(inputs)
    second = layers.Dropout(rate)(layers.Dense(width, activation=activation)(first))
    return keras.Model(inputs, layers.Dense(3)(second + first if residual else second))


class Own(layers.Layer):
    def call(self, x):
        return x


def squashed(x):
    return x


def opened(model=small, seed=7, stages=(), lanes=2, loss=None, kind=problems.numbers):
    task, stream = problems.make_task(lambda X, y: model(), kind, seed=seed)
    if loss is not None:
        task = dataclasses.replace(task, loss=loss)
    plan = Plan("stacked", lanes, lanes, "", "CPU")
    programs = engines.Programs(task, plan, [stream], Structure(frozenset(stages)), task.build(stream.seed))
    return programs, programs("sgd")


def trained(engine):
    engine.load({0: OptimizerConfig("sgd", learning_rate=0.1)})
    engine.tick()
    return engine.reports()


def test_the_same_task_compiles_nothing_the_second_time():
    first, engine = opened()
    expected = trained(engine)
    again, engine = opened()
    assert again._programs["sgd"] is first._programs["sgd"]
    assert trained(engine) == expected
    assert again.n_programs == 1


def test_other_rows_weights_and_names_share_a_program_and_keep_their_own_numbers():
    first, engine = opened()
    trained(engine)
    shared, engine = opened(lambda: small(name="another"), seed=8)
    assert shared._programs["sgd"] is first._programs["sgd"]
    found = trained(engine)
    reuse.forget()
    alone, engine = opened(lambda: small(name="another"), seed=8)
    assert alone._programs["sgd"] is not first._programs["sgd"]
    assert trained(engine) == found


@pytest.mark.parametrize(
    "other",
    [
        {"model": lambda: small(width=5)},
        {"model": lambda: small(activation="gelu")},
        {"model": lambda: small(residual=True)},
        {"model": lambda: small(rate=0.2)},
        {"stages": ["clipnorm"]},
        {"lanes": 4},
        {"loss": keras.losses.SparseCategoricalCrossentropy()},
        {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")},
    ],
    ids=["width", "activation", "wires", "rate of dropout", "structure", "lanes", "logits", "reduction"],
)
def test_what_differs_has_a_program_of_its_own(other):
    first, _ = opened()
    second, _ = opened(**other)
    assert second._programs["sgd"] is not first._programs["sgd"]


@pytest.mark.parametrize(
    "foreign",
    [
        lambda: keras.Sequential([keras.Input((6,)), Own(), layers.Dense(3)]),
        lambda: keras.Sequential([keras.Input((6,)), layers.Dense(4, activation=squashed), layers.Dense(3)]),
        lambda: keras.Sequential([keras.Input((6,)), layers.Lambda(lambda x: x), layers.Dense(3)]),
    ],
    ids=["layer", "activation", "lambda"],
)
def test_what_is_not_keras_own_is_never_taken_for_the_same(foreign):
    first, _ = opened(foreign)
    second, _ = opened(foreign)
    assert second._programs["sgd"] is not first._programs["sgd"]


def two_tables(first, second):
    inputs = [keras.Input((6,), name=name) for name in (first, second)]
    left, right = inputs
    return keras.Model(inputs, layers.Dense(3)(left + layers.Dense(6)(right)))


def test_inputs_that_change_places_are_never_taken_for_the_same():
    """A layer's name says nothing, that of an input says which rows it gets."""
    kind = lambda rng, n: {"a": rng.normal(size=(n, 6)), "b": rng.normal(size=(n, 6))}  # noqa: E731
    first, engine = opened(lambda: two_tables("a", "b"), kind=kind)
    expected = trained(engine)
    assert trained(opened(lambda: two_tables("a", "b"), kind=kind)[1]) == expected
    second, engine = opened(lambda: two_tables("b", "a"), kind=kind)
    assert second._programs["sgd"] is not first._programs["sgd"]
    assert trained(engine) != expected


def adapted(scale):
    normalized = layers.Normalization()
    normalized.adapt(scale * np.arange(24.0).reshape(4, 6))
    return keras.Sequential([keras.Input((6,)), normalized, layers.Dense(3)])


def test_what_a_layer_has_learned_from_data_is_never_taken_for_the_same():
    """The statistics of `adapt` are constants of the program and in no description."""
    first, engine = opened(lambda: adapted(1.0))
    expected = trained(engine)
    second, engine = opened(lambda: adapted(100.0))
    assert second._programs["sgd"] is not first._programs["sgd"]
    assert trained(engine) != expected


def test_a_rule_that_was_registered_again_gets_a_new_program(monkeypatch):
    first, _ = opened()
    another = dataclasses.replace(optimizers.get("sgd"))
    monkeypatch.setattr(optimizers, "get", lambda name: another)
    second, _ = opened()
    assert second._programs["sgd"] is not first._programs["sgd"]


def test_those_not_used_for_long_are_given_up(monkeypatch):
    monkeypatch.setattr(reuse, "_MOST", 2)
    first, _ = opened()
    opened(lanes=4)
    assert opened()[0]._programs["sgd"] is first._programs["sgd"]
    opened(lanes=8)
    assert opened()[0]._programs["sgd"] is first._programs["sgd"], "it was used later than the one with 4 lanes"
    assert len(reuse._kept) == 2
