"""The pictures: which lists differ for certain, and regret by the length of the list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from judging import Corpus, bootstrap
from scipy import stats


def critical_difference(compared: Mapping[str, np.ndarray], path: Path) -> None:
    """Mean ranks over tasks; those that a bar joins do not differ (Nemenyi's test at 5 %, Demsar 2006, JMLR 7)."""
    names = list(compared)
    ranks = np.mean([stats.rankdata(np.round(row, 6)) for row in np.transpose(list(compared.values()))], axis=0)
    n_tasks, n = len(next(iter(compared.values()))), len(names)
    q = stats.studentized_range.ppf(0.95, n, np.inf) / np.sqrt(2)
    difference = q * np.sqrt(n * (n + 1) / (6 * n_tasks))
    order = np.argsort(ranks)
    figure, axes = plt.subplots(figsize=(8, 0.2 * n + 1))
    for row, index in enumerate(order):
        ours = names[index] == "recommended"
        axes.plot(ranks[index], -row, "o", color="#b3261e" if ours else "#30343b")
        label = f"{names[index]}  {ranks[index]:.1f}"
        axes.annotate(label, (ranks[index], -row), (7, 0), textcoords="offset points", va="center", fontsize=8)
    best = ranks[order[0]]
    axes.axvspan(best, best + difference, color="#b3261e", alpha=0.08, lw=0)
    axes.set_xlabel(
        f"mean rank over {n_tasks} tasks; the shade is as wide as the critical difference ({difference:.1f})"
    )
    axes.set_yticks([])
    axes.set_xlim(1, max(ranks) + n / 5)
    axes.set_ylim(-n, 1)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def by_length(corpus: Corpus, lists: Mapping[str, np.ndarray], drawn: Mapping[int, np.ndarray], path: Path) -> None:
    """Mean regret of the best of the first k configs, beside random search."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for (said, regret), color in zip(lists.items(), ("#1a56a0", "#b3261e"), strict=True):
        length = np.arange(1, regret.shape[1] + 1)
        bands = np.array([bootstrap(corpus, regret[:, k]) for k in range(regret.shape[1])])
        axes.plot(length, regret.mean(axis=0), "o-", color=color, label=f"recommended, {said}")
        axes.fill_between(length, bands[:, 0], bands[:, 1], color=color, alpha=0.12, lw=0)
    axes.plot(list(drawn), [each.mean() for each in drawn.values()], "s--", color="#30343b", label="random search")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 40, 80, 120], ["1", "2", "5", "10", "20", "40", "80", "120"])
    axes.set_xlabel("trials")
    axes.set_ylabel("mean regret of the best so far")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
