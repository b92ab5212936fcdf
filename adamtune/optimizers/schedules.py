"""Schedules: how the learning rate moves with the number of updates.

A schedule is data like a rule: a name and its hypers. The rate is one formula for all of them, because what
distinguishes them are values: a constant rate is an inverse-time rate whose decay is 0. So a change of schedule
compiles nothing.

`inverse_time` is what Keras 2 called `decay`: lr / (1 + decay * iterations), counted in updates from 0, the same as
`keras.optimizers.schedules.InverseTimeDecay(lr, decay_steps=1, decay_rate=decay)` (which computes in float32 in every
model). It is no weight decay.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from adamtune.errors import ConfigError, did_you_mean
from adamtune.hypers import Hyper, positive

DECAY = positive(
    "decay",
    0.0,
    low=1e-7,
    high=1e-2,
    tier=3,
    meaning="the rate falls as 1 / (1 + decay * updates); 0 keeps it constant",
    zero=True,
)
HYPERS: tuple[Hyper, ...] = (DECAY,)


@dataclass(frozen=True)
class Schedule:
    """A named way for the learning rate to move, and the hypers it adds to a config."""

    name: str
    hypers: tuple[Hyper, ...]


_ALL = {schedule.name: schedule for schedule in (Schedule("constant", ()), Schedule("inverse_time", (DECAY,)))}


def get(name: str) -> Schedule:
    """The schedule of that name; raises ConfigError with the names there are."""
    if isinstance(name, str) and name in _ALL:
        return _ALL[name]
    near = did_you_mean(name[:50], _ALL) if isinstance(name, str) else ""
    raise ConfigError(f"schedule={reprlib.repr(name)} is unknown.{near} There are: {', '.join(_ALL)}.")


def learning_rate(h: SimpleNamespace, iterations: Any) -> Any:
    """The rate after `iterations` updates: `h.learning_rate` when `h.decay` is 0."""
    return h.learning_rate / (1 + h.decay * iterations)
