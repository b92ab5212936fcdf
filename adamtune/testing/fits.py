"""A small training, through lanes and through `model.fit`: both have to be the same for every rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.optimizers import Rule

# 32 rows train, in four whole batches: a short one is a second program, and no rule knows the size of a batch.
_ROWS, _BATCH, _EPOCHS, _SEED = 40, 8, 3, 7
# An array with no larger element is rounding, and differences count by this.
_SMALLEST = 1e-3


@contextmanager
def in_catalogue(rule: Rule) -> Iterator[None]:
    """The rule among all others for a while, where it is not one of them."""
    catalogue = optimizers._catalogue()
    before = dict(catalogue)
    optimizers.register(rule, replace=True)
    try:
        yield
    finally:
        catalogue.clear()
        catalogue.update(before)
        optimizers.register()  # to Keras a namesake is again what it was


def furthest(configs: Sequence[OptimizerConfig], *strategies: str) -> dict[str, float]:
    """How far lanes that train these configs together are from each config alone through `model.fit`, by strategy.

    The largest difference of losses and weights after each of three epochs, relative to the largest number of its
    array. All configs are of one rule; one program trains them all.
    """
    import keras

    from adamtune.engine import Programs, plan
    from adamtune.engine.one_by_one import OneByOne
    from adamtune.engine.program import Structure

    task, stream = _task()
    structure = Structure.needed(
        {name for config in configs for name in config.hypers}, [config.options for config in configs], False
    )
    alone = []
    for config in configs:
        model = task.build(_SEED)
        engine = OneByOne(task, model, stream, "never")
        engine.load({0: config})
        model.run_eagerly = keras.backend.backend() != "jax"  # a few steps: to compile them takes longer
        alone.append([_epoch(engine, [0])[0] for _ in range(_EPOCHS)])
    found = {}
    for strategy in strategies:
        seats = plan.Plan(strategy, len(configs), len(configs), "", "CPU")
        lanes = Programs(task, seats, [stream], structure, task.build(_SEED))(configs[0].optimizer)
        lanes.load(dict(enumerate(configs)))
        together = [_epoch(lanes, range(len(configs))) for _ in range(_EPOCHS)]
        found[strategy] = max(
            apart(one, other)
            for lane, epochs in enumerate(alone)
            for epoch, arrays in enumerate(epochs)
            for one, other in zip(together[epoch][lane], arrays, strict=True)
        )
    return found


def apart(ours: Any, theirs: Any) -> float:
    """The largest difference of two arrays, or numbers, relative to the second's largest; infinite for NaN."""
    ours, theirs = np.asarray(ours, "float64"), np.asarray(theirs, "float64")
    size = max(np.abs(theirs).max(initial=0.0), _SMALLEST)
    difference = float(np.abs(ours - theirs).max(initial=0.0) / size)
    return difference if np.isfinite(difference) else np.inf


def _epoch(engine: Any, lanes: Sequence[int]) -> list[list[np.ndarray]]:
    """After one more epoch, each lane's losses and weights."""
    engine.tick()
    return [
        [np.array([report.train_loss, report.val_loss]), *engine.weights(lane)]
        for lane, report in zip(lanes, engine.reports(), strict=True)
    ]


def _task() -> Any:
    """Three classes by a smooth hidden layer, in Keras' float type."""
    import keras

    from adamtune.engine.stream import Stream
    from adamtune.tasks import data, networks, splits, task

    rng = np.random.default_rng(0)
    x = rng.normal(size=(_ROWS, 4))
    y = (x @ rng.normal(size=(4, 3))).argmax(axis=1)
    rows = data.prepare(x, y, floatx=keras.config.floatx())
    split = splits.split(rows, 0.2, _SEED)

    def network(x: Any, y: Any) -> Any:
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "sigmoid"), keras.layers.Dense(3)])

    build = networks.builder(network, x, y, rows, split.train)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made = task.Task("small", rows, lambda _: split, build, loss, None, "val_loss", "minimize", _EPOCHS, _BATCH)
    return made, Stream(_SEED, split)
