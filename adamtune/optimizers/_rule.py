"""Rule: what an optimizer is.

A rule is one pure function and the numbers it takes. The function gets a gradient and a weight of the same shape, the
weight's slots (arrays of that shape which the rule remembers between steps), the hypers and the number t = 1, 2, ... of
the step, and returns the new weight and the new slots. What is remembered once for all weights (a running product, say)
are the rule's scalars; a second pure function, `prepare`, moves them on before the weights are updated. Both are
written in `keras.ops` only, so the same lines run inside a Keras optimizer and inside a compiled program that trains
many lanes at once.

Two things make that possible. Hypers are values, never Python branches: they may be scalars, or arrays of shape
(lanes, 1, ..., 1) against weights of shape (lanes, *shape); `prepare` gets scalars or arrays (lanes,). And a yes/no
option is a 0/1 mask: compute both and choose with `ops.where` (never by multiplying with 0, which keeps a NaN alive).

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
from adamtune.optimizers import gradients, schedules

Slots = tuple[Any, ...]
Scalars = tuple[Any, ...]
Update = Callable[[Any, Any, Slots, SimpleNamespace, Any], tuple[Any, Slots]]
Prepare = Callable[[SimpleNamespace, Scalars, Any], tuple[SimpleNamespace, Scalars]]


def _nothing(h: SimpleNamespace, scalars: Scalars, t: Any) -> tuple[SimpleNamespace, Scalars]:
    return h, scalars


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
        `update(gradient, weight, slots, h, t) -> (weight, slots)`, elementwise over the weight. Decoupled weight decay
        is no part of it: `gradients.decay` comes before every rule.
    scalars : tuple of (str, float)
        What is remembered once for all weights: name and value at the start.
    prepare : callable
        `prepare(h, scalars, t) -> (h, scalars)`, once a step before the weights; all of one shape, () or (lanes,). It
        returns a namespace with what it adds for `update`, and the new scalars. By default it does nothing.
    builtin : str or None
        Name of the class in `keras.optimizers` that computes the same update, if there is one.
    unlike_builtin : callable
        Given the hyper values, the reason why that class does not compute the same for them, or "".
    not_in_builtin : tuple of str
        Names of hypers that class has not; `unlike_builtin` says for which values it does without.
    """

    name: str
    class_name: str
    source: str
    hypers: tuple[Hyper, ...]
    slots: tuple[str, ...]
    update: Update
    scalars: tuple[tuple[str, float], ...] = ()
    prepare: Prepare = _nothing
    builtin: str | None = None
    unlike_builtin: Callable[[Mapping[str, Value]], str] = _same
    not_in_builtin: tuple[str, ...] = ()

    @property
    def searchable(self) -> tuple[Hyper, ...]:
        """All hypers that a config of this rule may have: the rule's, then the schedules', then those around it."""
        own, around = self._around()
        return own + schedules.HYPERS + around

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of a config inside a program, in the order of `row`."""
        own, around = (tuple(hyper.carried_name for hyper in hypers) for hypers in self._around())
        return own + schedules.COLUMNS + around

    def row(self, config: schedules.Scheduled, steps: int | None) -> list[float]:
        """A config of this rule as numbers in the order of `columns`.

        Parameters
        ----------
        config : OptimizerConfig
            What its `hypers` leave out has its default.
        steps : int or None
            Number of updates of the whole training; None where the schedule needs none, see `schedules.row`.
        """
        values = config.hypers
        own, around = (
            [hyper.carry(values.get(hyper.name, hyper.default)) for hyper in hypers] for hypers in self._around()
        )
        return own + schedules.row(config, steps) + around

    def _around(self) -> tuple[tuple[Hyper, ...], tuple[Hyper, ...]]:
        """The rule's hypers, and those of the stages around it that are not the rule's own."""
        names = {hyper.name for hyper in self.hypers}
        return self.hypers, tuple(hyper for hyper in gradients.HYPERS if hyper.name not in names)

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
