"""Writes the results in README.md and the pictures beside it, from corpus.npz and warm.json.

    python studies/defaults/report.py

Also the table of recommended defaults in the project's own README. Lists are learned from some tasks and judged on the
others, see `judging`.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import drawing
import judging
import numpy as np
import pruning
import warm
from judging import Corpus
from scipy import stats
from tasks import cases

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pages

from adamtune import OptimizerConfig
from adamtune.recommending import describing, portfolio

HERE = Path(__file__).resolve().parent
LENGTHS, TRIALS = (1, 3, 5), (5, 10, 20, 40, 60, 80, 120)
_TIE = 0.01


def main() -> None:
    best, last = judging.read("best"), judging.read("last")
    compared = five(best)
    sections = {
        "": head(best),
        "What a list is worth, judged by the best epoch": worth(best),
        "Family by family": families(best),
        "Five configs against the lists of others": against(best, compared),
        "What a prediction is worth": predictions(best),
        "A study that starts from it": warm_start(best),
        "Pruning by what curves did": pruned(),
        "What conditioning earns": ablation(best),
        "Judged by the last epoch": worth(last) + "\n" + ablation(last),
        "The list of an average task": listed(best),
    }
    text = "\n".join((f"### {title}\n\n" if title else "") + body for title, body in sections.items())
    pages.write(HERE / "README.md", text)
    pages.write(HERE.parents[1] / "README.md", by_kind(best), "defaults")
    drawing.critical_difference(compared, HERE / "critical_difference.png")
    drawing.by_length(best, lists_of(best), drawn(best), HERE / "lists.png")
    print(text)


def head(corpus: Corpus) -> str:
    return (
        f"{len(corpus.regret)} of {len(cases())} tasks on {len(set(corpus.of('data')))} data sets in"
        f" {len(set(corpus.of('family')))} families; {corpus.regret.shape[1]} candidates, two seeds each.\n"
    )


@functools.cache
def lists_of(corpus: Corpus) -> dict[str, np.ndarray]:
    """(tasks, length) regrets of our lists, by what was left out."""
    return {
        said: judging.least(corpus.regret, judging.lists(corpus, by, judging.ours(judging.shipped(corpus))))
        for by, said in judging.SPLITS.items()
    }


def drawn(corpus: Corpus) -> dict[int, np.ndarray]:
    """(tasks,) expected regrets of random search, by trials."""
    found = judging.random_search(corpus.regret[:, corpus.named("Adam, random search")], TRIALS)
    return {n: found[:, i] for i, n in enumerate(TRIALS)}


def worth(corpus: Corpus) -> str:
    default = corpus.regret[:, corpus.index(portfolio.DEFAULT)]
    columns = {"Keras' default Adam": default, "Adam(1e-2)": corpus.regret[:, _faster(corpus)]}
    for said, regret in lists_of(corpus).items():
        columns |= {f"{k} recommended, {said}": regret[:, k - 1] for k in LENGTHS}
    columns |= {f"random search, {n}": regret for n, regret in drawn(corpus).items()}
    lines = [
        "| | mean regret | 90 %, families drawn anew | median | worst tenth | below the default's | not worse |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, regret in columns.items():
        low, high = judging.bootstrap(corpus, regret)
        worst = np.mean(np.sort(regret)[-max(1, len(regret) // 10) :])
        less = "" if regret is default else f"{1 - regret.mean() / default.mean():.0%}"
        share = "" if regret is default else f"{np.mean(regret <= default + _TIE):.0%}"
        lines.append(
            f"| {name} | {regret.mean():.4f} | {low:.4f} .. {high:.4f} | {np.median(regret):.4f} | {worst:.3f} |"
            f" {less} | {share} |"
        )
    return "\n".join(lines) + "\n"


def families(corpus: Corpus) -> str:
    ours = lists_of(corpus)
    columns = {
        "default Adam": corpus.regret[:, corpus.index(portfolio.DEFAULT)],
        "Adam(1e-2)": corpus.regret[:, _faster(corpus)],
        **{f"first, {said}": regret[:, 0] for said, regret in ours.items()},
        **{f"five, {said}": regret[:, 4] for said, regret in ours.items()},
        "random search, 40": drawn(corpus)[40],
    }
    lines = [f"| family | tasks | {' | '.join(columns)} |", "|---|---:|" + "---:|" * len(columns)]
    family = corpus.of("family")
    for each in dict.fromkeys(family):
        here = family == each
        cells = " | ".join(f"{regret[here].mean():.4f}" for regret in columns.values())
        lines.append(f"| {each} | {here.sum()} | {cells} |")
    return "\n".join(lines) + "\n"


def five(corpus: Corpus) -> dict[str, np.ndarray]:
    """(tasks,) regrets of lists of five, ours with families left out, and of single defaults; ours first."""
    ours = lists_of(corpus)["family left out"]
    found = {"recommended": ours[:, 4]}
    for name, columns in judging.published(corpus).items():
        found[name] = corpus.regret[:, columns].min(axis=1)
    static = judging.least(corpus.regret, judging.lists(corpus, "family", judging.static, 5))
    found["static list"] = static[:, 4]
    found |= {f"default {name}": corpus.regret[:, column] for name, column in judging.defaults(corpus).items()}
    return found


def against(corpus: Corpus, compared: dict[str, np.ndarray]) -> str:
    ours = compared["recommended"]
    p = judging.holm(ours, {name: regret for name, regret in compared.items() if name != "recommended"})
    lines = ["| | mean regret | recommended is lower on | higher on | p, after Holm |", "|---|---:|---:|---:|---:|"]
    for name, regret in sorted(compared.items(), key=lambda each: each[1].mean()):
        tested = _p(p[name]) if name in p else ""
        cells = f"{np.mean(ours < regret - _TIE):.0%} | {np.mean(ours > regret + _TIE):.0%} | {tested}"
        lines.append(f"| {name} | {regret.mean():.4f} | {cells} |")
    return "\n".join(lines) + "\n\n![critical difference](critical_difference.png)\n"


def predictions(corpus: Corpus) -> str:
    lines = [
        "| | length | Spearman of predicted and realised gain | in the 90 % interval | 90 %, families drawn anew |",
        "|---|---:|---:|---:|---:|",
    ]
    for by, said in judging.SPLITS.items():
        found = judging.predicted(corpus, by, max(LENGTHS))
        for k in LENGTHS:
            rank = stats.spearmanr(found.gain[:, k - 1], found.realised[:, k - 1])[0]
            share, low, high = judging.coverage(corpus, found, k - 1)
            lines.append(f"| {said} | {k} | {rank:.2f} | {share:.0%} | {low:.0%} .. {high:.0%} |")
    return "\n".join(lines) + "\n"


def warm_start(corpus: Corpus) -> str:
    stored = json.loads(warm.RESULTS.read_text(encoding="utf-8")) if warm.RESULTS.exists() else None
    if stored is None or stored["tasks"] != list(map(str, corpus.of("name"))):
        return "Not measured on these tasks: run `python studies/defaults/warm.py`.\n"
    ways = {name: np.array(rows) for name, rows in stored["ways"].items()}
    nothing = ways["from nothing"]
    lines = [
        "| | regret after 5 trials | 10 | 20 | 30 | mean over 30 | lower than from nothing at 5, 10, 30 | p, Holm |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    names = [name for name in ways if name.startswith("warm")]
    p = judging.corrected(
        {
            (name, at): judging.lower(ways[name].mean(axis=1)[:, at - 1], nothing.mean(axis=1)[:, at - 1])
            for name in names
            for at in (5, 10, 30)
        }
    )
    for name, rows in ways.items():
        mean = rows.mean(axis=(0, 1))
        cells = " | ".join(f"{mean[at - 1]:.4f}" for at in (5, 10, 20, 30))
        lower = [np.mean(rows.mean(axis=1)[:, at - 1] < nothing.mean(axis=1)[:, at - 1]) for at in (5, 10, 30)]
        wins = ", ".join(f"{share:.0%}" for share in lower) if name != "from nothing" else ""
        tested = ", ".join(_p(p[name, at]) for at in (5, 10, 30)) if name in names else ""
        lines.append(f"| {name} | {cells} | {mean.mean():.4f} | {wins} | {tested} |")
    return "\n".join(lines) + "\n"


def pruned() -> str:
    lines = ["| | regret lost, mean | 9 of 10 below | epochs trained |", "|---|---:|---:|---:|"]
    for name, (lost, worst, spent) in pruning.judged(pruning.courses()).items():
        lines.append(f"| {name} | {lost:.4f} | {worst:.4f} | {spent:.0%} |")
    return "\n".join(lines) + "\n"


def ablation(corpus: Corpus) -> str:
    ways = {
        "static list, regrets as measured": judging.static,
        "static list, luck taken out": judging.ours(judging.unconditional),
        "weighted by features": judging.ours(judging.tuned),
    }
    lines = [
        "| | " + " | ".join(f"{k}, {said}" for said in judging.SPLITS.values() for k in LENGTHS) + " |",
        "|---|" + "---:|" * (len(LENGTHS) * len(judging.SPLITS)),
    ]
    for name, method in ways.items():
        cells = [
            f"{judging.least(corpus.regret, judging.lists(corpus, by, method, max(LENGTHS)))[:, k - 1].mean():.4f}"
            for by in judging.SPLITS
            for k in LENGTHS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    p = ", ".join(f"{name} {_p(value)}" for name, value in judging.gate(corpus).items())
    what = {
        judging.tuned: "so lists are weighted by features",
        judging.unconditional: "so the static list is shipped",
        judging.cautious: "so the static list is shipped, and the default first, which its own first does not beat",
    }
    return (
        "\n".join(lines)
        + f"""

p values that the first config, weighted by features and with families left out, is better than those of the static
list, the default and Adam(1e-2), after Holm: {p}; {what[judging.shipped(corpus)]}.
"""
    )


def listed(corpus: Corpus) -> str:
    columns = judging.ours(judging.unconditional)(corpus.evidence, corpus.described(0), 10)
    least = np.minimum.accumulate(corpus.regret[:, columns], axis=1)
    lines = ["| | config | source | mean regret of the list so far |", "|---:|---|---|---:|"]
    for rank, (index, so_far) in enumerate(zip(columns, corpus.evidence.share @ least, strict=True), 1):
        lines.append(f"| {rank} | `{corpus.evidence.configs[index]!r}` | {corpus.source[index]} | {so_far:.4f} |")
    return "\n".join(lines) + "\n"


def by_kind(corpus: Corpus) -> str:
    """The list, and what it gained on every kind of task when their data set was left out."""
    ours = lists_of(corpus)["data set left out"]
    default = corpus.regret[:, corpus.index(portfolio.DEFAULT)]
    kind, learned = corpus.of("kind"), judging.shipped(corpus)(corpus.evidence)
    lists = [
        portfolio.choose(learned, describing.of_words(learned, each), 5, {}) for each in dict.fromkeys(map(str, kind))
    ]
    assert len({tuple(each.config.found_with(None) for each in found) for found in lists}) == 1  # else a table each
    lines = [f"{rank}. `{each.config.found_with(None)!r}`" for rank, each in enumerate(lists[0], 1)]
    lines += [
        "",
        "| kind of task | tasks (data sets) | regret of default Adam | of the first | of the best of five |",
        "|---|---:|---:|---:|---:|",
    ]
    for each in describing.KINDS:
        here = kind == each
        if not here.any():
            continue
        lines.append(
            f"| {each} | {here.sum()} ({len(set(corpus.of('data')[here]))}) |"
            f" {default[here].mean():.3f} | {ours[here, 0].mean():.3f} | {ours[here, 4].mean():.3f} |"
        )
    return "\n".join(lines) + "\n"


def _faster(corpus: Corpus) -> int:
    return corpus.index(OptimizerConfig("adam", learning_rate=1e-2))


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


if __name__ == "__main__":
    main()
