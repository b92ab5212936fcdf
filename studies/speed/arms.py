"""What is measured: each arm runs in a process of its own and prints one line of JSON.

    python arms.py '{"arm": "adamtune", "seed": 0, "trials": 64, "epochs": 10}'

The clock starts when everything is imported and the rows are split; it counts building, compiling, sampling, SQL and
training. Both arms train the same network on the same rows over the same space, with the same sampler, and try the
default Adam first. The task: scikit-learn's digits, 1,437 rows to train and 360 to judge, a dense network 64-64-10.
"""

import functools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Imported by the one arm or the other on first use; here, so that neither is charged for it.
import alembic.command  # noqa: F401
import keras
import numpy as np
import optuna
import optuna.storages._rdb.models
import pandas  # noqa: F401
import scipy.stats  # noqa: F401
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from adamtune import AdamTunerClassifier, OptimizerConfig, optimizers
from adamtune.engine.lanes import LaneEngine
from adamtune.tuning import storage
from adamtune.tuning.space import space

BATCH = 32


class Ledger:
    """Seconds by part of the work; a part inside another counts for itself alone."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.each = defaultdict(list)
        self._inner = []

    def timed(self, part, function):
        @functools.wraps(function)
        def run(*args, **kwargs):
            self._inner.append(0.0)
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                own = took - self._inner.pop()
                self.seconds[part] += own
                self.each[part].append(own)
                if self._inner:
                    self._inner[-1] += took

        return run

    def watch(self, part, owner, *names):
        for name in names:
            setattr(owner, name, self.timed(part, getattr(owner, name)))

    def watch_optuna(self):
        sampler = (
            "infer_relative_search_space",
            "sample_relative",
            "sample_independent",
            "before_trial",
            "after_trial",
        )
        self.watch("sampling", optuna.samplers.TPESampler, *sampler)
        cached = optuna.storages._CachedStorage
        self.watch("SQL", cached, *[name for name in vars(cached) if not name.startswith("_")])
        self.watch("opening the database", optuna.storages.RDBStorage, "__init__")


def digits(seed):
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    return train_test_split(x, y, test_size=0.2, random_state=seed, stratify=y)


def network(X=None, y=None):
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def adamtune(seed, trials, epochs, folder, lanes="auto", confirm=0):
    """adamtune on one split; `lanes=1` is TPE one trial after the other, as Optuna runs it."""
    ledger = Ledger()
    ledger.watch_optuna()
    ledger.watch("opening the database", storage, "open_storage")
    ledger.watch("SQL", storage, "flush", "close")
    ledger.watch("training and judging", LaneEngine, "tick")
    ledger.watch("preparing lanes", LaneEngine, "__init__", "compile", "initial_loss")
    x, x_valid, y, y_valid = digits(seed)
    tuner = AdamTunerClassifier(
        model=ledger.timed("building the model", network),
        n_trials=trials,
        epochs=epochs,
        batch_size=BATCH,
        confirm=confirm,
        pruner="none",
        lanes=lanes,
        storage=f"sqlite:///{folder}/study.db",
        refit=False,
        random_state=seed,
        verbose=0,
    )
    began = time.time()
    tuner.fit(x, y, validation_data=(x_valid, y_valid))
    seconds = time.time() - began
    # Tracing and the first run of a program is what its first tick took longer than the others.
    ticks = ledger.each["training and judging"]
    compiling = ticks[0] - statistics.median(ticks[1:])
    ledger.seconds["training and judging"] -= compiling
    ledger.seconds["compiling the program"] = compiling
    return {
        "seconds": seconds,
        "lanes": tuner.plan_.lanes,
        "programs": tuner.n_programs_,
        "ticks": len(ticks),
        "seconds_a_tick": statistics.median(ticks[1:]),
        "confirmed": tuner.best_score_ if confirm else None,
        "parts": ledger.seconds,
        **_trials(tuner.study_, began),
    }


def peer(seed, trials, epochs, folder, steps_per_execution=1, jit_compile="auto", clear_session=True):
    """The plain loop: Optuna asks, the objective builds, compiles, fits and evaluates a Keras model."""
    ledger = Ledger()
    ledger.watch_optuna()
    x, x_valid, y, y_valid = digits(seed)
    searched = space(optimizers.get("adam"), "auto", trials)

    def suggest(trial):
        values = {}
        for name, distribution in searched.distributions.items():
            if isinstance(distribution, optuna.distributions.CategoricalDistribution):
                values[name] = trial.suggest_categorical(name, distribution.choices)
            else:
                values[name] = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
        return values

    def adam(values):
        return keras.optimizers.Adam(
            keras.optimizers.schedules.InverseTimeDecay(values["learning_rate"], 1, values.get("decay", 0.0)),
            beta_1=1 - values.get("one_minus_beta_1", 0.1),
            beta_2=1 - values.get("one_minus_beta_2", 0.001),
            epsilon=values.get("epsilon", 1e-7),
            amsgrad=values.get("amsgrad", False),
        )

    def build(values):
        if clear_session:
            keras.backend.clear_session()
        model = network()
        model.compile(
            optimizer=adam(values),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        return model

    build = ledger.timed("building and compiling the model", build)
    fit = ledger.timed("fit (tracing it included)", keras.Model.fit)
    evaluate = ledger.timed("evaluate (tracing it included)", keras.Model.evaluate)

    def objective(trial):
        model = build(suggest(trial))
        fit(model, x, y, epochs=epochs, batch_size=BATCH, verbose=0)
        loss = evaluate(model, x_valid, y_valid, batch_size=len(x_valid), verbose=0)
        return loss if np.isfinite(loss) else float("nan")

    keras.utils.set_random_seed(seed)
    began = time.time()
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
    study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", sampler=sampler)
    study.enqueue_trial(searched.params(OptimizerConfig("adam")))
    study.optimize(objective, n_trials=trials)
    return {"seconds": time.time() - began, "parts": ledger.seconds, **_trials(study, began)}


def _trials(study, began):
    """When each trial ended, in seconds from the start, and its value; a failed one has none."""
    ended = [t for t in study.get_trials(deepcopy=False) if t.datetime_complete is not None]
    ended.sort(key=lambda t: t.datetime_complete)
    return {
        "ended": [t.datetime_complete.timestamp() - began for t in ended],
        "values": [t.value for t in ended],
    }


def main():
    arguments = json.loads(sys.argv[1])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arm = {"adamtune": adamtune, "peer": peer}[arguments.pop("arm")]
    with tempfile.TemporaryDirectory() as folder:
        result = arm(folder=folder, **arguments)
    result["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
