"""What there is to know about each optimizer, as data and as tables: names, numbers, equations, sources.

Everything is read off the rules; nothing here knows one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from adamtune import optimizers
from adamtune.hypers import Hyper
from adamtune.optimizers import Rule
from adamtune.tuning.space import TIERS

_WIDE = 140  # columns from which on a table of them is easier to read than a list


def facts(rule: Rule) -> dict[str, Any]:
    """A rule as plain data that JSON can hold."""
    return {
        "name": rule.name,
        "family": rule.family,
        "keras_class": f"adamtune.optimizers.{rule.class_name}",
        "builtin": f"keras.optimizers.{rule.builtin.class_name}" if rule.builtin else None,
        "source": rule.source,
        "hypers": [_of_hyper(hyper) for hyper in rule.hypers],
        "slots": list(rule.slots),
        "scalars": [name for name, _ in rule.scalars],
        "notes": rule.notes,
    }


def _of_hyper(hyper: Hyper) -> dict[str, Any]:
    low, high = sorted(hyper.uncarry(end) for end in (hyper.low, hyper.high))
    return {
        "name": hyper.name,
        "default": hyper.default if abs(hyper.default) != float("inf") else None,
        "low": low,
        "high": high,
        "from_n_trials": TIERS.get(hyper.tier),
        "legal": hyper.expected,
        "meaning": hyper.meaning,
    }


def table() -> RenderableType:
    """All optimizers: a row each where there is room, else a few short lines each, without the searched ranges."""
    return _All()


class _All:
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        rules = [optimizers.get(name) for name in optimizers.names()]
        if options.max_width >= _WIDE:
            yield _rows(rules)
            return
        for rule in rules:
            yield Text(f"{rule.name} ({rule.family}, {_counted(rule)}): {rule.source}")
            defaults = ", ".join(f"{hyper.name} {_number(hyper.default)}" for hyper in rule.hypers)
            yield Padding(Text(defaults, style="dim"), (0, 0, 0, 4))


def _rows(rules: Sequence[Rule]) -> Table:
    made = _table("optimizer", "family", "slots", "hypers: default (searched range)", "source")
    for rule in rules:
        hypers = ", ".join(f"{hyper.name} {_number(hyper.default)} ({_range(hyper)})" for hyper in rule.hypers)
        made.add_row(rule.name, rule.family, str(len(rule.slots)), Text(hypers), Text(rule.source))
    return made


def _counted(rule: Rule) -> str:
    n = len(rule.slots)
    return f"{n} slot" if n == 1 else f"{n} slots"


def page(rule: Rule) -> RenderableType:
    """One optimizer: its numbers, what it remembers, its equations and pitfalls."""
    hypers = _table("hyper", "default", "searched", "from", "meaning")
    for hyper in rule.hypers:
        least = TIERS.get(hyper.tier)
        start = "when named" if least is None else f"{least} trials" if least else "always"
        hypers.add_row(hyper.name, _number(hyper.default), _range(hyper), start, Text(hyper.meaning))
    remembers = ", ".join(rule.slots) or "nothing"
    once = f"; once for all: {', '.join(name for name, _ in rule.scalars)}" if rule.scalars else ""
    keras = f"; keras.optimizers.{rule.builtin.class_name} where it computes the same" if rule.builtin else ""
    return Group(
        Text(f"{rule.name} ({rule.family})"),
        Text(f"source:  {rule.source}"),
        Text(f"class:   adamtune.optimizers.{rule.class_name}{keras}"),
        Text(f"slots per weight:  {len(rule.slots)} ({remembers}){once}\n"),
        hypers,
        Text(f"\n{_flowing(rule.notes)}" if rule.notes else ""),
    )


def _flowing(notes: str) -> str:
    """The notes with each paragraph of prose, or point of a list, in one line, for a console of any width.

    Equations and examples stay as they are.
    """
    paragraphs = notes.strip().split("\n\n")
    return "\n\n".join(each if each.startswith((" ", ">>>")) else _joined(each) for each in paragraphs)


def _joined(prose: str) -> str:
    return "\n- ".join(" ".join(point.split()) for point in prose.split("\n- "))


def _table(*columns: str) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in ("optimizer", "hyper", "default"))
    return made


def _number(value: float | bool) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:.6g}"


def _range(hyper: Hyper) -> str:
    if hyper.scale == "flag":
        return "no, yes"
    low, high = sorted(hyper.uncarry(end) for end in (hyper.low, hyper.high))
    return f"{_number(low)} to {_number(high)}"
