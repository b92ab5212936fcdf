"""Every optimizer, one file each: `RULE` in that file is found here by listing the folder.

`adamtune.optimizers.Adam(...)` and its siblings are Keras optimizers with Keras' argument names; they are made from the
rules when first touched, because that loads Keras. `LearningRate` is the schedule of a config, for these classes, and
`AveragedWeights` the callback for those that are judged by an average.

Two ways lead in from outside: `register(rule)`, and an entry point of the group "adamtune.optimizers" that names a
Rule in an installed package. Whatever comes in by either is searched, trained and shown like the rest.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import warnings
from collections.abc import Iterator
from typing import Any

from adamtune.errors import ConfigError, did_you_mean, short
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Place, Rule, own_axes

__all__ = ["Builtin", "Place", "Rule", "get", "names", "ops", "own_axes", "register"]

ENTRY_POINTS = "adamtune.optimizers"
# What this module has beside the classes of rules.
_TAKEN = {"AveragedWeights", "Builtin", "LearningRate", "Place", "Rule"}


_RULES: dict[str, Rule] = {}


def _catalogue() -> dict[str, Rule]:
    """All rules by name: those of this folder, and those that installed packages offer."""
    if not _RULES:
        _RULES.update({rule.name: rule for rule in _of_this_folder()})
        for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
            # Whatever a package does wrong, the others' optimizers are there.
            try:
                _add(_RULES, entry.load(), replace=False)
            except Exception as error:
                warnings.warn(f"the optimizer {entry.name!r} of {entry.value!r} is left out: {error}", stacklevel=2)
    return _RULES


def _of_this_folder() -> Iterator[Rule]:
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            rule = getattr(importlib.import_module(f"{__name__}.{module.name}"), "RULE", None)
            if isinstance(rule, Rule):
                yield rule


def _add(catalogue: dict[str, Rule], rule: Any, replace: bool) -> None:
    if not isinstance(rule, Rule):
        raise ConfigError(f"expected a Rule, got {type(rule).__name__}: see adamtune.optimizers.Rule.")
    if rule.name != rule.name.lower():
        raise ConfigError(f"name={rule.name!r}: expected lower case, write {rule.name.lower()!r}.")
    if not rule.class_name[:1].isupper() or rule.class_name in _TAKEN:
        raise ConfigError(
            f"class_name={rule.class_name!r}: expected a name that begins with a capital and is none of "
            f"{', '.join(sorted(_TAKEN))}."
        )
    namesake = catalogue.get(rule.name)
    gives_way = namesake is not None and (namesake == rule or (replace and namesake.class_name == rule.class_name))
    others = [each for each in catalogue.values() if not (gives_way and each is namesake)]
    clash = {rule.name, rule.class_name} & {name for each in others for name in (each.name, each.class_name)}
    if clash:
        raise ConfigError(
            f"there is an optimizer {' and '.join(sorted(clash))} already: give the rule another name and class_name, "
            "or write replace=True to put it in the place of the one that has both."
        )
    catalogue[rule.name] = rule


def names() -> list[str]:
    """The names of all optimizers, sorted.

    >>> "adam" in names()
    True
    """
    return sorted(_catalogue())


def get(name: str | Rule) -> Rule:
    """The rule of that name, in any case.

    Raises
    ------
    ConfigError
        When there is none, with the nearest name.
    """
    if isinstance(name, Rule):
        return name
    if isinstance(name, str) and name.lower() in _catalogue():
        return _catalogue()[name.lower()]
    near = did_you_mean(name[:50], _catalogue()) if isinstance(name, str) else ""
    raise ConfigError(
        f"optimizer={short(name)} is unknown.{near} See adamtune.optimizers.names(): {', '.join(names())}."
    )


def register(rule: Rule | None = None, *, replace: bool = False) -> list[str]:
    """Make every class of adamtune's known to Keras, so that `keras.saving.load_model` finds it; a rule of yours too.

    Parameters
    ----------
    rule : Rule, optional
        An optimizer of your own, which from now on is one of the catalogue: `AdamTuner(optimizer="its_name")`. A
        process that starts later has to register it again, or find it by an entry point.
    replace : bool
        Whether it may take the place of one with the same name and class name.

    Returns
    -------
    list of str
        The names under which Keras knows them, such as "adamtune>Adam".

    Raises
    ------
    ConfigError
        When it is no Rule, or its name or class name is taken.
    """
    if rule is not None:
        _add(_catalogue(), rule, replace)
    return [f"adamtune>{name}" for name in _keras_classes()]


def _keras_classes() -> dict[str, Any]:
    """All of them together, known to Keras: who touches one may load a model that holds another."""
    import keras

    from adamtune.optimizers import _keras

    told = keras.saving.register_keras_serializable(package="adamtune")
    classes = {rule.class_name: told(_keras.keras_class(rule)) for rule in _catalogue().values()}
    return classes | {"LearningRate": _keras.LearningRate}


def _class_names() -> list[str]:
    return [*(rule.class_name for rule in _catalogue().values()), "LearningRate"]


def __getattr__(name: str) -> Any:
    # Modules are looked for here too, by the rules themselves while the catalogue is made.
    if name[:1].isupper() and name in _class_names():
        return _keras_classes()[name]
    if name == "AveragedWeights":
        from adamtune.optimizers import _keras

        return _keras.AveragedWeights
    if name == "from_keras2":
        from adamtune.optimizers import _keras2

        return _keras2.from_keras2
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_class_names(), "AveragedWeights", "from_keras2"])
