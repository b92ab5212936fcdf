"""Does confirming pick a better config than taking the best of many noisy trials? Writes README.md and its figure.

    python studies/confirm/confirm.py             # some minutes on two cores, on JAX
    python studies/confirm/confirm.py --quick     # few of everything, into a temporary folder
    python studies/confirm/confirm.py --write     # the page and the figure alone, from results.json

The problem is noisy on purpose, and its optimum is known: the configs are a fixed pool, drawn once at random, and what
each is worth is measured on many fresh data sets with a large set of fresh rows to judge. A repetition draws one small
data set, tries the whole pool on it and chooses. All ways of choosing see the same data.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pathlib
import tempfile
import time
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy import stats

HERE = pathlib.Path(__file__).resolve().parent
ROWS, JUDGES, FEATURES, EPOCHS, BATCH = 100, 2000, 10, 10, 10
POOL, REPETITIONS, DATA_SETS = 31, 30, 60
LOW, HIGH = 10**-2.5, 10**-0.5  # of the learning rate
SEARCHES = {"one split": {}, "n_seeds=3": {"n_seeds": 3}, "cv=3": {"cv": 3}}
PLAIN = "one split, argmin"
PAGE = """# Confirming, beside the best of many noisy trials

The best of many noisy trials was chosen for its luck too. Does it help to judge each trial by several seeds or folds,
and to confirm the best three under fresh chance?

    python studies/confirm/confirm.py             # some minutes on two cores, on JAX
    python studies/confirm/confirm.py --quick     # few of everything, into a temporary folder
    python studies/confirm/confirm.py --write     # this page and the figure alone, from results.json

The problem is Friedman's first with much noise: {rows} rows, {features} inputs, a network of 16 units, {epochs} epochs
in batches of {batch}, mean squared error on a fifth of the rows. The pool has {size} configs of Adam: Keras' default,
and {drawn} drawn once at random, learning rates of {rates}, 1 - beta_1 of 0.01 to 1. What a config is *worth* is
known: its mean loss on {judges} fresh rows over {data_sets} fresh data sets of {rows} rows, trained on all of them. The
best config is worth {best} (standard error {error}), the median one {median}, the worst {worst}; from one data set to
the next the loss of the best one deviates by {deviation}.

{n} repetitions, each with a data set of its own on which the whole pool is tried, without pruning. The table says by
how much the chosen config's loss is above that of the best of the pool, and how that differs from taking the best value
of one split, in pairs: on the same data sets, and for confirming alone on the same trials. Intervals are of Student's
t, p-values of Wilcoxon's signed-rank test, two-sided.

| how it is chosen | excess loss, mean | median | largest | best one found | beside plain argmin (95 %) | p |
|---|---:|---:|---:|---:|---:|---:|
{table}

![Excess loss of the chosen config, a point a repetition](confirm.png)

{verdict}

Measured with {versions}.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few of everything, into a temporary folder")
    parser.add_argument("--write", action="store_true", help="the page and the figure alone")
    options = parser.parse_args()
    out = pathlib.Path(tempfile.mkdtemp()) if options.quick else HERE
    if not options.write:
        repetitions, data_sets = (2, 3) if options.quick else (REPETITIONS, DATA_SETS)
        (out / "results.json").write_text(json.dumps(measure(repetitions, data_sets), indent=1) + "\n")
    results = json.loads((out / "results.json").read_text())
    draw(results, out / "confirm.png")
    (out / "README.md").write_text(page(results))
    print((out / "README.md").read_text())


# ---------------------------------------------------------------------------------------------- measuring


def measure(repetitions, data_sets):
    """What every config of the pool is worth, and what each way chose in each repetition."""
    began = time.monotonic()
    values = []
    for seed in range(data_sets):
        values.append(worth_of(10_000 + seed))
        print(f"worth, {seed}: {time.monotonic() - began:.0f} s in all", flush=True)
    values = np.array(values)
    chosen = {}
    for name, settings in SEARCHES.items():
        picks = []
        for seed in range(repetitions):
            picks.append(choose(seed, settings))
            print(f"{name}, {seed}: {picks[-1]}, {time.monotonic() - began:.0f} s in all", flush=True)
        chosen[f"{name}, argmin"], chosen[f"{name}, confirm=3"] = map(list, zip(*picks, strict=True))
    return {
        "learning_rate": [config.learning_rate for config in pool()],
        "worth": values.mean(axis=0).tolist(),
        "error": (values.std(axis=0, ddof=1) / np.sqrt(data_sets)).tolist(),
        "deviation": values.std(axis=0, ddof=1).tolist(),
        "data_sets": data_sets,
        "chosen": chosen,
        "seconds": time.monotonic() - began,
        "versions": {name: importlib.metadata.version(name) for name in ("keras", "jax", "optuna")},
    }


def pool():
    """Keras' default Adam, which every study tries first, and the others: drawn once, as a random search draws them."""
    from adamtune import OptimizerConfig

    rng = np.random.default_rng(20141222)
    rates = np.exp(rng.uniform(np.log(LOW), np.log(HIGH), POOL))
    betas = 1 - np.exp(rng.uniform(np.log(0.01), np.log(1), POOL))
    drawn = [
        OptimizerConfig("adam", learning_rate=float(rate), beta_1=float(beta))
        for rate, beta in zip(rates, betas, strict=True)
    ]
    return [OptimizerConfig("adam"), *drawn]


def rows(seed, count):
    """Friedman's first problem: ten inputs of which five count, and noise; targets of about mean 0 and variance 1."""
    from sklearn.datasets import make_friedman1

    X, y = make_friedman1(count, FEATURES, noise=2.5, random_state=seed)
    return (2 * X - 1).astype("float32"), ((y - 14.4) / 5.5).astype("float32")


def network(X, y):
    import keras

    return keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)]
    )


def study(seed, **settings):
    """The whole pool tried on the data set of that seed."""
    from adamtune import AdamTunerRegressor

    fit = {"validation_data": rows(1, JUDGES)} if settings.pop("judged_by_many", False) else {}
    tuner = AdamTunerRegressor(
        network,
        space={"learning_rate": (1e-3, HIGH), "beta_1": (0.0, 0.99)},
        sampler="random",
        pruner="none",
        start_from=pool()[1:],
        n_trials=len(pool()),
        epochs=EPOCHS,
        batch_size=BATCH,
        loss="mse",
        refit=False,
        storage="memory",
        random_state=seed,
        verbose=0,
        **settings,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The judging rows were given")  # as they are wanted here
        tuner.fit(*rows(seed + 2, ROWS), **fit)
    return tuner


def worth_of(seed):
    """Loss of each config of the pool on many fresh rows, after training on all rows of one data set."""
    tuner = study(seed, confirm=0, judged_by_many=True)
    trials = tuner.study_.get_trials(deepcopy=False)
    return [trial.value for trial in trials]  # in the order of the pool: starting configs are tried as they are given


def choose(seed, settings):
    """The config with the best value and the one that the best three, confirmed, leave: places in the pool."""
    from adamtune.tuning import records

    tuner = study(seed, confirm=3, **settings)
    best = records.ranked(tuner.study_)[0]
    assert records.config_of(best) == pool()[best.number]
    return best.number, tuner.best_trial_.number


# ------------------------------------------------------------------------------------------------- telling


def excess(results, name):
    """By how much the chosen configs are truly worse than the best of the pool, one a repetition."""
    worth = np.array(results["worth"])
    return worth[results["chosen"][name]] - worth.min()


def compared(results, name):
    """Mean difference to plain argmin, its 95 % interval, and the p-value of the paired test."""
    difference = excess(results, name) - excess(results, PLAIN)
    mean, error = difference.mean(), stats.sem(difference)
    low, high = mean + np.array([-1, 1]) * stats.t.ppf(0.975, len(difference) - 1) * error
    p = stats.wilcoxon(difference, zero_method="zsplit").pvalue if difference.any() else 1.0
    return mean, low, high, float(p)


def page(results):
    worth, error = np.array(results["worth"]), np.array(results["error"])
    lines = []
    for name in results["chosen"]:
        own = excess(results, name)
        found = np.mean(np.array(results["chosen"][name]) == worth.argmin())
        row = f"| {name} | {own.mean():.4f} | {np.median(own):.4f} | {own.max():.4f} | {100 * found:.0f} % |"
        if name == PLAIN:
            lines.append(f"{row} | |")
            continue
        mean, low, high, p = compared(results, name)
        lines.append(f"{row} {mean:+.4f} ({low:+.4f} to {high:+.4f}) | {p:.2g} |")
    best = int(worth.argmin())
    said = {
        "table": "\n".join(lines),
        "verdict": verdict(results),
        "versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        "n": len(results["chosen"][PLAIN]),
        "size": len(worth),
        "drawn": len(worth) - 1,
        "data_sets": results["data_sets"],
        "best": f"{worth[best]:.4f}",
        "error": f"{error[best]:.4f}",
        "deviation": f"{results['deviation'][best]:.3f}",
        "median": f"{np.median(worth):.4f}",
        "worst": f"{worth.max():.4f}",
        "rates": f"{LOW:.2g} to {HIGH:.2g}",
        "judges": f"{JUDGES:,}",
    }
    return PAGE.format(**said, rows=ROWS, features=FEATURES, epochs=EPOCHS, batch=BATCH)


def verdict(results):
    """What the numbers say, in words."""
    better, worse, open_ = [], [], []
    for name in results["chosen"]:
        if name != PLAIN:
            mean, low, high, p = compared(results, name)
            (open_ if p >= 0.05 or low <= 0 <= high else better if mean < 0 else worse).append(name)
    said = []
    if better:
        said.append(f"Better than plain argmin, at the level of 5 %: {'; '.join(better)}.")
    if worse:
        said.append(f"Worse than plain argmin: {'; '.join(worse)}.")
    if open_:
        said.append(
            f"Not told apart from plain argmin by {len(results['chosen'][PLAIN])} repetitions: {'; '.join(open_)}."
        )
    return " ".join(said)


def draw(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(results["chosen"])
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), width_ratios=(2, 3))
    left.errorbar(
        results["learning_rate"], results["worth"], results["deviation"], fmt="o", markersize=3, linewidth=0.7
    )
    left.set(
        xscale="log", yscale="log", xlabel="learning rate", ylabel="loss on fresh rows, ± deviation over data sets"
    )
    left.set_title("The pool", fontsize=10)
    jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(results["chosen"][PLAIN]))
    for place, name in enumerate(names):
        own = excess(results, name)
        colour = "tab:gray" if "argmin" in name else "tab:blue"
        right.plot(own, place + jitter, "o", markersize=4, alpha=0.5, color=colour, markeredgewidth=0)
        right.plot([own.mean()] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2)
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set_xlabel("excess loss of the chosen config (line: mean)")
    right.set_title("A point a repetition", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
