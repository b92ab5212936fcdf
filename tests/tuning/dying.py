"""Processes that search a study with an engine without Keras, each killed by itself before its n-th SQL statement.

python -m tests.tuning.dying URL LANES N_TRIALS STATEMENT [STATEMENT ...]

A statement such as 2+30 is the thirtieth after the process has ended two trials.
"""

import contextlib
import os
import signal
import sys

import optuna
import sqlalchemy

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.tuning import policies, records, recovery, sharing, study
from adamtune.tuning.loop import Budget, search
from adamtune.tuning.prior import Prior
from adamtune.tuning.space import space
from adamtune.tuning.storage import close, open_storage
from tests.stamps import STAMP
from tests.tuning.fakes import FakePrograms

SPACE = space(optimizers.get("adam"), {"learning_rate": (1e-5, 1e-1), "beta_1": (0.5, 0.99)}, 60)
RATES = (1e-3, 1e-2)


def opened(storage):
    """The study in a storage, new with a few configs lined up, or as processes before this one left it."""
    with contextlib.suppress(KeyError):
        if found := study.whole(optuna.load_study(study_name="study", storage=storage)):
            recovery.recover(found, stopped=True, unleased=True)
            return found
    starting = [OptimizerConfig("adam", learning_rate=rate) for rate in RATES]
    return study.create(storage, "study", "minimize", STAMP, True, space=SPACE, starting=starting)


def searching(found, lanes, n_trials, pruner="asha", sampler="tpe", **options):
    """The loop, on from what is stored."""
    clock = lambda rule, number: records.last_tick(found, rule, number, 9)  # noqa: E731
    return search(
        found,
        SPACE,
        FakePrograms(lanes, clock=clock, **options),
        Budget(trials=n_trials),
        epochs=9,
        at_once=lanes,
        sampler=sampler,
        prior=Prior(tuple(SPACE.defaults())),
        pruner=policies.pruner_for(pruner, 9, "minimize"),
        seed=3,
    )


def finished(found):
    """The trials that count."""
    return [trial for trial in found.get_trials() if trial.state in records.FINISHED]


def told(trials):
    """What is known of trials, whatever their numbers."""
    return [(t.params, t.state, t.value, t.intermediate_values, t.user_attrs) for t in trials]


def in_order(found):
    """What finished, in the order in which an undisturbed study would have had it."""
    retries = records.retries(found.get_trials())
    return sorted(finished(found), key=lambda trial: records.draw(trial.number, retries))


def search_until(url, lanes, n_trials, statement, name=0):
    """Search to the end, or to that statement, and print who ended which trial."""
    storage = open_storage(url)
    first, _, last = statement.rpartition("+")
    seen, ended = [], []

    def count(*_):
        if len(ended) >= int(first or 0):
            seen.append(1)
        if len(seen) == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(storage._backend.engine, "before_cursor_execute", count)
    for event in searching(opened(storage), lanes, n_trials):
        if hasattr(event, "number"):
            ended.append(event.number)
            print(name, event.number, flush=True)
    close(storage)


def main(url, lanes, n_trials, *statements):
    """A process for each of the statements, all at once; they share an import, which takes longer than a study."""
    if len(statements) == 1:
        search_until(url, lanes, n_trials, *statements)
        return
    # They look after each other sooner than processes do whose trials take minutes.
    sharing._ASKED_WITHIN, sharing._LOOK, sharing._RECOVER = 1.0, 0.1, 0.2
    started = []
    for name, statement in enumerate(statements):
        if not (process := os.fork()):
            search_until(url, lanes, n_trials, statement, name)
            os._exit(0)
        started.append(process)
    ended = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]
    print(*("killed" if code == -signal.SIGKILL else code for code in ended))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
