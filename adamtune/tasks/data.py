"""Rows and targets, checked and encoded once, before any trial.

`prepare` turns what a user has into arrays a program can hold on its device: numbers without NaN, labels as whole
numbers 0 .. k-1 (where a row has several, as columns of 0 and 1) or targets as floats, one weight a row where weights
are given. The rows of X are left where they lie, see `inputs`; rows given as `validation_data` come behind them and
always judge. Which others judge is said in `splits`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adamtune.errors import DataError, short
from adamtune.tasks.inputs import Inputs, Named, inputs, of_parts, stack

# An integer target with more distinct values than this may be meant as numbers: then the user has to say which it is.
_MANY_LABELS, _MANY_LABELS_SHARE = 20, 0.05
# What to do with rows such as ["rock", "jazz"].
_LISTS = " Lists of labels become columns of 0 and 1 by sklearn.preprocessing.MultiLabelBinarizer."


@dataclass(frozen=True)
class Data:
    """What a task is trained on.

    Parameters
    ----------
    kind : {"binary", "multiclass", "multilabel", "regression"}
    x : Inputs of shape (n, ...), or Named
        Floats, or whole numbers as they came (images may stay uint8).
    y : ndarray of shape (n,) or (n, k)
        int32 labels, int32 0 and 1 for k labels of which a row has any number, or float targets.
    weight : ndarray of shape (n,) or None
        Sample weights.
    class_weight : ndarray of shape (n_classes,) or None
        Factor on the weight of a training row, by label.
    classes : ndarray or None
        The labels as the user wrote them, sorted; the numbers of the columns for several a row.
    n_given : int
        How many rows `fit` was given; those behind come from `validation_data`.
    target_scale : (mean, deviation) or None
        When the targets were standardised: `y * deviation + mean` are the user's numbers.
    label_type : str or None
        The type of the user's 0 and 1, for several labels a row.
    """

    kind: str
    x: Inputs | Named
    y: np.ndarray
    weight: np.ndarray | None
    class_weight: np.ndarray | None
    classes: np.ndarray | None
    n_given: int
    target_scale: tuple[np.ndarray, np.ndarray] | None = None
    label_type: str | None = None

    @property
    def one_label(self) -> bool:
        """Whether each row has one label of several."""
        return self.kind in ("binary", "multiclass")

    @property
    def n_outputs(self) -> int:
        """Width of a network's last layer: 1 for two classes, else k for k classes, labels or targets."""
        if self.kind == "multiclass":
            assert self.classes is not None
            return len(self.classes)
        return 1 if self.kind == "binary" or self.y.ndim == 1 else self.y.shape[1]

    def training_weight(self, rows: np.ndarray) -> np.ndarray | None:
        """Weights of training rows: sample weight times class weight; None when all count the same."""
        weight = None if self.weight is None else self.weight[rows]
        if self.class_weight is not None:
            factor = self.class_weight[self.y[rows]]
            weight = factor if weight is None else weight * factor
        return weight


def prepare(
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    kind: str = "auto",
    class_weight: Mapping[Any, float] | str | None = None,
    validation_data: tuple | None = None,
    floatx: str = "float32",
    scale_targets: bool = False,
) -> Data:
    """Check and encode; see `Data` for what comes out.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Finite numbers: a table (n, d), images (n, h, w) or (n, h, w, channels), ... An `np.memmap` stays on disk, a
        scipy sparse matrix stays sparse. A dict holds several inputs of a model by name.
    y : array-like of shape (n,) or (n, k)
        Labels, or numbers. Columns of 0 and 1, which may be sparse, are k labels of which a row has any number.
    sample_weight : array-like of shape (n,), optional
        Non-negative weights.
    kind : {"auto", "classification", "regression"}
    class_weight : mapping or "balanced", optional
        Weight by label; "balanced" is n / (n_classes * count), as in scikit-learn. Not for several labels a row.
    validation_data : (X, y) or (X, y, sample_weight), optional
        Rows that judge instead of a split.
    scale_targets : bool
        Whether targets of a regression are standardised by the mean and deviation of the given rows.

    Raises
    ------
    DataError
        For what cannot be trained on: NaN, text, ragged or mismatched shapes, too few rows, one class only.
    """
    x = inputs(X, "X", floatx)
    target = _column(y, "y")
    _same_length(x, target, "X", "y")
    weight = _weights(sample_weight, len(x), floatx)
    # Scaled in float64: in float32 years or prices lose their last digits before the mean is taken off.
    target_type = "float64" if scale_targets else floatx
    kind, encoded, classes = _targets(target, kind, target_type)
    n_given = len(x)
    if validation_data is not None:
        x, encoded, weight = _append(x, encoded, weight, kind, classes, validation_data, floatx, target_type)
    scale = None
    if scale_targets and kind == "regression":
        with np.errstate(over="ignore", invalid="ignore"):  # their squares are
            deviation = encoded[:n_given].std(axis=0)
        if not np.isfinite(deviation).all():
            raise DataError(
                f"y holds numbers of up to {np.abs(encoded).max():g}, too large to learn: divide them first."
            )
        if ((deviation == 0) & (encoded[:n_given].min(axis=0) < encoded[:n_given].max(axis=0))).any():
            raise DataError(
                f"y holds numbers of up to {np.abs(encoded).max():g}, whose differences are too small to learn: "
                "multiply them first."
            )
        scale = encoded[:n_given].mean(axis=0), np.where(deviation > 0, deviation, 1.0)
        encoded = _numbers((encoded - scale[0]) / scale[1], floatx, "validation_data's y (in deviations of y)")
    return Data(
        kind,
        x,
        encoded,
        weight,
        _class_weights(class_weight, encoded[:n_given], classes, floatx),
        classes,
        n_given,
        scale,
        target.dtype.name if kind == "multilabel" else None,
    )


def check_inputs(X: Any, floatx: str = "float32", dtypes: Mapping[str, str] | None = None) -> Inputs | Named:
    """Inputs for `predict`: the same checks as for `fit`.

    Parameters
    ----------
    dtypes : mapping of str to str, optional
        By name the types of the rows of `fit`, which these take too, see `Inputs.dtypes`.
    """
    x = inputs(X, "X", floatx)
    if dtypes is None:
        return x
    if x.parts.keys() != dtypes.keys():
        raise DataError(f"X is {_called(x.parts)}, but fit was given {_called(dtypes)}: expected the same.")
    for name, part in x.parts.items():
        if np.dtype(dtypes[name]).kind in "iu" and any(block.dtype.kind == "f" for block in part.blocks):
            raise DataError(
                f"X{f'[{name!r}]' if name else ''} holds floats, but fit was given whole numbers ({dtypes[name]}), to "
                "which they would be cut off: expected rows of the same type and scale."
            )
    return of_parts({name: replace(part, dtype=np.dtype(dtypes[name])) for name, part in x.parts.items()})


def _called(names: Mapping[str, Any]) -> str:
    return "one array" if "" in names else f"a dict of {', '.join(names)}"


def _column(y: Any, name: str) -> np.ndarray:
    if y is None:
        raise DataError(
            f"{name} is None, expected labels or targets: the estimator requires y to be passed, but the target y is "
            "None."
        )
    try:
        target = np.asarray(y.toarray() if hasattr(y, "toarray") else y)  # labels by the column may come sparse
    except ValueError as error:
        raise DataError(
            f"{name} cannot be made an array: {error}. Expected one label or target a row.{_LISTS}"
        ) from None
    if target.dtype == object:
        target = _plain(target, name)
    if target.dtype.kind in "cMmV":
        raise DataError(f"{name} has dtype {target.dtype}, expected labels or real numbers.")
    if target.ndim == 2 and target.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        warnings.warn(
            f"A column-vector {name} was passed when a 1d array was expected; its shape {target.shape} is read as "
            f"({len(target)},).",
            DataConversionWarning,
            stacklevel=5,
        )
        target = target[:, 0]
    if target.ndim not in (1, 2) or 0 in target.shape[1:]:
        raise DataError(f"{name} has shape {target.shape}, expected (n,) or (n, n_targets).")
    return target


def _plain(target: np.ndarray, name: str) -> np.ndarray:
    """Numbers that came as objects as numbers; other objects, such as text, stay what they are."""
    import pandas

    missing = int(pandas.isna(target).sum())
    if missing:
        raise DataError(f"Input {name} contains NaN: {missing} row(s) hold no value. Drop those rows.")
    if any(isinstance(each, (set, frozenset, list, tuple)) for each in target.flat):
        raise DataError(f"{name} holds lists or sets, expected one label or target a row.{_LISTS}")
    try:
        plain = np.array(target.tolist())
    except ValueError as error:
        raise DataError(f"{name} cannot be made an array: {error}. Expected one label or target a row.") from None
    return plain if plain.dtype.kind in "biufcMm" and plain.shape == target.shape else target


def _same_length(x: Inputs | Named, y: np.ndarray, x_name: str, y_name: str) -> None:
    if len(x) != len(y):
        raise DataError(
            f"Found input variables with inconsistent numbers of samples: {x_name} has {len(x)}, {y_name} has {len(y)}."
        )


def _targets(y: np.ndarray, kind: str, floatx: str) -> tuple[str, np.ndarray, np.ndarray | None]:
    if kind == "auto":
        kind = guess_kind(y)
    if kind == "regression":
        return "regression", _numbers(y, floatx), None
    if kind == "multilabel" or y.ndim == 2:
        return "multilabel", _several_labels(y), np.arange(y.shape[1])
    from sklearn.utils.multiclass import check_classification_targets

    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError("Input y contains NaN or infinity; expected one label a row.")
    try:
        with np.errstate(invalid="ignore"):  # it asks of huge floats whether they are whole numbers
            check_classification_targets(y)
        classes, encoded = np.unique(y, return_inverse=True)
    except ValueError as error:
        raise DataError(
            f"{error} y has dtype {y.dtype}: expected one label a row, text or whole numbers of at most 64 bits. To "
            "take each value for a label, write y.astype(str); for amounts, AdamTunerRegressor."
        ) from None
    except TypeError as error:
        raise DataError(f"y mixes labels that have no order: {error}. Expected labels of one kind.") from None
    if len(classes) < 2:
        raise DataError(
            f"y holds one class only ({short(classes.tolist()[0])}), expected at least two to tell apart. "
            "Classifier can't train when only one class is present."
        )
    return "binary" if len(classes) == 2 else "multiclass", encoded.astype(np.int32), classes


def _several_labels(y: np.ndarray) -> np.ndarray:
    """Columns of 0 and 1 that can be learned; says which cannot, and what a row of one label each may mean."""
    indicators = _indicators(y, "y")
    same = np.flatnonzero(indicators.min(axis=0) == indicators.max(axis=0))
    if len(same) == y.shape[1]:
        raise DataError("every column of y holds the same in all rows, expected at least one with both 0 and 1.")
    if len(same):
        warnings.warn(
            f"y's column(s) {', '.join(map(str, same))} hold the same in all rows: there is nothing to learn for them.",
            UserWarning,
            stacklevel=5,
        )
    if _is_one_hot(y):
        warnings.warn(
            f"every row of y holds exactly one 1: its {y.shape[1]} columns are trained as labels of which a row may "
            "have any number. If each row has one label of several, pass y.argmax(axis=1).",
            UserWarning,
            stacklevel=5,
        )
    return indicators


def _indicators(y: np.ndarray, name: str) -> np.ndarray:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"Input {name} contains NaN or infinity; expected 0 and 1, a column for each label.")
    if y.ndim != 2 or not _is_indicator(y):
        raise DataError(
            f"{name} has shape {y.shape} and dtype {y.dtype}: expected one label a row, shape (n,), or columns of 0 "
            f"and 1 for several labels a row.{_LISTS}"
        )
    return y.astype(np.int32)


def _is_indicator(y: np.ndarray) -> bool:
    return y.dtype.kind in "biuf" and bool(np.isin(y, (0, 1)).all())


def _is_one_hot(y: np.ndarray) -> bool:
    return bool((y.sum(axis=1) == 1).all())


def guess_kind(y: np.ndarray) -> str:
    """What targets look like, "classification", "multilabel" or "regression"; DataError where nobody can tell."""
    if y.ndim == 2:
        if y.dtype.kind in "OUS":
            return "multilabel"  # which is refused in words
        if not _is_indicator(y):
            return "regression"
        if _is_one_hot(y):
            raise DataError(
                f"y has shape {y.shape} and looks like one-hot labels: every row holds exactly one 1. Expected one "
                "label a row: pass y.argmax(axis=1). If a row may have several labels, say so with "
                "AdamTunerClassifier; if these are amounts, with AdamTunerRegressor."
            )
        return "multilabel"
    if y.dtype.kind in "OUSb":
        return "classification"
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.round(y)).all()):
        return "regression"
    n_labels, most = len(np.unique(y)), max(_MANY_LABELS, _MANY_LABELS_SHARE * len(y))
    if n_labels <= most:
        return "classification"
    raise DataError(
        f"y holds {n_labels} different whole numbers in {len(y)} rows: labels or amounts? Say which with "
        "AdamTunerClassifier or AdamTunerRegressor (or task='classification' / task='regression')."
    )


def _numbers(y: np.ndarray, floatx: str, name: str = "y") -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            target = y.astype(floatx)
    except (TypeError, ValueError):
        raise DataError(
            f"y has dtype {y.dtype}, expected numbers for regression. Unknown label type: for labels use "
            "AdamTunerClassifier."
        ) from None
    except OverflowError:
        raise DataError(
            f"{name} holds whole numbers that are too large for {floatx}: divide all targets by a constant first."
        ) from None
    bad = int((~np.isfinite(target)).sum())
    if bad and np.isfinite(y.astype("float64")).all():
        raise DataError(
            f"Input {name} contains NaN or infinity: {bad} value(s) are too large for {floatx}. Divide all targets by "
            "a constant first."
        )
    if bad:
        raise DataError(f"Input {name} contains NaN or infinity: {bad} value(s). Drop those rows.")
    return target


def _weights(sample_weight: Any, n: int, floatx: str) -> np.ndarray | None:
    if sample_weight is None:
        return None
    try:
        with np.errstate(over="ignore"):
            weight = np.asarray(sample_weight, dtype=floatx)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight holds what is no number: {error}. Expected one weight a row.") from None
    if weight.shape != (n,):
        raise DataError(f"sample_weight has shape {weight.shape}, expected ({n},): one weight a row.")
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise DataError(
            f"sample_weight must be finite, not negative and not all zero, as {floatx}: it holds "
            f"{weight.min():g} to {weight.max():g}."
        )
    return weight


def _class_weights(class_weight: Any, y: np.ndarray, classes: np.ndarray | None, floatx: str) -> np.ndarray | None:
    if class_weight is None:
        return None
    if classes is None:
        raise DataError("class_weight is given, but the task is regression: use sample_weight.")
    if y.ndim == 2:
        raise DataError("class_weight is given, but a row may have several labels: use sample_weight.")
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(y, minlength=len(classes))
        return (len(y) / (len(classes) * counts)).astype(floatx)
    if not isinstance(class_weight, Mapping) or set(class_weight) - set(classes.tolist()):
        raise DataError(
            f"class_weight={class_weight!r}: expected 'balanced' or a mapping from labels among "
            f"{classes.tolist()} to weights."
        )
    try:
        factor = np.array([class_weight.get(label, 1.0) for label in classes.tolist()], dtype=floatx)
    except (TypeError, ValueError):
        factor = np.array([np.nan])
    if not np.isfinite(factor).all() or (factor < 0).any() or not factor.any():
        raise DataError(f"class_weight={class_weight!r}: expected finite weights, not negative and not all zero.")
    return factor


def _append(
    x: Inputs | Named,
    y: np.ndarray,
    weight: np.ndarray | None,
    kind: str,
    classes: np.ndarray | None,
    validation_data: tuple,
    floatx: str,
    target_type: str,
) -> tuple[Inputs | Named, np.ndarray, np.ndarray | None]:
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise DataError("validation_data must be (X, y) or (X, y, sample_weight).")
    x_valid = inputs(validation_data[0], "validation_data's X", floatx)
    target = _column(validation_data[1], "validation_data's y")
    _same_length(x_valid, target, "validation_data's X", "its y")
    if x_valid.row_shape != x.row_shape:
        raise DataError(
            f"validation_data's rows have shape {x_valid.row_shape}, those of X {x.row_shape}: expected the same."
        )
    if target.shape[1:] != y.shape[1:]:
        one_hot = " For one-hot rows pass y.argmax(axis=1)." if classes is not None and target.ndim == 2 else ""
        raise DataError(f"validation_data's y has shape {target.shape}, that of fit {y.shape}.{one_hot}")
    if classes is None:
        y_valid = _numbers(target, target_type, "validation_data's y")
    elif kind == "multilabel":
        y_valid = _indicators(target, "validation_data's y")
    else:
        unknown = sorted(set(target.tolist()) - set(classes.tolist()), key=str)
        if unknown:
            raise DataError(
                f"validation_data's y holds labels that y does not: {unknown}. Expected: {classes.tolist()}."
            )
        y_valid = np.searchsorted(classes, target).astype(np.int32)
    weight_valid = _weights(validation_data[2] if len(validation_data) == 3 else None, len(x_valid), floatx)
    if weight is not None or weight_valid is not None:
        weight = np.concatenate(
            [
                np.ones(len(part), floatx) if given is None else given
                for given, part in ((weight, x), (weight_valid, x_valid))
            ]
        )
    return stack(x, x_valid, floatx), np.concatenate([y, y_valid]), weight
