"""The tasks: what is learned, by which network, for how long.

    ADAMTUNE_DATA=../shared/data python studies/defaults/tasks.py     # the list, and how much of each family

A task is one data set with one network, batch size and length. They are small on purpose: what a config is worth is
seen in seconds, and there are many. At most 2,000 rows of a data set are used, drawn once (of a series the last ones,
in their order); a fifth of them judges.
"""

from __future__ import annotations

import collections
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import sklearn.datasets
from keras import layers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import data_sets

MOST_ROWS = 2000
_SEED = 20141222


@dataclass(frozen=True)
class Case:
    """A task before it is anybody's: rows, network and budget."""

    name: str
    family: str
    data_set: str
    rows: Callable[[], tuple[np.ndarray, np.ndarray]]
    network: Callable[[Any, Any], Any]
    kind: str  # "classification" or "regression"
    batch_size: int
    epochs: int
    in_order: bool = False  # the last rows judge


# ------------------------------------------------------------------------------------------------- the rows


def _few(x: np.ndarray, y: np.ndarray, rows: int = MOST_ROWS) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(_SEED).permutation(len(x))[:rows]
    return x[chosen], y[chosen]


def _scaled(x: np.ndarray) -> np.ndarray:
    spread = x.std(axis=0)
    return ((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype("float32")


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    x, y, meta = data_sets.needed(name)
    if meta["order"] == "time":
        return _scaled(x[-MOST_ROWS:]), _labels(y[-MOST_ROWS:], meta)
    x, y = _few(x, y)
    return _scaled(x), _labels(y, meta)


def _labels(y: np.ndarray, meta: Any) -> np.ndarray:
    if meta["task"] == "regression":
        return _scaled(y.astype("float64"))
    return np.unique(y, return_inverse=True)[1]


def shipped(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A data set of scikit-learn."""
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return _scaled(x), (_scaled(y) if name == "diabetes" else y)


def image(name: str, side: int, flat: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Images as numbers from 0 to 1, made smaller by the mean of blocks; (n, side, side, channels) or flat."""
    if name == "digits":
        x, y = sklearn.datasets.load_digits(return_X_y=True)
        x = x.reshape(-1, 8, 8, 1) / 16
    else:
        x, y, _ = data_sets.needed(name)
        x, y = _few(x, y)
        x = x.reshape(*x.shape[:3], -1) / 255
    block = x.shape[1] // side
    x = x[:, : block * side, : block * side].reshape(len(x), side, block, side, block, -1).mean(axis=(2, 4))
    return (x.reshape(len(x), -1) if flat else x).astype("float32"), y.astype("int64")


def vowels() -> tuple[np.ndarray, np.ndarray]:
    x, y, _ = data_sets.needed("japanese_vowels")
    return x.astype("float32"), np.unique(y, return_inverse=True)[1]


def series(name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of a series and the value that follows, in order of time."""
    x, y, _ = data_sets.needed(name)
    x, y = data_sets.module().windows(_scaled(x), _scaled(y), length)
    return x[-MOST_ROWS:].astype("float32"), y[-MOST_ROWS:].astype("float32")


def texts(length: int, words: int) -> tuple[np.ndarray, np.ndarray]:
    x, y, meta = data_sets.needed("imdb", maxlen=length)
    x, y = _few(x[: meta["n_train"]], y[: meta["n_train"]])
    return np.where(x < words, x, 1).astype("int32"), y.astype("int64")


def characters(name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Stretches of a text and the character that follows."""
    x, y, _ = data_sets.needed(name)
    ends = np.random.default_rng(_SEED).integers(length, len(x), MOST_ROWS)
    index = ends[:, None] - np.arange(length, 0, -1) + 1
    return x[index].astype("int32"), np.unique(y[ends], return_inverse=True)[1]


# --------------------------------------------------------------------------------------------- the networks


def _outputs(y: np.ndarray) -> int:
    return 1 if y.dtype.kind == "f" else int(y.max()) + 1


def dense(*widths: int, dropout: float = 0.0) -> Callable[[Any, Any], Any]:
    """A dense network; none of its layers is hidden where there are no widths."""

    def network(X: Any, y: Any) -> Any:
        hidden: list[Any] = []
        for width in widths:
            hidden.append(layers.Dense(width, activation="relu"))
            hidden += [layers.Dropout(dropout)] if dropout else []
        return keras.Sequential([keras.Input(X.shape[1:]), *hidden, layers.Dense(_outputs(y))])

    return network


def convolutional(*filters: int, normalised: bool = False) -> Callable[[Any, Any], Any]:
    def network(X: Any, y: Any) -> Any:
        model = [keras.Input(X.shape[1:])]
        for count in filters:
            model.append(layers.Conv2D(count, 3, padding="same", activation="relu"))
            model += [layers.BatchNormalization()] if normalised else []
            model.append(layers.MaxPooling2D())
        return keras.Sequential([*model, layers.Flatten(), layers.Dense(_outputs(y))])

    return network


def recurrent(kind: str, width: int, words: int | None = None) -> Callable[[Any, Any], Any]:
    """An LSTM or GRU; over embedded words or characters where there are any."""

    def network(X: Any, y: Any) -> Any:
        embedded = [] if words is None else [layers.Embedding(words, width)]
        inputs = keras.Input(X.shape[1:], dtype="int32" if words else "float32")
        return keras.Sequential([inputs, *embedded, getattr(layers, kind)(width), layers.Dense(_outputs(y))])

    return network


def bag(width: int, words: int) -> Callable[[Any, Any], Any]:
    """The mean of embedded words."""

    def network(X: Any, y: Any) -> Any:
        inputs = keras.Input(X.shape[1:], dtype="int32")
        hidden = [layers.Embedding(words, width), layers.GlobalAveragePooling1D(), layers.Dense(width, "relu")]
        return keras.Sequential([inputs, *hidden, layers.Dense(_outputs(y))])

    return network


def attention(width: int, words: int | None = None) -> Callable[[Any, Any], Any]:
    """One block of self-attention."""

    def network(X: Any, y: Any) -> Any:
        inputs = keras.Input(X.shape[1:], dtype="int32" if words else "float32")
        x = layers.Embedding(words, width)(inputs) if words else layers.Dense(width)(inputs)
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, width // 2)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(width)(layers.Dense(2 * width, activation="relu")(x)))
        return keras.Model(inputs, layers.Dense(_outputs(y))(layers.GlobalAveragePooling1D()(x)))

    return network


# ------------------------------------------------------------------------------------------------ the tasks

# Networks, batch sizes and lengths of tables, in turns, so that none goes with one kind of data.
_NETS = ((64, 64), (128,), (32, 32, 32), (256, 64), (16,), (64, 64, 64, 64))
_BUDGETS = ((32, 10), (128, 20), (64, 15), (16, 8), (256, 20))
_CLASSES = (
    "adult", "bank_marketing", "covtype_15k", "dna_splice", "dry_bean", "electricity", "higgs_7k", "letter",
    "magic_telescope", "phoneme", "poker_100k", "satimage", "shuttle", "spambase",
)  # fmt: skip
_TARGETS = (
    "abalone", "airfoil", "bike_sharing", "california_housing", "concrete", "diamonds", "energy_heating", "wine_white",
)  # fmt: skip


def cases() -> list[Case]:
    """All tasks, the families in turns: whatever part of them is trained has something of each."""
    found = [*_tables(), *_linear(), *_images(), *_sequences(), *_texts()]
    assert len({case.name for case in found}) == len(found)
    before = collections.Counter[str]()
    turn = {}
    for case in found:
        turn[case.name] = before[case.family]
        before[case.family] += 1
    return sorted(found, key=lambda case: turn[case.name])


def _tables() -> Iterator[Case]:
    turn = 0
    for kind, names, own in (
        ("classification", _CLASSES, ("breast_cancer", "wine", "iris")),
        ("regression", _TARGETS, ("diabetes",)),
    ):
        for name in (*names, *own):
            rows = (lambda name=name: shipped(name)) if name in own else (lambda name=name: table(name))
            for shift in (0,) if name in own else (0, 3):
                net, budget = _NETS[(turn + shift) % len(_NETS)], _BUDGETS[(turn + 2 * shift) % len(_BUDGETS)]
                batch_size, epochs = budget
                width = "x".join(map(str, net))
                yield Case(
                    f"{name}-mlp-{width}-b{batch_size}",
                    f"table-{kind}",
                    name,
                    rows,
                    dense(*net),
                    kind,
                    batch_size,
                    epochs,
                )
            turn += 1


def _linear() -> Iterator[Case]:
    for name, kind, batch_size in (
        ("spambase", "classification", 32),
        ("adult", "classification", 128),
        ("satimage", "classification", 64),
        ("california_housing", "regression", 64),
        ("wine_white", "regression", 32),
    ):
        rows = lambda name=name: table(name)  # noqa: E731
        yield Case(f"{name}-linear-b{batch_size}", "linear", name, rows, dense(), kind, batch_size, 15)
    rows = lambda: image("mnist", 14, flat=True)  # noqa: E731
    yield Case("mnist-linear-b32", "linear", "mnist", rows, dense(), "classification", 32, 10)


def _images() -> Iterator[Case]:
    flat = (
        ("digits", 8, dense(64, 64), 32, 10),
        ("mnist", 14, dense(128, dropout=0.2), 64, 10),
        ("mnist", 7, dense(64, 64, 64), 128, 20),
        ("fashion_mnist", 14, dense(128, 64), 32, 8),
        ("fashion_mnist", 7, dense(256), 64, 12),
        ("cifar10_24k", 8, dense(128, 128), 64, 10),
    )
    for name, side, network, batch_size, epochs in flat:
        rows = lambda name=name, side=side: image(name, side, flat=True)  # noqa: E731
        title = f"{name}-{side}x{side}-dense-b{batch_size}"
        yield Case(title, "image-dense", name, rows, network, "classification", batch_size, epochs)
    maps = (
        ("digits", 8, convolutional(16, 32), 32, 8),
        ("digits", 8, convolutional(8, 16, normalised=True), 64, 10),
        ("mnist", 14, convolutional(8, 16), 64, 6),
        ("fashion_mnist", 14, convolutional(8, 16), 32, 5),
        ("fashion_mnist", 14, convolutional(8, 8, normalised=True), 128, 8),
        ("cifar10_24k", 16, convolutional(8, 16), 64, 6),
    )
    for number, (name, side, network, batch_size, epochs) in enumerate(maps):
        rows = lambda name=name, side=side: image(name, side)  # noqa: E731
        title = f"{name}-{side}x{side}-conv{number}-b{batch_size}"
        yield Case(title, "image-conv", name, rows, network, "classification", batch_size, epochs)


def _sequences() -> Iterator[Case]:
    for kind, width, batch_size, epochs in (("LSTM", 16, 32, 10), ("GRU", 32, 16, 8), ("GRU", 16, 64, 15)):
        title = f"vowels-{kind.lower()}{width}-b{batch_size}"
        network = recurrent(kind, width)
        yield Case(title, "sequence", "japanese_vowels", vowels, network, "classification", batch_size, epochs)
    for name, length, network, batch_size, epochs in (
        ("beijing_pm25", 12, recurrent("LSTM", 16), 64, 8),
        ("etth1", 12, recurrent("GRU", 16), 32, 6),
        ("melbourne_min_temp", 14, recurrent("LSTM", 8), 32, 8),
        ("etth1", 24, recurrent("GRU", 8), 128, 12),
        ("melbourne_min_temp", 7, recurrent("GRU", 16), 64, 10),
        ("air_passengers", 12, recurrent("LSTM", 8), 8, 20),
    ):
        rows = lambda name=name, length=length: series(name, length)  # noqa: E731
        title = f"{name}-{length}-b{batch_size}"
        yield Case(title, "series", name, rows, network, "regression", batch_size, epochs, in_order=True)


def _texts() -> Iterator[Case]:
    for network, what, length, batch_size, epochs in (
        (bag(32, 2000), "bag32", 64, 32, 8),
        (bag(16, 2000), "bag16", 96, 128, 15),
        (bag(64, 1000), "bag64", 48, 64, 10),
    ):
        rows = lambda length=length: texts(length, 2000 if length > 48 else 1000)  # noqa: E731
        title = f"imdb-{what}-b{batch_size}"
        yield Case(title, "text-embedding", "imdb", rows, network, "classification", batch_size, epochs)
    for name, network, what, batch_size, epochs in (
        ("tiny_shakespeare", recurrent("GRU", 32, 65), "gru32", 32, 6),
        ("plato_republic", recurrent("GRU", 16, 80), "gru16", 64, 8),
        ("tiny_shakespeare", recurrent("LSTM", 16, 65), "lstm16", 128, 10),
    ):
        rows = lambda name=name: characters(name, 16)  # noqa: E731
        title = f"{name}-{what}-b{batch_size}"
        yield Case(title, "character-model", name, rows, network, "classification", batch_size, epochs)
    for title, data_set, rows, network, batch_size, epochs in (
        ("vowels-attention16-b32", "japanese_vowels", vowels, attention(16), 32, 10),
        ("imdb-attention16-b64", "imdb", lambda: texts(32, 1000), attention(16, 1000), 64, 5),
        ("plato-attention16-b64", "plato_republic", lambda: characters("plato_republic", 16), attention(16, 80), 64, 8),
    ):
        yield Case(title, "attention", data_set, rows, network, "classification", batch_size, epochs)


if __name__ == "__main__":
    print(f"{len(cases())} tasks on {len({case.data_set for case in cases()})} data sets")
    for family, count in collections.Counter(case.family for case in cases()).items():
        print(f"{count:4d}  {family}")
