"""Rows and targets, checked and encoded once, before any trial.

`prepare` turns what a user has into arrays a program can hold on its device: numbers without NaN, labels as whole
numbers 0 .. k-1 or targets as floats, one weight a row where weights are given. The rows of X are left where they lie,
see `inputs`; rows given as `validation_data` come behind them and always judge. Which others judge is said in `splits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adamtune.errors import DataError
from adamtune.tasks.inputs import Inputs, inputs, stack

# An integer target with more distinct values than this may be meant as numbers: then the user has to say which it is.
_MANY_LABELS, _MANY_LABELS_SHARE = 20, 0.05


@dataclass(frozen=True)
class Data:
    """What a task is trained on.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
    x : Inputs of shape (n, ...)
        Floats, or whole numbers as they came (images may stay uint8).
    y : ndarray of shape (n,) or (n, k)
        int32 labels, or float targets.
    weight : ndarray of shape (n,) or None
        Sample weights.
    class_weight : ndarray of shape (n_classes,) or None
        Factor on the weight of a training row, by label.
    classes : ndarray or None
        The labels as the user wrote them, sorted.
    n_given : int
        How many rows `fit` was given; those behind come from `validation_data`.
    target_scale : (mean, deviation) or None
        When the targets were standardised: `y * deviation + mean` are the user's numbers.
    """

    kind: str
    x: Inputs
    y: np.ndarray
    weight: np.ndarray | None
    class_weight: np.ndarray | None
    classes: np.ndarray | None
    n_given: int
    target_scale: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def n_outputs(self) -> int:
        """Width of a network's last layer: 1 for two classes, k for more, the number of targets for regression."""
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
        Finite numbers: a table (n, d), images (n, h, w) or (n, h, w, channels), ... An `np.memmap` stays on disk.
    y : array-like of shape (n,) or (n, k)
        Labels, or numbers.
    sample_weight : array-like of shape (n,), optional
        Non-negative weights.
    kind : {"auto", "classification", "regression"}
    class_weight : mapping or "balanced", optional
        Weight by label; "balanced" is n / (n_classes * count), as in scikit-learn.
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
        x, encoded, weight = _append(x, encoded, weight, classes, validation_data, floatx, target_type)
    scale = None
    if scale_targets and kind == "regression":
        deviation = encoded[:n_given].std(axis=0)
        scale = encoded[:n_given].mean(axis=0), np.where(deviation > 0, deviation, 1.0)
        encoded = ((encoded - scale[0]) / scale[1]).astype(floatx)
    return Data(
        kind,
        x,
        encoded,
        weight,
        _class_weights(class_weight, encoded[:n_given], classes, floatx),
        classes,
        n_given,
        scale,
    )


def check_inputs(X: Any, floatx: str = "float32", dtype: Any = None) -> Inputs:
    """Inputs for `predict`: the same checks as for `fit`; of `dtype`, that of the rows of `fit`, where it is given."""
    x = inputs(X, "X", floatx)
    return x if dtype is None else replace(x, dtype=np.dtype(dtype))


def _column(y: Any, name: str) -> np.ndarray:
    if y is None:
        raise DataError(
            f"{name} is None, expected labels or targets: the estimator requires y to be passed, but the target y is "
            "None."
        )
    if hasattr(y, "toarray"):
        raise DataError(f"{name} is a sparse matrix, expected a dense array: pass {name}.toarray().")
    try:
        target = np.asarray(y)
    except ValueError as error:
        raise DataError(f"{name} cannot be made an array: {error}. Expected one label or target a row.") from None
    if target.dtype == object:
        target = _plain(target, name)
    if target.dtype.kind in "cMmV":
        raise DataError(f"{name} has dtype {target.dtype}, expected labels or real numbers.")
    if target.ndim == 2 and target.shape[1] == 1:
        import warnings

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
    try:
        plain = np.array(target.tolist())
    except ValueError as error:
        raise DataError(f"{name} cannot be made an array: {error}. Expected one label or target a row.") from None
    return plain if plain.dtype.kind in "biufcMm" and plain.shape == target.shape else target


def _same_length(x: Inputs, y: np.ndarray, x_name: str, y_name: str) -> None:
    if len(x) != len(y):
        raise DataError(
            f"Found input variables with inconsistent numbers of samples: {x_name} has {len(x)}, {y_name} has {len(y)}."
        )


def _targets(y: np.ndarray, kind: str, floatx: str) -> tuple[str, np.ndarray, np.ndarray | None]:
    if kind == "auto":
        kind = _guess(y)
    if kind == "regression":
        return "regression", _numbers(y, floatx), None
    from sklearn.utils.multiclass import check_classification_targets

    _one_label_a_row(y, "y")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError("Input y contains NaN or infinity; expected one label a row.")
    try:
        check_classification_targets(y)
        classes, encoded = np.unique(y, return_inverse=True)
    except ValueError as error:
        raise DataError(f"{error}") from None
    except TypeError as error:
        raise DataError(f"y mixes labels that have no order: {error}. Expected labels of one kind.") from None
    if len(classes) < 2:
        raise DataError(
            f"y holds one class only ({classes.tolist()[0]!r}), expected at least two to tell apart. "
            "Classifier can't train when only one class is present."
        )
    return "binary" if len(classes) == 2 else "multiclass", encoded.astype(np.int32), classes


def _one_label_a_row(y: np.ndarray, name: str) -> None:
    if y.ndim == 2:
        raise DataError(
            f"{name} has shape {y.shape}: several labels a row are not there yet. Expected one label a row, shape "
            "(n,); for one-hot rows pass y.argmax(axis=1)."
        )


def _guess(y: np.ndarray) -> str:
    if y.ndim == 2:
        if y.dtype.kind in "OUSb" or np.isin(y, (0, 1)).all():
            raise DataError(
                f"y has shape {y.shape} and looks like labels, one-hot or several a row. Expected one label a row: for "
                "one-hot rows pass y.argmax(axis=1). If these are amounts, say so with AdamTunerRegressor."
            )
        return "regression"
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


def _numbers(y: np.ndarray, floatx: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            target = y.astype(floatx)
    except (TypeError, ValueError):
        raise DataError(
            f"y has dtype {y.dtype}, expected numbers for regression. Unknown label type: for labels use "
            "AdamTunerClassifier."
        ) from None
    if not np.isfinite(target).all():
        raise DataError(
            f"Input y contains NaN or infinity: {int((~np.isfinite(target)).sum())} value(s). Drop those rows."
        )
    return target


def _weights(sample_weight: Any, n: int, floatx: str) -> np.ndarray | None:
    if sample_weight is None:
        return None
    try:
        weight = np.asarray(sample_weight, dtype=floatx)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight holds what is no number: {error}. Expected one weight a row.") from None
    if weight.shape != (n,):
        raise DataError(f"sample_weight has shape {weight.shape}, expected ({n},): one weight a row.")
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise DataError("sample_weight must be finite, not negative and not all zero.")
    return weight


def _class_weights(class_weight: Any, y: np.ndarray, classes: np.ndarray | None, floatx: str) -> np.ndarray | None:
    if class_weight is None:
        return None
    if classes is None:
        raise DataError("class_weight is given, but the task is regression: use sample_weight.")
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
    x: Inputs,
    y: np.ndarray,
    weight: np.ndarray | None,
    classes: np.ndarray | None,
    validation_data: tuple,
    floatx: str,
    target_type: str,
) -> tuple[Inputs, np.ndarray, np.ndarray | None]:
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise DataError("validation_data must be (X, y) or (X, y, sample_weight).")
    x_valid = inputs(validation_data[0], "validation_data's X", floatx)
    target = _column(validation_data[1], "validation_data's y")
    _same_length(x_valid, target, "validation_data's X", "its y")
    if x_valid.shape[1:] != x.shape[1:]:
        raise DataError(
            f"validation_data's rows have shape {x_valid.shape[1:]}, those of X {x.shape[1:]}: expected the same."
        )
    if classes is None:
        y_valid = _numbers(target, target_type)
        if y_valid.shape[1:] != y.shape[1:]:
            raise DataError(f"validation_data's y has shape {y_valid.shape}, that of fit {y.shape}.")
    else:
        _one_label_a_row(target, "validation_data's y")
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
