"""Describing a task that nobody has trained yet: by its rows and network, or in a few words.

At most 2,000 rows are looked at, evenly spread, so it takes as long for a million rows as for two thousand. Nothing
here imports a backend; whoever passes a Keras model has one loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adamtune.errors import DataError, ModelError, SettingError, did_you_mean, whole
from adamtune.recommending.evidence import Evidence
from adamtune.recommending.features import Features, of_default_network, of_model
from adamtune.tasks.data import guess_kind
from adamtune.tasks.sizes import hidden_width

MOST_ROWS = 2000
_AT_ONCE = 64  # rows of a sparse matrix that are made dense together
# The languages and label sets that are told apart by one output a word or character begin about here.
_MANY_OUTPUTS = 40

KINDS = (
    "table-classification",
    "table-regression",
    "image-classification",
    "sequence-classification",
    "forecast",
    "text-classification",
    "language-model",
)


@dataclass(frozen=True)
class Description:
    """A task as far as a recommendation needs it.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    features : Features
    fingerprint, data : str
        Hashes of the whole, and of the rows alone; empty for a task that is described in words.
    assumed : tuple of str
        What was not said, in sentences.
    """

    kind: str
    features: Features
    fingerprint: str = ""
    data: str = ""
    assumed: tuple[str, ...] = ()


def of_rows(
    X: Any,
    y: Any,
    model: Any = None,
    *,
    task: str = "auto",
    epochs: int = 20,
    batch_size: int = 32,
    train_share: float = 0.8,
) -> Description:
    """The task of learning y from X.

    Parameters
    ----------
    X : array-like of shape (n, ...), frame, sparse matrix or dict of these
    y : array-like of shape (n,) or (n, k)
    model : keras.Model or callable model(X, y), optional
        Default: the dense network that `AdamTuner` takes then.
    task : {"auto", "classification", "regression"}
    train_share : float
        Of the rows; the others judge.

    Raises
    ------
    DataError
        When X and y are no rows of the same number, or y may be labels or amounts.
    ModelError
        When the model is neither.
    """
    n, sampled = _sample(X, "X")
    n_targets, target = _targets(y)
    if n != n_targets:
        raise DataError(f"Found input variables with inconsistent numbers of samples: X has {n}, y has {n_targets}.")
    if n < 2:
        raise DataError(f"X has {n} row(s): expected two or more.")
    regression = (guess_kind(target) if task == "auto" else task) == "regression"
    n_inputs = sum(int(np.prod(part.shape[1:], dtype=int)) for part in sampled)
    if not n_inputs:
        raise DataError("X has rows of no numbers: expected at least one in each.")
    n_outputs = _n_outputs(target, regression)
    assumed: tuple[str, ...] = ()
    if model is None:
        last = 1 if n_outputs == 2 and not regression and target.ndim == 1 else n_outputs
        network = of_default_network(n_inputs, last, hidden_width(n_inputs))
        assumed = (
            f"no model was given, so the default network is meant: two dense layers of {hidden_width(n_inputs)}",
        )
    else:
        network = of_model(_built(model, X, y, sampled[0].shape[1:]))
    features = Features(
        regression=regression,
        n_rows=max(1, round(train_share * n)),
        n_inputs=n_inputs,
        n_outputs=n_outputs,
        batch_size=int(batch_size),
        epochs=int(epochs),
        **network,
    )
    rows = hashlib.blake2b(f"{n}".encode(), digest_size=12)
    for part in (*sampled, target):
        rows.update(f"{part.shape}{part.dtype}".encode())
        for start in range(0, part.shape[0], _AT_ONCE):
            block = part[start : start + _AT_ONCE]
            rows.update(_bytes(block.toarray() if hasattr(block, "toarray") else block))
    data = rows.hexdigest()
    # How many of the rows train is left to chance where they are split by groups.
    counted = {name: value for name, value in features.to_dict().items() if name != "n_rows"}
    whole = hashlib.blake2b(json.dumps([data, counted]).encode(), digest_size=12).hexdigest()
    return Description(_kind(sampled, features), features, whole, data, assumed)


def of_words(
    evidence: Evidence,
    task: str,
    *,
    n_samples: int | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    n_features: int | None = None,
    n_classes: int | None = None,
    n_weights: int | None = None,
) -> Description:
    """A task of a kind, with what is said of it; for the rest it is taken to be as those of the kind that were studied.

    Raises
    ------
    SettingError
        For an unknown kind, or a number below 1.
    """
    if task not in KINDS:
        raise SettingError(
            f"task={task!r} is unknown.{did_you_mean(str(task), KINDS)} There are: {', '.join(KINDS)}; or give X and y."
        )
    given: dict[str, int | None] = {"n_samples": n_samples, "batch_size": batch_size, "epochs": epochs}
    given |= {"n_features": n_features, "n_classes": n_classes, "n_weights": n_weights}
    fields = {"n_samples": "n_rows", "n_features": "n_inputs", "n_classes": "n_outputs"}
    said = {fields.get(name, name): whole(name, value) for name, value in given.items() if value is not None}
    alike = [each.features for each in evidence.sources if each.kind == task]
    if not alike:
        raise SettingError(f"task={task!r}: the store has no task of this kind. Give X and y.")
    typical = _typical(alike)
    left = {"n_rows": "rows", "batch_size": "batch size", "epochs": "epochs", "n_weights": "weights"}
    assumed = tuple(
        f"{word}: {getattr(typical, name):,} (not said; usual among the {len(alike)} studied)"
        for name, word in left.items()
        if name not in said
    )
    return Description(task, replace(typical, **said), assumed=assumed)  # type: ignore[arg-type]


def _typical(alike: Sequence[Features]) -> Features:
    """The middle of several tasks: medians of counts, what most of them have."""
    columns = {name: float(np.median([each.to_dict()[name] for each in alike])) for name in alike[0].to_dict()}
    return Features.from_dict({name: math.floor(value) if value == 0.5 else value for name, value in columns.items()})


def _targets(y: Any) -> tuple[int, np.ndarray]:
    """How many targets there are, and at most `MOST_ROWS` of them; a single column is a row."""
    n, (sampled,) = _sample(y.to_numpy() if hasattr(y, "iloc") else y, "y")
    target = sampled.toarray() if hasattr(sampled, "toarray") else sampled
    target = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
    if target.dtype == object and any(each is None or each != each for each in target.flat):
        raise DataError("y has rows without a label or number: drop those rows.")
    return n, target


def _sample(given: Any, name: str) -> tuple[int, list[np.ndarray]]:
    """How many rows there are, and the arrays of at most `MOST_ROWS` of them."""
    if hasattr(given, "tocsr"):  # before dicts: one kind of sparse matrix is one
        given = given.tocsr()
    elif isinstance(given, dict):
        if not given:
            raise DataError(f"{name} is an empty dict: expected rows.")
        sizes, parts = zip(*(_sample(part, f"{name}[{key!r}]") for key, part in given.items()), strict=True)
        if len(set(sizes)) != 1:
            raise DataError(f"{name} has parts of {sorted(set(sizes))} rows: expected the same number in each.")
        return sizes[0], [array for part in parts for array in part]
    if given is None or isinstance(given, (str, bytes)):
        raise DataError(f"{name} is {given!r}: expected rows.")
    if not (hasattr(given, "shape") and hasattr(given, "__getitem__")):
        given = np.asarray(given)
    if not given.shape:
        raise DataError(f"{name} is a single value: expected rows.")
    n = int(given.shape[0])
    places = np.unique(np.linspace(0, max(n - 1, 0), min(n, MOST_ROWS)).astype(int))
    if hasattr(given, "iloc"):
        return n, [_of_frame(given.iloc[places])]
    if hasattr(given, "tocsr"):
        return n, [given[places]]
    return n, [np.asarray(given[places])]


def _of_frame(frame: Any) -> np.ndarray:
    """The numbers that `AdamTuner` would make of a frame; a column alone stays as it is."""
    if getattr(frame, "ndim", 1) == 1:
        return np.asarray(frame)
    from adamtune.tasks.tables import encoded

    return np.asarray(encoded(frame, None, "float32")[1])


def _n_outputs(target: np.ndarray, regression: bool) -> int:
    if target.ndim > 1:
        return int(target.shape[1])
    return 1 if regression else len(np.unique(target))


def _built(model: Any, X: Any, y: Any, row_shape: tuple[int, ...]) -> Any:
    """The model, with weights to count."""
    if not hasattr(model, "compiled"):
        if not callable(model) or hasattr(model, "_flatten_layers"):  # a layer is no model
            raise ModelError(
                f"model={model!r}: expected a keras.Model, a function model(X, y) that returns one, or None."
            )
        from adamtune.tasks import networks

        model = networks.call(model, X, y)
    if not model.built:
        from adamtune.tasks import networks

        model = networks.built(model, row_shape)
    return model


def _kind(sampled: Sequence[np.ndarray], features: Features) -> str:
    """What people call it, by its layers first and then by the shape of its rows."""
    axes = max(part.ndim for part in sampled)
    if features.embedded:
        return "language-model" if features.n_outputs >= _MANY_OUTPUTS else "text-classification"
    if axes == 4 or features.convolutional:
        return "image-classification"
    if features.recurrent or features.attending or axes == 3:
        return "forecast" if features.regression else "sequence-classification"
    return "table-regression" if features.regression else "table-classification"


def _bytes(array: np.ndarray) -> bytes:
    if array.dtype == object:
        return "\x1f".join(map(str, array.ravel().tolist())).encode()
    return np.ascontiguousarray(array).tobytes()
