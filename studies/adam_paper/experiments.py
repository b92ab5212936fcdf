"""The experiments of the Adam paper, made small: Kingma & Ba 2015, arXiv 1412.6980, section 6.

    ADAMTUNE_DATA=../shared/data KERAS_BACKEND=jax python studies/adam_paper/experiments.py
    ... experiments.py --only figure2                                       # one of them
    ... KERAS_BACKEND=tensorflow ... experiments.py --only figure3 figure3_dropout   # convolutions are faster there
    ... experiments.py --quick                                              # few of everything, elsewhere

Every optimizer of a figure is tuned over its learning rate alone: one training for each rate of a grid, as long as the
trainings that are drawn. The rate is taken whose curve of training losses is the lowest, by the mean of the logarithms
over the epochs, because the figures are such curves. (Judged by the last epoch alone, or after half of the epochs,
rates were taken that did badly under other seeds, or in the other half.) Then the optimizer is trained again under
fresh seeds, the same ones for all, and that is what is drawn. Numbers go to results.json; report.py makes the figures
and the tables of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import report
import runs
from keras import layers
from runs import Arm, Task, decades

from adamtune import OptimizerConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import data_sets

SEEDS = 3  # of what is drawn
_DRAW = 20141222  # of rows from data sets


@dataclass(frozen=True)
class Experiment:
    """A panel of a figure."""

    task: Callable[[], Task]
    arms: tuple[Arm, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*EXPERIMENTS, "figure4"], help="default: all")
    parser.add_argument("--quick", action="store_true", help="few of everything, into a temporary folder")
    options = parser.parse_args()
    folder = report.folder(options.quick)
    for name in options.only or [*EXPERIMENTS, "figure4"]:
        began = time.monotonic()
        found = corrections(options.quick) if name == "figure4" else tuned(EXPERIMENTS[name], options.quick)
        report.keep(folder, name, {**found, "seconds": round(time.monotonic() - began)})
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    report.write(folder)


# ---------------------------------------------------------------------------------------------- the measuring


def tuned(experiment: Experiment, quick: bool) -> dict[str, Any]:
    """Each optimizer's losses over the grid, its best rate, and its curves at that rate under fresh seeds."""
    task = experiment.task()
    if quick:
        task = task.cut(rows=300, epochs=2)
    grid = runs.over_rates(task, experiment.arms, random_state=0)
    losses = [[float(np.exp(np.log(each.train[0]).mean())) for each in own] for own in grid]
    best = [arm.at(arm.rates[int(np.argmin(own))]) for arm, own in zip(experiment.arms, losses, strict=True)]
    finals = runs.curves(task, best, SEEDS, random_state=1)
    return {
        **report.sizes(task),
        "arms": [
            {
                "label": arm.label,
                "config": config.to_dict(),
                "rates": list(arm.rates),
                "losses": report.short(own),
                "train": report.short(final.train),
                "judge": report.short(final.judge),
            }
            for arm, own, config, final in zip(experiment.arms, losses, best, finals, strict=True)
        ],
    }


def corrections(quick: bool) -> dict[str, Any]:
    """Training losses of the autoencoder with and without bias correction, for every cell of the grid of figure 4."""
    task = autoencoder()
    rates = [10.0**exponent for exponent in range(-5, 0)]
    if quick:
        task, rates = task.cut(rows=300, epochs=2), rates[::2]
    cells = [
        {"beta_1": beta_1, "beta_2": beta_2, "learning_rate": rate, "bias_correction": corrects}
        for beta_1 in (0.0, 0.9)
        for beta_2 in (0.99, 0.999, 0.9999)
        for corrects in (True, False)
        for rate in rates
    ]
    # On this epsilon both forms agree where there is no correction; with it, it is Algorithm 1 of the paper.
    configs = [OptimizerConfig("adam", epsilon=1e-8, epsilon_after_correction=True, **cell) for cell in cells]
    found = runs.curves(task, configs, 1, random_state=0)
    looked_at = [min(epoch, task.epochs) for epoch in (SOON, task.epochs)]
    return {
        **report.sizes(task),
        "looked_at": looked_at,
        "cells": [
            {**cell, "loss": report.short([each.train[0, epoch - 1] for epoch in looked_at])}
            for cell, each in zip(cells, found, strict=True)
        ],
    }


# -------------------------------------------------------------------------------------------------- the tasks


def few(x: np.ndarray, y: np.ndarray, meta: dict[str, Any], rows: int, judges: int) -> list[tuple[Any, Any]]:
    """Rows drawn once from the training part, and from the rest."""
    rng = np.random.default_rng(_DRAW)
    end = meta["n_train"]
    train, judge = rng.permutation(end)[:rows], end + rng.permutation(len(x) - end)[:judges]
    return [(x[index], y[index]) for index in (train, judge)]


def digits(rows: int, judges: int = 2000) -> list[tuple[Any, Any]]:
    """MNIST as vectors of numbers from 0 to 1."""
    return [
        ((x.reshape(len(x), -1) / 255).astype("float32"), y.astype("int64"))
        for x, y in few(*data_sets.needed("mnist"), rows, judges)
    ]


def reviews(rows: int, words: int, judges: int = 2000) -> list[tuple[Any, Any]]:
    """IMDB as bags of the most frequent words: 1 where a review has the word."""
    _, y, meta = data_sets.needed("imdb", maxlen=1)
    found = []
    for index, labels in few(np.arange(len(y)), y, meta, rows, judges):
        bags = data_sets.module().bag_of_words(meta, index, num_words=words, binary=True)
        found.append((bags.astype("float32"), labels.astype("int64")))
    return found


def photographs(rows: int, judges: int = 500) -> list[tuple[Any, Any]]:
    """CIFAR-10, each channel with mean 0 and deviation 1 (the paper whitens)."""
    (x, y), (x_judge, y_judge) = few(*data_sets.needed("cifar10_24k"), rows, judges)
    mean, spread = x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2))
    return [
        (((each - mean) / spread).astype("float32"), labels.astype("int64"))
        for each, labels in ((x, y), (x_judge, y_judge))
    ]


def cross_entropy() -> Any:
    """For networks that end in scores, one a class."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def logistic_digits() -> Task:
    """Logistic regression with a penalty on the squares of the weights; the paper does not say which strength."""

    def network(X: Any, y: Any) -> Any:
        penalty = keras.regularizers.L2(1e-4)
        return keras.Sequential([keras.Input(X.shape[1:]), layers.Dense(10, kernel_regularizer=penalty)])

    return Task(*digits(10_000), network, cross_entropy(), batch_size=128, epochs=40)


def logistic_reviews() -> Task:
    """Logistic regression on bags of words, half of which are dropped."""

    def network(X: Any, y: Any) -> Any:
        return keras.Sequential([keras.Input(X.shape[1:]), layers.Dropout(0.5), layers.Dense(2)])

    return Task(*reviews(4000, words=2000), network, cross_entropy(), batch_size=128, epochs=30)


def dense_digits() -> Task:
    """Two hidden layers of 1000 units with dropout."""

    def network(X: Any, y: Any) -> Any:
        hidden = [layers.Dense(1000, activation="relu"), layers.Dropout(0.5)]
        hidden += [layers.Dense(1000, activation="relu"), layers.Dropout(0.5)]
        return keras.Sequential([keras.Input(X.shape[1:]), *hidden, layers.Dense(10)])

    return Task(*digits(2500), network, cross_entropy(), batch_size=128, epochs=10)


def convolutional(dropout: bool) -> Callable[[], Task]:
    """c64-c64-c128-1000 at a quarter of the width: 5x5 convolutions, 3x3 maxima with stride 2."""

    def network(X: Any, y: Any) -> Any:
        stages = [layers.Dropout(0.2)] if dropout else []
        for width in (16, 16, 32):
            stages += [
                layers.Conv2D(width, 5, padding="same", activation="relu"),
                layers.MaxPooling2D(3, strides=2, padding="same"),
            ]
        stages += [layers.Flatten(), layers.Dense(250, activation="relu")]
        stages += [layers.Dropout(0.5)] if dropout else []
        return keras.Sequential([keras.Input(X.shape[1:]), *stages, layers.Dense(10)])

    return lambda: Task(*photographs(1000), network, cross_entropy(), batch_size=64, epochs=10)


class Drawn(layers.Layer):
    """A draw from the Gaussian that the encoder says, and its divergence from the prior as a loss."""

    def __init__(self, pixels: int, **options: Any) -> None:
        super().__init__(**options)
        self.pixels = pixels
        self.noise = keras.random.SeedGenerator(0)

    def call(self, inputs: Any) -> Any:
        mean, log_variance = inputs
        divergence = 0.5 * (keras.ops.square(mean) + keras.ops.exp(log_variance) - 1 - log_variance)
        # Divided by the pixels, because Keras' loss is a mean over them.
        self.add_loss(keras.ops.mean(keras.ops.sum(divergence, axis=-1)) / self.pixels)
        drawn = keras.random.normal(keras.ops.shape(mean), seed=self.noise)
        return mean + keras.ops.exp(0.5 * log_variance) * drawn


SOON = 10  # epochs after which the paper looks first


def autoencoder() -> Task:
    """A variational autoencoder with softplus units, smaller than the paper's 500 units and 50 dimensions."""
    parts = []
    for x, _ in digits(4000, judges=200):
        x = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(x), -1)
        parts.append((x, x))

    def network(X: Any, y: Any) -> Any:
        seen = keras.Input(X.shape[1:])
        hidden = layers.Dense(64, activation="softplus")(seen)
        code = Drawn(X.shape[1])([layers.Dense(8)(hidden), layers.Dense(8)(hidden)])
        hidden = layers.Dense(64, activation="softplus")(code)
        return keras.Model(seen, layers.Dense(X.shape[1])(hidden))

    return Task(*parts, network, keras.losses.BinaryCrossentropy(from_logits=True), batch_size=50, epochs=60)


# -------------------------------------------------------------------------------------------- the optimizers


def arms(schedule: str, note: str = "", **rates: tuple[float, ...]) -> tuple[Arm, ...]:
    """The optimizers of a figure as their papers have them, with the rates to try; the note is added to their names."""
    # Duchi et al. start the sum of squares at 0, Keras 3 at 0.1; both they and Hinton have epsilon outside the root.
    original = {"epsilon": 1e-8, "epsilon_outside_root": True}
    known = {
        "Adam": ("adam", {"epsilon": 1e-8, "epsilon_after_correction": True}),
        "SGDNesterov": ("sgd", {"momentum": 0.9, "nesterov": True}),
        "AdaGrad": ("adagrad", {"initial_accumulator_value": 0.0, **original}),
        "RMSProp": ("rmsprop", original),
        "AdaDelta": ("adadelta", {"epsilon": 1e-6}),
    }
    return tuple(
        Arm(label + note, OptimizerConfig(known[label][0], schedule=schedule, **known[label][1]), own)
        for label, own in rates.items()
    )


# Of AdaGrad the paper does not say whether alpha / sqrt(t) is for it too: its own steps fall like that already.
_UNDECAYED = arms("constant", note=", constant rate", AdaGrad=decades(-3, 0))
_CONVOLUTIONAL = arms("constant", AdaGrad=decades(-3, -2), SGDNesterov=decades(-3, -1.5), Adam=decades(-3.5, -2))
EXPERIMENTS = {
    "figure1_left": Experiment(
        logistic_digits,
        (
            *arms("inverse_sqrt", AdaGrad=decades(-2.5, 0.5), SGDNesterov=decades(-2, 1), Adam=decades(-3, 0)),
            *_UNDECAYED,
        ),
    ),
    "figure1_right": Experiment(
        logistic_reviews,
        (
            *arms(
                "inverse_sqrt",
                AdaGrad=decades(-2.5, 0.5),
                RMSProp=decades(-3, 0),
                SGDNesterov=decades(-2, 1),
                Adam=decades(-3, 0),
            ),
            *_UNDECAYED,
        ),
    ),
    "figure2": Experiment(
        dense_digits,
        arms(
            "constant",
            AdaGrad=decades(-3, -2),
            RMSProp=decades(-3.5, -2.5),
            SGDNesterov=decades(-1.5, -0.5),
            AdaDelta=decades(-0.5, 0.5),
            Adam=decades(-3.5, -2),
        ),
    ),
    "figure3": Experiment(convolutional(dropout=False), _CONVOLUTIONAL),
    "figure3_dropout": Experiment(convolutional(dropout=True), _CONVOLUTIONAL),
}

if __name__ == "__main__":
    main()
