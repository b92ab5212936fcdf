"""Resume: seconds until a stored study of 1,000 trials has trained its next ones.

    python studies/durability/resume.py [--trials 1000]

First the loop alone, with an engine that does no work, from opening the database to the first tick. Then an `AdamTuner`
on digits, in 8 lanes, from the call of `fit(resume=True)` to its first tick, in new processes that have imported all
they need. Each does so twice: the second time its program is compiled, and what a process does only once is done, so
the difference is what compiling takes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import optuna
import pages
import places

from adamtune.tuning.storage import close, open_storage
from tests.tuning import dying

HEAD = ["database", "trials", "loop alone: median s", "longest s"]
HEAD += ["AdamTuner: median s", "longest s", "of it compiling, median s"]
FAKE, REAL = 5, 3  # how often each is measured
EPOCHS, MAKING, LANES = 2, 64, 8  # many lanes make the study quickly; what goes on has those of a small machine


class FirstTick(KeyboardInterrupt):
    """The first tick is over; the trials in it are left as those that somebody has interrupted."""


def main() -> None:
    """Make the studies, go on with them several times, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--page", type=Path, default=Path(__file__).with_name("README.md"), help="that is written")
    parser.add_argument("urls", nargs="*")
    given = parser.parse_args()
    n_trials = given.trials
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = []
    with places.databases(given.urls) as urls:
        for kind, url in urls.items():
            storage = open_storage(url)
            for _ in dying.searching(dying.opened(storage), 32, n_trials):
                pass
            close(storage)
            seconds = [_resumed(url, n_trials) for _ in range(FAKE)]
            rows.append([kind, str(n_trials), f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}"])
            _alone(_made, url, n_trials)
            timed = [_alone(_resumed_training, url, n_trials) for _ in range(REAL)]
            first, compiling = [once for once, _ in timed], [once - again for once, again in timed]
            rows[-1] += [f"{statistics.median(first):.2f}", f"{max(first):.2f}", f"{statistics.median(compiling):.2f}"]
            print(rows[-1], flush=True)
    pages.write(given.page, pages.table(HEAD, rows), "resume")


def _resumed(url: str, n_trials: int) -> float:
    began = time.perf_counter()
    storage = open_storage(url)
    events = dying.searching(dying.opened(storage), 1, n_trials + 100)
    next(events)  # after a tick of the first new trial
    seconds = time.perf_counter() - began
    events.close()
    close(storage)
    return seconds


def _alone(work: Any, url: str, n_trials: int) -> Any:
    """What a function returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, url, n_trials).result()


def _made(url: str, n_trials: int) -> None:
    """Train the study that the others go on with."""
    tuner, X, y = _tuner(url, n_trials, MAKING, "random")  # the sampler that takes no time
    tuner.fit(X, y)
    assert len(tuner.trials_) == n_trials


def _resumed_training(url: str, n_trials: int) -> tuple[float, float]:
    """Seconds to the first tick, in a process that has trained nothing and in one that has."""
    from adamtune.tuning import loop

    tick = loop._tick

    def last(due: Any) -> Any:
        tick(due)
        raise FirstTick

    loop._tick = last
    seconds = []
    for _ in range(2):
        tuner, X, y = _tuner(url, n_trials + 100, LANES, "tpe")
        began = time.perf_counter()
        try:
            tuner.fit(X, y)
        except FirstTick:
            seconds.append(time.perf_counter() - began)
    return seconds[0], seconds[1]


def _tuner(url: str, n_trials: int, lanes: int, sampler: str) -> tuple[Any, Any, Any]:
    from sklearn.datasets import load_digits

    from adamtune.tuner import AdamTunerClassifier

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    X, y = load_digits(return_X_y=True)
    tuner = AdamTunerClassifier(
        n_trials=n_trials,
        epochs=EPOCHS,
        lanes=lanes,
        sampler=sampler,
        storage=url,
        study_name="digits",
        resume=True,
        refit=False,
        confirm=0,
        random_state=0,
        verbose=0,
    )
    return tuner, X / 16, y


if __name__ == "__main__":
    main()
