"""How fast is adamtune, and what does the speed cost in quality?

    python studies/speed/speed.py                    # everything; goes on where it was stopped
    python studies/speed/speed.py --quick            # a few minutes, into a temporary folder
    python studies/speed/speed.py --parts quality --seeds 20
    KERAS_BACKEND=jax python studies/speed/speed.py --parts settings speed    # the same on JAX, into studies/speed/jax

Three parts, each figure from the same run of this command on the same machine:

    settings   which settings make the plain loop of Optuna and Keras fastest; the next part uses those
    speed      adamtune, that loop, and the loop with Keras' own settings, in turns, 64 trials each
    quality    the best loss of 64 trials: automatic lanes beside TPE one trial after the other

Every measurement is a fresh process (`arms.py`). What is measured is kept in results.json and not measured again unless
`--again`; results.md, speed.png and the first lines of README.md are made of it.
"""

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import report  # noqa: E402

# The plain loop as it is usually written, and all that Keras offers to make it faster. Digits have 45 steps an epoch,
# so 45 steps an execution is one call an epoch.
SETTINGS = [
    {"steps_per_execution": steps, "jit_compile": jit, "clear_session": clear}
    for steps, jit, clear in itertools.product((1, 9, 45), ("auto", False), (True, False))
]
# What `model.fit` does when nobody says otherwise.
USUAL = {"steps_per_execution": 1, "jit_compile": "auto", "clear_session": False}
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
HOME = HERE if BACKEND == "tensorflow" else HERE / BACKEND
# How many times faster than the plain loop is fast enough.
GOAL = {"tensorflow": 15, "jax": 20}[BACKEND]
# The parts, and under which names their measurements are kept.
PARTS = {"settings": ("settings",), "speed": ("speed", "usual"), "quality": ("quality", "reached")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5, help="of the part speed")
    parser.add_argument("--seeds", type=int, default=40, help="of the part quality")
    parser.add_argument("--long", type=int, default=256, help="trials adamtune may use to reach serial TPE's best loss")
    parser.add_argument("--long-seeds", type=int, default=10, help="for how many of the seeds that is measured")
    parser.add_argument("--setting-trials", type=int, default=6, help="trials in a round, for each setting")
    parser.add_argument("--rounds", type=int, default=3, help="of the part settings")
    parser.add_argument("--quick", action="store_true", help="few of everything, to see that it works")
    parser.add_argument("--again", action="store_true", help="measure the chosen parts again")
    parser.add_argument("--out", type=Path, default=HOME, help="where the results are kept")
    options = parser.parse_args()
    if options.quick:
        options.trials, options.epochs, options.pairs, options.seeds = 16, 3, 2, 2
        options.long, options.setting_trials, options.rounds = 32, 3, 1
        options.out = Path(tempfile.gettempdir()) / "adamtune-speed-quick" if options.out == HOME else options.out
    options.out.mkdir(parents=True, exist_ok=True)

    names = [name for part in options.parts for name in PARTS[part]]
    results = Results(options.out / "results.json", machine(), again=names if options.again else [])
    size = {"trials": options.trials, "epochs": options.epochs}
    if "settings" in options.parts:
        few = size | {"trials": options.setting_trials}
        for turn, (number, setting) in itertools.product(range(options.rounds), enumerate(SETTINGS)):
            results.measure(f"settings/{number}/{turn}", "peer", seed=0, **few, **setting)
    if "speed" in options.parts:
        best = SETTINGS[report.fastest(results.runs)]
        for pair in range(options.pairs):
            # Who begins alternates, so that a machine that warms up or gets busy favours neither.
            arms = [("speed", "adamtune", {}), ("speed", "peer", best), ("usual", "peer", USUAL)]
            for part, arm, setting in arms if pair % 2 == 0 else arms[::-1]:
                results.measure(f"{part}/{pair}/{arm}", arm, seed=pair, **size, **setting)
    if "quality" in options.parts:
        for seed in range(options.seeds):
            results.measure(f"quality/{seed}/auto", "adamtune", seed=seed, confirm=1, **size)
            results.measure(f"quality/{seed}/serial", "adamtune", seed=seed, confirm=1, lanes=1, **size)
        for seed in range(min(options.seeds, options.long_seeds)):
            longer = size | {"trials": options.long}
            results.measure(f"reached/{seed}/long", "adamtune", seed=seed, **longer)
    (options.out / "results.md").write_text(text := report.tables(results.machine, results.runs), encoding="utf-8")
    report.plot(results.runs, options.out / "speed.png")
    report.write(options.out / "README.md", report.headline(results.runs, GOAL))
    print(text)


class Results:
    """What was measured so far, by name; written after each measurement."""

    def __init__(self, path, machine, again):
        self.path = path
        stored = json.loads(path.read_text()) if path.exists() else {"machine": machine, "runs": {}}
        self.machine = stored["machine"]
        self.runs = {name: run for name, run in stored["runs"].items() if name.split("/")[0] not in again}
        if self.runs and self.machine != machine:
            sys.exit(f"{path} was measured with {self.machine}; here is {machine}. Give another --out.")
        self.machine = machine

    def measure(self, name, arm, **arguments):
        if name in self.runs:
            if self.runs[name]["arguments"] != arguments:
                sys.exit(f"{name} was measured with {self.runs[name]['arguments']}, asked {arguments}: add --again.")
            return
        print(f"{name}: {arm} {arguments}", file=sys.stderr, flush=True)
        load = os.getloadavg()[0]
        command = [sys.executable, str(HERE / "arms.py"), json.dumps({"arm": arm, **arguments})]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        run = json.loads(done.stdout.splitlines()[-1])
        self.runs[name] = {"arguments": arguments, "load_before": round(load, 2)} | _rounded(run)
        text = json.dumps({"machine": self.machine, "runs": self.runs}, indent=0, sort_keys=True)
        self.path.with_suffix(".part").write_text(text + "\n", encoding="utf-8")
        self.path.with_suffix(".part").replace(self.path)


def _rounded(value):
    """Five digits are more than any of these figures is good for."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def machine():
    """The machine and the software, in words."""
    packages = ("adamtune", BACKEND, "keras", "optuna", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"cores": os.cpu_count(), "processor": _processor(), "python": platform.python_version(), **versions}


def _processor():
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.machine()
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
