"""Small tasks that every engine is tried on: one kind of input each, with a short last batch in training."""

import contextlib

import keras
import numpy as np

from adamtune.engine.stream import Stream
from adamtune.tasks import data, judging, networks, splits
from adamtune.tasks import task as tasks

layers = keras.layers
N_CLASSES = 3


@contextlib.contextmanager
def precision(name):
    """Run with that float type; under JAX float64 needs more than Keras' own switches."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    # Keras makes its policy from floatx once, so a switch has to name both.
    keras.config.set_dtype_policy(name)
    try:
        with _wide_jax(name == "float64"):
            yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


@contextlib.contextmanager
def _wide_jax(wide):
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", wide)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def numbers(rng, n):
    return rng.normal(size=(n, 6))


def bytes_(rng, n):
    return rng.integers(0, 8, size=(n, 6), dtype=np.uint8)


def tokens(rng, n):
    # 0 fills up the end, as padding does.
    X = rng.integers(1, 12, size=(n, 6))
    X[np.arange(6) >= rng.integers(2, 7, size=(n, 1))] = 0
    return X


def series(rng, n):
    X = rng.normal(size=(n, 6, 2))
    X[np.arange(6) >= rng.integers(2, 7, size=(n, 1))] = 0
    return X


def images(rng, n):
    return rng.normal(size=(n, 6, 6, 2))


def named(rng, n):
    return {"words": tokens(rng, n), "table": numbers(rng, n)}


def plain(X, y):
    return keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="tanh"), layers.Dense(N_CLASSES)])


def smooth(X, y):
    """Chance and losses of its own, but no means over rows."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="tanh", kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dropout(0.3),
            layers.Dense(N_CLASSES),
        ]
    )


def noisy(X, y):
    """Everything that has a state or draws chance, and losses of its own."""
    # No bias before batch norm: its gradient is zero but for rounding, and Adam makes whole steps of rounding.
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.BatchNormalization(momentum=0.9),
            layers.Activation("tanh"),
            layers.Dropout(0.3),
            layers.GaussianNoise(0.1),
            layers.Dense(8, activation="tanh", activity_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dense(N_CLASSES),
        ]
    )


def two_inputs(X, y):
    inputs = {"table": keras.Input((6,), name="table"), "words": keras.Input((6,), dtype="int32", name="words")}
    words = layers.Flatten()(layers.Embedding(12, 3)(inputs["words"]))
    both = layers.Concatenate()([layers.Dense(5, activation="tanh")(inputs["table"]), words])
    return keras.Model(inputs, layers.Dense(N_CLASSES)(layers.Dropout(0.2)(both)))


def make_task(build_model=plain, kind=numbers, *, X=None, n=107, epochs=4, batch_size=16, seed=7, **prepared):
    """A task of three classes, and the stream of its seed: by default 86 rows train, in 5 batches of 16 and one of 6.

    Parameters
    ----------
    X : array, optional
        Rows that stand in for those of `kind`, such as the same ones on disk.
    **prepared
        `sample_weight` and `class_weight`, for `data.prepare`.
    """
    floatx = keras.config.floatx()
    rng = np.random.default_rng(0)
    drawn = kind(rng, n)
    flat = np.concatenate([part.reshape(n, -1) for part in keras.tree.flatten(drawn)], axis=1)
    X = drawn if X is None else X
    scores = flat @ rng.normal(size=(flat.shape[1], N_CLASSES)) + rng.normal(size=(n, N_CLASSES))
    y = (scores - scores.mean(axis=0)).argmax(axis=1)
    rows = data.prepare(X, y, floatx=floatx, **prepared)

    def split(own_seed):
        return splits.split(rows, 0.2, own_seed)

    build = networks.builder(build_model, X, y, rows, split(seed).train)
    model = build(seed)
    loss = tasks.choose_loss(None, model, rows)
    metric, objective = judging.choose_metric(None, rows, loss, N_CLASSES)
    task = tasks.Task("small", rows, split, build, loss, metric, objective, "minimize", epochs, batch_size)
    return task, Stream(seed, split(seed))
