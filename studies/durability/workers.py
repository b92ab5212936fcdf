"""Workers: how many trials a second do 1, 2, 4 and 8 processes finish on one study, beside Optuna's own loop?

    python studies/durability/workers.py [--trials 400] [--theirs 400]

The engine sleeps instead of training, 20 ms an epoch, nine epochs a trial and eight lanes a process; Optuna's objective
sleeps and reports as often, for one trial at a time. Neither prunes. Optuna is asked for as many trials, so that its
sampler has as much to look at; `--theirs` asks it for fewer, to save time. It has no limit to exactly so many.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import optuna
import pages
import places

from adamtune.tuning import records
from adamtune.tuning.storage import close, open_storage
from tests.tuning import dying

TICK, EPOCHS, LANES = 0.02, 9, 8
HEAD = ["database", "workers", "finished", "doubled", "failed", "trials/s", "to one worker"]
HEAD += ["Optuna: finished", "trials/s", "to one worker"]


def ours(url: str, n_trials: int) -> None:
    """A worker with lanes."""
    storage = open_storage(url)
    found = optuna.load_study(study_name="study", storage=storage)
    for _ in dying.searching(found, LANES, n_trials, "none", on_tick=lambda engine: time.sleep(TICK)):
        pass
    close(storage)


def theirs(url: str, n_trials: int) -> None:
    """A worker with Optuna's loop and storage."""

    def objective(trial: optuna.Trial) -> float:
        rate, beta = trial.suggest_float("rate", 1e-5, 1e-1, log=True), trial.suggest_float("beta", 0.01, 0.5, log=True)
        for epoch in range(1, EPOCHS + 1):
            time.sleep(TICK)
            trial.report(rate + beta, epoch)
        return rate + beta

    study = optuna.load_study(study_name="study", storage=url)
    last = optuna.study.MaxTrialsCallback(n_trials, states=None)
    study.optimize(objective, callbacks=[last])


def timed(work: Callable[[str, int], None], url: str, n_trials: int, workers: int) -> float:
    """Seconds that so many processes take together."""
    began, processes = time.monotonic(), []
    for _ in range(workers):
        if not (process := os.fork()):
            try:
                work(url, n_trials)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
            os._exit(0)
        processes.append(process)
    for process in processes:
        assert os.waitpid(process, 0)[1] == 0, "a worker failed"
    return time.monotonic() - began


def main() -> None:
    """Measure each database with each number of workers, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--theirs", type=int, help="trials that Optuna is asked for; default: as many")
    parser.add_argument("--page", type=Path, default=Path(__file__).with_name("README.md"), help="that is written")
    given = parser.parse_args()
    n_trials, n_theirs = given.trials, given.theirs or given.trials
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows, paces = [], {}
    for workers in (1, 2, 4, 8):
        with places.databases() as urls:
            for kind, url in urls.items():
                storage = open_storage(url)
                dying.opened(storage)
                close(storage)
                pace = n_trials / timed(ours, url, n_trials, workers)
                study = optuna.load_study(study_name="study", storage=url)
                trials = study.get_trials()
                finished = [trial for trial in trials if trial.state in records.FINISHED]
                configs = {records.config_of(trial) for trial in finished}
                doubled = len(finished) - len(configs)
                doubled += [trial.number for trial in trials] != list(range(len(trials)))
                optuna.delete_study(study_name="study", storage=url)
                optuna.create_study(study_name="study", storage=url)
                seconds = timed(theirs, url, n_theirs, workers)
                theirs_finished = len(optuna.load_study(study_name="study", storage=url).get_trials())
                paces[kind, workers] = pace, theirs_finished / seconds
                shares = [now / one for now, one in zip(paces[kind, workers], paces[kind, 1], strict=True)]
                told = [str(len(finished)), str(doubled), str(len(trials) - len(finished)), f"{pace:.1f}"]
                told += [f"{shares[0]:.2f}", f"{theirs_finished} of {n_theirs}"]
                rows.append([kind, str(workers), *told, f"{theirs_finished / seconds:.1f}", f"{shares[1]:.2f}"])
                print(rows[-1], flush=True)
    rows.sort(key=lambda row: list(urls).index(row[0]))
    pages.write(given.page, pages.table(HEAD, rows), "workers")


if __name__ == "__main__":
    main()
