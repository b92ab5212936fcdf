"""How fast is adamtune beside its peers, and what does the speed cost in quality?

    python studies/speed/speed.py                    # everything; goes on where it was stopped
    python studies/speed/speed.py --quick            # a few minutes, small, into a temporary folder
    python studies/speed/speed.py --parts speed --workloads cnn lstm --arms engine optuna --pairs 3
    KERAS_BACKEND=jax python studies/speed/speed.py  # the same on JAX, into studies/speed/jax

The parts, each figure from runs of this command on this machine:

    settings   which settings make the plain loop of Optuna and Keras fastest
    speed      adamtune and every peer in turns, workload by workload; memory and shares of time are read off it
    lanes      trials a second against the number of lanes
    growth     trials a second against the number of trials
    quality    the best loss of 64 trials: automatic lanes, 1, 8, 16, 32 and 64
    reached    how long adamtune needs for the loss that TPE reaches one trial after the other
    pruned     the best loss with pruning beside that without, and the epochs spent, at 10 and at 20 epochs a trial

Every measurement is a fresh process (`arms.py`). What is measured is kept in results.json and not measured again unless
`--again`; results.md, the pictures and the first lines of README.md are made of it.
"""

import argparse
import importlib.util
import itertools
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import pages  # noqa: E402
import plots  # noqa: E402
import report  # noqa: E402
from results import BACKEND, Results  # noqa: E402

HOME = HERE if BACKEND == "tensorflow" else HERE / BACKEND
# All that Keras offers to make the plain loop faster; 9 and 45 steps are a fifth of an epoch of digits and a whole one.
# On JAX `jit_compile=False` runs operation by operation, ten times as long (7 to 10 s a trial): not tried again.
SETTINGS = [
    {"steps_per_execution": steps, "jit_compile": jit, "clear_session": clear}
    for jit, steps, clear in itertools.product(("auto", False), (1, 9, 45), (True, False))
    if jit or BACKEND != "jax"
]
# The fastest of them, and what `model.fit` does when nobody says otherwise.
BEST = {"steps_per_execution": "epoch", "jit_compile": "auto", "clear_session": False}
USUAL = {"steps_per_execution": 1, "jit_compile": "auto", "clear_session": False}
# Whose trials and how many of them.
WORKLOADS = {
    "digits": ("digits", 64),
    "digits-1000": ("digits", 1000),
    "cnn": ("cnn", 16),
    "lstm": ("lstm", 32),
    "wide": ("wide", 16),
    "transformer": ("transformer", 32),
}
# What runs, and with what. `engine` samples at random as the peers do; `whole` is TPE, adamtune as it comes.
ARMS = {
    "engine": ("adamtune", {"sampler": "random"}),
    "whole": ("adamtune", {"sampler": "tpe"}),
    "optuna": ("optuna", BEST),
    "usual": ("optuna", USUAL),
    "kerastuner": ("kerastuner", {}),
    "scikeras": ("scikeras", {}),
    "wrapper": ("wrapper", {}),
    "asha": ("adamtune", {"sampler": "random", "pruner": "asha"}),
    "halving": ("optuna", BEST | {"prune": True}),
    "bare": ("bare", {}),
}
LANES = (1, 2, 4, 8, 16, 32, 64, 128)
GROWTH = (64, 256, 1000, 2000)
QUALITY = ("auto", 1, 8, 16, 32, 64)
BUDGETS = (10, 20)  # epochs of a trial: the workload's, and what AdamTuner takes when nobody says otherwise
# adamtune as it comes, but unpruned.
PLAIN = {"workload": "digits", "sampler": "tpe", "space": "auto"}
PARTS = ("settings", "speed", "lanes", "growth", "quality", "reached", "pruned")


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    results = Results(options.out / "results.json", options.again)
    for part in options.parts:
        globals()[part](results, options)
    (options.out / "results.md").write_text(text := report.tables(results.machine, results.runs), encoding="utf-8")
    plots.speed(results.runs, options.out / "speed.png")
    plots.lanes(options.out, HERE)
    pages.write(options.out / "README.md", report.headline(results.runs))
    print(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="none: only write the tables again")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, help="of the part speed")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="of the part speed")
    parser.add_argument("--pairs", type=int, default=3, help="of the part speed")
    parser.add_argument("--rounds", type=int, default=2, help="of the parts settings, lanes and growth")
    parser.add_argument("--seeds", type=int, default=10, help="of the parts quality, reached and pruned")
    parser.add_argument("--full", action="store_true", help="let every peer run 1,000 trials; takes hours")
    parser.add_argument("--quick", action="store_true", help="few of everything, to see that it works")
    parser.add_argument("--again", action="store_true", help="measure anew what is chosen")
    parser.add_argument("--out", type=Path, help="where the results are kept")
    options = parser.parse_args()
    options.sizes = {name: trials for name, (_, trials) in WORKLOADS.items()}
    options.trials, options.long, options.setting_trials = 64, 256, 6
    options.lanes, options.growth, options.quality = LANES, GROWTH, QUALITY
    options.settings, options.budgets = SETTINGS, BUDGETS
    if options.quick:
        options.pairs, options.rounds, options.seeds = 1, 1, min(options.seeds, 2)
        options.sizes = dict.fromkeys(WORKLOADS, 3) | {"digits-1000": 40}
        options.trials, options.long, options.setting_trials = 8, 16, 2
        options.lanes, options.growth, options.quality = (1, 4), (4, 8), ("auto", 1)
        options.settings, options.budgets = SETTINGS[4:6], (2, 4)
        options.workloads = options.workloads or ["digits", "digits-1000"]
        options.out = options.out or Path(tempfile.gettempdir(), f"adamtune-speed-quick-{BACKEND}")
    options.workloads, options.out = options.workloads or list(WORKLOADS), options.out or HOME
    missing = [
        package
        for arm, package in (("kerastuner", "keras_tuner"), ("scikeras", "scikeras"))
        if "speed" in options.parts and arm in options.arms and importlib.util.find_spec(package) is None
    ]
    if missing:
        sys.exit(
            f"{' and '.join(missing)} is not installed: pip install -r studies/speed/requirements.txt, or leave the arm"
            " out with --arms."
        )
    return options


def settings(results, options):
    size = {"workload": "digits", "seed": 0, "trials": options.setting_trials, "quick": options.quick}
    for turn, (number, setting) in itertools.product(range(options.rounds), enumerate(options.settings)):
        results.measure(f"settings/{number}/{turn}", "optuna", **size, **setting)


def speed(results, options):
    for pair, name in itertools.product(range(options.pairs), options.workloads):
        workload, _ = WORKLOADS[name]
        arms = [arm for arm in options.arms if runs_on(arm, name, options.full)]
        # Who begins goes round, so that a machine that warms up or gets busy favours nobody.
        for arm in (arms * 2)[pair % max(1, len(arms)) :][: len(arms)]:
            kind, extra = ARMS[arm]
            size = {"workload": workload, "seed": pair, "trials": options.sizes[name], "quick": options.quick}
            ours = kind in ("adamtune", "bare")
            results.measure(f"speed/{name}/{pair}/{arm}", kind, may_fail=not ours, **size, **extra)


def runs_on(arm, workload, full):
    """Whether an arm is measured on a workload: the program by hand is one of digits, in JAX; 1,000 trials are long."""
    kind = ARMS[arm][0]
    if kind == "bare":
        return BACKEND == "jax" and workload in ("digits", "digits-1000")
    return workload != "digits-1000" or kind == "adamtune" or full


def lanes(results, options):
    size = {"workload": "digits", "sampler": "random", "trials": options.long, "quick": options.quick}
    for turn, number in itertools.product(range(options.rounds), options.lanes):
        results.measure(f"lanes/{number}/{turn}", "adamtune", seed=turn, lanes=number, **size)


def growth(results, options):
    size = {"workload": "digits", "sampler": "random", "quick": options.quick}
    for turn, trials in itertools.product(range(options.rounds), options.growth):
        results.measure(f"growth/{trials}/{turn}", "adamtune", seed=turn, trials=trials, **size)


def quality(results, options):
    size = PLAIN | {"trials": options.trials, "confirm": 1, "quick": options.quick}
    for seed, lanes in itertools.product(range(options.seeds), options.quality):
        results.measure(f"quality/{seed}/{lanes}", "adamtune", seed=seed, lanes=lanes, **size)


def reached(results, options):
    size = PLAIN | {"trials": options.long, "quick": options.quick}
    for seed in range(options.seeds):
        results.measure(f"reached/{seed}/long", "adamtune", seed=seed, **size)


def pruned(results, options):
    size = PLAIN | {"trials": options.trials, "confirm": 3, "quick": options.quick}
    for seed, epochs, pruner in itertools.product(range(options.seeds), options.budgets, ("asha", "none")):
        arm = {"pruner": pruner, "epochs": epochs}
        results.measure(f"pruned/{seed}/{pruner}-{epochs}", "adamtune", seed=seed, **arm, **size)


if __name__ == "__main__":
    main()
