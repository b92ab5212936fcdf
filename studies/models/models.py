"""A CNN, an LSTM and a transformer as people write them, each tuned end to end on both backends.

    ADAMTUNE_DATA=../shared/data python studies/models/models.py
    ADAMTUNE_DATA=../shared/data python studies/models/models.py --models cnn,lstm --backends jax
    ADAMTUNE_DATA=../shared/data python studies/models/models.py --quick     # few of everything, elsewhere

ADAMTUNE_DATA names a folder with a `load.py` whose `load(name)` returns (X, y, meta) for "mnist", "imdb" and
"beijing_pm25"; `meta["n_train"]` says how many of the first rows are the training part.

Keras fixes its backend for the life of a process, so each model and backend is a process of its own, one after the
other: see `cases.py`, where the models are. What is measured already is kept unless `--again` is given.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

HERE = Path(__file__).parent
MODELS = ("cnn", "lstm", "transformer")
BACKENDS = ("tensorflow", "jax")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=some_of(MODELS), default=MODELS, help=f"default: {','.join(MODELS)}")
    parser.add_argument("--backends", type=some_of(BACKENDS), default=BACKENDS, help=f"default: {','.join(BACKENDS)}")
    parser.add_argument("--quick", action="store_true", help="few of everything, always anew, into a temporary folder")
    parser.add_argument("--again", action="store_true", help="measure again what results.json holds")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json and README.md go")
    options = parser.parse_args()
    if options.quick and options.out == HERE:
        options.out = Path(tempfile.gettempdir()) / "adamtune-models-quick"
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "results.json"

    runs = {} if options.quick or not stored.exists() else read(stored)
    failed = []
    for pair in [(model, backend) for model in options.models for backend in options.backends]:
        if pair in runs and not options.again:
            print(f"{' on '.join(pair)}: measured already, see --again", flush=True)
            continue
        began = time.monotonic()
        found = measure(*pair, options.quick)
        print(f"{' on '.join(pair)}: {time.monotonic() - began:.0f} s{'' if found else ', failed'}", flush=True)
        if found is None:
            failed.append(pair)
            continue
        # Written after each, so that an interrupted study keeps what it has.
        runs[pair] = found
        write(options.out, runs)
    if runs:
        write(options.out, runs)
        print((options.out / "README.md").read_text(encoding="utf-8"))
    if failed:
        sys.exit(f"Failed, see above: {report.listed(' on '.join(pair) for pair in failed)}.")


def some_of(names):
    """A parser of comma-separated names."""

    def parse(text):
        unknown = sorted(set(text.split(",")) - set(names))
        if unknown:
            raise argparse.ArgumentTypeError(f"{','.join(unknown)!r} is unknown; expected some of {','.join(names)}")
        return tuple(name for name in names if name in text.split(","))

    return parse


def measure(model, backend, quick):
    """What `cases.py` says of a model in a process with that backend; None when it failed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, HERE / "cases.py", model, "--out", result, *(["--quick"] if quick else [])]
        done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend})
        return json.loads(result.read_text(encoding="utf-8")) if done.returncode == 0 else None


def read(path):
    """Runs by model and backend."""
    return {(run["model"], run["backend"]): run for run in json.loads(path.read_text(encoding="utf-8"))["runs"]}


def write(folder, runs):
    """Put results.json and the page that follows from it into a folder."""
    pairs = [(model, backend) for model in MODELS for backend in BACKENDS]
    known = [runs[pair] for pair in pairs if pair in runs]
    missing = [pair for pair in pairs if pair not in runs]
    (folder / "results.json").write_text(json.dumps({"runs": known}, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(report.readme(known, missing), encoding="utf-8")


if __name__ == "__main__":
    main()
