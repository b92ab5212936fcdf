"""Small tasks that every engine is tried on; they have a last short batch, in training and in judging."""

import keras
import numpy as np

from adamtune.engine.program import Stream
from adamtune.tasks import data, networks
from adamtune.tasks import task as tasks

layers = keras.layers


def plain(X, y):
    return keras.Sequential([keras.Input((12,)), layers.Dense(16, activation="relu"), layers.Dense(3)])


def noisy(X, y):
    """Everything that has a state or draws chance, and losses of its own."""
    # No bias before batch norm: its gradient is zero but for rounding, and Adam makes whole steps of rounding.
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.3),
            layers.GaussianNoise(0.1),
            layers.Dense(8, activation="tanh", activity_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dense(3),
        ]
    )


def make_task(build_model=plain, *, weighted=False, n=203, epochs=5, batch_size=32, seed=7):
    """A task of three classes in 12 numbers, and the stream of its seed."""
    floatx = keras.config.floatx()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 12))
    y = (X @ rng.normal(size=(12, 3)) + rng.normal(size=(n, 3))).argmax(axis=1)
    weight = rng.uniform(0.5, 2.0, n) if weighted else None
    rows = data.prepare(X, y, weight, class_weight={0: 2.0} if weighted else None, floatx=floatx)

    def split(own_seed):
        return data.split(rows, 0.2, own_seed)

    build = networks.builder(build_model, X, y, rows, split(seed).train)
    model = build(seed)
    loss = tasks.choose_loss(None, model, rows)
    metric, objective = tasks.choose_metric(None, rows, loss, 3)
    task = tasks.Task("small", rows, split, build, loss, metric, objective, "minimize", epochs, batch_size)
    return task, Stream(seed, split(seed))
