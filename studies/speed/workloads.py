"""What is trained: the rows and the network of each workload, and what every arm searches.

With ADAMTUNE_DATA the rows are those of its folder; without it they are made of what scikit-learn ships, or of random
numbers, in the same shapes. `Rows.data` says which, and so does the table.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import data_sets

# What every arm searches of Adam, each number on a log scale, between bounds within which a trial rarely diverges: a
# diverged one ends early in some arms and not in others. AMSGrad is a choice besides.
RANGES = {
    "learning_rate": (1e-4, 3e-2),
    "one_minus_beta_1": (1e-2, 0.5),
    "one_minus_beta_2": (1e-4, 1e-1),
    "epsilon": (1e-9, 1e-3),
}
AMSGRAD = (False, True)

WORDS, LENGTH, WIDTH = 5000, 64, 64  # of the transformer: words known, words of a text, numbers a word
JUDGED_AT_ONCE = 1000


@dataclass(frozen=True)
class Rows:
    """What trains and what judges; `epochs` where these rows need other ones than the workload says."""

    x: np.ndarray
    y: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray
    data: str
    epochs: int | None = None

    def few(self):
        """A small part, to see that everything works."""
        return Rows(
            self.x[:320], self.y[:320], self.x_valid[:100], self.y_valid[:100], f"{self.data}, a few of them", None
        )


@dataclass(frozen=True)
class Workload:
    """A network, its rows and its budget."""

    title: str
    rows: Callable[[int], Rows]
    network: Callable[..., Any]
    batch_size: int
    epochs: int


# ------------------------------------------------------------------------------------------------- the rows


def digits(seed):
    x, y = load_digits(return_X_y=True)
    x, x_valid, y, y_valid = train_test_split(
        (x / 16).astype("float32"), y, test_size=0.2, random_state=seed, stratify=y
    )
    return Rows(x, y, x_valid, y_valid, "scikit-learn's digits")


def images(seed, train=10_000, judge=2_000):
    """(28, 28, 1) images of ten digits."""
    random = np.random.default_rng(seed)
    if found := data_sets.load("mnist"):
        x, y, meta = found
        chosen = random.permutation(meta["n_train"])[: train + judge]
        x, y = (x[chosen, ..., None] / 255).astype("float32"), y[chosen].astype("int64")
        return Rows(x[:train], y[:train], x[train:], y[train:], "MNIST")
    small = digits(seed)

    def enlarged(x, n):
        """Digits three times as large, repeated to so many and each moved by up to two pixels."""
        x = x[np.arange(n) % len(x)].reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2)
        x = np.pad(x, ((0, 0), (2, 2), (2, 2)))
        moved = [np.roll(image, random.integers(-2, 3, 2), (0, 1)) for image in x]
        return np.stack(moved)[..., None]

    labels = (y[np.arange(n) % len(y)] for y, n in ((small.y, train), (small.y_valid, judge)))
    y, y_valid = labels
    x, x_valid = enlarged(small.x, train), enlarged(small.x_valid, judge)
    return Rows(x, y, x_valid, y_valid, "scikit-learn's digits, enlarged and moved")


def flat_images(seed):
    rows = images(seed)
    return Rows(rows.x.reshape(-1, 784), rows.y, rows.x_valid.reshape(-1, 784), rows.y_valid, rows.data)


def vowels(seed):
    """(29, 12) windows of nine speakers."""
    if found := data_sets.load("japanese_vowels"):
        x, y, _ = found
        x, y, data, epochs = x.astype("float32"), np.unique(y, return_inverse=True)[1], "japanese_vowels", None
    else:
        random = np.random.default_rng(seed)
        y = random.integers(0, 9, 10_000)
        waves = np.arange(29)[:, None] * (0.1 + 0.05 * y[:, None, None]) + random.uniform(0, 6, (len(y), 1, 12))
        x = (np.sin(waves) + random.normal(0, 0.5, waves.shape)).astype("float32")
        data, epochs = "10,000 windows of made waves", 1  # one epoch of them is about ten of the speakers'
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=0.2, random_state=seed, stratify=y)
    return Rows(x, y, x_valid, y_valid, data, epochs)


def texts(seed, train=2_000, judge=500):
    """The first words of each text as numbers."""
    random = np.random.default_rng(seed)
    if found := data_sets.load("imdb", maxlen=LENGTH):
        x, y, meta = found
        chosen = random.permutation(meta["n_train"])[: train + judge]
        x, y, data = np.where(x < WORDS, x, 1)[chosen].astype("int32"), y[chosen].astype("int64"), "IMDB"
    else:
        y = random.integers(0, 2, train + judge)
        # Two ways of choosing words, the rarer the higher their number, as in a language.
        x = random.geometric(np.where(y, 0.004, 0.005)[:, None], (len(y), LENGTH)).clip(1, WORDS - 1).astype("int32")
        data = "made texts"
    return Rows(x[:train], y[:train], x[train:], y[train:], data)


# --------------------------------------------------------------------------------------------- the networks


def small_mlp(X=None, y=None):
    return _dense(64, 64, 64)


def large_mlp(X=None, y=None):
    return _dense(784, 1000, 1000)


def _dense(inputs, *widths):
    hidden = [keras.layers.Dense(width, activation="relu") for width in widths]
    return keras.Sequential([keras.Input((inputs,)), *hidden, keras.layers.Dense(10)])


def cnn(X=None, y=None):
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )


def lstm(X=None, y=None):
    return keras.Sequential([keras.Input((29, 12)), keras.layers.LSTM(32), keras.layers.Dense(9)])


class Positions(keras.layers.Layer):
    """Adds a learned vector to each place of a sequence."""

    def build(self, shape):
        self.vectors = self.add_weight(shape=shape[1:], initializer="uniform", name="vectors")

    def call(self, x):
        return x + self.vectors


def transformer(X=None, y=None):
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = Positions()(keras.layers.Embedding(WORDS, WIDTH)(tokens))
    for _ in range(2):
        attended = keras.layers.MultiHeadAttention(num_heads=4, key_dim=WIDTH // 4)(x, x)
        x = keras.layers.LayerNormalization()(x + attended)
        hidden = keras.layers.Dense(2 * WIDTH, activation="relu")(x)
        x = keras.layers.LayerNormalization()(x + keras.layers.Dense(WIDTH)(hidden))
    return keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(x)))


WORKLOADS = {
    "digits": Workload("MLP 64-64-10, 1,437 digits", digits, small_mlp, 32, 10),
    "cnn": Workload("CNN 16-32, 10,000 images", images, cnn, 64, 3),
    "lstm": Workload("LSTM 32, windows of 29", vowels, lstm, 32, 10),
    "wide": Workload("MLP 1000-1000, 10,000 images", flat_images, large_mlp, 128, 3),
    "transformer": Workload("transformer, 2 blocks of 64, 2,000 texts", texts, transformer, 64, 2),
}


def prepared(name, seed, quick=False):
    """(workload, rows, epochs of a trial); with `quick` few rows and two epochs."""
    case = WORKLOADS[name]
    rows = case.rows(seed)
    return (case, rows.few(), 2) if quick else (case, rows, rows.epochs or case.epochs)


def about(name, rows, epochs):
    """What a result says of its workload."""
    case = WORKLOADS[name]
    return {
        "title": case.title,
        "data": rows.data,
        "rows": len(rows.x),
        "judging_rows": len(rows.x_valid),
        "batch_size": case.batch_size,
        "epochs": epochs,
    }
