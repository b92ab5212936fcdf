"""What Keras 2 called an optimizer, in adamtune's words.

Keras 3 takes many of the same names and computes something else: it ignores `decay`, clips each weight where Keras 2
clipped all of them together, has another Nadam, other places for epsilon and other defaults. Here stand the defaults
of standalone Keras 2 (2.2.4 and 2.3.1, `keras/optimizers.py`) and what its arguments mean, and nowhere else:

    lr, learning_rate    learning_rate
    decay                the schedule "inverse_time", lr / (1 + decay * updates)
    clipnorm             global_clipnorm: the norm is that of all gradients together
    epsilon=None         1e-7, the epsilon of its backend
    epsilon              outside the root in RMSprop and Adagrad: `epsilon_outside_root`
    schedule_decay       Nadam's own, 0.004; Keras 3 computes with 1

>>> translate("Adam", lr=0.002, decay=1e-4).hypers["decay"]
0.0001
>>> translate("Adam", lr=0.002, decay=1e-4).changes
("decay=0.0001: the schedule is 'inverse_time', lr / (1 + decay * updates); Keras 3 ignores decay",)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from adamtune import optimizers
from adamtune.errors import ConfigError, did_you_mean, short
from adamtune.optimizers import gradients, schedules


class Translation(NamedTuple):
    """An optimizer of Keras 2 as adamtune writes it.

    Parameters
    ----------
    optimizer : str
        Its name here.
    hypers : dict
        What `OptimizerConfig` takes; a decay is among them.
    changes : tuple of str
        What means something else in Keras 3, or is given by another name: a line each.
    """

    optimizer: str
    hypers: dict[str, Any]
    changes: tuple[str, ...]


# `backend.epsilon()` of Keras 2.
_EPSILON = 1e-7
_MOMENTS = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": None}

# Name here, and the arguments of Keras 2 with their defaults. Its Nadam took no decay.
_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("sgd", {"lr": 0.01, "momentum": 0.0, "decay": 0.0, "nesterov": False}),
    "RMSprop": ("rmsprop", {"lr": 0.001, "rho": 0.9, "epsilon": None, "decay": 0.0}),
    "Adagrad": ("adagrad", {"lr": 0.01, "epsilon": None, "decay": 0.0}),
    "Adadelta": ("adadelta", {"lr": 1.0, "rho": 0.95, "epsilon": None, "decay": 0.0}),
    "Adam": ("adam", {"lr": 0.001, **_MOMENTS, "decay": 0.0, "amsgrad": False}),
    "Adamax": ("adamax", {"lr": 0.002, **_MOMENTS, "decay": 0.0}),
    "Nadam": ("nadam", {"lr": 0.002, **_MOMENTS, "schedule_decay": 0.004}),
}
# Every class of Keras 2 took these; 0 is none.
_CLIPS = {"clipnorm": 0.0, "clipvalue": 0.0}
# Where Keras 3 has another default.
_RATES_OF_KERAS_3 = {"Adagrad": 0.001, "Adadelta": 0.001, "Adamax": 0.001, "Nadam": 0.001}


def names() -> list[str]:
    """The classes of Keras 2 that can be translated."""
    return list(_CLASSES)


def translate(given: str | Mapping[str, Any], /, **arguments: Any) -> Translation:
    """What an optimizer of Keras 2 is here, as plain data; parameters and errors as in `from_keras2`."""
    name, given_arguments = _read(given, arguments)
    optimizer, defaults = _CLASSES[name]
    known = defaults | _CLIPS
    values = {"lr" if argument == "learning_rate" else argument: each for argument, each in given_arguments.items()}
    if len(values) < len(given_arguments):
        raise ConfigError("lr and learning_rate are given, which are one number: leave one of the two out.")
    for argument in values:
        if argument not in known:
            near = did_you_mean(str(argument)[:50], known)
            raise ConfigError(f"Keras 2's {name} has no argument {short(argument)}.{near} It has: {', '.join(known)}.")
    changes = []
    hypers = {"learning_rate": values.get("lr", defaults["lr"])}
    hypers |= {each: values.get(each, default) for each, default in defaults.items() if each not in ("lr", "decay")}
    if "lr" not in values and name in _RATES_OF_KERAS_3:
        changes.append(
            f"learning_rate={hypers['learning_rate']:g}, the default of Keras 2; Keras 3's is "
            f"{_RATES_OF_KERAS_3[name]:g}"
        )
    if "epsilon" in values and values["epsilon"] is None:
        changes.append(f"epsilon=None: it is {_EPSILON:g}, as in Keras 2; Keras 3 takes no None")
    if hypers.get("epsilon", 0.0) is None:
        hypers["epsilon"] = _EPSILON
    if name in ("RMSprop", "Adagrad"):
        hypers["epsilon_outside_root"] = True
        changes.append("epsilon_outside_root=True: sqrt(v) + epsilon, as in Keras 2; Keras 3 has sqrt(v + epsilon)")
    if name == "Adagrad":
        hypers["initial_accumulator_value"] = 0.0
        changes.append("initial_accumulator_value=0, as in Keras 2; Keras 3 starts at 0.1")
    if name == "Nadam":
        changes.append(f"schedule_decay={hypers['schedule_decay']}, which Keras 3 has not: it computes with 1")
    if decay := schedules.DECAY.check(values.get("decay", 0.0)):
        hypers["decay"] = decay
        changes.append(
            f"decay={decay:g}: the schedule is 'inverse_time', lr / (1 + decay * updates); Keras 3 ignores decay"
        )
    if limit := _limit("clipnorm", values):
        hypers["global_clipnorm"] = limit
        changes.append(
            f"clipnorm={limit:g}: it is global_clipnorm, the norm of all gradients together, as in Keras 2; Keras 3's "
            "clipnorm is each weight's own"
        )
    if limit := _limit("clipvalue", values):
        hypers["clipvalue"] = limit
    gradients.one_clip(hypers)
    return Translation(optimizer, hypers, tuple(changes))


def from_keras2(given: str | Mapping[str, Any], /, **arguments: Any) -> Any:
    """A fresh optimizer that computes what one of Keras 2 computed; warns of what Keras 3 means differently.

    Parameters
    ----------
    given : str or mapping
        The name of the class ("SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "Adamax", "Nadam", in any case), or
        what Keras 2 saved: `{"class_name": "Nadam", "config": {"lr": 0.002, ...}}`, or the arguments beside the
        class name.
    **arguments
        Those of Keras 2; what is left out has the default of Keras 2.

    Returns
    -------
    keras.optimizers.Optimizer
        One of adamtune's classes.

    Raises
    ------
    ConfigError
        For a class or an argument that Keras 2 had not, a value out of range, or both clipnorm and clipvalue, of
        which Keras 3 takes one.

    Warns
    -----
    UserWarning
        For each thing that the same argument, or none, means otherwise in Keras 3.

    Examples
    --------
    >>> from adamtune.optimizers import from_keras2
    >>> optimizer = from_keras2("Adam", lr=0.002, amsgrad=True)
    >>> round(float(optimizer.learning_rate), 6), optimizer.epsilon
    (0.002, 1e-07)
    """
    translation = translate(given, **arguments)
    for change in translation.changes:
        warnings.warn(f"from_keras2: {change}.", UserWarning, stacklevel=2)
    rule = optimizers.get(translation.optimizer)
    hypers = dict(translation.hypers)
    if decay := hypers.pop("decay", None):
        # A schedule takes any number for a rate.
        rate = rule.hyper("learning_rate").check(hypers["learning_rate"])
        hypers["learning_rate"] = optimizers.LearningRate(rate, decay=decay)
    return getattr(optimizers, rule.class_name)(**hypers)


def _read(given: Any, arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The class as Keras 2 writes it, and its arguments."""
    if isinstance(given, Mapping):
        if arguments:
            raise ConfigError(f"a saved optimizer holds its arguments: {', '.join(arguments)} cannot be given beside.")
        saved = dict(given)
        given = saved.pop("class_name", None)
        arguments = saved.get("config", saved) if len(saved) == 1 else saved
        if not isinstance(arguments, Mapping) or "config" in arguments:
            raise ConfigError(
                f"not what Keras 2 saved: {short(saved)}. Expected {{'class_name': 'Adam', 'config': {{...}}}}, "
                "or the arguments beside the class name."
            )
    by_lower = {name.lower(): name for name in _CLASSES}
    if not isinstance(given, str) or given.lower() not in by_lower:
        near = did_you_mean(given[:50], by_lower) if isinstance(given, str) else ""
        raise ConfigError(
            f"{short(given)} is no optimizer of Keras 2 that adamtune knows.{near} There are: {', '.join(_CLASSES)}."
        )
    return by_lower[given.lower()], arguments


def _limit(name: str, values: Mapping[str, Any]) -> float | None:
    """A limit for gradients, None where there is none: Keras 2 took 0 for that too."""
    value = values.get(name)
    if value is None or value == 0:
        return None
    return float(getattr(gradients, name.upper()).check(value)) if value != math.inf else None
