"""Judging lists of configs on tasks that they were not learned from.

Everything that is learned (which configs, in which order, the weights of sources, how far predictions are off) is
learned again for each task that is left out, from the others:

    data_set   no task on the same data set was seen
    family     nor any of the same family, nor any on a data set that the family has tasks on
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import entries
import numpy as np
from candidates import candidates
from scipy import stats
from scipy.special import gammaln

from adamtune import OptimizerConfig, presets
from adamtune.recommending import portfolio, store
from adamtune.recommending.describing import Description
from adamtune.recommending.evidence import STATIC, Evidence, greedy

SPLITS = {"data_set": "data set left out", "family": "family left out"}
LONGEST = 10
# Penalties of the regression, in tasks, and standard errors ahead of the default, to choose from: 1.28 are 90 %.
PENALTIES, CONFIDENCES = (20.0, 200.0), (0.0, 1.28)
SURE, _CERTAIN = 0.9, 0.05
_NEVER = 1e9  # standard errors that nothing is ahead of the default by
# What a list is for one task: columns of the evidence, in their order.
Method = Callable[[Evidence, Description, int], Sequence[int]]
Way = Callable[[Evidence], Evidence]
Key = TypeVar("Key")


@dataclass(frozen=True, eq=False)
class Corpus:
    """All tasks, as evidence.

    Parameters
    ----------
    evidence : Evidence
    source : tuple of str
        Why each config was tried.
    """

    evidence: Evidence
    source: tuple[str, ...]

    @property
    def regret(self) -> np.ndarray:
        """(tasks, configs), as measured."""
        return self.evidence.regret

    def of(self, key: str) -> np.ndarray:
        """That word about every task: name, kind, family or data."""
        return np.array([getattr(each, key) for each in self.evidence.sources])

    def named(self, source: str) -> list[int]:
        """The configs of that source, in their order."""
        return [index for index, each in enumerate(self.source) if each == source]

    def index(self, config: OptimizerConfig) -> int:
        """Where that config stands."""
        return self.evidence.configs.index(config.found_with(None))

    def described(self, task: int) -> Description:
        """A task as a user would bring it: not known to the store."""
        source = self.evidence.sources[task]
        return Description(source.kind, source.features)


def read(epoch: str = "best") -> Corpus:
    """The table as a corpus, judged by the best or the last epoch."""
    return Corpus(store.evidence(entries.read(), epoch), tuple(each.source for each in candidates()))


def left_out(corpus: Corpus, by: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(tasks that are judged, tasks that may be learned from), as masks, group after group."""
    data, group = corpus.of("data"), corpus.of("data" if by == "data_set" else by)
    for each in dict.fromkeys(group):
        judged = group == each
        yield judged, ~np.isin(data, data[judged])


def lists(corpus: Corpus, by: str, method: Method, length: int = LONGEST) -> np.ndarray:
    """(tasks, length): the list for each task, learned without it."""
    found = np.empty((len(corpus.regret), length), int)
    for judged, known in left_out(corpus, by):
        learned = corpus.evidence.without(~known)
        for task in np.flatnonzero(judged):
            found[task] = method(learned, corpus.described(task), length)
    return found


def least(regret: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """(tasks, length): the least regret of the first configs of each task's list."""
    return np.minimum.accumulate(np.take_along_axis(regret, listed, axis=1), axis=1)


def static(learned: Evidence, described: Description, length: int) -> Sequence[int]:
    """The same list for every task: plain greedy choice on what was measured."""
    return greedy(learned.regret, learned.share, length)


@functools.cache
def unconditional(learned: Evidence) -> Evidence:
    """With which every task gets the same list."""
    return learned.tuned(STATIC, 0.0)


@functools.cache
def cautious(learned: Evidence) -> Evidence:
    """With which every task gets the same list, the default first."""
    return learned.tuned(STATIC, _NEVER)


def ours(way: Way) -> Method:
    """What `recommend` says, with evidence that was tuned in that way."""

    def method(learned: Evidence, described: Description, length: int) -> Sequence[int]:
        used = way(learned)
        return [
            used.configs.index(each.config.found_with(None)) for each in portfolio.choose(used, described, length, {})
        ]

    return method


@functools.cache
def gate(corpus: Corpus) -> dict[str, float]:
    """Whether conditioning earns its place: p values, after Holm, that the first config is better than each of three.

    Families are left out. `shipped` is what follows.
    """
    first = least(corpus.regret, lists(corpus, "family", ours(tuned), 1))[:, 0]
    others = {
        "the static list's first": least(corpus.regret, lists(corpus, "family", static, 1))[:, 0],
        "default Adam": corpus.regret[:, corpus.index(portfolio.DEFAULT)],
        "Adam(1e-2)": corpus.regret[:, corpus.index(OptimizerConfig("adam", learning_rate=1e-2))],
    }
    return holm(first, others)


@functools.cache
def shipped(corpus: Corpus) -> Way:
    """How the evidence is tuned that is shipped: conditioned on features where that is better for certain.

    Else the list is the same for every task, and begins with the default unless it is better than that for certain.
    """
    if max(gate(corpus).values()) < _CERTAIN:
        return tuned
    first = least(corpus.regret, lists(corpus, "family", ours(unconditional), 1))[:, 0]
    default = corpus.regret[:, corpus.index(portfolio.DEFAULT)]
    return unconditional if holm(first, {"default": default})["default"] < _CERTAIN else cautious


@functools.cache
def tuned(learned: Evidence) -> Evidence:
    """With the penalty and the confidence whose first configs do best on families left out of this evidence itself."""
    groups = {each.family for each in learned.sources}
    if len(groups) < 2:
        return learned
    options = [learned.tuned(penalty, sure) for penalty in PENALTIES for sure in CONFIDENCES]
    return min(options, key=_first)


def _first(learned: Evidence) -> float:
    """Mean regret of the first config, families left out; the same data counts once."""
    family = np.array([each.family for each in learned.sources])
    data = np.array([each.data for each in learned.sources])
    found = np.empty(len(family))
    for group in dict.fromkeys(family):
        left = family == group
        known = learned.without(np.isin(data, data[left]))
        for task in np.flatnonzero(left):
            described = Description("", learned.sources[task].features)
            first = portfolio.choose(known, described, 1, {})[0].config.found_with(None)
            found[task] = learned.regret[task, learned.configs.index(first)]
    return float(learned.share @ found)


def published(corpus: Corpus) -> dict[str, list[int]]:
    """Lists of five that others recommend, by name."""
    rates = [OptimizerConfig("adam", learning_rate=float(f"{10**e:.6g}")) for e in (-3.0, -2.0, -2.5, -3.5, -1.5)]
    found = {
        "TaskSet's list": corpus.named("TaskSet's list")[:5],
        "AlgoPerf's NAdamW": corpus.named("AlgoPerf's NAdamW"),
        "AlgoPerf's Schedule-Free AdamW": corpus.named("AlgoPerf's Schedule-Free AdamW"),
        "Adam, five rates": [corpus.index(each) for each in rates],
    }
    return {name: columns for name, columns in found.items() if columns}


def defaults(corpus: Corpus) -> dict[str, int]:
    """The frameworks' defaults, by name; those that are the same config under one."""
    found: dict[int, str] = {}
    for name in presets.names():
        config = presets.get(name)
        if config in corpus.evidence.configs:
            found.setdefault(corpus.index(config), name)
    return {name: column for column, name in found.items()}


@dataclass(frozen=True, eq=False)
class Predicted:
    """What was predicted of every task's list, and what came of it; arrays are (tasks, length)."""

    gain: np.ndarray
    realised: np.ndarray
    low: np.ndarray
    high: np.ndarray


def predicted(corpus: Corpus, by: str, length: int = LONGEST) -> Predicted:
    """Gains of our lists, their intervals from the other tasks that were left out."""
    way = shipped(corpus)
    gain, realised = np.empty((2, len(corpus.regret), length))
    default = corpus.regret[:, corpus.index(portfolio.DEFAULT)]
    for judged, known in left_out(corpus, by):
        learned = way(corpus.evidence.without(~known))
        for task in np.flatnonzero(judged):
            found = portfolio.choose(learned, corpus.described(task), length, {})
            gain[task] = [each.gain for each in found]
            columns = [corpus.index(each.config) for each in found]
            realised[task] = default[task] - np.minimum.accumulate(corpus.regret[task, columns])
    low, high = np.empty_like(gain), np.empty_like(gain)
    for judged, known in left_out(corpus, by):
        spread = spread_of(realised[known] - gain[known], corpus.of("family")[known])
        low[judged], high[judged] = gain[judged] + spread["low"], gain[judged] + spread["high"]
    return Predicted(gain, realised, low, high)


def spread_of(missed: np.ndarray, family: np.ndarray) -> dict[str, list[float]]:
    """How far predictions were off, both ways, in 9 of 10 cases; each family counts the same.

    Split conformal prediction (Vovk, Gammerman & Shafer 2005) with the families as the unit that is exchanged: the
    quantile is one of all tasks, weighted, with a family more that nobody has seen.
    """
    _, member, count = np.unique(family, return_inverse=True, return_counts=True)
    weights = 1 / count[member] / (len(count) + 1)
    tail = (1 - SURE) / 2
    found: dict[str, list[float]] = {"low": [], "high": []}
    for column in missed.T:
        order = np.argsort(column)
        below = np.cumsum(weights[order])
        found["low"].append(float(column[order][max(0, np.searchsorted(below, tail, side="right") - 1)]))
        above = np.cumsum(weights[order][::-1])
        found["high"].append(float(column[order][::-1][max(0, np.searchsorted(above, tail, side="right") - 1)]))
    return found


def repeated(epoch: str) -> np.ndarray:
    """(tasks, 1): how far off the gain of a task's best config is when it is trained again, under another seed."""
    first, second = (store.evidence(entries.read(seed), epoch) for seed in (0, 1))
    column = first.configs.index(portfolio.DEFAULT)
    missed = []
    for one, other in zip(first.regret, second.regret, strict=True):
        best = int(np.argmin(one))
        missed.append((other[column] - other[best]) - (one[column] - one[best]))
    return np.array(missed)[:, None]


def coverage(corpus: Corpus, found: Predicted, place: int = 0) -> tuple[float, float, float]:
    """The share of tasks whose gain lies in its interval, and 90 % of what families drawn anew would give."""
    inside = ((found.low <= found.realised) & (found.realised <= found.high))[:, place]
    return float(inside.mean()), *bootstrap(corpus, inside)


def random_search(regret: np.ndarray, trials: Sequence[int]) -> np.ndarray:
    """(tasks, len(trials)): the expected least regret of so many draws from the columns, none of them twice."""
    ranked = np.sort(regret, axis=1)
    pool = ranked.shape[1]
    found = []
    for n in trials:
        place = np.arange(pool - n + 1)  # the best of the draws is the one of that rank
        log = _choose(pool - 1 - place, n - 1) - _choose(pool, n)
        found.append(ranked[:, : len(place)] @ np.exp(log))
    return np.stack(found, axis=1)


def _choose(n: np.ndarray | int, k: int) -> np.ndarray:
    return gammaln(np.add(n, 1)) - gammaln(k + 1) - gammaln(np.subtract(n, k) + 1)


def holm(ours_regret: np.ndarray, others: Mapping[Key, np.ndarray]) -> dict[Key, float]:
    """p values that ours is lower than each of the others, task by task, after Holm."""
    return corrected({name: lower(ours_regret, regret) for name, regret in others.items()})


def lower(one: np.ndarray, other: np.ndarray) -> float:
    """The p value of a one-sided Wilcoxon signed-rank test that the first is lower, task by task."""
    return 1.0 if np.allclose(one, other) else float(stats.wilcoxon(one, other, alternative="less").pvalue)


def corrected(raw: Mapping[Key, float]) -> dict[Key, float]:
    """p values of several tests, corrected after Holm (1979), the smallest first."""
    found, largest = {}, 0.0
    for rank, name in enumerate(sorted(raw, key=raw.__getitem__)):
        largest = max(largest, min(1.0, raw[name] * (len(raw) - rank)))
        found[name] = largest
    return found


def bootstrap(corpus: Corpus, values: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """90 % of the mean over tasks, had the families been drawn anew."""
    family = corpus.of("family")
    parts = [values[family == each] for each in dict.fromkeys(family)]
    random = np.random.default_rng(0)
    means = [
        np.concatenate([parts[i] for i in random.integers(len(parts), size=len(parts))]).mean() for _ in range(draws)
    ]
    low, high = np.quantile(means, (0.05, 0.95))
    return float(low), float(high)
