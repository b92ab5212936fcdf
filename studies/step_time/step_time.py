"""What does a step of our Keras classes cost, beside a step of Keras' own? Writes results.json and results.md.

    python studies/step_time/step_time.py                       # both backends, all rules
    python studies/step_time/step_time.py --rules adam sgd --pairs 31 --backends jax
    python studies/step_time/step_time.py --write               # the table alone, from results.json

A network of a million weights is trained by `model.fit` as anyone would train it. The two models of a comparison take
short turns, so that whatever else the machine does falls on both alike; a figure is the median over turns of the ratio
of two neighbours, with the quartiles. Each rule is compared with the class of `keras.optimizers` that computes the
same, where there is one, and with Keras' Adam.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS, PAGE = HERE / "results.json", HERE / "results.md"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}
INPUTS, WIDTH, LABELS, BATCH = 784, 700, 10, 32  # 1,047,210 weights; 32 is Keras' own batch size
SECONDS = 0.4  # of training a turn: long beside what a call of `fit` costs, short beside what disturbs
# The ones whose speed is promised: at most 1.05 of Keras' own.
PROMISED = ("adam", "adamw", "sgd", "nadam")


def measure(rules: list[str], pairs: int) -> dict[str, dict]:
    """By rule the ratios to its class of Keras and to Keras' Adam, in the backend that KERAS_BACKEND names."""
    sys.path.insert(0, str(ROOT))
    import keras

    from adamtune import optimizers
    from adamtune.config import OptimizerConfig

    adam = Trained(keras.optimizers.Adam())
    found = {}
    for name in rules:
        # The defaults of ours may be other than those of a class of the same equations: psi of Nadam.
        config = OptimizerConfig(name, **({"schedule_decay": 1.0} if name == "nadam" else {}))
        ours = Trained(config.to_keras(builtin="never"))
        theirs = None if config._unlike_builtin() else Trained(config.to_keras(builtin="always"))
        found[name] = {"slots": len(optimizers.get(name).slots)}
        if theirs is not None:
            found[name]["builtin"] = type(theirs.model.optimizer).__name__
            found[name]["own"] = ratios(ours, theirs, pairs)
        found[name]["adam"] = ratios(ours, adam, pairs if theirs is None else max(5, pairs // 3))
        print(os.environ["KERAS_BACKEND"], name, json.dumps(found[name]), file=sys.stderr, flush=True)
    return found


class Trained:
    """A model in training, with its own optimizer."""

    def __init__(self, optimizer):
        import keras
        import numpy as np

        rng = np.random.default_rng(0)
        dense = [keras.layers.Dense(WIDTH, activation="relu") for _ in range(2)]
        self.model = keras.Sequential([keras.Input((INPUTS,)), *dense, keras.layers.Dense(LABELS)])
        self.model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self._x, self._y = (
            rng.normal(size=(64 * BATCH, INPUTS)).astype("float32"),
            rng.integers(LABELS, size=64 * BATCH),
        )
        self.seconds()  # compiles
        self._epochs = max(1, round(SECONDS / self.seconds()))

    def seconds(self, epochs=1):
        began = time.perf_counter()
        self.model.fit(self._x, self._y, batch_size=BATCH, epochs=epochs, verbose=0)
        return (time.perf_counter() - began) / epochs

    def turn(self):
        return self.seconds(self._epochs)


def ratios(one: Trained, other: Trained, pairs: int) -> dict[str, float]:
    """Quartiles of how much longer a step of `one` takes; who begins a pair changes."""
    found = []
    for number in range(pairs):
        first, second = (one, other) if number % 2 else (other, one)
        times = {first: first.turn(), second: second.turn()}
        found.append(times[one] / times[other])
    low, median, high = statistics.quantiles(found, n=4)
    return {"low": low, "median": median, "high": high, "pairs": pairs}


def write() -> None:
    """The table, from results.json."""
    data = json.loads(RESULTS.read_text())
    lines = [
        "# Seconds of a step, ours to Keras'",
        "",
        f"`model.fit` of a dense network 784-700-700-10 (1,047,210 weights), batch {BATCH}, on a CPU with "
        f"{data['cores']} cores; {data['versions']}. Median of the ratios of neighbours in turns (quartiles). Made by "
        "`python studies/step_time/step_time.py`.",
        "",
        "| rule | slots | "
        + " | ".join(f"{n}: to its class of Keras | {n}: to Keras' Adam" for n in BACKENDS.values())
        + " |",
        "|---|---|" + "---|---|" * len(BACKENDS),
    ]
    for name in sorted({name for found in data["backends"].values() for name in found}):
        rows = [data["backends"].get(backend, {}).get(name, {}) for backend in BACKENDS]
        cells = [_cell(row.get(key)) for row in rows for key in ("own", "adam")]
        slots = next(row["slots"] for row in rows if row)
        lines.append(f"| {name} | {slots} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "*slots* are those of the rule; a Keras class does not keep the ones that its values leave unused.",
        "",
    ]
    PAGE.write_text("\n".join(lines))


def _cell(found: dict | None) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", nargs="*", default=None)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--backends", nargs="*", default=list(BACKENDS))
    parser.add_argument("--write", action="store_true", help="the table alone")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(measure(given.rules, given.pairs)))
        return
    if not given.write:
        sys.path.insert(0, str(ROOT))
        from adamtune import optimizers

        rules = given.rules or [*PROMISED, *(name for name in optimizers.names() if name not in PROMISED)]
        data = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"backends": {}}
        for backend in given.backends:
            command = [sys.executable, __file__, "--inside", "--pairs", str(given.pairs), "--rules", *rules]
            environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
            data["backends"].setdefault(backend, {}).update(json.loads(output.splitlines()[-1]))
        data["cores"] = os.cpu_count()
        packages = {"keras": "Keras", **BACKENDS}
        data["versions"] = ", ".join(f"{shown} {importlib.metadata.version(name)}" for name, shown in packages.items())
        RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    write()


if __name__ == "__main__":
    main()
