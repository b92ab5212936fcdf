"""adamtune at real size: a dense Keras network on the 60,000 images of MNIST, tuned to the end.

    ADAMTUNE_DATA=../shared/data python studies/mnist/mnist.py
    ADAMTUNE_DATA=../shared/data python studies/mnist/mnist.py --quick     # 6,000 images, few trials

ADAMTUNE_DATA names a folder with a `load.py` whose `load("mnist")` returns images (uint8), labels and a mapping whose
`n_train` says how many of the first rows are the training part.

adamtune sees the training images only. Then the tuned config and Keras' default Adam each train the same network on all
training images for as many epochs, from the same initial weights and with the same order of rows for each seed, and
both are judged on the 10,000 test images, once.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import data_sets
import pages

from adamtune import AdamTunerClassifier, OptimizerConfig

HERE = Path(__file__).parent
MEGABYTE = 1024 * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="training images to use; default: all")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3, help="of the final trainings")
    parser.add_argument("--quick", action="store_true", help="few of everything, into a temporary folder")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json, README.md and memory.png go")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.trials, options.epochs = options.rows or 6000, 16, 4
        options.out = Path(tempfile.gettempdir()) / "adamtune-mnist-quick" if options.out == HERE else options.out
    options.out.mkdir(parents=True, exist_ok=True)
    x, y, x_test, y_test = images(options.rows)

    memory = Memory()
    with tempfile.TemporaryDirectory() as folder, memory:
        memory.phase("tuning")
        began = time.monotonic()
        tuner = AdamTunerClassifier(
            model=network,
            n_trials=options.trials,
            epochs=options.epochs,
            batch_size=128,
            pruner="asha",
            storage=f"sqlite:///{folder}/study.db",
            study_name="mnist",
            refit=False,
            random_state=0,
            verbose=0,
        ).fit(x, y)
        tuning = time.monotonic() - began
        finals = []
        for seed in range(options.seeds):
            for name, config in (("tuned", tuner.best_config_), ("default", OptimizerConfig("adam"))):
                memory.phase(f"final training {len(finals) + 1}")
                finals.append(
                    {"config": name, "seed": seed, **final(config, seed, x, y, x_test, y_test, options.epochs)}
                )
    result = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "keras": keras.__version__},
        "rows": len(x),
        "test_rows": len(x_test),
        "trials": options.trials,
        "epochs": options.epochs,
        "plan": str(tuner.plan_),
        "programs": tuner.n_programs_,
        "tuning_seconds": tuning,
        "epochs_trained": int(tuner.trials_["epochs"].sum()),
        "states": tuner.trials_["state"].value_counts().to_dict(),
        "config": tuner.best_config_.to_code(),
        "validation_loss": tuner.best_score_,
        "data_megabytes": x.nbytes / MEGABYTE,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "memory": memory.summary(),
        "finals": finals,
    }
    (options.out / "results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    pages.write(options.out / "README.md", text := table(result))
    memory.plot(options.out / "memory.png")
    print(text)


def images(rows):
    """Training images and labels (the first `rows`, or all), then the test images and labels."""
    x, y, meta = data_sets.needed("mnist")
    end = meta["n_train"]
    return x[:end][:rows], y[:end][:rows], x[end:], y[end:]


def network(X=None, y=None):
    return keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ]
    )


def final(config, seed, x, y, x_test, y_test, epochs):
    """Plain Keras: train on all training rows, judge on the test rows."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = network()
    model.compile(
        optimizer=config.to_keras(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    began = time.monotonic()
    model.fit(x, y, epochs=epochs, batch_size=128, verbose=0)
    seconds = time.monotonic() - began
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0)
    return {"seconds": seconds, "loss": loss, "accuracy": accuracy}


class Memory:
    """The process' resident memory, looked at twice a second from a thread."""

    def __init__(self, every=0.5):
        self.every = every
        self.samples = []
        self.phases = []
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def phase(self, name):
        self.phases.append((time.monotonic() - self._began, name))

    def _watch(self):
        page = resource.getpagesize()
        while not self._over.wait(self.every):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
            self.samples.append((time.monotonic() - self._began, resident / MEGABYTE))

    def summary(self):
        """Megabytes at the start, after each fifth of the tuning, and at most while tuning and after."""
        end = self.phases[1][0] if len(self.phases) > 1 else self.samples[-1][0]
        tuning = [used for at, used in self.samples if at < end]
        after = [used for at, used in self.samples if at >= end]
        fifths = [tuning[round(k * (len(tuning) - 1) / 5)] for k in range(6)]
        return {"fifths_of_tuning": fifths, "peak_tuning": max(tuning), "peak_after": max(after, default=None)}

    def plot(self, path):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
        seconds, used = zip(*self.samples, strict=True)
        axes.plot(seconds, used, color="#0072b2")
        for at, name in self.phases[:2]:
            axes.axvline(at, color="0.7", lw=0.8)
            axes.annotate(name.replace(" 1", "s"), (at, 0), xytext=(4, 4), textcoords="offset points", color="0.4")
        axes.set(xlabel="seconds", ylabel="resident memory, MB", ylim=(0, 1.1 * max(used)))
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def table(r):
    """The results as Markdown."""
    states = ", ".join(f"{count} {state}" for state, count in r["states"].items())
    fifths = ", ".join(f"{used:.0f}" for used in r["memory"]["fifths_of_tuning"])
    lines = [
        f"{r['rows']:,} training images, {r['trials']} trials of up to {r['epochs']} epochs, batch 128, ASHA;"
        f" {r['plan']}.",
        "",
        "| tuning | |",
        "|---|---:|",
        f"| seconds, compiling and confirming included | {r['tuning_seconds']:.0f} |",
        f"| trials | {states} |",
        f"| epochs trained by the trials | {r['epochs_trained']} |",
        f"| compiled programs | {r['programs']} |",
        f"| peak resident memory while tuning | {r['memory']['peak_tuning']:.0f} MB |",
        f"| of it the images | {r['data_megabytes']:.0f} MB |",
        f"| resident memory at the start and after each fifth | {fifths} MB |",
        f"| found | `{r['config']}` |",
        "",
        f"Test accuracy on {r['test_rows']:,} images after {r['epochs']} epochs on all {r['rows']:,} training images:",
        "",
        "| optimizer | "
        + " | ".join(f"seed {s}" for s in sorted({f["seed"] for f in r["finals"]}))
        + " | mean ± deviation"
        " | test loss, mean | seconds a training |",
        "|---|" + "---:|" * (len({f["seed"] for f in r["finals"]}) + 3),
    ]
    for name in ("tuned", "default"):
        runs = [run for run in r["finals"] if run["config"] == name]
        each = [100 * run["accuracy"] for run in runs]
        spread = f" ± {stdev(each):.2f}" if len(each) > 1 else ""
        lines.append(
            f"| {'tuned by adamtune' if name == 'tuned' else 'Adam, Keras defaults'} | "
            + " | ".join(f"{a:.2f} %" for a in each)
            + f" | {mean(each):.2f}{spread} % | {mean(run['loss'] for run in runs):.4f}"
            + f" | {mean(run['seconds'] for run in runs):.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
