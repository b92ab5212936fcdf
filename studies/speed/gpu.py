"""adamtune on a graphics card, with JAX: trials a second by lanes, beside the loop of Optuna at its best.

    pip install -e ".[jax-cuda]"              # on a machine with an NVIDIA GPU
    python studies/speed/gpu.py               # goes on where it was stopped; writes studies/speed/gpu
    python studies/speed/gpu.py --workloads digits cnn --lanes 256 512
    python studies/speed/gpu.py --cpu         # small, into a temporary folder, to see that it works without one

For each workload: a study of adamtune and one of Optuna of the same few trials, in turns; one of adamtune with many;
and one for each number of lanes, of twice as many trials as lanes. A number of lanes that does not fit into the card's
memory is said to have failed, with the reason.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

os.environ["KERAS_BACKEND"] = "jax"
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from reading import gaps, in_training, table, under  # noqa: E402
from results import Results  # noqa: E402

WORKLOADS = ("digits", "cnn", "wide", "transformer")
LANES = (32, 128, 256, 512, 1024)
BEST = {"steps_per_execution": "epoch", "jit_compile": "auto", "clear_session": False}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--lanes", nargs="*", type=int, default=LANES, help="numbers of lanes to try")
    parser.add_argument("--few", type=int, default=32, help="trials of adamtune and of Optuna alike")
    parser.add_argument("--many", type=int, default=1024, help="trials of adamtune alone")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="run small and without a GPU")
    parser.add_argument("--again", action="store_true", help="measure anew what is chosen")
    parser.add_argument("--out", type=Path, help="where the results are kept")
    options = parser.parse_args()
    where = device()
    if options.cpu:
        options.lanes, options.few, options.many, options.pairs = (2, 4), 3, 8, 1
    elif where.startswith("cpu"):
        sys.exit(
            "No GPU found: JAX computes on the CPU. On a machine with an NVIDIA GPU install jax[cuda12]; to see that"
            " this script works without one: python studies/speed/gpu.py --cpu"
        )
    options.out = options.out or (Path(tempfile.gettempdir(), "adamtune-speed-gpu") if options.cpu else HERE / "gpu")
    options.out.mkdir(parents=True, exist_ok=True)
    results = Results(options.out / "results.json", options.again, device=where)
    measure(results, options)
    (options.out / "results.md").write_text(text := tables(results.machine, results.runs), encoding="utf-8")
    print(text)


def device():
    """What JAX computes on, in words; asked elsewhere, because JAX takes most of a card's memory at once."""
    code = "import jax; first = jax.devices()[0]; print(f'{first.platform} ({first.device_kind})')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def measure(results, options):
    for name in options.workloads:
        size = {"workload": name, "quick": options.cpu}
        few, ours = size | {"trials": options.few}, {"sampler": "random"}
        for pair in range(options.pairs):
            arms = [("engine", "adamtune", ours), ("optuna", "optuna", BEST)]
            for arm, kind, extra in arms if pair % 2 == 0 else arms[::-1]:
                results.measure(f"few/{name}/{pair}/{arm}", kind, seed=pair, **few, **extra)
        # Twice as many trials as lanes, so that every lane is refilled once.
        sizes = {"auto": options.many} | {lanes: 2 * lanes for lanes in options.lanes}
        for lanes, trials in sizes.items():
            results.measure(
                f"lanes/{name}/{lanes}", "adamtune", may_fail=True, seed=0, lanes=lanes, trials=trials, **size, **ours
            )


def tables(machine, runs):
    """Everything as Markdown."""
    said = ", ".join(f"{key} {value}" for key, value in machine.items() if key != "device")
    lines = ["<!-- written by gpu.py -->", "", f"Measured on {machine['device']}; {said}."]
    for name in WORKLOADS:
        few = under(runs, "few", name)
        numbers = sorted({key.split("/")[0] for key in few})
        numbers = [n for n in numbers if f"{n}/engine" in few and f"{n}/optuna" in few]
        if not numbers:
            continue
        ours, theirs = ([few[f"{n}/{arm}"] for n in numbers] for arm in ("engine", "optuna"))
        ratios = [b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True)]
        each = median(itertools.chain.from_iterable(map(gaps, theirs)))
        first = ours[0]
        lines += [
            "",
            f"## {first['title']} ({first['data']})",
            "",
            f"{first['arguments']['trials']} trials of {first['epochs']} epochs: adamtune"
            f" {median(run['seconds'] for run in ours):.1f} s ({first['lanes']} lanes), Optuna + `model.fit` at its"
            f" best {median(run['seconds'] for run in theirs):.1f} s, **{median(ratios):.1f} times** as long"
            f" ({min(ratios):.1f} to {max(ratios):.1f} in {len(ratios)} pairs). After the first, a trial of Optuna's"
            f" takes {each:.2f} s (median); the last column sets that against a study of adamtune with so many lanes,"
            " which runs other numbers of trials.",
            "",
        ]
        rows = []
        for key, run in runs.items():
            if not key.startswith(f"lanes/{name}/"):
                continue
            lanes, trials = key.split("/")[2], run["arguments"]["trials"]
            if "failed" in run:
                rows.append((lanes, trials, f"`{run['failed']}`", "", "", ""))
                continue
            rate = trials / run["seconds"]
            label = f"{lanes} ({run['lanes']})" if lanes == "auto" else lanes
            shown = (f"{run['seconds']:.1f}", f"{rate:.1f}", f"{in_training(run):.1f}", f"{rate * each:.0f}")
            rows.append((label, trials, *shown))
        rows.sort(key=lambda row: (row[0].isdigit(), int(row[0]) if row[0].isdigit() else 0))
        heads = ["lanes", "trials", "seconds", "trials a second", "in training alone", "times as fast as Optuna"]
        lines += table(heads, rows)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
