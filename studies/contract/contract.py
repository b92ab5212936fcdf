"""Are our estimators what scikit-learn takes for one, and are the other wrappers of Keras?

    pip install -r studies/speed/requirements.txt       # scikeras
    python studies/contract/contract.py                 # about half an hour on two cores
    python studies/contract/contract.py --only AdamTuner --backends jax
    python studies/contract/contract.py --python oldest/bin/python --only AdamTuner   # another scikit-learn

Runs scikit-learn's `check_estimator` on each class and backend, each in a process of its own, and writes README.md.
What was measured before stays in results.json, by class, backend and version of scikit-learn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CASES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STORED, PAGE = HERE / "results.json", HERE / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="these classes")
    parser.add_argument("--backends", default="tensorflow,jax")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with another scikit-learn")
    options = parser.parse_args()
    runs = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else []
    for backend in options.backends.split(","):
        for name in options.only:
            run = measure(options.python, backend, name)
            print(line(run), flush=True)
            runs = [other for other in runs if key(other) != key(run)] + [run]
            write(runs)


def measure(python, backend, name):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "found.json")
        subprocess.run(
            [python, HERE / "cases.py", name, file],
            env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        return json.loads(file.read_text(encoding="utf-8"))


def key(run):
    return run["sklearn"], run["backend"], run["name"]


def line(run):
    counts = [run["counts"].get(status, 0) for status in ("passed", "failed", "xfail", "skipped")]
    cells = [f"`{run['name']}`", run["package"], run["sklearn"], run["backend"], *counts, f"{run['seconds']:.0f}"]
    return f"| {' | '.join(map(str, cells))} |"


def write(runs):
    newest = sorted({run["sklearn"] for run in runs}, key=lambda text: [int(part) for part in text.split(".")])[::-1]
    order = list(CASES)
    runs.sort(key=lambda run: (newest.index(run["sklearn"]), run["backend"] == "jax", order.index(run["name"])))
    STORED.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    parts = PAGE.read_text(encoding="utf-8").split(BEGIN)[0], PAGE.read_text(encoding="utf-8").split(END)[1]
    PAGE.write_text(f"{parts[0]}{BEGIN}\n{table(runs)}\n{failures(runs)}\n{END}{parts[1]}", encoding="utf-8")


def table(runs):
    head = "class", "package", "scikit-learn", "backend", "passed", "failed", "expected", "skipped", "seconds"
    rule = "|---|---|---|---|" + "---:|" * 5
    return "\n".join([f"| {' | '.join(head)} |", rule, *map(line, runs)]) + "\n"


def failures(runs):
    """What failed in which class, the same on several backends or versions once."""
    found = {}
    for run in runs:
        for failure in run["failed"]:
            where = found.setdefault((run["name"], failure["expected"], failure["check"]), (failure["error"], []))[1]
            where.append(f"{run['sklearn']} on {run['backend']}")
    lines = [
        f"- `{name}`{' (expected)' if expected else ''}: `{check}` on {len(set(where))} of "
        f"{sum(run['name'] == name for run in runs)} runs; {where[0]}: {error.replace('<', '&lt;')}"
        for (name, expected, check), (error, where) in found.items()
    ]
    return "\n".join(lines) if lines else "Nothing failed."


if __name__ == "__main__":
    main()
