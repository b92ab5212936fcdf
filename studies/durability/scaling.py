"""Scaling: what a trial costs the database, and so how many workers one study bears.

    python studies/durability/scaling.py [--trials 800] [--workers 64]

Three tables. *Costs*: one process with eight lanes whose engine takes no time; what is left is asking, telling and SQL;
and what it takes to look at the running trials of others, which every worker does while it asks. *Beyond*: what that
means for 64 and 512 workers. Three things bind: what no two workers can do at once, which is to write on SQLite and to
hold the row of the study on a server; the cores of the server; and the time in which a worker looks at so many others
instead of training. *Tried*: real processes whose engine sleeps, as fast as the cores of this machine bear.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import optuna
import pages
import places
import sqlalchemy

from adamtune.tuning import bulk, leases, loop, records
from adamtune.tuning.storage import close, open_storage
from tests.tuning import dying

README = Path(__file__).with_name("README.md")
LANES, EPOCHS = 8, 9
SECONDS = 10  # that a trial of many workers takes when they do not hinder each other
LOOKS = 20
CORES = 4  # of a server, for the table of what lies beyond this machine
PACES = (10.0, 1.0, 0.1, 0.01)
# In the query for the trials that are newer than those that were seen.
_LATER = "trials.trial_id > "
SERVED_BY = {"PostgreSQL": "postgres", "MariaDB": "mariadbd"}
# How many of our connections a server takes as it comes: PostgreSQL keeps 3 of its 100 for its owner.
CONNECTIONS = {"PostgreSQL": 97, "MariaDB": 151}


@dataclass
class Cost:
    """Of one trial on average: counts, and milliseconds of each kind."""

    commits: float
    statements: float
    looks: float  # at what other workers do
    client: float
    server: float
    asking: float
    writing: float  # that no two workers spend at once
    looking: tuple[float, float] = (0.0, 0.0)  # at 1,000 running trials of others, once: of the client, of the server

    def told(self) -> list[str]:
        """A row of the table."""
        counts = [f"{self.commits:.2f}", f"{self.statements:.1f}", f"{self.looks:.2f}"]
        parts = (self.client, self.asking, self.server, self.writing)
        return [*counts, *(f"{part:.2f}" for part in parts), *(f"{part:.0f}" for part in self.looking)]

    def share(self, workers: int, pace: float) -> tuple[float, str]:
        """Of linear, what so many workers reach that do `pace` trials a second alone; and what binds."""
        others = self.looks * workers * LANES / 1000
        own = 1 / (1 + pace * others * self.looking[0] / 1000)
        served = self.server + others * self.looking[1]
        bounds = {"looking": own, "writing": 1000 / self.writing / (workers * pace)}
        if served:
            bounds["server"] = CORES * 1000 / served / (workers * pace)
        least = min(bounds, key=lambda name: bounds[name])
        return (bounds[least], least) if bounds[least] < 0.9 else (min(1.0, bounds[least]), "")


@contextlib.contextmanager
def watched(kind: str) -> Iterator[Counter[str]]:
    """Counts seconds of asking and of writing, commits and statements, of this process."""
    found: Counter[str] = Counter()
    several, transact, lock = loop.Asking.several, bulk.transact, leases.lock_study
    locked: list[float] = []

    @contextlib.contextmanager
    def asking(self: Any, count: int) -> Iterator[Any]:
        began = time.perf_counter()
        with several(self, count) as trials:
            yield trials
        found["asking"] += time.perf_counter() - began

    def writing(engine: Any, work: Any, **given: Any) -> Any:
        began = time.perf_counter()
        locked.clear()
        made = transact(engine, work, **given)
        if kind == "SQLite":
            locked[:] = [began]
        found["writing"] += time.perf_counter() - locked[0] if locked else 0
        return made

    def locking(connection: Any, study_id: int) -> None:
        lock(connection, study_id)
        locked.append(time.perf_counter())

    def committed(connection: Any) -> None:
        found["commits"] += 1

    def executed(*args: Any) -> None:
        found["statements"] += 1
        found["looks"] += _LATER in args[2]

    loop.Asking.several, bulk.transact, leases.lock_study = asking, writing, locking
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", committed)
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", executed)
    try:
        yield found
    finally:
        loop.Asking.several, bulk.transact, leases.lock_study = several, transact, lock
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", committed)
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", executed)


def server_seconds(kind: str) -> float:
    """CPU time that the database server of this machine has used; 0 where it cannot be seen, as beside Linux."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            name, _, fields = stat.read_text().partition("(")[2].rpartition(")")
            # Connections of PostgreSQL are processes, and their parent knows of those that have ended.
            ticks += sum(map(int, fields.split()[11:15])) if name == SERVED_BY.get(kind) else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(kind: str, url: str, sampler: str, n_trials: int) -> Cost:
    """The cost of a trial, over a whole study."""
    storage = open_storage(url)
    study = dying.opened(storage)
    served, used, began = server_seconds(kind), time.process_time(), len(study.get_trials())
    with watched(kind) as found:
        for _ in dying.searching(study, LANES, n_trials, "none", sampler):
            pass
        storage._backend.flush()
    used, served = time.process_time() - used, server_seconds(kind) - served
    assert began <= len(dying.RATES) + 1, "the study was new"
    close(storage)
    optuna.delete_study(study_name="study", storage=url)
    seconds = {"client": used, "server": served, "asking": found["asking"], "writing": found["writing"]}
    each = {name: 1000 * value / n_trials for name, value in seconds.items()}
    counts = {name: found[name] / n_trials for name in ("commits", "statements", "looks")}
    return Cost(**counts, **each)


def looking(kind: str, url: str) -> tuple[float, float]:
    """Milliseconds of the client, and of the server, to look at 1,000 running trials of another worker."""
    theirs, ours = open_storage(url), open_storage(url)
    asking = loop.Asking(dying.opened(theirs), dying.SPACE, "random", 0)
    with asking.several(1000) as trials:
        assert len(list(trials)) == 1000
    study = optuna.load_study(study_name="study", storage=ours)
    with ours._backend.reserving(study._study_id, 1):
        study.ask()  # as who trains, whose own trials are not read
    study.get_trials(deepcopy=False)
    used, served = time.process_time(), server_seconds(kind)
    for _ in range(LOOKS):
        assert len(study.get_trials(deepcopy=False)) > 1000
    used, served = time.process_time() - used, server_seconds(kind) - served
    close(ours)
    close(theirs)
    optuna.delete_study(study_name="study", storage=url)
    return 1000 * used / LOOKS, 1000 * served / LOOKS


def connections(engine: sqlalchemy.Engine) -> int:
    """Connections of other programs to that database."""
    query = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database()",
    }
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(query[engine.name]).scalar_one()) - 1


def work(url: str, n_trials: int, tick: float, sampler: str) -> None:
    """The life of a worker."""
    storage = open_storage(url)
    study = optuna.load_study(study_name="study", storage=storage)
    for _ in dying.searching(study, LANES, n_trials, "none", sampler, on_tick=lambda engine: time.sleep(tick)):
        pass
    close(storage)


def tried(kind: str, url: str, sampler: str, workers: int, pace: float) -> list[str]:
    """That many workers, each of `pace` trials a second when alone, for some rounds of their lanes."""
    storage = open_storage(url)
    dying.opened(storage)
    close(storage)
    n_trials, tick = max(LANES * workers, round(SECONDS * workers * pace)), LANES / EPOCHS / pace
    began, processes, most = time.monotonic(), [], 0
    engine = None if kind == "SQLite" else sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    for _ in range(workers):
        if not (process := os.fork()):
            try:
                work(url, n_trials, tick, sampler)
            except BaseException as error:
                print(repr(error)[:500], flush=True)
                os._exit(1)
            os._exit(0)
        processes.append(process)
    failed = 0
    while processes:
        ended, status = os.waitpid(processes[0], os.WNOHANG)
        if ended:
            failed += status != 0
            processes.pop(0)
        elif engine is not None:
            with contextlib.suppress(sqlalchemy.exc.OperationalError):  # there are too many of them already
                most = max(most, connections(engine))
        time.sleep(0.2)
    seconds = time.monotonic() - began
    trials = optuna.load_study(study_name="study", storage=url).get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state in records.FINISHED]
    doubled = len(finished) - len({records.config_of(trial) for trial in finished})
    optuna.delete_study(study_name="study", storage=url)
    reached = len(finished) / seconds
    told = [f"{len(finished)} of {n_trials}", str(doubled), str(failed), f"{workers * pace:.0f}", f"{reached:.1f}"]
    return [kind, sampler, str(workers), *told, str(most or "")]


def beyond(kind: str, cost: Cost, sampler: str, workers: int) -> list[str]:
    """What so many workers can do."""
    fits = "yes" if 2 * workers <= CONNECTIONS.get(kind, 2 * workers) else "no"
    found = [cost.share(workers, pace) for pace in PACES]
    return [kind, sampler, str(workers), *(f"{share:.0%} {binds}".strip() for share, binds in found), fits]


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--workers", type=int, default=64)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    costs: dict[tuple[str, str], Cost] = {}
    trials = []
    with places.databases() as urls:
        for kind, url in urls.items():
            seen = looking(kind, url)
            for sampler in ("tpe", "random"):
                cost = costs[kind, sampler] = replace(measured(kind, url, sampler, given.trials), looking=seen)
                print(kind, sampler, cost, flush=True)
    rows = [[kind, sampler, *cost.told()] for (kind, sampler), cost in costs.items()]
    head = ["database", "sampler", "commits", "statements", "looks", "client ms", "of it asking", "server ms"]
    head += ["writing ms", "a look at 1,000: client ms", "server ms"]
    pages.write(README, pages.table(head, rows), "costs")
    head = ["database", "sampler", "workers", *(f"{pace:g} trials/s each" for pace in PACES), "connections"]
    rows = [beyond(kind, cost, sampler, n) for (kind, sampler), cost in costs.items() for n in (64, 512)]
    pages.write(README, pages.table(head, rows), "beyond")
    for workers in (given.workers // 4, given.workers):
        for sampler in ("tpe", "random"):
            with places.databases() as urls:
                for kind, url in urls.items():
                    # What the cores of this machine bear beside the sleeping: half of them for the clients.
                    most = (
                        1000 * (os.cpu_count() or 1) / 2 / (costs[kind, sampler].client + costs[kind, sampler].server)
                    )
                    pace = min(most, 500 / costs[kind, sampler].writing) / workers
                    trials.append(tried(kind, url, sampler, workers, pace))
                    print(trials[-1], flush=True)
    trials.sort(key=lambda row: (list(urls).index(row[0]), row[1] != "tpe"))
    head = ["database", "sampler", "workers", "finished", "doubled", "workers refused", "linear trials/s", "trials/s"]
    pages.write(README, pages.table([*head, "connections"], trials), "tried")


if __name__ == "__main__":
    main()
