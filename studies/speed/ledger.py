"""Where a study's time goes, when its trials end, what memory it holds, how often it commits."""

import functools
import os
import threading
import time
from collections import defaultdict

import optuna
import sqlalchemy


class Ledger:
    """Seconds by part of the work; a part inside another counts for itself alone.

    Parts of several threads go on at the same time, and then add up to more than the whole: what a thread does while
    another one trains has a name of its own.
    """

    def __init__(self, training=None):
        self.seconds = defaultdict(float)
        self.each = defaultdict(list)
        self._own = threading.local()
        self._training, self._trains = training, None  # the part that trains; the thread that is in it

    @property
    def _inner(self):
        """Seconds of the parts inside each part that this thread is in."""
        return self._own.__dict__.setdefault("inner", [])

    def timed(self, part, function):
        @functools.wraps(function)
        def run(*args, **kwargs):
            self._inner.append(0.0)
            here = threading.get_ident()
            name = part if self._trains in (None, here) else f"{part}, while lanes train"
            if part == self._training:
                self._trains = here
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                own = took - self._inner.pop()
                self.seconds[name] += own
                self.each[name].append(own)
                if part == self._training:
                    self._trains = None
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
        for kind in (optuna.samplers.TPESampler, optuna.samplers.RandomSampler):
            self.watch("sampling", kind, *sampler)
        cached = optuna.storages._CachedStorage
        self.watch("SQL", cached, *[name for name in vars(cached) if not name.startswith("_")])
        self.watch("opening the database", optuna.storages.RDBStorage, "__init__")


class Marks:
    """Seconds since the start and resident MiB, at each call."""

    def __init__(self):
        self.began = time.time()
        self.seconds, self.mebibytes = [], []

    def __call__(self, *_):
        self.seconds.append(time.time() - self.began)
        self.mebibytes.append(resident())


def resident():
    """MiB of memory that this process holds; NaN where the system has no /proc."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return float("nan")


def database_kibibytes(folder):
    """KiB of the study's database on disk."""
    return os.path.getsize(os.path.join(folder, "study.db")) / 1024


class Commits:
    """Counts the commits of every SQLAlchemy engine from now on."""

    def __init__(self):
        self.number = 0
        sqlalchemy.event.listen(sqlalchemy.Engine, "commit", self._count)

    def _count(self, _):
        self.number += 1
