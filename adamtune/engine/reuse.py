"""Programs of this process that can be used again.

Compiling takes about a second, and most of it is spent for nothing in a process that fits again and again: on the folds
of `cross_val_score` with a model of one's own, say. A program knows nothing of the rows and weights it is given, so it
serves every task that has the same model, loss, metric and sizes.

What cannot be told from its description is never taken for the same: layers, losses and functions that are not Keras'
own.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from types import FunctionType
from typing import Any

import keras

from adamtune.engine.plan import Plan
from adamtune.engine.program import Program, Structure
from adamtune.optimizers._rule import Rule
from adamtune.tasks.splits import Split
from adamtune.tasks.task import Task

# Programs that are kept, the latest used last: all of "all", once. Each holds a model, and where that is large,
# compiling is a small part of the training.
_MOST, _LARGEST = 32, 1_000_000
_kept: OrderedDict[Hashable, Program] = OrderedDict()
_lock = threading.Lock()

# Where a description says the names of layers, which Keras counts up from model to model.
_NAMING = frozenset({"name", "keras_history", "input_layers", "output_layers"})
# What a description says and a program does not depend on: random states are data, and the optimizer is ours.
_IRRELEVANT = frozenset({"seed", "compile_config"})


def program(key: Hashable | None, rule: Rule, make: Callable[[], Program]) -> Program:
    """The program that is kept under the key for that very rule, else a new one."""
    with _lock:
        found = _kept.get((key, rule.name))
    # A rule may have been registered again under its name.
    return found if key is not None and found is not None and found.rule is rule else make()


def keep(key: Hashable | None, program: Program) -> None:
    """Keep a program that has been compiled; those that were not used for long are given up."""
    if key is None:
        return
    with _lock:
        _kept[key, program.rule.name] = program
        _kept.move_to_end((key, program.rule.name))
        while len(_kept) > _MOST:
            _kept.popitem(last=False)


def forget() -> None:
    """Give up all programs that are kept."""
    with _lock:
        _kept.clear()


def key_of(task: Task, model: Any, split: Split, structure: Structure, plan: Plan) -> Hashable | None:
    """What two fits must have in common to share programs; None for a task that shares with no other."""
    layers = [model, *model._flatten_layers()]
    if model.count_params() > _LARGEST or not all(map(_is_of_keras, layers)):
        return None
    names = {layer.name: number for number, layer in enumerate(layers)}
    try:
        things = (model, task.loss, task.mean_metric)
        described = [_plain(keras.saving.serialize_keras_object(thing), names) for thing in things]
    except Exception:  # a model need not describe itself, and then it is taken for no other
        return None
    x, y, weight = task.data.x, task.data.y, task.data.weight
    return (
        json.dumps(described, sort_keys=True),
        tuple((tuple(each.shape), str(each.dtype), each.trainable) for each in model.weights),
        getattr(task.loss, "dtype", None),
        # Keras knows inputs by the names of layers.
        tuple((name, names.get(name), part.shape, str(part.dtype)) for name, part in x.parts.items()),
        (y.shape, str(y.dtype), weight is None, task.data.class_weight is None),
        (split.n_train, len(split.valid), task.batch_size),
        (structure, plan.strategy, plan.lanes, plan.width, plan.rows_at_once),
        (keras.backend.backend(), keras.config.floatx(), keras.config.epsilon()),
    )


def _is_of_keras(layer: Any) -> bool:
    """Whether the layer and the functions it holds are Keras' own: a description may give no more than their names.

    What a layer has learned by `adapt` is a constant of a program too, and in no description.
    """
    if hasattr(layer, "adapt") and getattr(layer, "input_mean", None) is None:
        return False
    functions = [each for each in vars(layer).values() if isinstance(each, FunctionType)]
    return all(str(each.__module__).startswith("keras.") for each in [type(layer), *functions])


class _Foreign(Exception):
    """Something whose description may be that of something else."""


def _plain(value: Any, names: Mapping[str, int], naming: bool = False) -> Any:
    """A description with the numbers of layers for their names; raises _Foreign for what is not Keras' own."""
    if isinstance(value, dict):
        own = str(value.get("module") or "keras").split(".")[0] == "keras"
        if not own or value.get("class_name") in ("function", "__lambda__", "Lambda"):
            raise _Foreign
        return {k: _plain(v, names, k in _NAMING) for k, v in value.items() if k not in _IRRELEVANT}
    if isinstance(value, (list, tuple)):
        return [_plain(each, names, naming) for each in value]
    if isinstance(value, str):
        return names.get(value, value) if naming else value
    if isinstance(value, (int, float, type(None))):
        return value
    raise _Foreign
