"""results.json, and what is made of it: the figures and the tables of README.md.

python studies/adam_paper/report.py     # all of them again, nothing is trained
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pages

HERE = Path(__file__).resolve().parent


def folder(quick: bool) -> Path:
    """Where results go: here, or elsewhere where they are of a quick run."""
    if not quick:
        return HERE
    chosen = Path(tempfile.gettempdir()) / "adamtune-adam-paper-quick"
    chosen.mkdir(exist_ok=True)
    return chosen


def read(folder: Path) -> dict[str, Any]:
    """What has been measured so far, by experiment."""
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(folder: Path, name: str, found: dict[str, Any]) -> None:
    """Write what one experiment found, and with what; the other experiments stay."""
    import keras

    backend = keras.backend.backend()
    versions = {each: importlib.metadata.version(each) for each in ("adamtune", "keras", backend)}
    machine = {"cores": os.cpu_count(), "backend": backend, **versions}
    results = {**read(folder), name: {**found, "machine": machine}}
    lines = [f"{json.dumps(key)}: {json.dumps(results[key])}" for key in sorted(results)]
    (folder / "results.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def short(numbers: Any) -> Any:
    """Numbers with four digits, None for what diverged: lists of the same shape."""
    if np.ndim(numbers):
        return [short(each) for each in numbers]
    return float(f"{numbers:.4g}") if np.isfinite(numbers) else None


def sizes(task: Any) -> dict[str, int]:
    """How large a task is."""
    return {
        "rows": len(task.train[0]),
        "judges": len(task.judge[0]),
        "batch_size": task.batch_size,
        "epochs": task.epochs,
    }


def write(folder: Path) -> None:
    """The figures and the tables of everything that has been measured."""
    results = read(folder)
    figures = (("figure1", ("figure1_left", "figure1_right")), ("figure2", ("figure2",)))
    for name, panels in (*figures, ("figure3", ("figure3", "figure3_dropout"))):
        if any(panel in results for panel in panels):
            draw_curves([(TITLES[panel], results[panel]) for panel in panels if panel in results], folder, name)
    if "figure4" in results:
        draw_corrections(results["figure4"], folder)
    tables = [table_of_tuning(results), table_of_corrections(results), *tables_of_advice(results), machine(results)]
    pages.write(folder / "README.md", "\n\n".join(wrapped(each) for each in tables if each) + "\n")


def wrapped(text: str) -> str:
    """The same with sentences in lines of 120; tables and titles stay."""
    lines = (line if line.startswith(("|", "#")) else textwrap.fill(line, 120) for line in text.split("\n"))
    return "\n".join(lines)


TITLES = {
    "figure1_left": "MNIST, logistic regression",
    "figure1_right": "IMDB bags of words, logistic regression",
    "figure2": "MNIST, two layers of 1000 units, dropout",
    "figure3": "CIFAR-10, convolutions",
    "figure3_dropout": "CIFAR-10, convolutions, dropout",
}


# ------------------------------------------------------------------------------------------------ the figures


def draw_curves(panels: list[tuple[str, dict[str, Any]]], folder: Path, name: str) -> None:
    """Training loss against the epoch, as in the paper: the mean over the seeds, and from the least to the most."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 4), layout="constrained", squeeze=False)
    for axis, (title, found) in zip(axes[0], panels, strict=True):
        for arm in found["arms"]:
            curves = numbers(arm["train"])
            epochs = np.arange(1, curves.shape[1] + 1)
            optimizer, _, note = arm["label"].partition(", ")
            colour, style = COLOURS[optimizer], "--" if note else "-"
            label = f"{optimizer}, {note or 'rate'} {arm['config']['hypers']['learning_rate']:g}"
            axis.plot(epochs, curves.mean(axis=0), style, color=colour, label=label, linewidth=1.5)
            axis.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        axis.set(xlabel="epoch", ylabel="training loss", yscale="log")
        axis.set_title(title, fontsize=10)
        axis.legend(frameon=False, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        _plain_numbers(axis)
    figure.savefig(folder / f"{name}.png", dpi=110)
    plt.close(figure)


COLOURS = {
    "Adam": "#d55e00",
    "SGDNesterov": "#0072b2",
    "AdaGrad": "#009e73",
    "RMSProp": "#cc79a7",
    "AdaDelta": "#7f7f7f",
}


def draw_corrections(found: dict[str, Any], folder: Path) -> None:
    """Training loss against the rate, with and without the correction, a panel for each pair of betas."""
    plt = _pyplot()
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained", sharex=True, sharey=True)
    lowest = min(each["loss"][-1] for each in found["cells"] if each["loss"][-1] is not None)
    top = 1.3 * START  # what is above is as bad as not having learned
    for row, beta_1 in zip(axes, (0.0, 0.9), strict=True):
        for axis, beta_2 in zip(row, (0.99, 0.999, 0.9999), strict=True):
            for corrects, colour in ((True, COLOURS["Adam"]), (False, COLOURS["SGDNesterov"])):
                own = cells(found, beta_1=beta_1, beta_2=beta_2, bias_correction=corrects)
                rates = [each["learning_rate"] for each in own]
                for look, style in enumerate(("--", "-")):
                    losses = np.minimum(numbers([each["loss"][look] for each in own]), top)
                    label = f"{'with' if corrects else 'without'} correction, {found['looked_at'][look]} epochs"
                    axis.plot(rates, losses, style, color=colour, marker="o", markersize=3, label=label)
            axis.set(xscale="log", yscale="log", ylim=(0.97 * lowest, top))
            _plain_numbers(axis)
            axis.set_title(f"$\\beta_1$ = {beta_1:g}, $\\beta_2$ = {beta_2:g}", fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[1]:
        axis.set_xlabel("learning rate")
    for axis in axes[:, 0]:
        axis.set_ylabel("training loss")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(folder / "figure4.png", dpi=110)
    plt.close(figure)


START = float(np.log(2))  # cross-entropy of a pixel when the network says one half


def cells(found: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """The cells of the grid of figure 4 that have these values, by their rate."""
    own = [each for each in found["cells"] if all(each[name] == value for name, value in wanted.items())]
    return sorted(own, key=lambda each: each["learning_rate"])


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _plain_numbers(axis: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def numbers(given: Any) -> np.ndarray:
    """What `short` wrote: infinite where it diverged."""
    found = np.array(given, dtype=object)
    return np.where(found == None, np.inf, found).astype(float)  # noqa: E711


# ------------------------------------------------------------------------------------------------- the tables


def table_of_tuning(results: dict[str, Any]) -> str:
    """What each optimizer of the figures came to."""
    lines = [
        "| figure | rows, epochs | optimizer | rates tried | best rate | training loss | seeds | test loss |",
        "|---|---|---|---|---:|---:|---|---:|",
    ]
    for name, title in TITLES.items():
        found = results.get(name)
        for place, arm in enumerate(found["arms"] if found else ()):
            head = f"{title} | {found['rows']:,}, {found['epochs']}" if place == 0 else " | "
            rates, best = arm["rates"], arm["config"]["hypers"]["learning_rate"]
            edge = " (edge)" if best in (min(rates), max(rates)) else ""
            last = numbers(arm["train"])[:, -1]
            judge = numbers(arm["judge"])[:, -1].mean()
            lines.append(
                f"| {head} | {arm['label']} | {len(rates)}, {min(rates):g} to {max(rates):g} | {best:g}{edge} "
                f"| {last.mean():.4g} | {last.min():.4g} to {last.max():.4g} | {judge:.4g} |"
            )
    said = (
        "Training loss: mean over the last epoch as it was trained, with dropout and penalty where there are such, and "
        "over three seeds. Edge: the best rate is the first or the last of those tried."
    )
    return "### The optimizers of figures 1 to 3\n\n" + "\n".join(lines) + "\n\n" + said if len(lines) > 2 else ""


def table_of_corrections(results: dict[str, Any]) -> str:
    """The best loss over the rates for each pair of betas, with and without, and at how many rates it was worse."""
    found = results.get("figure4")
    if not found:
        return ""
    soon, late = found["looked_at"]
    lines = [
        f"| beta_1 | beta_2 | with, {soon} epochs | without | with, {late} epochs | without | rates at which the loss "
        f"without is at least 2 % larger, {soon} / {late} epochs | smaller |",
        "|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for beta_1 in (0.0, 0.9):
        for beta_2 in (0.99, 0.999, 0.9999):
            pair = [
                numbers([each["loss"] for each in cells(found, beta_1=beta_1, beta_2=beta_2, bias_correction=corrects)])
                for corrects in (True, False)
            ]
            rates = [each["learning_rate"] for each in cells(found, beta_1=beta_1, beta_2=beta_2, bias_correction=True)]
            with_, without = pair
            best = " | ".join(f"{each[:, look].min():.4f}" for look in (0, 1) for each in pair)

            def at(chosen: np.ndarray, rates: list[float] = rates) -> str:
                return " / ".join(
                    ", ".join(f"{rate:g}" for rate, yes in zip(rates, column, strict=True) if yes) or "none"
                    for column in chosen.T
                )

            with np.errstate(invalid="ignore"):  # where both diverged
                worse, better = without > 1.02 * with_, with_ > 1.02 * without
            lines.append(f"| {beta_1:g} | {beta_2:g} | {best} | {at(worse)} | {at(better)} |")
    said = (
        f"Smallest training loss over {len(rates)} learning rates from {min(rates):g} to {max(rates):g}; one seed; "
        f"{found['rows']:,} rows in batches of {found['batch_size']}."
    )
    return "### Bias correction, figure 4\n\n" + "\n".join(lines) + "\n\n" + said


ADVICE = "advice_"


def tables_of_advice(results: dict[str, Any]) -> list[str]:
    """Ratios of test losses, of everything tuned to tuned Adam and of everything untuned to default Adam."""
    found = {name.removeprefix(ADVICE): each for name, each in results.items() if name.startswith(ADVICE)}
    if not found:
        return []
    one = next(iter(found.values()))
    told = (
        f"Ratios of test losses: geometric mean over {one['seeds']} seeds and its 95 % interval (Student's t on the "
        "logarithms, in pairs). Less than 1 is better than Adam; bold where the interval leaves out 1, and in how many "
        "tasks it does on either side. Of forty such intervals one leaves out 1 on a given side by chance."
    )
    return [
        f"### Advice, each at its own tuned rate, beside tuned Adam\n\n{told}\n\n{ratios(found, 'tuned')}",
        f"### Advice at the rate it comes with, beside Keras' default Adam\n\n{ratios(found, 'fixed')}",
        f"### Rates\n\n{table_of_rates(found)}",
        "### Rates of the grid, half a decade apart, whose loss is within 10 % of the best\n\n"
        + table_of_widths(found),
    ]


def ratios(found: dict[str, Any], kind: str) -> str:
    """A row a piece of advice, a column a task."""
    names = list(found)
    lines = ["| | " + " | ".join(names) + " | better, worse |", "|---|" + "---:|" * (len(names) + 1)]
    of = {name: {each["label"]: numbers(each["test"]) for each in found[name][kind]} for name in names}
    for label in of[names[0]]:
        if label == "Adam":
            continue
        logs = [np.log(of[name][label] / of[name]["Adam"]) for name in names]
        clear = [sign(own) for own in logs]
        told = f"{clear.count(-1)}, {clear.count(1)}"
        lines.append(f"| {label} | " + " | ".join(map(interval, logs)) + f" | {told} |")
    return "\n".join(lines)


def interval(logs: np.ndarray) -> str:
    """The mean of logarithms as a ratio, with its 95 % interval."""
    if not np.isfinite(logs).all():
        return f"{(~np.isfinite(logs)).sum()} of {len(logs)} diverged"
    low, mean, high = np.exp(bounds(logs))
    mark = "**" if sign(logs) else ""
    return f"{mark}{mean:.3g}{mark} ({low:.3g} to {high:.3g})"


def sign(logs: np.ndarray) -> int:
    """-1 or 1 where the interval of the mean is all below or all above 0, or a run diverged; else 0."""
    if not np.isfinite(logs).all():
        return 1
    low, _, high = bounds(logs)
    return int(low > 0) - int(high < 0)


def bounds(values: np.ndarray) -> np.ndarray:
    """The 95 % interval of the mean by Student's t: its lower end, the mean, its upper end."""
    from scipy import stats

    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return values.mean() + np.array([-half, 0, half])


def table_of_rates(found: dict[str, Any]) -> str:
    """Which rates were best, and what the very large and the very small one do to the first epoch."""
    lines = [
        "| task | rows, batch, epochs | best rate of Adam | default Adam / tuned Adam, test loss "
        "| training loss of the first epoch, rate 1e-5 | 1e-3 | 0.3 | best rate at the edge of its grid |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, each in found.items():
        tuned = {arm["label"]: arm for arm in each["tuned"]}
        fixed = {arm["label"]: arm for arm in each["fixed"]}
        first = [numbers(fixed[label]["first_epoch"]).mean() for label in ("rate 1e-5", "Adam", "rate 0.3")]
        default = np.log(numbers(fixed["Adam"]["test"]) / numbers(tuned["Adam"]["test"]))
        edge = [arm["label"] for arm in each["tuned"] if arm["rate"] in (min(arm["rates"]), max(arm["rates"]))]
        lines.append(
            f"| {name} | {each['rows']:,}, {each['batch_size']}, {each['epochs']} | {tuned['Adam']['rate']:g} "
            f"| {interval(default)} | {' | '.join(f'{loss:.3g}' for loss in first)} | {', '.join(edge) or 'none'} |"
        )
    return "\n".join(lines)


def table_of_widths(found: dict[str, Any]) -> str:
    """How many rates do about as well as the best one, by the rows that choose."""
    lines = ["| | " + " | ".join(found) + " | all tasks |", "|---|" + "---:|" * (len(found) + 1)]
    for label in WIDTHS:
        near = []
        for each in found.values():
            (losses,) = (numbers(arm["losses"]) for arm in each["tuned"] if arm["label"] == label)
            near.append(int((losses <= 1.1 * losses.min()).sum()))
        lines.append(f"| {label} | {' | '.join(map(str, near))} | {sum(near)} |")
    return "\n".join(lines)


WIDTHS = (
    "Adam",
    "epsilon 0.1",
    "epsilon 1",
    "Nadam, psi 0.004",
    "Nadam, psi 1",
    "RMSprop",
    "SGD, Nesterov 0.9",
    "Adagrad",
)


def machine(results: dict[str, Any]) -> str:
    """On what it was measured, and for how long."""
    parts = [f"{name} {each['seconds']} s ({each['machine']['backend']})" for name, each in results.items()]
    known = {key: value for each in results.values() for key, value in each["machine"].items()}
    versions = ", ".join(f"{name} {known[name]}" for name in ("keras", "jax", "tensorflow") if name in known)
    return f"Measured on {known.get('cores')} cores shared with other work; {versions}. Took: {', '.join(parts)}."


if __name__ == "__main__":
    write(HERE)
