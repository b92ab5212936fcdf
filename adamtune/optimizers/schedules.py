"""Schedules: how the learning rate moves with the number of updates.

A schedule is data like a rule: a name and its hypers. The rate is one formula for all of them, because what
distinguishes them are values, the schedule's own number among them. So a change of schedule compiles nothing.

With i = 0, 1, ... the updates done before this one, S all updates of the training, W those of the warmup and H those
during which the rate is held (where several batches make one update, Keras counts the batches, and so do these):

    rate = learning_rate * min((i + 1) / (W + 1), 1) * shape(max(i - W - H, 0))

Every shape is 1 at its start, so the rate climbs to `learning_rate`, which update W is the first to have, stays there
for H updates more and falls. With a the updates since the fall began, p = a / (S - W - H) and f the hyper `final`:

    constant       1
    inverse_time   1 / (1 + decay a)
    inverse_sqrt   1 / sqrt(1 + a)
    exponential    f^p
    linear         f + (1 - f) (1 - min(p, 1))
    cosine         f + (1 - f) (1 + cos(pi min(p, 1))) / 2

`inverse_time` is what Keras 2 called `decay`, counted in updates, the same as
`keras.optimizers.schedules.InverseTimeDecay(lr, decay_steps=1, decay_rate=decay)` (which computes in float32 in every
model). It is no weight decay. `inverse_sqrt` is the alpha / sqrt(t) of Kingma & Ba 2015, arXiv 1412.6980, section 6.1
and theorem 4.1, with t from 1. `cosine` is Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5, without restarts.

The warmup is Goyal et al. 2017, arXiv 1706.02677, section 2.2: a small rate at first, then the same amount more with
each update. It starts at 1 / (W + 1) rather than at 0, because an update at rate 0 is an update lost. Cosine with
warmup equals `keras.optimizers.schedules.CosineDecay(lr / (W + 1), decay_steps=S - W, alpha=f, warmup_target=lr,
warmup_steps=W)`; without one, the last three equal `ExponentialDecay(lr, S, f)`, `PolynomialDecay(lr, S, f * lr)` and
`CosineDecay(lr, S, f)`. The rate `f * learning_rate` would be that of update S, one after the last.

A rate that is held before it falls is the constant part of TaskSet's list (Metz et al. 2020, arXiv 2002.11887) and the
"stable" of a warmup-stable-decay schedule (Hägele et al. 2024, arXiv 2405.18392). Only what falls towards an end can be
held: exponential, linear and cosine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Protocol

from adamtune.errors import ConfigError, did_you_mean, short
from adamtune.hypers import Hyper, Value, positive
from adamtune.optimizers._ops import ops

# Search bounds of `final` and `warmup`: the nadamw family of TaskSet (Metz et al. 2020, arXiv 2002.11887), the warmup
# up to the 10 % of Godbole et al. 2023 (tuning playbook), which is TaskSet's bound too.
DECAY = positive(
    "decay",
    0.0,
    low=1e-7,
    high=1e-2,
    tier=3,
    meaning="the rate falls as 1 / (1 + decay * updates); 0 keeps it constant",
    zero=True,
)
FINAL = positive(
    "final",
    0.0,
    low=1e-5,
    high=1.0,
    tier=3,
    meaning="share of the rate that is left at the end of the training",
    zero=True,
    most=1.0,
)
# A geometric fall has no end at 0. 1e-2 is the larger of AlgoPerf's end factors (Dahl et al. 2023, arXiv 2306.07179).
_FINAL_ABOVE_ZERO = replace(FINAL, default=1e-2, zero=False)
WARMUP = positive(
    "warmup",
    0.0,
    low=1e-5,
    high=1e-1,
    tier=4,
    meaning="share of all updates during which the rate rises",
    zero=True,
    most=1.0,
)
HOLD = positive(
    "hold",
    0.0,
    low=1e-2,
    high=0.9,
    tier=4,
    meaning="share of all updates, after the warmup, during which the rate stays before it falls",
    zero=True,
    most=1.0,
)
HYPERS: tuple[Hyper, ...] = (DECAY, FINAL, WARMUP, HOLD)

# The numbers that a schedule puts into a program, beside the learning rate.
COLUMNS: tuple[str, ...] = ("schedule", "decay", "final", "warmup_steps", "hold_steps", "steps")


@dataclass(frozen=True)
class Schedule:
    """A named way for the learning rate to move, and the hypers it adds to a config.

    Parameters
    ----------
    name : str
    hypers : tuple of Hyper
        Its own; `warmup` is every schedule's and `hold` that of those with a horizon: they stand in a config that has
        them.
    horizon : bool
        Whether it needs to know how many updates the training has.
    """

    name: str
    hypers: tuple[Hyper, ...] = ()
    horizon: bool = False


_ALL = {
    schedule.name: schedule
    for schedule in (
        Schedule("constant"),
        Schedule("inverse_time", (DECAY,)),
        Schedule("inverse_sqrt"),
        Schedule("exponential", (_FINAL_ABOVE_ZERO,), horizon=True),
        Schedule("linear", (FINAL,), horizon=True),
        Schedule("cosine", (FINAL,), horizon=True),
    )
}
_CODES = {name: float(code) for code, name in enumerate(_ALL)}


class Scheduled(Protocol):
    """What `row` and `builtin` read: an OptimizerConfig."""

    @property
    def schedule(self) -> str: ...  # noqa: D102
    @property
    def hypers(self) -> Mapping[str, Value]: ...  # noqa: D102


def names() -> list[str]:
    """The names of all schedules.

    >>> names()
    ['constant', 'inverse_time', 'inverse_sqrt', 'exponential', 'linear', 'cosine']
    """
    return list(_ALL)


def get(name: str) -> Schedule:
    """The schedule of that name; raises ConfigError with the names there are."""
    if isinstance(name, str) and name in _ALL:
        return _ALL[name]
    near = did_you_mean(name[:50], _ALL) if isinstance(name, str) else ""
    raise ConfigError(f"schedule={short(name)} is unknown.{near} There are: {', '.join(_ALL)}.")


def choose(name: str | None, given: Mapping[str, Any]) -> tuple[str, dict[str, Value]]:
    """The schedule that a name and some hypers mean, and its values.

    Parameters
    ----------
    name : str or None
        None is "inverse_time" when `decay` is given and not 0, else "constant".
    given : mapping
        Values by the names in `HYPERS`. What is left out has its default. A value that says "none" (a decay or a
        warmup of 0) is welcome with every schedule; a schedule without decay does not keep it, and no schedule keeps a
        warmup of 0.

    Raises
    ------
    ConfigError
        For an unknown schedule, a value out of range, or a hyper that the schedule has not.
    """
    if name is None:
        name = "inverse_time" if DECAY.check(given.get("decay", 0.0)) else "constant"
    own = {hyper.name for hyper in _hypers(get(name))}
    values = {each.name: each.check(given.get(each.name, each.default)) for each in get(name).hypers}
    for hyper in HYPERS:
        if hyper.name in given and hyper.name not in values:
            value = hyper.check(given[hyper.name])
            if hyper.name in own and value:
                values[hyper.name] = value
            elif hyper.name not in own and (value or hyper is FINAL):
                have = [f"schedule={other.name!r}" for other in _ALL.values() if hyper in _hypers(other)]
                raise ConfigError(
                    f"{hyper.name}={value} is given, but {'an' if name[0] in 'ei' else 'a'} {name} schedule has none: "
                    f"write {' or '.join(have)} or leave one of the two out."
                )
    return name, values


def _hypers(schedule: Schedule) -> tuple[Hyper, ...]:
    """All that a config with the schedule may have."""
    return (*schedule.hypers, *([HOLD] if schedule.horizon else []), WARMUP)


def owners(hyper: str) -> list[str]:
    """The schedules that may have a hyper of that name where others may not; none where all of them may.

    >>> owners("final"), owners("decay"), owners("warmup")
    (['exponential', 'linear', 'cosine'], ['inverse_time'], [])
    """
    found = [name for name, each in _ALL.items() if hyper in [own.name for own in _hypers(each)]]
    return [] if len(found) == len(_ALL) else found


def needs_steps(config: Scheduled) -> bool:
    """Whether the rate depends on the length of the training: the schedule ends with it, or there is a warmup."""
    return get(config.schedule).horizon or bool(config.hypers.get("warmup"))


def row(config: Scheduled, steps: int | None) -> list[float]:
    """The schedule of a config as numbers in the order of `COLUMNS`.

    Parameters
    ----------
    steps : int or None
        Number of updates of the whole training; None where the schedule needs none (infinity is carried).

    Raises
    ------
    ConfigError
        When the schedule ends with the training, or has a warmup, and `steps` is not known.
    """
    values = config.hypers
    warmup, hold = (float(values.get(hyper.name, 0.0)) for hyper in (WARMUP, HOLD))
    if steps is None and needs_steps(config):
        what = f"warmup={warmup:g}" if warmup else f"schedule={config.schedule!r}"
        raise ConfigError(
            f"{what} is a share of the training, whose length is not known: write "
            "steps=epochs * ceil(n_rows / batch_size), the number of updates."
        )
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ConfigError(f"steps={short(steps)}: expected the number of updates, a whole number above 0.")
    warmup_steps = hold_steps = 0
    if steps is not None:  # one update at least is left for the fall
        warmup_steps = min(round(warmup * steps), steps - 1)
        hold_steps = min(round(hold * steps), steps - 1 - warmup_steps)
    return [
        _CODES[config.schedule],
        float(values.get("decay", 0.0)),
        float(values.get("final", 1.0)),
        float(warmup_steps),
        float(hold_steps),
        math.inf if steps is None else float(steps),
    ]


def learning_rate(h: SimpleNamespace, iterations: Any) -> Any:
    """The rate of the update after `iterations` updates.

    Parameters
    ----------
    h : namespace
        `learning_rate` and `COLUMNS`, scalars or arrays that broadcast against `iterations`.
    iterations : array
        Updates done before this one, of h's float type.

    Returns
    -------
    array
        Of the shape that the two broadcast to.
    """
    before = h.warmup_steps + h.hold_steps
    age = ops.maximum(iterations - before, 0)
    ramp = ops.minimum((iterations + 1) / (h.warmup_steps + 1), 1)
    progress = age / (h.steps - before)
    end = ops.minimum(progress, 1)
    shape = 1 / (1 + h.decay * age)
    for name, other in (
        ("inverse_sqrt", 1 / ops.sqrt(1 + age)),
        ("exponential", ops.power(h.final, progress)),
        ("linear", h.final + (1 - h.final) * (1 - end)),
        ("cosine", h.final + (1 - h.final) * 0.5 * (1 + ops.cos(math.pi * end))),
    ):
        shape = ops.where(h.schedule == _CODES[name], other, shape)
    return h.learning_rate * ramp * shape


def builtin(config: Scheduled, steps: int | None) -> tuple[str, dict[str, Any]] | None:
    """The class in `keras.optimizers.schedules` that computes the same schedule, and its arguments.

    Returns
    -------
    (str, dict) or None
        None for a constant rate, which needs no class.

    Raises
    ------
    ConfigError
        As `row` does; ask `unlike_builtin` before, which says what Keras has no class for.
    """
    _, decay, final, warmup_steps, *_ = row(config, steps)
    rate = config.hypers["learning_rate"]
    if config.schedule == "constant":
        return None
    if config.schedule == "inverse_time":
        return "InverseTimeDecay", {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
    if config.schedule == "exponential":
        return "ExponentialDecay", {"initial_learning_rate": rate, "decay_steps": steps, "decay_rate": final}
    if config.schedule == "linear":
        arguments = {"decay_steps": steps, "end_learning_rate": final * rate}
        return "PolynomialDecay", {"initial_learning_rate": rate, **arguments}
    assert config.schedule == "cosine" and steps is not None, f"Keras has no {config.schedule} schedule"
    if not warmup_steps:
        return "CosineDecay", {"initial_learning_rate": rate, "decay_steps": steps, "alpha": final}
    return "CosineDecay", {
        "initial_learning_rate": rate / (warmup_steps + 1),
        "decay_steps": steps - int(warmup_steps),
        "alpha": final,
        "warmup_target": rate,
        "warmup_steps": int(warmup_steps),
    }


def unlike_builtin(config: Scheduled) -> str:
    """Why Keras has no class for a config's schedule, or ""."""
    if config.schedule == "inverse_sqrt":
        return "keras.optimizers.schedules has no inverse square root"
    if config.hypers.get("hold"):
        return "keras.optimizers.schedules has none that holds the rate before it falls"
    if config.schedule != "cosine" and config.hypers.get("warmup"):
        return f"keras.optimizers.schedules has no warmup before a {config.schedule} schedule"
    return ""
