"""Kills: studies whose process is killed again and again, at moments drawn at random, on three databases.

    python studies/durability/kills.py [--kills 100] [--seed 0] [URL ...]

Each process trains an `AdamTuner` in lanes. Most are killed while trials train: after their first tick, after a few, or
when some trials have ended; one in five while it opens the study, compiles and asks for the first time. After a kill
the database is read by plain Optuna and compared with what it held a moment before: finished trials have to be there as
they were. What the process had computed is known from a file of its own, so what was lost of unfinished curves is known
too. At the end the study is trained to its end and counted: every trial that was cut off has to be tried again once,
unless its config was cut off for the second time.
Without URLs: a SQLite file, and the servers that `ADAMTUNE_TEST_POSTGRES` and `ADAMTUNE_TEST_MYSQL` name.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import optuna
import pages
import places
import sqlalchemy

from adamtune.tuning import curves, loop, records

HERE = Path(__file__).parent
STATE = optuna.trial.TrialState
N_TRIALS, LANES, EPOCHS = 300, 8, 12
HEAD = ["database", "SIGKILLs", "in training", "studies", "finished", "missing", "lost", "doubled", "corrupt"]
HEAD += ["left open", "cut off", "tried again", "twice", "not tried again", "s lost"]
# Of each database, in the order of the table.
COUNTS = ("kills", "training", "studies", "finished", "missing", "lost", "doubled", "corrupt", "open", "cut", "retried")
COUNTS += ("twice", "left")
LONGEST = 3.0  # seconds from the beginning of a process to the latest kill of those that are early
TICKS = (1, 4, EPOCHS + 1)  # after which others are killed: at the first, while trials train, when some have ended


def train(url: str, name: str, log: Path) -> None:
    """The life of a process: go on with the study, and note what each tick computed as soon as it has."""
    from sklearn.datasets import load_digits

    from adamtune.tuner import AdamTunerClassifier

    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    tick = loop._tick

    def noted(due: Any) -> Any:
        ticked = tick(due)
        said = [[run.trial.number, len(run.reports)] for run in ticked]
        os.write(out, f"{json.dumps([time.time(), said])}\n".encode())
        return ticked

    loop._tick = noted
    X, y = load_digits(return_X_y=True)
    AdamTunerClassifier(
        n_trials=N_TRIALS,
        epochs=EPOCHS,
        lanes=LANES,
        storage=url,
        study_name=name,
        resume=True,
        refit=False,
        confirm=0,
        random_state=1,
        verbose=0,
    ).fit(X / 16, y)


def forked(url: str, name: str, log: Path) -> int:
    """A process that trains; what it writes goes nowhere."""
    process = os.fork()
    if process:
        return process
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        train(url, name, log)
    except BaseException as error:
        log.with_suffix(".error").write_text(repr(error))
        os._exit(1)
    os._exit(0)


Seen = tuple[dict[int, optuna.trial.FrozenTrial], list[optuna.trial.FrozenTrial], dict[int, int]]


def seen(url: str, name: str) -> Seen | None:
    """What the study holds: its finished trials, all of them, and how many epochs of each have a curve.

    None when there is no such study yet: its tables may not be there either, and to look makes none.
    """
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    if not sqlalchemy.inspect(engine).has_table("studies"):
        return None
    with engine.connect() as connection:
        named = sqlalchemy.text("SELECT study_id FROM studies WHERE study_name = :name")
        if connection.scalar(named, {"name": name}) is None:
            return None
    storage = optuna.storages.RDBStorage(url)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        trials = study.get_trials(deepcopy=False)
        epochs = {number: curve.epochs for number, curve in curves.read(study).items()}
    finally:
        storage.remove_session()
        storage.engine.dispose()
    finished = {t.number: t for t in trials if t.state in records.FINISHED}
    return finished, trials, epochs


def is_whole(url: str) -> bool:
    """Whether the database is what it should be: SQLite checks every page, servers by reading it."""
    if not url.startswith("sqlite"):
        return True
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def kill_once(url: str, name: str, folder: Path, chance: random.Random, found: dict[str, Any]) -> bool:
    """One process, killed at a moment of its own; False when the study was finished before that."""
    log = folder / f"{found['studies']}-{found['kills']}.log"
    process = forked(url, name, log)
    early = chance.random() < 0.2  # also while it opens the study, compiles and asks for the first time
    ticks = chance.choice(TICKS)
    while not early and not (log.exists() and log.read_bytes().count(b"\n") >= ticks):
        if os.waitpid(process, os.WNOHANG)[0]:
            if (error := log.with_suffix(".error")).exists():
                raise SystemExit(f"the process has ended: {error.read_text()}")
            return False
        time.sleep(0.01)
    if early:
        time.sleep(chance.uniform(0, LONGEST))
    before = seen(url, name)
    time.sleep(chance.uniform(0, 0.3))
    if os.waitpid(process, os.WNOHANG)[0]:  # it has come to the end of the study
        return False
    os.kill(process, signal.SIGKILL)
    killed = time.time()
    os.waitpid(process, 0)
    found["kills"] += 1
    found["corrupt"] += not is_whole(url)
    after = seen(url, name)
    if after is None:
        found["lost"] += 0 if before is None else max(1, len(before[0]))
        return True
    finished, trials, epochs = after
    found["lost"] += sum(finished.get(number) != trial for number, trial in before[0].items()) if before else 0
    running = {trial.number for trial in trials if trial.state == STATE.RUNNING}
    found["training"] += bool(running)
    for line in log.read_text().splitlines() if log.exists() else ():
        moment, said = json.loads(line)
        for number, epoch in said:
            if number in running and epoch > epochs.get(number, 0):
                found["points"] = max(found["points"], killed - moment)
    return True


def count(url: str, name: str, found: dict[str, Any]) -> None:
    """Look at a study that has come to its end."""
    known = seen(url, name)
    assert known is not None, "a study that was trained to its end is gone"
    finished, trials, _ = known
    numbers = [trial.number for trial in trials]
    found["studies"] += 1
    found["finished"] += len(finished)
    found["missing"] += N_TRIALS - len(finished)
    found["open"] += sum(trial.state in (STATE.RUNNING, STATE.WAITING) for trial in trials)
    configs = [records.config_of(trial) for trial in finished.values()]
    found["doubled"] += len(configs) - len(set(configs)) + (numbers != list(range(len(numbers))))
    retries = records.retries(trials)
    again = collections.Counter(retry["of"] for retry in retries.values())
    cut = {trial.number for trial in trials if trial.user_attrs.get(records.STOPPED) == records.LOST}
    twice = {number for number in cut if retries.get(number, {}).get("lost", 0)}
    found["cut"] += len(cut)
    found["twice"] += len(twice)
    found["retried"] += again.total()
    found["left"] += sum(not again[number] for number in cut - twice)
    # More than one in the place of another, one in the place of what has had its chance or was never cut off.
    found["doubled"] += sum(n - (number in cut - twice) for number, n in again.items())


def main() -> None:
    """Kill, count and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("urls", nargs="*")
    given = parser.parse_args()
    import adamtune.tuner  # noqa: F401  # before it is forked, so that a process is there at once

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chance, rows = random.Random(given.seed), []
    with places.databases(given.urls) as urls, tempfile.TemporaryDirectory() as folder:
        for index, (kind, url) in enumerate(urls.items()):
            found: dict[str, Any] = {**dict.fromkeys(COUNTS, 0), "points": 0.0}
            wanted = (given.kills + index) // len(urls)
            own = Path(folder, kind)
            own.mkdir()
            while found["kills"] < wanted:
                name = f"killed-{found['studies']}"
                while found["kills"] < wanted and kill_once(url, name, own, chance, found):
                    print(kind, *(found[each] for each in ("kills", "training", "studies", "lost")), flush=True)
                last = forked(url, name, own / f"last-{found['studies']}.log")
                if os.waitpid(last, 0)[1]:
                    raise SystemExit((own / f"last-{found['studies']}.error").read_text())
                count(url, name, found)
            rows.append([kind, *(str(found[each]) for each in COUNTS), f"{found['points']:.2f}"])
            print(rows[-1], flush=True)
    if not given.urls and given.kills >= 100:
        pages.write(HERE / "README.md", pages.table(HEAD, rows), "kills")


if __name__ == "__main__":
    main()
