"""Soak: one process, 5,000 trials: does memory grow, do files stay open, how large is the database?

    python studies/durability/soak.py [--trials 5000] [--real 1000]

First the loop alone, with an engine that does no work: what is kept of a trial. Then an `AdamTuner` whose lanes train a
Keras network on digits, for three epochs: what training leaves behind. Each is a process of its own. The sampler is the
random one: TPE looks at all trials at each ask, so time would measure nothing but that.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import optuna
import pages

HEAD = ["trials", "memory, MiB", "open files", "database, KiB a trial", "s"]
LANES, EPOCHS = 32, 3
WARM = 1000  # trials after which memory is compared: until then caches fill, and what is needed once is made


class Looks:
    """What is seen each tenth of the way."""

    def __init__(self, n_trials: int, folder: Path) -> None:
        self.rows: list[list[str]] = []
        self._every, self._folder, self._began = max(1, n_trials // 10), folder, time.monotonic()
        self._ended = 0
        self._sizes: list[tuple[int, float]] = []

    def ended(self, *_: Any) -> None:
        """Count a trial that has ended, also as a callback of an estimator."""
        self._ended += 1
        if self._ended % self._every == 0:
            memory, files = resident(), len(os.listdir("/proc/self/fd"))
            size = sum(each.stat().st_size for each in self._folder.iterdir() if each.is_file()) / 1024 / self._ended
            seconds = time.monotonic() - self._began
            self._sizes.append((self._ended, memory))
            self.rows.append([f"{self._ended:,}", f"{memory:.0f}", str(files), f"{size:.2f}", f"{seconds:.0f}"])
            print(self.rows[-1], flush=True)

    def page(self) -> str:
        """The table, and by how much memory has grown where it was warm."""
        warm = [(trials, memory) for trials, memory in self._sizes if trials >= WARM]
        if len(warm) < 2:
            return pages.table(HEAD, self.rows)
        (first, before), (last, after) = warm[0], warm[-1]
        grown = 1000 * (after - before) / (last - first)
        return pages.table(HEAD, self.rows) + f"MiB per 1,000 trials after the first {first:,}: {grown:.1f}.\n\n"


def resident() -> float:
    """Memory of this process in MiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def loop_alone(n_trials: int) -> str:
    """The loop, the sampler and the database, over lanes that train nothing."""
    from adamtune.tuning import records
    from adamtune.tuning.loop import TrialEnded
    from adamtune.tuning.storage import close, open_storage
    from tests.tuning import dying

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(f"sqlite:///{Path(folder, 'soak.db')}")
        study, looks = dying.opened(storage), Looks(n_trials, Path(folder))
        for event in dying.searching(study, LANES, n_trials, sampler="random"):
            if isinstance(event, TrialEnded):
                looks.ended()
        assert records.n_finished(study) == n_trials
        close(storage)
    return looks.page()


def with_training(n_trials: int) -> str:
    """An estimator whose trials train."""
    from sklearn.datasets import load_digits

    from adamtune.tuner import AdamTunerClassifier

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    X, y = load_digits(return_X_y=True)
    with tempfile.TemporaryDirectory() as folder:
        looks = Looks(n_trials, Path(folder))
        tuner = AdamTunerClassifier(
            n_trials=n_trials,
            epochs=EPOCHS,
            lanes=LANES,
            sampler="random",
            storage=f"sqlite:///{Path(folder, 'soak.db')}",
            callbacks=[looks.ended],
            refit=False,
            confirm=0,
            random_state=0,
            verbose=0,
        ).fit(X / 16, y)
        assert len(tuner.trials_) == n_trials
    return looks.page()


def main() -> None:
    """Search, look every tenth of the way, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=5000, help="of the loop alone")
    parser.add_argument("--real", type=int, default=1000, help="that train")
    parser.add_argument("--page", type=Path, default=Path(__file__).with_name("README.md"), help="that is written")
    given = parser.parse_args()
    alone = multiprocessing.get_context("spawn")
    for name, part, n_trials in (("soak", loop_alone, given.trials), ("soak-real", with_training, given.real)):
        with ProcessPoolExecutor(1, mp_context=alone) as process:
            pages.write(given.page, process.submit(part, n_trials).result(), name)


if __name__ == "__main__":
    main()
