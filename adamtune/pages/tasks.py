"""A task: what was tried on it, what is worth trying next, and what became of earlier lists."""

from __future__ import annotations

import math
from dataclasses import dataclass

from adamtune import summary
from adamtune.recommending.portfolio import Portfolio
from adamtune.recommending.store import Entry, Recommended

_BEST = 10


@dataclass(frozen=True)
class Tried:
    """A config that was trained on a task, and how far it went on the way to the best that is known there."""

    config: str
    loss: float | None
    way: float | None
    trial: int | None


@dataclass(frozen=True)
class TaskPage:
    """What is shown of a task."""

    entry: Entry
    tried: tuple[Tried, ...]
    n_tried: int
    listed: tuple[Recommended, ...]

    @property
    def title(self) -> str:
        """The task's name, fit to be shown."""
        return summary.printable(self.entry.source.name)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What it looks like from outside."""
        features = self.entry.source.features
        kinds = ("recurrent", "convolutional", "embedded", "attending", "normalised", "dropped")
        layers = ", ".join(kind for kind in kinds if getattr(features, kind)) or "dense alone"
        return [
            ("kind", summary.printable(self.entry.source.kind)),
            ("training rows", f"{features.n_rows:,}"),
            ("numbers of a row", f"{features.n_inputs:,}"),
            ("targets" if features.regression else "classes", f"{features.n_outputs:,}"),
            ("weights", f"{features.n_weights:,}"),
            ("layers", layers),
            ("batch size", str(features.batch_size)),
            ("epochs", str(features.epochs)),
            ("loss of the untrained network", summary.number(self.entry.untrained)),
        ]


def view(entry: Entry, listed: tuple[Recommended, ...]) -> TaskPage:
    """What is shown of an entry of the store, and of the lists that were recommended for it."""
    known = [(each.best, each) for each in entry.evaluations if each.best is not None and math.isfinite(each.best)]
    known.sort(key=lambda pair: pair[0])
    least = known[0][0] if known else 0.0
    whole = entry.untrained - least
    tried = tuple(
        Tried(
            summary.shown(each.config), loss, (entry.untrained - loss) / whole if whole > 0 else None, each.trial_number
        )
        for loss, each in known[:_BEST]
    )
    return TaskPage(entry, tried, len(entry.evaluations), listed)


@dataclass(frozen=True)
class Advised:
    """One place of a list."""

    rank: int
    config: str
    gain: str
    interval: str
    better_on: str
    code: str


def advised(found: Portfolio) -> list[Advised]:
    """A portfolio as rows of a table."""
    return [
        Advised(
            rank,
            summary.shown(each.config),
            f"{each.gain:+.3f}",
            f"{each.interval[0]:+.2f} .. {each.interval[1]:+.2f}",
            f"{each.better_on:.0%}",
            summary.code(each.config),
        )
        for rank, each in enumerate(found, 1)
    ]
