"""What the table says: regrets, lists that are learned from some tasks and judged on others, random search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import table
from candidates import UNTRAINED, Candidate, candidates
from scipy.special import gammaln

from adamtune import OptimizerConfig


@dataclass(frozen=True)
class Corpus:
    """Regrets of all candidates on all tasks.

    Parameters
    ----------
    tasks : list of dict
        What `table` says of each.
    candidates : list of Candidate
    regret : array of shape (tasks, candidates)
        (loss - best known) / (untrained - best known), the mean over seeds, within 0 and 1; a diverged one has 1.
    """

    tasks: list[dict]
    candidates: list[Candidate]
    regret: np.ndarray

    def of(self, key: str) -> np.ndarray:
        """That word about every task."""
        return np.array([task[key] for task in self.tasks])

    def named(self, source: str) -> list[int]:
        """The candidates of that source."""
        return [index for index, each in enumerate(self.candidates) if each.source == source]

    def index(self, config: OptimizerConfig) -> int:
        """Where that config stands among the candidates."""
        return [each.config for each in self.candidates].index(config)


def read(epoch: str = "last") -> Corpus:
    """The table, as regrets.

    Parameters
    ----------
    epoch : {"last", "best"}
        Which epoch's loss a config is judged by; the best one is what `patience` keeps.
    """
    tasks, arrays = table.read()
    tried = candidates()
    untrained = tried.index(UNTRAINED)
    judged = {
        "last": lambda curves: curves[..., -1],
        "best": lambda curves: np.fmin.reduce(curves, axis=-1),
    }[epoch]
    losses = np.array([judged(arrays[task["name"]]).mean(axis=1) for task in tasks], "float64")
    best = np.nanmin(losses, axis=1, keepdims=True)
    regret = (losses - best) / (losses[:, [untrained]] - best)
    regret = np.clip(np.where(np.isfinite(regret), regret, 1.0), 0.0, 1.0)
    return Corpus(tasks, tried, regret)


def greedy(regret: np.ndarray, weights: np.ndarray, length: int) -> list[int]:
    """The list that lowers the weighted mean of the least regret so far the most, one config after the other."""
    chosen: list[int] = []
    least = np.ones(len(regret))
    for _ in range(length):
        after = weights @ np.minimum(least[:, None], regret)
        chosen.append(int(np.argmin(after)))
        least = np.minimum(least, regret[:, chosen[-1]])
    return chosen


def weights_of(groups: np.ndarray) -> np.ndarray:
    """Each group counts the same, however many tasks it has."""
    _, member, count = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1.0 / count[member]
    return weights / weights.sum()


def held_out(corpus: Corpus, by: str, length: int) -> np.ndarray:
    """(tasks, length): the least regret of the first configs of the list that is learned without a task's like.

    Parameters
    ----------
    by : {"data_set", "family"}
        What is left out: all tasks of the same data set; or all of the same family and all on any of its data sets.
    """
    data_set = corpus.of("data_set")
    found = np.empty((len(corpus.tasks), length))
    for group in np.unique(corpus.of(by)):
        left = corpus.of(by) == group
        known = ~np.isin(data_set, data_set[left])
        listed = greedy(corpus.regret[known], weights_of(data_set[known]), length)
        found[left] = np.minimum.accumulate(corpus.regret[left][:, listed], axis=1)
    return found


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
