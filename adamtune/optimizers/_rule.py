"""Rule: what an optimizer is.

A rule is one pure function and the numbers it takes. The function gets a gradient and a weight of the same shape, the
weight's slots (arrays of that shape which the rule remembers between steps), the hypers and the number t = 1, 2, ... of
the step, and returns the new weight and the new slots. What is remembered once for all weights (a running product, say)
are the rule's scalars; a second pure function, `prepare`, moves them on before the weights are updated. Both are
written in `keras.ops` only, so the same lines run inside a Keras optimizer and inside a compiled program that trains
many lanes at once.

Three things make that possible. Hypers are values, never Python branches: they may be scalars, or arrays of shape
(lanes, 1, ..., 1) against weights of shape (lanes, *shape); `prepare` gets scalars or arrays (lanes,). A yes/no option
is a 0/1 mask: compute both and choose with `ops.where` (never by multiplying with 0, which keeps a NaN alive). And what
is summed over a weight is summed over its own axes, never over the lanes': see `own_axes`.

All slots start at 0. One that has to start elsewhere is given its start where t is 1, with `ops.where`. (Only the one
that is judged in a weight's place holds the weight before that, so that an untrained model can be judged.)

Everything else about an optimizer follows from its Rule: the Keras class, the lanes, the search space, the row in the
tables, the conformance tests. A new optimizer is one new file in this folder that defines `RULE`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from adamtune.errors import ConfigError, did_you_mean, short
from adamtune.hypers import Hyper, Value
from adamtune.optimizers import gradients, schedules

Shape = tuple[int, ...]
Slots = tuple[Any, ...]
Scalars = tuple[Any, ...]
Update = Callable[[Any, Any, Slots, SimpleNamespace, Any], tuple[Any, Slots]]
# What a term of one weight, `term(gradient, weight, slots, h)`, sums up to over all elements of all weights.
Total = Callable[[Callable[[Any, Any, Slots, SimpleNamespace], Any], SimpleNamespace], Any]
Prepare = Callable[[SimpleNamespace, Scalars, Any, Total], tuple[SimpleNamespace, Scalars]]


@dataclass(frozen=True)
class Place:
    """Where a weight stands in its model: what a rule may know of it besides its numbers.

    Parameters
    ----------
    path : str
        Keras' path, such as "sequential/dense/kernel".
    shape : tuple of int
        Without a lane axis.
    is_output : bool
        Whether it is the model's last matrix, that of the output layer.
    """

    path: str
    shape: Shape
    is_output: bool = False


def places(variables: Sequence[Any]) -> list[Place]:
    """The places of a model's trainable variables, in their order."""
    matrices = [number for number, variable in enumerate(variables) if len(variable.shape) == 2]
    return [
        Place(variable.path, tuple(variable.shape), number in matrices[-1:])
        for number, variable in enumerate(variables)
    ]


@dataclass(frozen=True)
class Builtin:
    """The class in `keras.optimizers` that computes the same update.

    Parameters
    ----------
    class_name : str
    unlike : callable
        Given the hyper values, the reason why that class does not compute the same for them, or "".
    arguments : callable
        Given the hyper values, the arguments of that class; by default the same by the same names.
    """

    class_name: str
    unlike: Callable[[Mapping[str, Value]], str] = lambda values: ""
    arguments: Callable[[Mapping[str, Value]], dict[str, Any]] = dict


def without(*names: str) -> Callable[[Mapping[str, Value]], dict[str, Any]]:
    """`Builtin.arguments` for a class that has no arguments of these names; `unlike` says when it does without."""
    return lambda values: {name: value for name, value in values.items() if name not in names}


def own_axes(weight: Any, number: Any) -> tuple[int, ...]:
    """The axes of a weight without that of the lanes, for a sum in `update`.

    Parameters
    ----------
    weight : array
        As `update` gets it.
    number : array
        Any hyper as `update` gets it: of rank 0 where there are no lanes, else of the weight's rank.
    """
    return tuple(range(min(1, len(number.shape)), len(weight.shape)))


def _nothing(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    return h, scalars


@dataclass(frozen=True)
class Rule:
    """One optimizer's mathematics and what there is to know about it.

    Parameters
    ----------
    name : str
        Lower case, as users write it.
    class_name : str
        Name of its Keras class.
    family : str
        What kind it is, in a word or two, for tables.
    source : str
        Where the equations stand: authors, year, arXiv id, section.
    notes : str
        The equations and the pitfalls, in prose: the docstring of the rule's file.
    hypers : tuple of Hyper
        Its numbers, the learning rate first. A complement reaches `update` under its carried name
        (`h.one_minus_beta_1`), all others under their own.
    slots : tuple of str
        Names of what is remembered per weight.
    update : callable
        `update(gradient, weight, slots, h, t) -> (weight, slots)`.
    scalars : tuple of (str, float)
        What is remembered once for all weights: name and value at the start.
    prepare : callable
        `prepare(h, scalars, t, total) -> (h, scalars)`, once a step before the weights; all of one shape, () or
        (lanes,). It returns a namespace with what it adds for `update`, and the new scalars. By default it does
        nothing. `total(term, h)` is the sum over all elements of all weights of `term(gradient, weight, slots, h)`.
    builtin : Builtin or None
        The class in `keras.optimizers` that computes the same, if there is one.
    by_place : callable or None
        Given a Place, the `update` for weights there, where not all have the same.
    shapes : callable or None
        Given a Place, the shapes of the slots of a weight there, of the same rank, where they are not the weight's.
    unused : callable
        Given the hyper values, names of slots that no weight depends on for them: a Keras class does not keep those,
        and hands zeros to `update`.
    averaged : str or None
        Name of the slot that holds the weights to judge, to keep and to predict with, where these are not the ones
        that are trained.
    decays : bool
        Whether `update` uses `h.weight_decay` itself. Else decoupled weight decay is no part of it: `gradients.decay`
        comes before every rule.
    """

    name: str
    class_name: str
    source: str
    hypers: tuple[Hyper, ...]
    slots: tuple[str, ...]
    update: Update
    family: str = "other"
    notes: str = ""
    scalars: tuple[tuple[str, float], ...] = ()
    prepare: Prepare = _nothing
    builtin: Builtin | None = None
    by_place: Callable[[Place], Update] | None = None
    shapes: Callable[[Place], tuple[Shape, ...]] | None = None
    unused: Callable[[Mapping[str, Value]], Collection[str]] = lambda values: ()
    averaged: str | None = None
    decays: bool = False

    def update_at(self, place: Place) -> Update:
        """The update of the weight at that place."""
        return self.by_place(place) if self.by_place else self.update

    def slot_shapes(self, place: Place) -> tuple[Shape, ...]:
        """The shapes of the slots of the weight at that place."""
        return self.shapes(place) if self.shapes else (place.shape,) * len(self.slots)

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

    def one_average(self, options: Mapping[str, Any]) -> None:
        """Raise ConfigError where Keras' moving average is asked of a rule that averages its weights itself."""
        if self.averaged and options.get("use_ema"):
            raise ConfigError(f"use_ema=True, but {self.name} averages its weights itself: leave it out.")

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
        f"{owner!r} has no hyper {short(name)}.{did_you_mean(name[:50], names)} It has: {', '.join(names)}."
    )
