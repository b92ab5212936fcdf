"""Clusters: a real study of 48 trials by four workers of joblib, of a local Dask cluster and of a local Ray.

pip install adamtune[dask,ray,postgres]
python studies/durability/clusters.py [--url URL]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import joblib
import optuna
import pages
import places
import sqlalchemy

from adamtune.tuning import records

N_TRIALS, WORKERS = 48, 4


@contextlib.contextmanager
def of_joblib() -> Iterator[None]:
    """Processes that joblib starts by itself."""
    with joblib.parallel_config("loky"):
        yield


@contextlib.contextmanager
def of_dask() -> Iterator[None]:
    """A Dask cluster on this machine."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        yield


@contextlib.contextmanager
def of_ray() -> Iterator[None]:
    """A Ray on this machine."""
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config("ray"):
            yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def watching(url: str) -> Iterator[set[str]]:
    """The names of the workers that hold leases while the block runs."""
    seen: set[str] = set()
    is_over = threading.Event()
    engine = sqlalchemy.create_engine(url)

    def watch() -> None:
        while not is_over.wait(0.05):
            with contextlib.suppress(sqlalchemy.exc.DBAPIError), engine.connect() as connection:  # no table yet
                seen.update(connection.scalars(sqlalchemy.text("SELECT DISTINCT worker FROM adamtune_leases")))

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    is_over.set()
    thread.join()
    engine.dispose()


def tuned(url: str) -> Any:
    """A study by several workers."""
    from sklearn.datasets import load_digits

    from adamtune.tuner import AdamTunerClassifier

    X, y = load_digits(return_X_y=True)
    tuner = AdamTunerClassifier(
        n_trials=N_TRIALS, epochs=5, lanes=4, storage=url, n_jobs=WORKERS, refit=False, random_state=0, verbose=0
    )
    return tuner.fit(X[:600] / 16, y[:600])


def main() -> None:
    """Run each, count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="sqlite", help="of a server; default: a SQLite file")
    url = parser.parse_args().url
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = []
    for name, engine in (("joblib", of_joblib), ("Dask", of_dask), ("Ray", of_ray)):
        with places.databases([url]) as urls, engine():
            ((kind, where),) = urls.items()
            began = time.monotonic()
            with watching(where) as seen:
                tuner = tuned(where)
            seconds = time.monotonic() - began
            stored = optuna.load_study(study_name=tuner.study_.study_name, storage=where).get_trials()
            finished = [trial for trial in stored if trial.state in records.FINISHED]
            doubled = len(finished) - len({records.config_of(trial) for trial in finished})
            rows.append([f"{name}, {kind}", str(len(finished)), str(doubled), str(len(stored) - len(finished))])
            rows[-1] += [str(len(seen)), f"{seconds:.0f}"]
            print(rows[-1], flush=True)
    head = ["engine", f"finished of {N_TRIALS}", "doubled", "failed", "workers that took part", "s"]
    pages.write(Path(__file__).with_name("README.md"), pages.table(head, rows), "clusters")


if __name__ == "__main__":
    main()
