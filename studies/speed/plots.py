"""The pictures of what `speed.py` measured."""

import json
from statistics import median

import matplotlib
import reading

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator

# Okabe & Ito 2008: colours that those who see few of them can tell apart.
_COLOURS = {
    "optuna": "#d55e00",
    "usual": "#e69f00",
    "kerastuner": "#009e73",
    "scikeras": "#cc79a7",
    "wrapper": "#56b4e9",
    "halving": "#000000",
}
_OURS = "#0072b2"
_BACKENDS = {"tensorflow": ("TensorFlow", _OURS, "o"), "jax": ("JAX", "#d55e00", "s")}


def speed(runs, path):
    """How many times as long as adamtune each peer took, and what a study's seconds are spent on."""
    names = [name for name in reading.workloads(runs) if any(reading.ratios(runs, name, arm)[0] for arm in _COLOURS)]
    if not names:
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[3, 2], layout="constrained")
    for place, arm in enumerate(_COLOURS):
        for row, name in enumerate(names):
            found, scaled = reading.ratios(runs, name, arm)
            if found:
                y = row + (place - 2.5) / 8
                left.plot([min(found), max(found)], [y, y], color=_COLOURS[arm], lw=1.5)
                left.plot(median(found), y, "o", color=_COLOURS[arm], ms=5, mfc="white" if scaled else None)
        left.plot([], [], "o", color=_COLOURS[arm], ms=5, label=reading.NAMES[arm].replace("`", ""))
    left.axvline(1, color=_OURS, lw=1.5)
    labels = [f"{name.removesuffix('-1000')}\n{reading.trials_of(runs, name)} trials" for name in names]
    left.set_yticks(range(len(names)), labels)
    left.set(xscale="log", xlabel="times as long as adamtune (line: smallest to largest; open: scaled up)")
    left.invert_yaxis()
    left.xaxis.set_major_locator(FixedLocator([0.5, 1, 2, 5, 10, 20, 50, 100, 200]))
    left.xaxis.set_minor_locator(NullLocator())
    left.xaxis.set_major_formatter("{x:g}")
    left.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    studies = {name: reading.under(runs, "speed", name) for name in ("digits", "digits-1000")}
    studies = {name: [r for key, r in found.items() if key.endswith("/engine")] for name, found in studies.items()}
    shares = {name: reading.shares(found) for name, found in studies.items() if found}
    order = list(dict.fromkeys(part for parts in shares.values() for part in parts))
    for name, offset, colour in (("digits", -0.2, _OURS), ("digits-1000", 0.2, "#56b4e9")):
        if name in shares:
            total, of_it = sum(shares[name].values()), [shares[name].get(part, 0.0) for part in order]
            label = f"{reading.trials_of(runs, name)} trials"
            places = [i + offset for i in range(len(order))]
            right.barh(places, [100 * s / total for s in of_it], 0.38, color=colour, label=label)
    right.set_yticks(range(len(order)), order)
    right.invert_yaxis()
    right.set(xlabel="% of adamtune's seconds, digits")
    right.legend(frameon=False, loc="lower right")
    _finish(figure, (left, right), path)


def lanes(out, home):
    """Trials a second against lanes and against trials, for each backend that has results."""
    folders = {"tensorflow": home, "jax": home / "jax"}
    if out not in folders.values():  # a quick run elsewhere
        folders = {"jax" if out.name.endswith("jax") else "tensorflow": out}
    stored = {name: folder / "results.json" for name, folder in folders.items()}
    runs = {name: json.loads(path.read_text())["runs"] for name, path in stored.items() if path.exists()}
    labels = {"lanes": "lanes", "growth": "trials of the study"}
    parts = [part for part in labels if any(reading.under(found, part) for found in runs.values())]
    if not parts:
        return
    figure, axes = plt.subplots(1, len(parts), figsize=(5 * len(parts), 3.6), layout="constrained", squeeze=False)
    axes = axes[0]
    for axis, part in zip(axes, parts, strict=True):
        numbers = set()
        for backend, found in runs.items():
            title, colour, marker = _BACKENDS[backend]
            rates = {}
            for key, run in reading.under(found, part).items():
                rates.setdefault(int(key.split("/")[0]), []).append(run)
            if not rates:
                continue
            numbers |= set(rates)
            xs = sorted(rates)
            whole = [median(r["arguments"]["trials"] / r["seconds"] for r in rates[x]) for x in xs]
            axis.plot(xs, whole, marker=marker, ms=5, color=colour, label=f"{title}, the whole study")
            alone = [median(map(reading.in_training, rates[x])) for x in xs]
            axis.plot(
                xs, alone, marker=marker, ms=4, mfc="white", color=colour, ls=":", label=f"{title}, training alone"
            )
        axis.set(xscale="log", xlabel=labels[part], ylabel="trials a second")
        axis.xaxis.set_major_locator(FixedLocator(sorted(numbers)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize="small")
    _finish(figure, axes, (home if out in folders.values() and out.parent == home else out) / "lanes.png")


def _finish(figure, axes, path):
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
