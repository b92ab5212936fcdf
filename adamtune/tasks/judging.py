"""Judging: the metric that trials are compared by, and which way it is better.

Most metrics of Keras, and every function of one's own, are a mean over rows: a compiled program adds them up while it
judges, see `Forward.mean_metric`. The others need all judging rows at once, such as the area under a curve, F1 or R²,
and every scorer of scikit-learn. They are a `Scorer`: a function of what a network says of rows, computed on the host
after each epoch.

    metric, objective = choose_metric("roc_auc", data, loss, width=1)
    direction = choose_direction(None, metric, objective)

Sample weights take part in no metric, as in `model.compile(metrics=...)`; they do in the validation loss.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args

import keras
import numpy as np

from adamtune.errors import DataError, SettingError, did_you_mean
from adamtune.tasks.data import Data
from adamtune.tasks.outputs import Meaning
from adamtune.tasks.task import Direction, beside, encode_targets, from_logits, name_of, one_hot

# Rows that a metric of Keras takes at a time: nearly always all there are, but no more memory than 200 thresholds need
# for them.
_AT_ONCE = 2**16
# Of one column, they correlate all rows of a batch: Keras calls the mean over batches that of a whole.
_CORRELATIONS = (keras.metrics.PearsonCorrelation, keras.metrics.ConcordanceCorrelation)
# Where Keras keeps its metrics of labels.
_OF_LABELS = ("confusion_metrics", "f_score_metrics", "iou_metrics")


@dataclass(frozen=True, eq=False)
class Scorer:
    """A metric that takes all judging rows together.

    Parameters
    ----------
    name : str
    score : callable
        `score(rows, outputs)` is a number, for the numbers of rows of the task's data, int of shape (n,), and what the
        network says of them, (n, width).
    ideal : callable
        `ideal(rows)` are the outputs, (n, width), of a network that is right about these rows.
    direction : {"minimize", "maximize"} or None
        None where only the user can know.
    config : dict
        What tells it from other metrics, as JSON would take it.
    """

    name: str
    score: Callable[[np.ndarray, np.ndarray], float]
    ideal: Callable[[np.ndarray], np.ndarray]
    direction: Direction | None = None
    config: dict[str, Any] = field(default_factory=dict)

    def __call__(self, rows: np.ndarray, outputs: np.ndarray) -> float:
        """The score; NaN for outputs that have none, with a warning where they are numbers."""
        if not np.isfinite(outputs).all():
            return float("nan")  # the training has diverged, and says so itself
        try:
            value, why = self.score(rows, outputs), "the score is not finite"
        except (ValueError, ArithmeticError) as error:  # how scikit-learn says that it has no answer
            value, why = float("nan"), str(error)
        if not np.isfinite(value):
            warnings.warn(
                f"{self.name} has no value for the outputs of a trial, which counts as diverged: {why}", stacklevel=2
            )
        return value

    def get_config(self) -> dict[str, Any]:
        """What tells it from other metrics."""
        return self.config

    def check(self, data: Data, splits: Iterable[np.ndarray]) -> None:
        """Score outputs that are nearly right for the judging rows of each split, before anything is trained.

        Raises
        ------
        SettingError
            When the metric cannot judge the task whatever the network says, such as one for labels on numbers.
        DataError
            When it has no value for the rows of a split, such as the area under a curve where all have one label.
        """
        for rows in splits:
            right = self.ideal(rows)
            try:
                with warnings.catch_warnings(action="ignore"):
                    value = self.score(rows, 0.99 * right + 0.01 * right.mean(axis=0))
                why = "it has no value for their targets"
            except SettingError:
                raise
            except Exception as error:  # of somebody else's code, on what it was not made for
                if not _only_label(data, rows):
                    hint = " Say it with make_scorer(..., pos_label=...)." if "pos_label" in str(error) else ""
                    problem = f"metric={self.name!r} cannot judge this task ({data.kind}): {error}{hint}"
                    raise SettingError(problem) from error
                value, why = float("nan"), str(error)
            if not np.isfinite(value):
                raise DataError(
                    f"metric={self.name!r} cannot judge the {len(rows)} judging rows, even where every prediction is "
                    f"right: {_only_label(data, rows) or why}. Let other rows judge (validation_split, cv or "
                    "validation_data), or choose another metric."
                )


def choose_metric(given: Any, data: Data, loss: Any, width: int, logits: bool | None = None) -> tuple[Any, str]:
    """The metric to compute beside the loss, and the objective.

    Parameters
    ----------
    given : None, "loss", str, keras.metrics.Metric, scikit-learn scorer or callable
        None and "loss" judge by the validation loss (and still show the accuracy of a classifier). A name is one of
        Keras, or else of `sklearn.metrics.get_scorer_names()`, and may start with "val_". A function
        `(y_true, y_pred)` works on tensors, as in `model.compile`; one `(estimator, X, y)` as a scorer.
    width : int
        The model's, see `output_width`.
    logits : bool, optional
        Whether the model returns raw scores, see `from_logits`; by default what the loss says.

    Returns
    -------
    metric : keras.metrics.Metric, Scorer or None
        One of Keras is a mean over rows.
    objective : str
        "val_loss", or "val_" and the metric's name.

    Raises
    ------
    SettingError
        For a name that neither knows, and what is no metric of the task's outputs.

    Notes
    -----
    A mean over rows, and a metric of one's own, sees targets and outputs as the loss does, which is also how
    `model.compile` has it; only that a function or class of one's own finds targets (n,) beside outputs (n, 1) as
    (n, 1). The other metrics of Keras for labels compare columns of 0 and 1 with probabilities: they get these,
    whatever loss and last activation are. A scorer sees labels and numbers as the user wrote them.
    """
    logits = from_logits(loss) if logits is None else logits
    if given is None or (isinstance(given, str) and given in ("loss", "val_loss")):
        return (None if data.kind == "regression" else _accuracy(data, loss, width, logits)), "val_loss"
    name = given.removeprefix("val_") if isinstance(given, str) else None
    if name in ("accuracy", "acc"):
        if data.kind == "regression":
            raise SettingError("metric='accuracy' needs labels, but the task is regression: try 'mae' or None.")
        return _accuracy(data, loss, width, logits), "val_accuracy"
    found = _found(given) if name is None else _named(name)
    meaning = Meaning(data.kind, data.classes, logits, data.target_scale, data.label_type)
    if not isinstance(found, keras.metrics.Metric):
        scorer = _scorer_of_sklearn(name or _name(found), found, data, width, meaning)
        return scorer, f"val_{scorer.name}"
    if type(found) in (keras.metrics.Mean, keras.metrics.Sum):
        raise SettingError(f"metric={given!r} compares nothing: expected a metric of targets and outputs, or None.")
    name = name or _plain_name(found)
    if _is_mean(found):
        # Keras itself shows every mean metric under the name it was compiled with.
        found.name = name
        return found, f"val_{name}"
    return _scorer_of_keras(name, found, data, loss, width, meaning), f"val_{name}"


def choose_direction(given: Any, metric: Any, objective: str) -> Direction:
    """Whether the objective should fall or rise; raises SettingError when only the user can know."""
    if given is not None:
        for known in get_args(Direction):
            if given == known:
                return known
        raise SettingError(f"direction={given!r}: expected 'minimize', 'maximize' or None.")
    if objective == "val_loss":
        return "minimize"
    said = metric.direction if isinstance(metric, Scorer) else _direction(metric)
    if "accuracy" in metric.name or said == "maximize":
        return "maximize"
    if said == "minimize":
        return "minimize"
    raise SettingError(
        f"direction=None, but whether {objective!r} should fall or rise is not known: write "
        "direction='minimize' or direction='maximize'."
    )


# ------------------------------------------------------------------------------------------------ what is meant


def _accuracy(data: Data, loss: Any, width: int, logits: bool) -> Any:
    if width == 1 or data.kind == "multilabel":
        return keras.metrics.BinaryAccuracy(threshold=0.0 if logits else 0.5, name="accuracy")
    if one_hot(loss):
        return keras.metrics.CategoricalAccuracy(name="accuracy")
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _named(name: str) -> Any:
    """The metric of Keras, or else the scorer of scikit-learn, of that name."""
    from sklearn.metrics import get_scorer, get_scorer_names

    known: list[Callable[[str], Any]] = [keras.metrics.get, get_scorer]
    for get in known:
        try:
            return get(name)
        except TypeError as error:  # a class that does not go without arguments
            problem = f"metric={name!r} needs arguments: {error}. Give the object, as in keras.metrics.MeanIoU(3)."
            raise SettingError(problem) from None
        except ValueError:
            continue
    from keras.src.metrics import ALL_OBJECTS_DICT  # Keras has no public list of the names it knows

    names = dict.fromkeys([*(each for each in ALL_OBJECTS_DICT if each == each.lower()), *get_scorer_names()])
    raise SettingError(
        f"metric={name!r} is unknown to keras.metrics.get and to sklearn.metrics.get_scorer."
        f"{did_you_mean(name, names, most=3)}"
    )


def _found(given: Any) -> Any:
    """What a user gave for a metric, as one of Keras or as a scorer of scikit-learn."""
    if callable(given) and not isinstance(given, (type, keras.metrics.Metric)):
        if _is_scorer(given):
            return given
        if _module(given).startswith("sklearn."):
            raise SettingError(
                f"metric={_name(given)} is a function of scikit-learn, which does not say whether it takes labels or "
                f"probabilities: expected sklearn.metrics.make_scorer({_name(given)}, ...), or a name of "
                "sklearn.metrics.get_scorer_names()."
            )
    try:
        metric = keras.metrics.get(given)
    except (TypeError, ValueError) as error:
        raise SettingError(f"metric={given!r} is unknown to keras.metrics.get: {error}") from None
    if isinstance(metric, keras.metrics.Metric):
        return metric
    own = not _module(metric).startswith("keras.")
    return keras.metrics.MeanMetricWrapper(_aligned(metric) if own else metric, name=_name(metric))


def _is_scorer(given: Any) -> bool:
    """Whether it is called as `(estimator, X, y)`: what is called as `(y_true, y_pred)` is a function of Keras."""
    try:
        parameters = inspect.signature(given).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters) >= 3


def _aligned(function: Any) -> Any:
    """The function on targets (n, 1) where targets (n,) meet outputs (n, 1), which would broadcast to (n, n)."""

    def aligned(y_true: Any, y_pred: Any) -> Any:
        return function(beside(y_true, y_pred), y_pred)

    aligned.__name__, aligned.__module__ = _name(function), _module(function)
    return aligned


def _is_mean(metric: Any) -> bool:
    """Whether it is the mean over rows of its function, and a subclass has not made something else of it."""
    wrapper = keras.metrics.MeanMetricWrapper
    if not isinstance(metric, wrapper) or isinstance(metric, _CORRELATIONS):
        return False
    by_row = metric._fn_kwargs.get("axis", -1) in (-1, 1)
    return by_row and all(getattr(type(metric), each) is getattr(wrapper, each) for each in ("update_state", "result"))


def _direction(metric: Any) -> Direction | None:
    said = getattr(metric, "_direction", None)
    return "maximize" if said == "up" else "minimize" if said == "down" else None


def _name(function: Any) -> str:
    return name_of(getattr(function, "_score_func", function))  # of a scorer that make_scorer made


def _plain_name(metric: Any) -> str:
    """The metric's name without the number by which Keras tells the second of a class from the first."""
    stem, _, number = metric.name.rpartition("_")
    return stem if number.isdigit() and stem.replace("_", "") == type(metric).__name__.lower() else metric.name


def _module(thing: Any) -> str:
    return str(getattr(thing, "__module__", ""))


# --------------------------------------------------------------------------------------------- targets and outputs


def _columns(data: Data, width: int, rows: np.ndarray) -> np.ndarray:
    """Targets of rows as so many columns: numbers, 0 and 1 for two labels or several a row, or a column a label."""
    y, floatx = data.y[rows], keras.config.floatx()
    if data.kind == "multiclass" or (data.kind == "binary" and width > 1):
        return np.eye(width, dtype=floatx)[y]
    return y.reshape(len(y), -1).astype(floatx)


def _ideal(data: Data, width: int, meaning: Meaning) -> Callable[[np.ndarray], np.ndarray]:
    """See `Scorer.ideal`."""
    if data.kind == "regression":
        return partial(_columns, data, width)
    low, high = (-4.0, 4.0) if meaning.from_logits else (0.02, 0.98)
    return lambda rows: low + (high - low) * _columns(data, width, rows)


def _only_label(data: Data, rows: np.ndarray) -> str:
    """A clause, where all rows have the same label."""
    if not data.one_label or data.classes is None or len(np.unique(data.y[rows])) > 1:
        return ""
    return f"all of them have the label {data.classes[data.y[rows[0]]].item()!r}"


# ----------------------------------------------------------------------------------------------------- scikit-learn


def _scorer_of_sklearn(name: str, scorer: Any, data: Data, width: int, meaning: Meaning) -> Scorer:
    ideal = _ideal(data, width, meaning)
    estimator = _Regressor if data.kind == "regression" else _Classifier
    own = not _module(type(scorer)).startswith("sklearn.")  # those of scikit-learn only hand X to the estimator

    def score(rows: np.ndarray, outputs: np.ndarray) -> float:
        X = data.x.take(rows) if own else rows
        fitted = estimator(meaning, X, np.asarray(outputs, "float64"))
        return float(scorer(fitted, X, meaning.predictions(ideal(rows))))

    config = {"scorer": f"{_module(scorer)}.{_name(scorer)}" if own else repr(scorer)}
    return Scorer(name, score, ideal, "maximize", config)


class _Regressor:
    """Stands for an estimator that was fitted and says this of these rows."""

    _kind = "regressor"

    def __init__(self, meaning: Meaning, X: Any, outputs: np.ndarray) -> None:
        self._meaning, self._X, self._outputs = meaning, X, outputs

    def predict(self, X: Any) -> np.ndarray:
        return self._meaning.predictions(self._said(X))

    def _said(self, X: Any) -> np.ndarray:
        if X is not self._X:
            raise SettingError("the scorer predicts other rows than its X: expected one that asks for those of X.")
        return self._outputs

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=self._kind, target_tags=TargetTags(required=True))


class _Classifier(_Regressor):
    _kind = "classifier"

    @property
    def classes_(self) -> np.ndarray | None:
        if self._meaning.kind == "multilabel":
            return np.eye(self._outputs.shape[1], dtype=int)  # what scikit-learn takes for several labels a row
        return self._meaning.classes

    def predict_proba(self, X: Any) -> np.ndarray:
        return self._meaning.probabilities(self._said(X))

    def decision_function(self, X: Any) -> np.ndarray:
        outputs = self._said(X)
        if self._meaning.kind == "binary" and outputs.shape[1] == 2:
            return outputs[:, 1] - outputs[:, 0]
        centred = outputs if self._meaning.from_logits else outputs - 0.5
        return centred[:, 0] if centred.shape[1] == 1 else centred


# ------------------------------------------------------------------------------------------------------------ Keras


def _scorer_of_keras(name: str, metric: Any, data: Data, loss: Any, width: int, meaning: Meaning) -> Scorer:
    if data.kind == "regression" and _module(type(metric)).endswith(_OF_LABELS):
        raise SettingError(f"metric={name!r} needs labels, but the task is regression: try 'mae', 'r2_score' or None.")
    targets, said = _compared(metric, data, loss, width, meaning)

    def score(rows: np.ndarray, outputs: np.ndarray) -> float:
        y_true, y_pred = targets(rows), said(outputs)
        if isinstance(metric, _CORRELATIONS) and y_pred.shape[1:] == (1,):
            y_true, y_pred = y_true[:, 0], y_pred[:, 0]
        metric.reset_state()
        for start in range(0, len(rows), _AT_ONCE):
            metric.update_state(y_true[start : start + _AT_ONCE], y_pred[start : start + _AT_ONCE])
        numbers = [float(each) for part in keras.tree.flatten(metric.result()) for each in np.ravel(part)]
        if len(numbers) != 1:
            raise SettingError(
                f"metric={name!r} gives {len(numbers)} numbers, expected one to compare trials by, such as that of "
                "keras.metrics.F1Score(average='macro') or of scikit-learn's 'f1_macro'."
            )
        return numbers[0]

    config = {"metric": type(metric).__name__}
    config |= {key: value for key, value in metric.get_config().items() if key != "name"}
    return Scorer(name, score, _ideal(data, width, meaning), _direction(metric), config)


def _compared(
    metric: Any, data: Data, loss: Any, width: int, meaning: Meaning
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """What makes targets of numbers of rows, and predictions of a network's outputs, as the metric takes them."""
    if data.kind == "regression" or not _module(type(metric)).startswith("keras."):
        targets = encode_targets(data, loss)
        return (lambda rows: _beside(targets[rows], width)), _unchanged
    if getattr(metric, "_from_logits", False):
        if data.kind == "binary" and width == 2:
            return partial(_columns, data, 1), lambda outputs: outputs[:, 1:] - outputs[:, :1]
        return partial(_columns, data, width), _unchanged
    probabilities = meaning.probabilities
    if (
        hasattr(metric, "sparse_y_pred")
        and data.kind != "multilabel"
        and not isinstance(metric, keras.metrics.BinaryIoU)
    ):
        each = partial(_columns, data, max(width, 2))
        labels = lambda outputs: probabilities(outputs).argmax(axis=1)  # noqa: E731
        return data.y.__getitem__ if metric.sparse_y_true else each, labels if metric.sparse_y_pred else probabilities
    if data.kind == "binary":
        # Without a threshold, an F-score takes the largest column: there have to be two.
        if isinstance(metric, keras.metrics.FBetaScore) and metric.threshold is None:
            return partial(_columns, data, 2), probabilities
        return partial(_columns, data, 1), lambda outputs: probabilities(outputs)[:, 1:]
    return partial(_columns, data, width), probabilities


def _unchanged(outputs: np.ndarray) -> np.ndarray:
    return outputs


def _beside(y: np.ndarray, width: int) -> np.ndarray:
    """Targets as they stand beside outputs of that width: (n,) beside (n, 1) would broadcast to (n, n)."""
    return y[:, None] if y.ndim == width == 1 else y
