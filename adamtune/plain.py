"""Plain data: values as JSON and arrays, and back.

A value is `None`, a truth value, a number, a text or a list of such, which JSON holds as they are; an array, which is
put aside; or of one of the kinds below, which are written as `{kind: parts}`, the parts being plain again. What is of
no kind is refused. So nothing that is read back can run code: it is one of these types, made of checked parts.
"""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import optuna
import pandas as pd
from optuna import distributions

from adamtune.config import OptimizerConfig
from adamtune.engine.plan import Plan
from adamtune.tasks import outputs, tables

# Truth values, numbers, text, bytes, durations and dates: what numpy stores without pickle.
_ARRAYS = "biufcUSmM"


class NotPlain(Exception):
    """A value of no known kind; `args[0]` says what it is, as in "a function 'network'"."""


@dataclasses.dataclass(frozen=True)
class Absent:
    """Stands where a parameter was that is not plain: `fit` refuses it.

    Parameters
    ----------
    what : str
        What the parameter was: "a function 'network'".
    why : str
        Why it is not there, after "which".

    >>> Absent("a function 'network'")
    <a function 'network', which is not in the file that the estimator was loaded from>
    """

    what: str
    why: str = "is not in the file that the estimator was loaded from"

    def __repr__(self) -> str:
        return f"<{self.what}, which {self.why}>"


def to_plain(value: Any, arrays: list[np.ndarray]) -> Any:
    """A value as JSON can hold it.

    Parameters
    ----------
    arrays : list of ndarray
        The value's arrays are appended to it, and named by their place in it.

    Raises
    ------
    NotPlain
        When the value, or a part of it, is of no known kind.
    """
    cls = type(value)
    if value is None or cls in (bool, int, str) or (cls is float and math.isfinite(value)):
        return value
    if cls is list:
        return [to_plain(each, arrays) for each in value]
    if isinstance(value, np.generic) or (cls is np.ndarray and value.dtype != object):
        if value.dtype.kind not in _ARRAYS:
            raise NotPlain(f"an array of dtype {value.dtype}")
        arrays.append(np.asarray(value))
        return {"array" if cls is np.ndarray else "scalar": len(arrays) - 1}
    if cls not in _NAMES:
        raise NotPlain(_described(value))
    kind = _NAMES[cls]
    return {kind: to_plain(_KINDS[kind].parts(value), arrays)}


def from_plain(plain: Any, arrays: list[np.ndarray]) -> Any:
    """The value that `to_plain` took apart.

    Raises
    ------
    Exception
        Of whatever kind, for what `to_plain` never made.
    """
    if isinstance(plain, list):
        return [from_plain(each, arrays) for each in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, parts),) = plain.items()
    if kind in ("array", "scalar"):
        return arrays[parts] if kind == "array" else arrays[parts][()]
    return _KINDS[kind].whole(from_plain(parts, arrays))


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__!r}"
    if callable(value) and hasattr(value, "__name__"):
        return f"a function {value.__name__!r}"
    return f"a {type(value).__name__} object"


# ------------------------------------------------------------------------------------------------------ the kinds


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A type whose values are made of simpler ones: `parts` takes one apart, `whole` puts it together."""

    cls: type
    parts: Callable[[Any], Any]
    whole: Callable[[Any], Any]


def _dataclass(cls: type) -> _Kind:
    names = [field.name for field in dataclasses.fields(cls)]
    return _Kind(cls, lambda value: {name: getattr(value, name) for name in names}, lambda parts: cls(**parts))


def _keras(cls: type) -> _Kind:
    """A loss or metric by its arguments, of which some of Keras' own `get_config` leave out a few."""
    names = inspect.signature(cls).parameters

    def parts(value: Any) -> dict[str, Any]:
        arguments = {"dtype": value.dtype} | getattr(value, "_fn_kwargs", {})
        described = value.get_config() | {name: each for name, each in arguments.items() if name in names}
        # Keras makes every list that an object of its own holds one of its own.
        return {name: list(each) if isinstance(each, list) else each for name, each in described.items()}

    return _Kind(cls, parts, lambda config: cls(**config))


def _objects(array: np.ndarray) -> list[Any]:
    return [list(array.shape), list(array.flat)]


def _of_objects(parts: list[Any]) -> np.ndarray:
    shape, values = parts
    if math.prod(shape) != len(values):
        raise ValueError(f"{len(values)} objects in an array of shape {shape}")
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # not by slice: a value may be a list
        array[place] = value
    return array.reshape(shape)


def _frame(frame: pd.DataFrame) -> dict[str, Any]:
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]  # labels need not be unique
    counted = isinstance(frame.index, pd.RangeIndex) and frame.index.equals(pd.RangeIndex(len(frame)))
    return {
        "labels": list(frame.columns),
        "rows": len(frame) if counted else _column(frame.index.to_series()),
        "columns": [_column(column) for column in columns],
    }


def _of_frame(parts: dict[str, Any]) -> pd.DataFrame:
    rows = parts["rows"]
    with pd.option_context("mode.string_storage", "python"):  # as in `records.table`
        index = pd.RangeIndex(rows) if isinstance(rows, int) else pd.Index(_of_column(rows))
        columns = {place: _of_column(column) for place, column in enumerate(parts["columns"])}
        frame = pd.DataFrame(columns, index=range(len(index)))
        frame.index = index
        frame.columns = pd.Index(parts["labels"])
        return frame


def _column(column: pd.Series) -> list[Any]:
    """The dtype's name and the values."""
    if isinstance(column.dtype, pd.StringDtype):
        return [str(column.dtype), [None if pd.isna(value) else value for value in column]]
    if not isinstance(column.dtype, np.dtype):
        raise NotPlain(f"a column of dtype {column.dtype}")
    return [str(column.dtype), column.to_numpy()]


def _of_column(parts: list[Any]) -> pd.Series:
    dtype, values = parts
    return pd.Series(values, dtype=dtype)


def _trial(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    names = ("number", "values", "datetime_start", "datetime_complete", "params", "distributions", "user_attrs")
    parts = {name: getattr(trial, name) for name in (*names, "system_attrs", "intermediate_values")}
    return parts | {"state": trial.state.name, "trial_id": trial._trial_id}


def _of_trial(parts: dict[str, Any]) -> optuna.trial.FrozenTrial:
    state = optuna.trial.TrialState[parts["state"]]
    return optuna.trial.FrozenTrial(**parts | {"state": state, "value": None})


_KINDS = {
    "float": _Kind(float, repr, float),  # NaN and the infinite ones, which JSON has not
    "tuple": _Kind(tuple, list, tuple),
    "dict": _Kind(dict, lambda value: [list(item) for item in value.items()], dict),  # keys need not be text
    "datetime": _Kind(datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "objects": _Kind(np.ndarray, _objects, _of_objects),
    "frame": _Kind(pd.DataFrame, _frame, _of_frame),
    "trial": _Kind(optuna.trial.FrozenTrial, _trial, _of_trial),
    "config": _Kind(OptimizerConfig, OptimizerConfig.to_dict, OptimizerConfig.from_dict),
}
_KINDS |= {
    cls.__name__: _Kind(cls, distributions.distribution_to_json, distributions.json_to_distribution)
    for cls in (
        distributions.FloatDistribution,
        distributions.IntDistribution,
        distributions.CategoricalDistribution,
    )
}
_KINDS |= {cls.__name__: _dataclass(cls) for cls in (Absent, Plan, outputs.Meaning, tables.Encoder, tables.Column)}
# Keras' own, by the configs that they describe themselves with. One that wraps a function is described by code.
_KINDS |= {
    f"keras.{module.__name__.rpartition('.')[2]}.{name}": _keras(cls)
    for module, base in ((keras.losses, keras.losses.Loss), (keras.metrics, keras.metrics.Metric))
    for name, cls in vars(module).items()
    if isinstance(cls, type) and issubclass(cls, base) and name not in ("Loss", "Metric", "MeanMetricWrapper")
}
_NAMES = {kind.cls: name for name, kind in _KINDS.items()}
