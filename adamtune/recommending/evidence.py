"""Evidence: what the studies of a store have taught, as arrays that a list of configs is chosen from.

Regret is (loss - best known) / (untrained - best known) on the rows that judge: 0 for the best config that anybody
found on a task, 1 for the untrained network. It makes tasks comparable whatever their loss is.

What a source task says of a new one is its weight, and the weights of all tasks are those of a ridge regression of
regret on the features (Hoerl & Kennard 1970): every number predicted for the new task is a weighted mean over source
tasks. Far from all of them, or with few, the penalty draws the weights back to equal ones, and the list to the static
one. Tasks on the same data count as one. How strong the penalty is where a list is chosen, and how sure one has to be
to put anything before the default, is learned too, see `studies/defaults/judging.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adamtune.config import OptimizerConfig
from adamtune.recommending import surface
from adamtune.recommending.features import COORDINATES, Features

Array = NDArray[np.float64]

# How much a kind of layer counts beside a deviation of a count, and the penalty, in tasks, where a gain is predicted.
_KIND, _PREDICTING = 1.5, 20.0
# A penalty with which all tasks weigh the same.
STATIC = 1e9
# A count this many times outside of what was seen is no neighbour of anything.
FAR = 30.0


@dataclass(frozen=True)
class Source:
    """A task that has been studied.

    Parameters
    ----------
    name : str
    kind : str
        What people call it, such as "table-classification".
    family, data : str
        Tasks of one family have the same kind of network; tasks of the same data have the same rows.
    features : Features
    fingerprint : str
        Of rows, network and budget; empty where nobody can ask for it.
    """

    name: str
    kind: str
    family: str
    data: str
    features: Features
    fingerprint: str = ""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known, and what follows for a new task.

    Parameters
    ----------
    sources : tuple of Source
    configs : sequence of OptimizerConfig
    regret : array of shape (sources, configs)
        As measured; NaN where a config was not tried.
    penalty : float
        Of the ridge regression by which lists are chosen, in tasks; `STATIC` makes the same list for every task.
    sure : float
        How many standard errors a config has to be ahead of the default to come before it.
    """

    sources: tuple[Source, ...]
    configs: Sequence[OptimizerConfig]
    regret: Array
    penalty: float = STATIC
    sure: float = 0.0

    @functools.cached_property
    def believed(self) -> Array:
        """(sources, configs): regrets with the luck taken out, also where a config was not tried."""
        return surface.believed(self.configs, self.regret)

    @functools.cached_property
    def optimizers(self) -> list[str]:
        """The optimizer of each config."""
        return getattr(self.configs, "optimizers", None) or [config.optimizer for config in self.configs]

    @functools.cached_property
    def share(self) -> Array:
        """(sources,): weights for a task of which nothing is known. The same data counts once."""
        _, member, count = np.unique([each.data for each in self.sources], return_inverse=True, return_counts=True)
        weights = 1.0 / count[member]
        return weights / weights.sum()

    @functools.cached_property
    def _scale(self) -> tuple[Array, Array, Array]:
        """(sources, coordinates), their mean and their spread."""
        points = np.array([each.features.vector() for each in self.sources])
        mean = self.share @ points
        spread = np.sqrt(self.share @ (points - mean) ** 2)
        is_kind = np.array([isinstance(getattr(self.sources[0].features, name), bool) for name in COORDINATES])
        unit = np.where(is_kind, 1 / _KIND, np.where(spread > 1e-9, spread, 1.0))
        return points, mean, unit

    def weights(self, features: Features, penalty: float = _PREDICTING) -> Array:
        """(sources,): what each says of a task with these features; they add up to 1, and some may be negative.

        Counts outside of what was seen are taken to lie at its edge.
        """
        points, mean, unit = self._scale
        z = (points - mean) / unit
        target = (np.clip(features.vector(), points.min(axis=0), points.max(axis=0)) - mean) / unit
        weighted = self.share[:, None] * z
        ridge = penalty / len(z) * np.eye(z.shape[1])
        return self.share * (1 + z @ np.linalg.solve(z.T @ weighted + ridge, target))

    def apart(self, features: Features) -> Array:
        """(sources,): distance to each, in the units of the weights."""
        points, _, unit = self._scale
        return np.sqrt((((points - features.vector()) / unit) ** 2).sum(axis=1))

    def outside(self, features: Features) -> dict[str, float]:
        """Counts that lie outside of all that was seen, and how many times."""
        points, _, _ = self._scale
        vector = features.vector()
        beyond = np.maximum(vector - points.max(axis=0), points.min(axis=0) - vector)
        return {name: float(np.exp(far)) for name, far in zip(COORDINATES, beyond, strict=True) if far > 0}

    def tuned(self, penalty: float, sure: float) -> Evidence:
        """The same with other numbers."""
        found = replace(self, penalty=penalty, sure=sure)
        found.__dict__["believed"] = self.believed  # it does not depend on them
        return found

    def without(self, left: Sequence[bool] | NDArray[np.bool_]) -> Evidence:
        """The same without these sources: for judging on what was not seen."""
        kept = ~np.asarray(left)
        sources = tuple(each for each, stays in zip(self.sources, kept, strict=True) if stays)
        found = replace(self, sources=sources, regret=self.regret[kept])
        found.__dict__["believed"] = self.believed[kept]  # each task has a surface of its own
        return found


def greedy(regret: Array, weights: Array, length: int, first: Sequence[int] = ()) -> list[int]:
    """The list that lowers the weighted mean of the least regret so far the most, one config after the other.

    Pfisterer, van Rijn, Probst, Mueller & Bischl 2018, "Learning Multiple Defaults for Machine Learning Algorithms",
    arXiv 1811.09409.

    Parameters
    ----------
    regret : array of shape (sources, configs)
    weights : array of shape (sources,)
        Negative ones count as 0.
    length : int
    first : sequence of int
        Columns that the list begins with.
    """
    weights = np.maximum(weights, 0.0)
    chosen = list(first[:length])
    least = regret[:, chosen].min(axis=1) if chosen else np.ones(len(regret))
    while len(chosen) < min(length, regret.shape[1]):
        after = weights @ np.minimum(least[:, None], regret)
        after[chosen] = np.inf
        chosen.append(int(np.argmin(after)))
        least = np.minimum(least, regret[:, chosen[-1]])
    return chosen
