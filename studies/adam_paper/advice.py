"""What articles say about Adam, tried on five small tasks.

    ADAMTUNE_DATA=../shared/data KERAS_BACKEND=jax python studies/adam_paper/advice.py
    ... advice.py --only text        # one task
    ... advice.py --quick            # few of everything, elsewhere

Each piece of advice is a config (`TUNED`) or a config with its rate (`FIXED`). On each task the first kind is tuned
over its learning rate, one training a rate, by the loss on rows kept for that; the best rate is then trained again
under fresh seeds, beside the second kind, and all are judged once on test rows. Under a seed all begin with the same
weights, so that differences are in pairs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import experiments
import keras
import numpy as np
import report
import runs
from experiments import data_sets
from keras import layers
from runs import Arm, Task, decades

from adamtune import OptimizerConfig

SEEDS = 5


@dataclass(frozen=True)
class Case:
    """A task whose `judge` rows choose the rates, and the rows that tell in the end."""

    task: Task
    test: tuple[np.ndarray, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, help="default: all")
    parser.add_argument("--quick", action="store_true", help="few of everything, into a temporary folder")
    options = parser.parse_args()
    folder = report.folder(options.quick)
    for name in options.only or CASES:
        began = time.monotonic()
        found = measured(CASES[name](), options.quick)
        report.keep(folder, f"advice_{name}", {**found, "seconds": round(time.monotonic() - began)})
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    report.write(folder)


def measured(case: Case, quick: bool) -> dict[str, Any]:
    """Test losses of every piece of advice under every seed."""
    task, tuned, seeds = case.task, TUNED, SEEDS
    if quick:
        task, seeds = task.cut(rows=100, epochs=2), 2
        tuned = tuple(replace(arm, rates=arm.rates[::3]) for arm in TUNED)
    grid = [[float(each.judge[0, -1]) for each in own] for own in runs.over_rates(task, tuned, random_state=0)]
    best = [arm.rates[int(np.argmin(losses))] for arm, losses in zip(tuned, grid, strict=True)]
    configs = [arm.at(rate) for arm, rate in zip(tuned, best, strict=True)]
    finals = runs.curves(replace(task, judge=case.test), [*configs, *FIXED.values()], seeds, random_state=1)
    told = [
        {"label": arm.label, "rate": rate, "rates": list(arm.rates), "losses": report.short(losses)}
        for arm, rate, losses in zip(tuned, best, grid, strict=True)
    ]
    told += [{"label": label, "rate": config.learning_rate} for label, config in FIXED.items()]
    for each, final in zip(told, finals, strict=True):
        each["test"] = report.short(final.judge[:, -1])
        each["first_epoch"] = report.short(final.train[:, 0])
    return {
        **report.sizes(task),
        "tests": len(case.test[0]),
        "seeds": seeds,
        "tuned": told[: len(tuned)],
        "fixed": told[len(tuned) :],
    }


# ------------------------------------------------------------------------------------------------ the advice


def arm(label: str, rates: Sequence[float] = decades(-3.5, -1), optimizer: str = "adam", **hypers: Any) -> Arm:
    """A config with its rate open; `schedule` is one of the hypers."""
    return Arm(label, OptimizerConfig(optimizer, **hypers), tuple(rates))


TUNED = (
    arm("Adam"),
    arm("epsilon 1e-8", epsilon=1e-8),
    # The larger epsilon is, the more a step is the mean gradient times rate / epsilon.
    arm("epsilon 0.1", decades(-2.5, 0), epsilon=0.1),
    arm("epsilon 1", decades(-1.5, 1), epsilon=1.0),
    arm("beta_1 0.5", beta_1=0.5),
    arm("beta_1 0.7", beta_1=0.7),
    arm("beta_1 0.99", beta_1=0.99),
    arm("beta_2 0.9", beta_2=0.9),
    arm("beta_2 0.95", beta_2=0.95),
    arm("beta_2 0.99", beta_2=0.99),
    arm("beta_2 0.9999", beta_2=0.9999),
    arm("cosine schedule", schedule="cosine"),
    arm("linear schedule", schedule="linear"),
    arm("1/sqrt(t) schedule", decades(-2.5, 0), schedule="inverse_sqrt"),
    arm("Nadam, psi 0.004", optimizer="nadam"),
    arm("Nadam, psi 1", optimizer="nadam", schedule_decay=1.0),
    arm("RMSprop", optimizer="rmsprop"),
    arm("SGD, Nesterov 0.9", decades(-2.5, 0), optimizer="sgd", momentum=0.9, nesterov=True),
    arm("Adagrad", decades(-2, 0.5), optimizer="adagrad"),
)
FIXED = {
    "Adam": OptimizerConfig("adam"),
    "epsilon 1e-8": OptimizerConfig("adam", epsilon=1e-8),
    "epsilon 0.1": OptimizerConfig("adam", epsilon=0.1),
    "epsilon 1": OptimizerConfig("adam", epsilon=1.0),
    "beta_1 0.5": OptimizerConfig("adam", beta_1=0.5),
    "beta_2 0.9": OptimizerConfig("adam", beta_2=0.9),
    "beta_2 0.99": OptimizerConfig("adam", beta_2=0.99),
    "cosine schedule": OptimizerConfig("adam", schedule="cosine"),
    "decay 1e-6": OptimizerConfig("adam", schedule="inverse_time", decay=1e-6),
    "Nadam of Keras 2": OptimizerConfig("nadam", learning_rate=2e-3),
    "Nadam of Keras 3": OptimizerConfig("nadam", schedule_decay=1.0),
    "RMSprop": OptimizerConfig("rmsprop"),
    "rate 0.3": OptimizerConfig("adam", learning_rate=0.3),
    "rate 1e-5": OptimizerConfig("adam", learning_rate=1e-5),
}


# ------------------------------------------------------------------------------------------------- the tasks


def parts(x: np.ndarray, y: np.ndarray, train: int, judge: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows that train, that choose the rates and that tell in the end: as many tell as choose."""
    order = np.random.default_rng(20141222).permutation(len(x))
    cuts = np.split(order[: train + 2 * judge], [train, train + judge])
    return [(x[index], y[index]) for index in cuts]


def dense(*widths: int) -> Callable[[Any, Any], Any]:
    """A dense network for numbers or labels."""

    def network(X: Any, y: Any) -> Any:
        hidden = [layers.Dense(width, activation="relu") for width in widths]
        return keras.Sequential([keras.Input(X.shape[1:]), *hidden, layers.Dense(outputs(y))])

    return network


def recurrent(X: Any, y: Any) -> Any:
    return keras.Sequential([keras.Input(X.shape[1:]), layers.GRU(16), layers.Dense(outputs(y))])


def outputs(y: np.ndarray) -> int:
    """One for numbers, else one a class."""
    return 1 if y.dtype.kind == "f" else int(y.max()) + 1


def images() -> Case:
    """MNIST at 14 x 14."""
    train, test = experiments.digits(2000, judges=3000)
    small = [(x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(x), -1), y) for x, y in (train, test)]
    (x, y), (x_rest, y_rest) = small
    judge, test = (x_rest[:1000], y_rest[:1000]), (x_rest[1000:], y_rest[1000:])
    return Case(Task((x, y), judge, dense(64), experiments.cross_entropy(), batch_size=32, epochs=10), test)


def letters() -> Case:
    """A table of 16 numbers, 26 classes."""
    x, y, _ = data_sets.needed("letter")
    train, judge, test = parts(scaled(x), np.unique(y, return_inverse=True)[1], 2000, 1500)
    return Case(Task(train, judge, dense(64, 64), experiments.cross_entropy(), batch_size=32, epochs=15), test)


def houses() -> Case:
    """A table of 9 numbers, one number to tell."""
    x, y, _ = data_sets.needed("california_housing")
    train, judge, test = parts(scaled(x), scaled(y), 2000, 1500)
    return Case(
        Task(train, judge, dense(64, 64), keras.losses.MeanSquaredError(), batch_size=32, epochs=15),
        test,
    )


def speech() -> Case:
    """Vowels of nine speakers, sequences of 29 x 12."""
    x, y, _ = data_sets.needed("japanese_vowels")
    train, judge, test = parts(x.astype("float32"), np.unique(y, return_inverse=True)[1], 320, 160)
    return Case(Task(train, judge, recurrent, experiments.cross_entropy(), batch_size=16, epochs=15), test)


def text() -> Case:
    """Film reviews as bags of words: most inputs, and so most gradients of a row, are 0."""
    train, test = experiments.reviews(2000, words=1500, judges=3000)
    judge, test = tuple(each[:1000] for each in test), tuple(each[1000:] for each in test)
    return Case(Task(train, judge, dense(16), experiments.cross_entropy(), batch_size=32, epochs=5), test)


def scaled(x: np.ndarray) -> np.ndarray:
    """Each column with mean 0 and deviation 1."""
    spread = x.std(axis=0)
    return ((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype("float32")


CASES = {"images": images, "letters": letters, "houses": houses, "speech": speech, "text": text}

if __name__ == "__main__":
    main()
