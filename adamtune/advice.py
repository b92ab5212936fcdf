"""Advice: a portfolio and a store as people read them in a terminal."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adamtune.summary import laid_out, printable, shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from adamtune.recommending.portfolio import Portfolio
    from adamtune.recommending.store import Entry


def render(found: Portfolio) -> RenderableType:
    """The list, what it is expected to gain, where it comes from, and the lines to paste."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    task, features = found.description, found.description.features
    about = (
        f"{task.kind}: {features.n_rows:,} training rows, steps of {features.batch_size}, {features.epochs} epochs, "
        f"{features.n_weights:,} weights"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", justify="right")
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("in 9 of 10 cases", justify="right", no_wrap=True)
    table.add_column("as good as default", justify="right", no_wrap=True)
    table.add_column("config", overflow="fold")
    for rank, each in enumerate(found, 1):
        low, high = each.interval
        table.add_row(
            str(rank),
            f"{each.gain:+.3f}",
            f"{low:+.2f} .. {high:+.2f}",
            f"{each.better_on:.0%}",
            Text(shown(each.config)),
        )
    nearest = ", ".join(source.name for source, _ in found.neighbours[:3])
    origin = {
        "exact": "This very task has been studied: its own best configs.",
        "alike": f"Learned from {found.n_sources} studied tasks; the most alike: {nearest}.",
        "default": "",
    }[found.method]
    notes = [f"Assumed: {each}." for each in task.assumed]
    notes += [each for each in (origin, *found.why) if each]
    gain = (
        "Gain: how much farther than with Keras' default Adam the loss comes, trying the configs up to here and "
        "keeping the best; 1 is the whole way from the untrained network to the best known."
    )
    steps = f"  # for {features.steps:,} updates" if "steps" in found[0].config.to_code() else ""
    imports = [f"import {module}" for module in ("adamtune", "keras") if f"{module}." in found[0].config.to_code()]
    code = "\n".join(["", *imports, "", laid_out(found.to_code()) + steps])
    return Group(
        Text(about), Text(""), table, Text(""), *(Text(printable(each)) for each in [*notes, gain]), Text(code)
    )


def render_stats(parts: dict[str, Sequence[Entry]]) -> RenderableType:
    """How much each store knows, by kind of task."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("store", "kind"):
        table.add_column(name)
    for name in ("tasks", "data sets", "evaluations"):
        table.add_column(name, justify="right")
    for where, entries in parts.items():
        kinds = collections.defaultdict(list)
        for entry in entries:
            kinds[entry.source.kind].append(entry)
        for kind, those in sorted(kinds.items()):
            data = {entry.source.data for entry in those}
            tried = sum(len(entry.evaluations) for entry in those)
            table.add_row(where, printable(kind), str(len(those)), str(len(data)), f"{tried:,}")
        if not entries:
            table.add_row(where, "nothing yet", "0", "0", "0")
    return table


def stats(entries: Sequence[Entry]) -> dict[str, object]:
    """The same as plain data."""
    return {
        "tasks": len(entries),
        "data_sets": len({entry.source.data for entry in entries}),
        "configs": len({each.config for entry in entries for each in entry.evaluations}),
        "evaluations": sum(len(entry.evaluations) for entry in entries),
        "kinds": dict(collections.Counter(entry.source.kind for entry in entries)),
    }
