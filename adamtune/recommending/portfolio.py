"""Portfolio: an ordered list of configs worth trying on a task, each with what it is expected to gain, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamtune.config import Found, OptimizerConfig
from adamtune.recommending.describing import Description
from adamtune.recommending.evidence import FAR, Evidence, Source, greedy

DEFAULT = OptimizerConfig("adam")
_NEIGHBOURS = 5
_WORDS = {
    "steps": "The training is",
    "n_inputs": "The number of inputs is",
    "n_outputs": "The number of outputs is",
    "batch_size": "The batch is",
    "n_weights": "The number of weights is",
    "depth": "The depth is",
    "width": "The width is",
}


@dataclass(frozen=True)
class Recommendation:
    """One place of a portfolio.

    Parameters
    ----------
    config : OptimizerConfig
    gain : float
        What the configs up to here are expected to take off the regret of Keras' default Adam, when the best of them is
        kept: of the way from the untrained network's loss to the best known one, the share that they come farther.
    interval : (low, high)
        In which the gain lies in 9 of 10 cases, measured on families of tasks that were left out.
    better_on : float
        Share of the evidence by weight on which this config alone is at least as good as the default.
    """

    config: OptimizerConfig
    gain: float
    interval: tuple[float, float]
    better_on: float


@dataclass(frozen=True)
class Portfolio(Sequence[Recommendation]):
    """A list of configs, best to try first; a sequence of `Recommendation`.

    Parameters
    ----------
    description : Description
        The task that it is for.
    places : tuple of Recommendation
    method : {"exact", "alike", "default"}
        From studies of this very task, from those of others, or nothing but the default.
    n_sources : int
        Tasks that it was learned from.
    neighbours : tuple of (Source, float)
        The most alike of them, and how far away.
    abstains : bool
        Nothing that was studied is like this task; `why` says what is not.
    why : tuple of str
    """

    description: Description
    places: tuple[Recommendation, ...]
    method: str
    n_sources: int
    neighbours: tuple[tuple[Source, float], ...]
    abstains: bool
    why: tuple[str, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.places[index]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.places)

    @property
    def configs(self) -> list[OptimizerConfig]:
        """The configs alone: `AdamTuner(start_from=portfolio.configs)`."""
        return [each.config for each in self.places]

    def explain(self) -> str:
        """Where the list comes from, in sentences."""
        task, features = self.description, self.description.features
        lines = [
            f"Task: {task.kind}, {features.n_rows:,} training rows in steps of {features.batch_size} for "
            f"{features.epochs} epochs make {features.steps:,} updates of {features.n_weights:,} weights."
        ]
        lines += [f"Assumed: {each}." for each in task.assumed]
        if self.method == "exact":
            lines.append("This very task has been studied: the list is its own best configs.")
        else:
            lines.append(
                f"Learned from {self.n_sources} studied tasks, weighted by how like this one they are. The most alike:"
            )
            lines += [f"  {source.name} ({source.kind}), {apart:.1f} away" for source, apart in self.neighbours]
        lines += self.why
        for place, each in enumerate(self.places, 1):
            low, high = each.interval
            lines.append(
                f"{place}. {each.config!r}: up to here {each.gain:+.3f} ({low:+.3f} to {high:+.3f}) of the way from "
                f"the untrained network to the best known beyond the default; alone at least as good on "
                f"{each.better_on:.0%} of the evidence."
            )
        return "\n".join(lines)

    def to_code(self) -> str:
        """The first config as a line for `model.compile`."""
        return f"model.compile(optimizer={self.places[0].config.to_code()}, loss=...)"

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {
            "kind": self.description.kind,
            "features": self.description.features.to_dict(),
            "assumed": list(self.description.assumed),
            "method": self.method,
            "abstains": self.abstains,
            "why": list(self.why),
            "n_sources": self.n_sources,
            "neighbours": [
                {"task": source.name, "kind": source.kind, "distance": round(apart, 3)}
                for source, apart in self.neighbours
            ],
            "recommendations": [
                {
                    "rank": place,
                    "config": each.config.to_dict(),
                    "code": each.config.to_code(),
                    "gain": each.gain,
                    "interval": list(each.interval),
                    "better_on": each.better_on,
                }
                for place, each in enumerate(self.places, 1)
            ],
        }


def choose(
    evidence: Evidence,
    description: Description,
    k: int,
    spread: Mapping[str, Sequence[float]],
    allowed: Sequence[bool] | None = None,
) -> Portfolio:
    """The portfolio for a task.

    Parameters
    ----------
    k : int
        How many configs at most.
    spread : mapping
        `low` and `high`: by length of the list, what the realised gain lay below and above the predicted one in 9 of 10
        cases, see `studies/defaults`. Beyond their end the last ones hold.
    allowed : sequence of bool, optional
        Which configs of the evidence may be on the list; default: all.
    """
    may = np.ones(len(evidence.configs), bool) if allowed is None else np.asarray(allowed, bool)
    if not evidence.sources or not may.any():
        return default_alone(description, "" if evidence.sources else "No study is known to learn from.")
    found = Found(description.features.epochs, description.features.batch_size, description.features.steps)
    exact = np.array([each.fingerprint == description.fingerprint != "" for each in evidence.sources])
    if (exact[:, None] & np.isfinite(evidence.regret) & may).any():
        return _own(evidence, description, k, spread, may, int(np.argmax(exact)), found)
    regret, weights = evidence.believed, evidence.weights(description.features)
    choosing = evidence.weights(description.features, evidence.penalty)
    column = _default_of(evidence)
    default = regret[:, column] if column is not None else np.ones(len(regret))
    columns = np.flatnonzero(may)
    outside = {name: times for name, times in evidence.outside(description.features).items() if times > FAR}
    abstains = bool(outside)
    why = [f"{_WORDS[name]} {times:,.0f} times outside of all that was studied." for name, times in outside.items()]
    first: list[int] = []
    if abstains:
        why.append("Nothing that was studied is like this task: the default goes first, and the gains are guesses.")
        weights = choosing = evidence.share
    chosen = greedy(regret[:, columns], choosing, k)
    if column is not None and may[column]:
        lead = default - regret[:, columns[chosen[0]]]
        doubtful = _bound(lead, choosing, evidence.sure) < 0
        if doubtful and not abstains:
            why.append("Nothing is known to beat the default here with enough confidence, so it goes first.")
        if doubtful or abstains:
            first = [int(np.flatnonzero(columns == column)[0])]
            chosen = greedy(regret[:, columns], choosing, k, first)
    listed = columns[chosen]
    least = np.minimum.accumulate(regret[:, listed], axis=1)
    # A longer list is never worse; that some weights of the ridge are negative could say so.
    gains = np.maximum.accumulate(weights @ (default[:, None] - least))
    positive = _positive(weights)
    places = tuple(
        Recommendation(
            evidence.configs[index].found_with(found),
            float(gain),
            _interval(float(gain), place, spread),
            float(positive @ (regret[:, index] <= default)),
        )
        for place, (index, gain) in enumerate(zip(listed, gains, strict=True))
    )
    apart = evidence.apart(description.features)
    near = tuple((evidence.sources[i], float(apart[i])) for i in np.argsort(apart, kind="stable")[:_NEIGHBOURS])
    return Portfolio(description, places, "alike", len(evidence.sources), near, abstains, tuple(why))


def _own(
    evidence: Evidence,
    description: Description,
    k: int,
    spread: Mapping[str, Sequence[float]],
    may: np.ndarray,
    task: int,
    found: Found,
) -> Portfolio:
    """The best configs of a task that has been studied, in their order."""
    measured = evidence.regret[task]
    listed = [int(i) for i in np.argsort(measured, kind="stable") if may[i] and np.isfinite(measured[i])][:k]
    column = _default_of(evidence)
    default = 1.0 if column is None else measured[column]
    if column is not None and not np.isfinite(default):
        default = evidence.believed[task, column]
    gain = float(default - measured[listed[0]])
    places = tuple(
        Recommendation(
            evidence.configs[index].found_with(found),
            gain,
            _interval(gain, 0, {side: spread.get(f"{side} exact", ()) for side in ("low", "high")}),
            float(measured[index] <= default),
        )
        for index in listed
    )
    near = ((evidence.sources[task], 0.0),)
    return Portfolio(description, places, "exact", 1, near, False, ())


def likely(
    evidence: Evidence, description: Description, k: int, allowed: Sequence[bool]
) -> tuple[OptimizerConfig, ...]:
    """The configs that are best by themselves on the like of a task, at most k: what a prior is made of."""
    columns = np.flatnonzero(np.asarray(allowed, bool))
    if not evidence.sources:
        return ()
    mean = _positive(evidence.weights(description.features)) @ evidence.believed[:, columns]
    return tuple(evidence.configs[i] for i in columns[np.argsort(mean, kind="stable")[:k]])


def default_alone(description: Description, why: str, default: OptimizerConfig = DEFAULT) -> Portfolio:
    """Nothing but a default, for a task of which nothing is known."""
    place = Recommendation(default, 0.0, (0.0, 0.0), 1.0)
    return Portfolio(description, (place,), "default", 0, (), True, (why,) if why else ())


def _default_of(evidence: Evidence) -> int | None:
    """Where the default stands among the configs; None where nobody tried it."""
    return next((i for i, each in enumerate(evidence.configs) if each == DEFAULT), None)


def _positive(weights: np.ndarray) -> np.ndarray:
    """The weights without the negative ones; they add up to 1."""
    kept = np.maximum(weights, 0.0)
    return kept / kept.sum()


def _bound(lead: np.ndarray, weights: np.ndarray, sure: float) -> float:
    """So many standard errors below the mean lead, if sources were draws of the like of this task."""
    positive = _positive(weights)
    mean = float(weights @ lead)
    n_effective = 1 / float((positive**2).sum())
    variance = float(positive @ (lead - mean) ** 2)
    return mean - sure * math.sqrt(variance / max(n_effective - 1, 1e-9))


def _interval(gain: float, place: int, spread: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    low, high = ([*spread.get(side, ())] or [sign] for side, sign in (("low", -1.0), ("high", 1.0)))
    return max(-1.0, gain + low[min(place, len(low) - 1)]), min(1.0, gain + high[min(place, len(high) - 1)])
