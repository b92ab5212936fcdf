"""Is a lane a plain Keras run? Tries what Keras users bring and writes docs/equivalence.md.

    python studies/equivalence/equivalence.py            # both backends, about ten minutes on one core
    python studies/equivalence/equivalence.py --write    # the page alone, from results.json

Each case of tests/engine/cases.py is trained in lanes and by `model.fit`, and the largest relative difference between
the two is kept. A backend is chosen when Keras is imported, so each has a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS, PAGE = HERE / "results.json", ROOT / "docs" / "equivalence.md"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}
STRATEGIES = ("stacked", "looped")
COLUMNS = [(backend, strategy) for backend in BACKENDS for strategy in STRATEGIES]

_HEAD = """# A lane is a plain Keras run

adamtune trains many configs at once in the lanes of one compiled program. A lane must be the training that
`model.compile(optimizer=config.to_keras())` and `model.fit` would have done: the same batches in the same order, the
same initial weights and dropout masks, a last batch that is shorter than the others. These tables say how far the two
are apart, for what a Keras model can hold and for what an optimizer can do.

A cell is the largest relative difference found over {ticks} epochs of 6 batches, in the training loss, the validation
loss, the metric, every weight and every moving statistic (of a weight: relative to its largest element). All but the
rows that name another precision, RandomRotation and SimpleRNN (which Keras runs in float32 only) is computed in
float64, where rounding is 1e-16; 0 means equal to the last bit. The lane that is compared was taken over by another
config halfway; where a row names a config, every one of that group is compared, all lanes of one program.

*Stacked* lanes go through each operation together; *looped* ones go through it one after the other, as convolutions do
on a CPU. "looped: ..." in a stacked column means that the backend has no stacked form of that operation, so such a
model is looped. "one by one: ..." means that lanes refuse it: each config is then trained by `model.fit` itself.

Made with {versions} on a CPU by `python studies/equivalence/equivalence.py`; run that to make it anew. The models, the
configs and the tolerances stand in `tests/engine/cases.py`, and the tests hold lanes to them.
"""

_TAIL = """
## What to know

- **Half precision.** In mixed_bfloat16 and mixed_float16 two orders of adding up the same numbers differ by about 4e-3
  and 5e-4 of them, which is what stacked cells show. The dynamic scale of the loss is Keras' own, lane by lane: it
  starts at 2^15, halves at an overflow, whose step is skipped, and doubles after 2,000 good steps. Where a gradient is
  at the edge of float16, rounding decides whether a step is skipped, and two runs part there.
- **Means on JAX.** `keras.ops.mean` computes in float32 there in a float64 model too, so layers that take means
  (normalisation, average pooling) differ by the rounding of float32.
- **Keras' own optimizer classes** take through float32 what is given as a Python number: their betas, the 0.96 of
  Nadam, their schedules. The last columns compare with them, with betas that float32 holds exactly. The other columns
  compare with our classes of the same equations, which compute in the model's precision.
- **Losses that are no mean over rows.** A validation loss is the mean over rows, block by block. A loss of one's own
  such as the square of a mean depends on how many rows are judged at once, in Keras (`validation_batch_size`) as here.
- **Moving averages of the weights** (`use_ema`) replace the weights when a training ends; until then the raw weights
  are judged, in Keras as in lanes.
- **XLA.** On TensorFlow the plain runs were compiled without XLA, on JAX with little optimization, for the sake of
  time. Where both were tried as they are by default, the differences were of the same size.
"""


def measure(path: str) -> None:
    """Every case in the backend that KERAS_BACKEND names; by table, case and strategy what was found."""
    sys.path.insert(0, str(ROOT))
    from tests.engine import cases, equality

    def tried(measured, strategy):
        try:
            return measured.differences(strategy)
        except equality.Refused as refused:
            return str(refused)

    kept = pathlib.Path(path)  # what an earlier run has found is not tried again
    found: dict = json.loads(kept.read_text()) if kept.exists() else {"layers": {}, "options": {}}
    found["ticks"] = equality.TICKS
    for table, members in (("options", cases.OPTIONS), ("layers", cases.LAYERS)):
        for case in members:
            if case.name in found[table]:
                continue
            measured = equality.Measured(case)
            row = {strategy: tried(measured, strategy) for strategy in STRATEGIES}
            if case.builtin:
                row["builtin"] = tried(equality.Measured(case, "always"), "looped")
            found[table][case.name] = row
            print(os.environ["KERAS_BACKEND"], case.name, row, flush=True)
            kept.write_text(json.dumps(found))


def run() -> None:
    """Measure both backends and keep what was found."""
    results = {}
    for backend in BACKENDS:
        part = HERE / f"{backend}.json"
        subprocess.run(
            [sys.executable, __file__, "--measure", str(part)],
            # Hundreds of small programs are compiled, each run for a second.
            env={**os.environ, "KERAS_BACKEND": backend, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
            check=True,
        )
        results[backend] = json.loads(part.read_text())
        part.unlink()
    versions = {name: importlib.metadata.version(name) for name in ("keras", *BACKENDS)}
    RESULTS.write_text(json.dumps({"versions": versions, **results}, indent=1) + "\n")


def page(results: dict) -> str:
    """The page in Markdown."""
    names = {"keras": "Keras", **BACKENDS}
    versions = ", ".join(f"{names[name]} {version}" for name, version in results["versions"].items())
    text = _HEAD.format(ticks=results["tensorflow"]["ticks"], versions=versions)
    text += "\n## Layers and models\n\n" + _layers({b: results[b]["layers"] for b in BACKENDS})
    text += "\n## Optimizers and their options\n\n" + _options({b: results[b]["options"] for b in BACKENDS})
    return text + _TAIL


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def _titles() -> list[str]:
    return [f"{BACKENDS[backend]}, {strategy}" for backend, strategy in COLUMNS]


def _layers(results: dict) -> str:
    return _table(
        ["model with", *_titles()],
        [[name, *(_cell(results[b][name][s]) for b, s in COLUMNS)] for name in results["tensorflow"]],
    )


def _options(results: dict) -> str:
    rows = []
    for name, row in results["tensorflow"].items():
        labels = next((list(cell) for cell in row.values() if isinstance(cell, dict)), [""])
        for label in labels:
            cells = [_cell(results[b][name][s], label) for b, s in COLUMNS]
            cells += [_cell(results[b][name].get("builtin", "not compared"), label) for b in BACKENDS]
            rows.append([f"{name}: {label}" if label else name, *cells])
    return _table(["config", *_titles(), *(f"Keras' own class, {title}" for title in BACKENDS.values())], rows)


def _cell(found: dict | str, label: str | None = None) -> str:
    if isinstance(found, str):
        return f"looped: {found}" if "cannot stack" in found else found
    if label is not None and label not in found:
        return "Keras has none"
    number = max(found.values()) if label is None else found[label]
    return "0" if number == 0 else f"{number:.0e}".replace("e-0", "e-")


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure(sys.argv[-1])
    else:
        if "--write" not in sys.argv:
            run()
        PAGE.write_text(page(json.loads(RESULTS.read_text())))
