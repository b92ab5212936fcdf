"""Writes the results in README.md, from corpus.npz.

    python studies/defaults/report.py

The lists are learned from some tasks and judged on the others, see `regrets`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from regrets import Corpus, greedy, held_out, random_search, read, weights_of
from tasks import cases

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pages

from adamtune import OptimizerConfig

HERE = Path(__file__).resolve().parent
LENGTHS, TRIALS = (1, 3, 5), (5, 10, 20, 40, 80, 120)


def main() -> None:
    last, best = read("last"), read("best")
    of_all = len(cases())
    text = (
        f"Trained so far: {len(last.tasks)} of {of_all} tasks, on {len(set(last.of('data_set')))} data sets;"
        f" {len(last.candidates)} candidates, two seeds each.\n\n### Judged by the last epoch\n\n{page(last)}"
        f"\n### Judged by the best epoch, which `patience` keeps\n\n{page(best)}"
    )
    pages.write(HERE / "README.md", text)
    print(text)


def page(corpus: Corpus) -> str:
    """The tables."""
    adam = corpus.index(OptimizerConfig("adam"))
    faster = corpus.index(OptimizerConfig("adam", learning_rate=1e-2))
    columns = {
        "Keras' default Adam": corpus.regret[:, adam],
        "Adam(1e-2)": corpus.regret[:, faster],
    }
    for by, said in (("data_set", "data set"), ("family", "family")):
        lists = held_out(corpus, by, max(LENGTHS))
        columns |= {f"{k} of a list, {said} left out": lists[:, k - 1] for k in LENGTHS}
    drawn = random_search(corpus.regret[:, corpus.named("Adam, random search")], TRIALS)
    columns |= {f"random search, {n}": drawn[:, i] for i, n in enumerate(TRIALS)}
    lines = [
        "| | mean regret | median | worst tenth | within 0.01 of default Adam or better |",
        "|---|---:|---:|---:|---:|",
    ]
    default = corpus.regret[:, adam]
    for name, regret in columns.items():
        worst = np.mean(np.sort(regret)[-max(1, len(regret) // 10) :])
        share = "" if regret is default else f"{np.mean(regret <= default + 0.01):.0%}"
        lines.append(f"| {name} | {regret.mean():.4f} | {np.median(regret):.4f} | {worst:.3f} | {share} |")
    lines += ["", "Mean regret, family by family:", ""]
    names = [
        "Keras' default Adam",
        "Adam(1e-2)",
        "1 of a list, data set left out",
        "1 of a list, family left out",
        "random search, 40",
    ]
    lines += [f"| family | tasks | {' | '.join(names)} |", "|---|---:|" + "---:|" * len(names)]
    family = corpus.of("family")
    for each in dict.fromkeys(family):
        here = family == each
        cells = " | ".join(f"{columns[name][here].mean():.4f}" for name in names)
        lines.append(f"| {each} | {here.sum()} | {cells} |")
    lines += ["", "The list that is learned from all of them, each data set counting once:", ""]
    listed = greedy(corpus.regret, weights_of(corpus.of("data_set")), 10)
    least = np.minimum.accumulate(corpus.regret[:, listed], axis=1).mean(axis=0)
    lines += ["| | config | source | mean regret of the list so far |", "|---:|---|---|---:|"]
    for rank, (index, so_far) in enumerate(zip(listed, least, strict=True), 1):
        each = corpus.candidates[index]
        lines.append(f"| {rank} | `{each.config!r}` | {each.source} | {so_far:.4f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
