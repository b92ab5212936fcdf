"""Three Keras models as people write them, their rows, and one run of adamtune on one of them.

    KERAS_BACKEND=jax ADAMTUNE_DATA=../shared/data python studies/models/cases.py lstm --out lstm.json --quick

`models.py` starts this once for each model and backend, because Keras fixes its backend for the life of a process.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import data_sets

from adamtune import AdamTunerClassifier, AdamTunerRegressor, OptimizerConfig
from adamtune.summary import number

HOURS = 24  # of the past that the forecast sees
WORDS, LENGTH = 5000, 96  # most frequent words kept, and how many from the start of each review
WIDTH = 32  # of the transformer


@dataclass(frozen=True)
class Rows:
    """What a model is trained and judged on; `validation` only where the order in time forbids to draw it."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    validation: tuple[np.ndarray, np.ndarray] | None = None
    scale: float = 1.0  # test score in the unit of the target
    reference: float | None = None  # what a forecast without any model scores

    def all_training(self):
        """Every row that may be trained on once the search is over."""
        if self.validation is None:
            return self.x, self.y
        return tuple(np.concatenate(both) for both in zip((self.x, self.y), self.validation, strict=True))


# ------------------------------------------------------------------------------------------------- the rows


def images(quick):
    x, y, meta = data_sets.needed("mnist")
    end = meta["n_train"]
    used = 3000 if quick else end
    return Rows(x[:used], y[:used], x[end:], y[end:])


def hours(quick):
    """Windows of the past day, and the particulate matter of the hour that follows.

    Scaled by the rows that train in the search: nothing of the judging or the test rows enters.
    """
    x, y, meta = data_sets.needed("beijing_pm25")
    end = meta["n_train"]
    start = end - 4000 if quick else 0
    cut = start + int(0.8 * (end - start))
    spread = x[start:cut].std(axis=0)
    scaled = (x - x[start:cut].mean(axis=0)) / np.where(spread > 0, spread, 1)  # it does not snow in every season
    deviation = float(y[start:cut].std())
    target = (y - y[start:cut].mean()) / deviation

    def windows(first, last):
        """One for each target row from first to last; the past may reach back before the first."""
        at = np.arange(max(first, HOURS), last)
        return scaled[at[:, None] + np.arange(-HOURS, 0)].astype("float32"), target[at].astype("float32")

    unchanged = float(np.sqrt(np.mean((y[end:] - y[end - 1 : -1]) ** 2)))
    return Rows(*windows(start, cut), *windows(end, len(x)), windows(cut, end), deviation, unchanged)


def reviews(quick):
    """The first words of each review as numbers; 0 is padding, 1 any word that is not among the most frequent."""
    x, y, meta = data_sets.needed("imdb", maxlen=LENGTH)
    x = np.where(x < WORDS, x, 1).astype("int32")
    end = meta["n_train"]
    used, judged = (1500, 1000) if quick else (15000, 10000)
    return Rows(x[:used], y[:used], x[end : end + judged], y[end : end + judged])


# ----------------------------------------------------------------------------------------------- the models


def cnn(X=None, y=None):
    return keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.25),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def lstm(X, y=None):
    return keras.Sequential([keras.Input(X.shape[1:]), keras.layers.LSTM(32), keras.layers.Dense(1)])


class Positions(keras.layers.Layer):
    """Adds a learned vector to each place of a sequence."""

    def __init__(self, **options):
        super().__init__(**options)
        self.supports_masking = True

    def build(self, shape):
        self.vectors = self.add_weight(shape=shape[1:], initializer="uniform", name="vectors")

    def call(self, x):
        return x + self.vectors


def transformer(X=None, y=None):
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(WORDS, WIDTH, mask_zero=True)(tokens)
    x = Positions()(x)
    attended = keras.layers.MultiHeadAttention(num_heads=2, key_dim=WIDTH // 2, dropout=0.1)(x, x)
    x = keras.layers.LayerNormalization()(x + attended)
    hidden = keras.layers.Dense(2 * WIDTH, activation="relu")(x)
    x = keras.layers.LayerNormalization()(x + keras.layers.Dense(WIDTH)(hidden))
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(tokens, keras.layers.Dense(1, activation="sigmoid")(x))


@dataclass(frozen=True)
class Case:
    """A model, its rows, its budget, and how it is judged."""

    rows: Callable[[bool], Rows]
    network: Callable[..., Any]
    tuner: type
    loss: str
    metric: str
    unit: str
    higher_is_better: bool
    data: str
    trials: int
    epochs: int
    batch_size: int


CASES = {
    "cnn": Case(
        images,
        cnn,
        AdamTunerClassifier,
        "sparse_categorical_crossentropy",
        "accuracy",
        "% accuracy",
        True,
        "MNIST images",
        trials=10,
        epochs=3,
        batch_size=256,
    ),
    "lstm": Case(
        hours,
        lstm,
        AdamTunerRegressor,
        "mse",
        "root_mean_squared_error",
        "µg/m³ RMSE",
        False,
        "windows of 24 hours of Beijing's air",
        trials=24,
        epochs=8,
        batch_size=128,
    ),
    "transformer": Case(
        reviews,
        transformer,
        AdamTunerClassifier,
        "binary_crossentropy",
        "accuracy",
        "% accuracy",
        True,
        "IMDB reviews",
        trials=16,
        epochs=4,
        batch_size=64,
    ),
}

# ------------------------------------------------------------------------------------------------- one run


def run(name, quick):
    """Tune one model end to end, then train it with the winner and with default Adam; returns plain data."""
    case = CASES[name]
    rows = case.rows(quick)
    trials, epochs, seeds = (4, 2, 2) if quick else (case.trials, case.epochs, 3)
    began = time.monotonic()
    tuner = case.tuner(
        model=case.network,
        loss=case.loss,
        n_trials=trials,
        epochs=epochs,
        batch_size=case.batch_size,
        storage="memory",
        study_name=name,
        refit=False,
        random_state=0,
        verbose=0,
    ).fit(rows.x, rows.y, validation_data=rows.validation)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    best, default = tuner.best_config_, OptimizerConfig("adam")
    finals = [
        {"config": which, "seed": seed, **final(case, rows, config, epochs, seed)}
        for seed in range(seeds)
        for which, config in (("tuned", best), ("default", default))
    ]
    return {
        "model": name,
        "backend": keras.backend.backend(),
        "versions": versions(),
        "data": case.data,
        "rows": len(rows.x),
        "judging_rows": 0 if rows.validation is None else len(rows.validation[0]),
        "test_rows": len(rows.x_test),
        "weights": case.network(rows.x, rows.y).count_params(),
        "plan": str(tuner.plan_),
        "strategy": tuner.plan_.strategy,
        "lanes": tuner.plan_.lanes,
        "batch_size": case.batch_size,
        "epochs": epochs,
        "states": tuner.trials_["state"].value_counts().to_dict(),
        "epochs_trained": int(tuner.trials_["epochs"].sum()),
        "tuning_seconds": seconds,
        "programs": tuner.n_programs_,
        "peak_megabytes": peak,
        "validation_loss": tuner.best_score_,
        "config": best.to_code(),
        "config_in_short": short(best),
        "is_default": best.values == default.values,
        "unit": case.unit,
        "higher_is_better": case.higher_is_better,
        "reference": rows.reference,
        "finals": finals,
    }


def final(case, rows, config, epochs, seed):
    """Plain Keras: train on all training rows, judge on the test rows."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    x, y = rows.all_training()
    model = case.network(x, y)
    model.compile(optimizer=config.to_keras(), loss=case.loss, metrics=[case.metric])
    began = time.monotonic()
    model.fit(x, y, epochs=epochs, batch_size=case.batch_size, verbose=0)
    seconds = time.monotonic() - began
    loss, score = model.evaluate(rows.x_test, rows.y_test, batch_size=1000, verbose=0)
    return {"seconds": seconds, "loss": loss, "score": score * (100 if case.metric == "accuracy" else rows.scale)}


def short(config):
    """The learning rate and whatever else is not as Keras has it."""
    usual = OptimizerConfig(config.optimizer).hypers
    chosen = {name: value for name, value in config.hypers.items() if value != usual.get(name)}
    shown = {"learning_rate": config.learning_rate} | chosen
    return ", ".join(f"{name} {number(value)}" for name, value in shown.items())


def versions():
    names = ("keras", keras.backend.backend(), "optuna")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=CASES)
    parser.add_argument("--out", type=Path, required=True, help="the file for the result, JSON")
    parser.add_argument("--quick", action="store_true", help="few rows, trials, epochs and seeds")
    options = parser.parse_args()
    result = run(options.model, options.quick)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
