"""What is measured: each arm runs in a process of its own and prints one line of JSON.

    python arms.py '{"arm": "adamtune", "workload": "digits", "seed": 0, "trials": 64}'

The clock starts when everything is imported and the rows are there; it counts building, compiling, sampling, SQL and
training. All arms train the same network on the same rows for as many epochs, and search the same ranges of Adam.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Imported by the one arm or the other on first use; here, so that no study is charged for it.
import alembic.command  # noqa: F401
import optuna
import optuna.storages._rdb.models
import pandas  # noqa: F401
import peers
import scipy.stats  # noqa: F401
from ledger import Commits, Ledger, Marks, database_kibibytes
from workloads import AMSGRAD, RANGES, about, prepared

from adamtune import AdamTunerClassifier
from adamtune.engine.lanes import LaneEngine
from adamtune.tuning import curves, storage
from adamtune.tuning.memory import Memory


def adamtune(
    workload,
    seed,
    trials,
    folder,
    quick=False,
    lanes="auto",
    sampler="random",
    pruner="none",
    space="ranges",
    confirm=0,
    epochs=None,
):
    """adamtune; `lanes=1` with TPE is one trial after the other, as Optuna runs it. `epochs` else the workload's."""
    case, rows, its_own = prepared(workload, seed, quick)
    epochs = epochs or its_own
    ledger, commits = Ledger(training="training and judging"), Commits()
    ledger.watch_optuna()
    ledger.watch("opening the database", storage, "open_storage")
    ledger.watch("SQL", storage, "flush", "close")
    ledger.watch("SQL", Memory, "write", "take")
    ledger.watch("SQL", curves, "write")
    ledger.watch("training and judging", LaneEngine, "tick")
    ledger.watch("preparing lanes", LaneEngine, "__init__", "compile", "initial_loss")
    tick = LaneEngine.tick
    LaneEngine.tick = lambda engine: (tick(engine), marks())[0]
    ranges = RANGES | {"amsgrad": optuna.distributions.CategoricalDistribution(AMSGRAD)}
    tuner = AdamTunerClassifier(
        model=ledger.timed("building the model", case.network),
        loss=peers.LOSS,
        space=ranges if space == "ranges" else space,
        n_trials=trials,
        epochs=epochs,
        batch_size=case.batch_size,
        confirm=confirm,
        sampler=sampler,
        pruner=pruner,
        lanes=lanes,
        storage=f"sqlite:///{folder}/study.db",
        refit=False,
        random_state=seed,
        verbose=0,
    )
    marks = Marks()
    tuner.fit(rows.x, rows.y, validation_data=(rows.x_valid, rows.y_valid))
    marks()
    # Tracing and the first run of a program is what its first tick took longer than the others.
    ticks = ledger.each["training and judging"]
    usual = statistics.median(ticks[1:] or ticks)
    ledger.seconds["training and judging"] -= ticks[0] - usual
    ledger.seconds["compiling the program"] = ticks[0] - usual
    ended = [t for t in tuner.study_.get_trials(deepcopy=False) if t.datetime_complete is not None]
    ended.sort(key=lambda trial: trial.datetime_complete)
    return {
        **about(workload, rows, epochs),
        "seconds": marks.seconds[-1],
        "lanes": tuner.plan_.lanes,
        "strategy": tuner.plan_.strategy,
        "device": tuner.plan_.device,
        "programs": tuner.n_programs_,
        "ticks": len(ticks),
        "seconds_a_tick": usual,
        "epochs_trained": int(tuner.trials_["epochs"].sum()),
        "commits": commits.number,
        "database_kibibytes": database_kibibytes(folder),
        "confirmed": tuner.best_score_ if confirm else None,
        "parts": ledger.seconds,
        "ended": [t.datetime_complete.timestamp() - marks.began for t in ended],
        "values": [t.value for t in ended],
        "mebibytes": [marks.seconds[:-1], marks.mebibytes[:-1]],
    }


def bare(**arguments):
    """The program by hand; imported here, because it needs JAX."""
    import bare

    return bare.run(**arguments)


ARMS = {
    "adamtune": adamtune,
    "optuna": peers.optuna_loop,
    "kerastuner": peers.kerastuner,
    "scikeras": peers.scikeras,
    "wrapper": peers.wrapper,
    "bare": bare,
}


def main():
    arguments = json.loads(sys.argv[1])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    arm = ARMS[arguments.pop("arm")]
    with tempfile.TemporaryDirectory() as folder:
        result = arm(folder=folder, **arguments)
    result["peak_mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
