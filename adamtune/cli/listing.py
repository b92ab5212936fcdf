"""The stored studies at a glance: cards of two lines for a terminal of 80 columns, a row each for a pipe."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from adamtune.summary import Summary, number, printable

_FEW = 2  # optimizers that are named; of more only how many


def cards(found: Sequence[Summary], now: datetime.datetime | None = None) -> RenderableType:
    """Two lines a study: what it is and what came of it, then its task and optimizers, and what the value is of."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("study", overflow="fold")
    for name in ("began", "trials", "state", "best", "gain"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for each in found:
        ends = [f"{each.counts[how]} {how}" for how in ("pruned", "diverged") if each.counts[how]]
        what = Text(printable(each.name))
        table.add_row(
            what.append(f"\n  {printable(each.task)}, {_optimizers(each)}", style="dim"),
            _ago(each, now or datetime.datetime.now()),
            "\n".join([str(each.counts["finished"]), *ends]),
            each.state,
            f"{number(each.value)}\n{printable(each.objective)}",
            "-" if each.gain is None else f"{100 * each.gain:+.1f} %",
        )
    return table


def rows(found: Sequence[Summary]) -> RenderableType:
    """A line a study, each column a word: what is not known is a dash."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    counted = ("finished", "pruned", "diverged")
    for name in ("study", "task", "optimizer", "began", *counted, "state", "objective", "best", "gain"):
        table.add_column("trials" if name == "finished" else name, no_wrap=True)
    for each in found:
        words = [each.name, each.task, each.optimizer, each.created or "-"]
        words += [str(each.counts[how]) for how in counted]
        words += [
            each.state,
            each.objective,
            number(each.value),
            "-" if each.gain is None else f"{100 * each.gain:+.1f}%",
        ]
        table.add_row(*(Text(printable(word)) for word in words))
    return table


def _optimizers(found: Summary) -> str:
    names = found.optimizer.split("+")
    return printable(found.optimizer) if len(names) <= _FEW else f"{len(names)} optimizers"


def _ago(found: Summary, now: datetime.datetime) -> str:
    """When it began, in a word or two: "5 min ago", then "3 h ago", "6 d ago", then the date."""
    if found.created is None:
        return "-"
    began = datetime.datetime.fromisoformat(found.created)
    minutes = (now - began).total_seconds() / 60
    if minutes < 1:
        return "now"
    for unit, length, most in (("min", 1, 60), ("h", 60, 48), ("d", 1440, 30)):
        if minutes < most * length:
            return f"{minutes / length:.0f} {unit} ago"
    return f"{began:%Y-%m-%d}"
