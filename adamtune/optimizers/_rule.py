"""Rule: what an optimizer is.

A rule is one pure function and the numbers it takes. The function gets a gradient and a weight of the same shape, the
weight's slots (arrays of that shape which the rule remembers between steps), the hypers and the number t = 1, 2, ... of
the step, and returns the new weight and the new slots. It is written in `keras.ops` only, so the same lines run inside
a Keras optimizer and inside a compiled program that trains many lanes at once.

Two things make that possible. Hypers are values, never Python branches: they may be scalars, or arrays of shape
(lanes, 1, ..., 1) against weights of shape (lanes, *shape). And a yes/no option is a 0/1 mask: compute both and choose
with `ops.where` (never by multiplying with 0, which keeps a NaN alive).

Everything else about an optimizer follows from its Rule: the Keras class, the lanes, the search space, the row in the
tables, the conformance tests. A new optimizer is one new file in this folder that defines `RULE`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from adamtune.errors import ConfigError, did_you_mean
from adamtune.hypers import Hyper, Value

Slots = tuple[Any, ...]
Update = Callable[[Any, Any, Slots, SimpleNamespace, Any], tuple[Any, Slots]]


def _same(values: Mapping[str, Value]) -> str:
    return ""


@dataclass(frozen=True)
class Rule:
    """One optimizer's mathematics and what there is to know about it.

    Parameters
    ----------
    name : str
        Lower case, as users write it.
    class_name : str
        Name of its Keras class.
    source : str
        Where the equations stand: authors, year, arXiv id, section.
    hypers : tuple of Hyper
        Its numbers, the learning rate first. A complement reaches `update` under its carried name
        (`h.one_minus_beta_1`), all others under their own.
    slots : tuple of str
        Names of what is remembered per weight; all start at 0.
    update : callable
        `update(gradient, weight, slots, h, t) -> (weight, slots)`, elementwise over the weight.
    builtin : str or None
        Name of the class in `keras.optimizers` that computes the same update, if there is one.
    unlike_builtin : callable
        Given the hyper values, the reason why that class does not compute the same for them, or "".
    """

    name: str
    class_name: str
    source: str
    hypers: tuple[Hyper, ...]
    slots: tuple[str, ...]
    update: Update
    builtin: str | None = None
    unlike_builtin: Callable[[Mapping[str, Value]], str] = _same

    def hyper(self, name: str) -> Hyper:
        """The hyper of that name; raises ConfigError with the names there are."""
        return find(name, self.hypers, owner=self.name)


def find(name: str, hypers: tuple[Hyper, ...], owner: str) -> Hyper:
    """The hyper called `name` among `hypers`; raises ConfigError that lists them."""
    names = [hyper.name for hyper in hypers]
    if name in names:
        return hypers[names.index(name)]
    raise ConfigError(
        f"{owner!r} has no hyper {reprlib.repr(name)}.{did_you_mean(name[:50], names)} It has: {', '.join(names)}."
    )
