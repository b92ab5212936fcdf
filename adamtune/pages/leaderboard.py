"""The leaderboard: every study in a row, with what it found and by how much that beats the default."""

from __future__ import annotations

from dataclasses import dataclass

from adamtune import summary
from adamtune.pages.study import long_time
from adamtune.summary import Summary, number


@dataclass(frozen=True)
class Row:
    """A study on the leaderboard; texts as they are shown, and by what a column is sorted."""

    study_id: int
    name: str
    task: str
    optimizer: str
    objective: str
    best: float | None
    default: float | None
    gain: float | None
    difference: str
    trials: int
    seconds: float | None
    took: str
    created: str
    state: str

    @property
    def shown(self) -> tuple[str, str]:
        """The best value and that of the default."""
        return number(self.best), number(self.default)


def row(study_id: int, found: Summary) -> Row:
    """The row of a study."""
    return Row(
        study_id,
        summary.printable(found.name),
        summary.printable(found.task),
        summary.printable(found.optimizer),
        summary.printable(found.objective),
        found.value,
        found.default,
        found.gain,
        summary.difference(found.gain, found.direction),
        found.counts["finished"],
        found.seconds,
        "" if found.seconds is None else long_time(found.seconds),
        (found.created or "").replace("T", " ")[:16],
        found.state,
    )
