"""Builds the corpus: every candidate trained on every task, in SQL; goes on where it was stopped.

    ADAMTUNE_DATA=../shared/data KERAS_BACKEND=jax python studies/defaults/corpus.py      # an hour or two on two cores
    ... corpus.py --only digits        # tasks whose name has this
    ... corpus.py --minutes 30         # begin no task after half an hour
    KERAS_BACKEND=tensorflow ... corpus.py --families image-conv     # convolutions are faster there, see studies/speed

What is in corpus.npz is not trained again, nor what is finished in the database. A task is a study like any user's: the
candidates are its starting configs and its only trials, none is pruned, each is trained under two seeds and judged by
the mean of its last validation losses. Curves are kept beside the trials.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import optuna
import table
from candidates import RULES, candidates
from tasks import Case, cases

from adamtune import AdamTunerClassifier, AdamTunerRegressor

HERE = Path(__file__).resolve().parent
STORAGE = f"sqlite:///{HERE / 'corpus.db'}"
SEEDS, JUDGES, RANDOM_STATE = 2, 0.2, 20141222


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", default=STORAGE)
    parser.add_argument("--only", help="tasks whose name has this")
    parser.add_argument("--families", nargs="+", help="tasks of these families")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no task after this")
    options = parser.parse_args()
    done = {task["name"] for task in table.read()[0]}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    began = time.monotonic()
    for case in cases():
        asked = (options.only or "") in case.name and (not options.families or case.family in options.families)
        if case.name in done or not asked:
            continue
        if time.monotonic() - began > 60 * options.minutes:
            break
        build(case, options.storage)


def build(case: Case, storage: str) -> None:
    """Train all candidates on a task, or those that are missing."""
    x, y = case.rows()
    configs = [each.config for each in candidates()]
    tuner_class = {"classification": AdamTunerClassifier, "regression": AdamTunerRegressor}[case.kind]
    last = round((1 - JUDGES) * len(x))  # of rows in order the last judge
    held_out = {"validation_data": (x[last:], y[last:])} if case.in_order else {}
    tuner = tuner_class(
        model=case.network,
        optimizer=list(RULES),
        n_trials=len(configs),
        epochs=case.epochs,
        batch_size=case.batch_size,
        metric="loss",
        validation_split=JUDGES,
        n_seeds=SEEDS,
        confirm=0,
        sampler="random",
        pruner="none",
        start_from=configs,
        storage=storage,
        study_name=case.name,
        resume=True,
        refit=False,
        random_state=RANDOM_STATE,
        verbose=0,
    )
    started = time.monotonic()
    tuner.fit(x[:last] if held_out else x, y[:last] if held_out else y, **held_out)
    took = time.monotonic() - started
    print(
        f"{case.name:48s} {len(x):5d} rows  {len(tuner.trials_):4d} trials  {took:6.0f} s  best {tuner.best_score_:.4g}"
        f"  {tuner.best_config_!r}",
        flush=True,
    )


if __name__ == "__main__":
    main()
