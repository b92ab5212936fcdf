"""Every optimizer, one file each: `RULE` in that file is found here by listing the folder.

`adamtune.optimizers.Adam(...)` and its siblings are Keras optimizers with Keras' argument names; they are made from the
rules when first touched, because that loads Keras. `LearningRate` is the schedule of a config, for these classes.
`register()` makes them all known to Keras' `load_model`.
"""

from __future__ import annotations

import importlib
import pkgutil
import reprlib
from typing import Any

from adamtune.errors import ConfigError, did_you_mean
from adamtune.optimizers._rule import Rule


def _discover() -> dict[str, Rule]:
    rules = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if not name.startswith("_"):
            rule = getattr(importlib.import_module(f"{__name__}.{name}"), "RULE", None)
            if isinstance(rule, Rule):
                rules[rule.name] = rule
    return rules


_RULES = _discover()


def names() -> list[str]:
    """The names of all optimizers, sorted.

    >>> names()
    ['adam', 'adamw', 'nadam', 'rmsprop', 'sgd']
    """
    return list(_RULES)


def get(name: str | Rule) -> Rule:
    """The rule of that name, in any case.

    Raises
    ------
    ConfigError
        When there is none, with the nearest name.
    """
    if isinstance(name, Rule):
        return name
    if isinstance(name, str) and name.lower() in _RULES:
        return _RULES[name.lower()]
    near = did_you_mean(name[:50], _RULES) if isinstance(name, str) else ""
    raise ConfigError(
        f"optimizer={reprlib.repr(name)} is unknown.{near} See adamtune.optimizers.names(): {', '.join(_RULES)}."
    )


def register() -> list[str]:
    """Make every class of adamtune's known to Keras, so that `keras.saving.load_model` finds it.

    Returns
    -------
    list of str
        The names under which Keras knows them, such as "adamtune>Adam".
    """
    return [f"adamtune>{name}" for name in _keras_classes()]


def _keras_classes() -> dict[str, Any]:
    """All of them together: who touches one may load a model that holds another."""
    from adamtune.optimizers import _keras

    classes = {rule.class_name: _keras.keras_class(rule) for rule in _RULES.values()}
    return classes | {"LearningRate": _keras.LearningRate}


def _class_names() -> list[str]:
    return [*(rule.class_name for rule in _RULES.values()), "LearningRate"]


def __getattr__(name: str) -> Any:
    if name in _class_names():
        return _keras_classes()[name]
    if name == "AveragedWeights":
        from adamtune.optimizers import _keras

        return _keras.AveragedWeights
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_class_names(), "AveragedWeights"])
