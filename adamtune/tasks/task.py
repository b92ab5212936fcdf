"""Task: what is to be learned, without the optimizer.

Data, model, loss, metric, split and budget together. Two studies are comparable when their tasks have the same
fingerprint, and a stored study is resumed only by the task it was made for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from adamtune.errors import ModelError, SettingError
from adamtune.tasks.data import Data
from adamtune.tasks.inputs import LARGE, Inputs
from adamtune.tasks.splits import Split

Direction = Literal["minimize", "maximize"]
# Activations whose values are between 0 and 1 already.
_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid", "sparse_sigmoid", "sparsemax")
# Those among them whose columns add up to 1.
_SHARES = ("softmax", "sparsemax")


@dataclass(frozen=True)
class Task:
    """One thing to learn; frozen, so that everything that judges it sees the same.

    Parameters
    ----------
    name : str
        For people, in study names and tables.
    data : Data
    split : callable
        `split(seed) -> Split`; the same rows for every seed when chance has no say.
    build : callable
        `build(seed) -> keras.Model` with weights of that seed.
    loss : keras.losses.Loss
    metric : keras.metrics.Metric, Scorer or None
        Computed beside the loss: one of Keras is a mean over rows, any other is a `judging.Scorer`.
    objective : str
        What trials are judged by: "val_loss" or "val_" and the metric's name.
    direction : {"minimize", "maximize"}
    epochs, batch_size : int
        The budget of one trial.
    folds : callable, optional
        `folds(seed) -> list[Split]` where rows take turns to judge; `split` alone otherwise.
    """

    name: str
    data: Data
    split: Callable[[int], Split]
    build: Callable[[int], Any]
    loss: Any
    metric: Any
    objective: str
    direction: Direction
    epochs: int
    batch_size: int
    folds: Callable[[int], list[Split]] | None = None

    @property
    def metric_name(self) -> str | None:
        """The metric's name; None when there is no metric."""
        return None if self.metric is None else self.metric.name

    @property
    def mean_metric(self) -> Any:
        """The metric, where it is a mean over rows; else None."""
        return self.metric if isinstance(self.metric, keras.metrics.Metric) else None

    @property
    def scorer(self) -> Any:
        """The metric, where it takes all judging rows together; else None."""
        return None if isinstance(self.metric, keras.metrics.Metric) else self.metric

    @property
    def metrics(self) -> list[Any] | None:
        """The metric as `model.compile` takes it, where it does."""
        return None if self.mean_metric is None else [self.mean_metric]

    def steps_per_epoch(self, n_train: int) -> int:
        """Updates in one pass over `n_train` rows."""
        return -(-n_train // self.batch_size)

    def fingerprint(self, model: Any) -> str:
        """A short hash of what makes results comparable: data, split or folds, model, loss, metric and budget.

        Inputs of more than 256 MB are not read as a whole: their shape, type and 32 MB of evenly spread rows stand for
        them. Of splits that chance draws, only the sizes count.
        """
        digest = hashlib.blake2b(digest_size=12)
        for name, part in self.data.x.parts.items():
            digest.update(name.encode())
            _hash_inputs(digest, part)
        for array in (self.data.y, self.data.weight, self.data.class_weight):
            if array is None:
                digest.update(b"none")
            else:
                digest.update(f"{array.shape}{array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).data)
        if self.folds is None:
            split = self.split(0)
            sizes: list[Any] = [len(split.train), len(split.valid), split.drawn]
        else:
            found = self.folds(0)
            sizes = [[fold.n_train, len(fold.valid), fold.drawn] for fold in found]
            for fold in found:
                if not fold.drawn:
                    digest.update(fold.train.tobytes() + fold.valid.tobytes())
        settings = [
            self.data.n_given,
            sizes,
            _described(self.loss),
            _described(self.metric),
            self.objective,
            self.direction,
            self.epochs,
            self.batch_size,
            _architecture(model),
        ]
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        return digest.hexdigest()


def choose_loss(given: Any, model: Any, data: Data) -> Any:
    """The loss to train with: the one given, else that of the compiled model, else the one that fits the task.

    Raises
    ------
    ModelError
        When the model's output does not fit the targets.
    SettingError
        When the loss is unknown.
    """
    width = output_width(model)
    if given is None and getattr(model, "compiled", False):
        given = model.loss
    if isinstance(given, (dict, list)):
        raise SettingError("a loss per output is not there yet: expected one loss for one output.")
    if given is None:
        loss = _default_loss(width, model, data)
    else:
        try:
            loss = keras.losses.get(given)
        except ValueError as error:
            raise SettingError(f"loss={given!r} is unknown to keras.losses.get: {error}") from None
        if not isinstance(loss, keras.losses.Loss):
            loss = _as_loss(loss)
    _check_output(width, loss, model, data)
    return loss


def from_logits(loss: Any, model: Any = None) -> bool:
    """Whether the model returns raw scores, so that probabilities still need a softmax or sigmoid.

    A loss that has an argument `from_logits` knows. Others of Keras compare outputs with labels as they are, such as
    the mean squared error, so outputs count as probabilities. For hinge losses, those that want one-hot rows and those
    of one's own, the activation of the model's last layer tells.
    """
    said = loss.get_config().get("from_logits") if hasattr(loss, "get_config") else None
    if said is not None:
        return bool(said)
    scores = (keras.losses.Hinge, keras.losses.SquaredHinge)
    if model is None or (_is_of_keras(loss) and not one_hot(loss) and not isinstance(loss, scores)):
        return False
    return _last_activation(model) not in _PROBABILITIES


def loss_code(loss: Any) -> str | None:
    """A Python expression for the loss, to paste into `model.compile`; None for one that is not of Keras."""
    if _is_of_keras(loss):
        default = _settings(type(loss)())
        changed = [f"{key}={value!r}" for key, value in _settings(loss).items() if value != default.get(key)]
        return f"keras.losses.{type(loss).__name__}({', '.join(changed)})"
    return None


def one_hot(loss: Any) -> bool:
    """Whether the loss wants labels as one-hot rows."""
    return isinstance(
        loss,
        (
            keras.losses.CategoricalCrossentropy,
            keras.losses.CategoricalFocalCrossentropy,
            keras.losses.CategoricalHinge,
            keras.losses.KLDivergence,
        ),
    )


def encode_targets(data: Data, loss: Any) -> np.ndarray:
    """The targets as the loss wants them: labels, one-hot rows, columns of 0 and 1 or numbers."""
    if data.one_label and one_hot(loss):
        assert data.classes is not None
        return np.eye(len(data.classes), dtype=keras.config.floatx())[data.y]
    return data.y


def targets(task: Task) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Targets of all rows, their weights when they train and when they judge.

    Training weights carry the class weights, judging ones do not, as in `model.fit`.
    """
    data = task.data
    return encode_targets(data, task.loss), data.training_weight(np.arange(len(data.x))), data.weight


def output_width(model: Any) -> int:
    """Size of the model's last axis; raises ModelError for several outputs or more axes."""
    shape = _output_shape(model)
    if shape is None or isinstance(shape, (dict, list)) or (shape and isinstance(shape[0], (tuple, list))):
        raise ModelError(f"the model has outputs of shape {shape}: several outputs are not there yet, expected one.")
    if len(shape) != 2:
        raise ModelError(
            f"the model's output has shape {shape}, expected (None, n): one row a sample. "
            "End it with Flatten or a pooling layer and Dense(n)."
        )
    return int(shape[-1])


def _output_shape(model: Any) -> Any:
    if hasattr(model, "output_shape"):
        return model.output_shape
    # A subclassed model only knows what it was built with.
    built_with = (model.get_build_config() or {}).get("input_shape")
    if not built_with:
        return None
    # Not by `keras.tree`, to which the dict that Keras keeps here is none.
    shapes = built_with if isinstance(built_with, dict) else {"": built_with}
    rows = {name: keras.KerasTensor((None, *shape[1:])) for name, shape in shapes.items()}
    return model.compute_output_spec(rows.get("", rows)).shape


def _default_loss(width: int, model: Any, data: Data) -> Any:
    if data.kind == "regression":
        return keras.losses.MeanSquaredError()
    logits = _last_activation(model) not in _PROBABILITIES
    if width == 1 or data.kind == "multilabel":
        return keras.losses.BinaryCrossentropy(from_logits=logits)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)


def _last_activation(model: Any) -> str:
    layers = getattr(model, "layers", [])
    last = layers[-1] if layers else None
    if isinstance(last, keras.Model):
        return _last_activation(last)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(last, "activation", None), "__name__", "linear")


class FunctionLoss(keras.losses.Loss):
    """A function `(y_true, y_pred)` as a loss, as `model.compile(loss=function)` would use it."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(name=name_of(function))
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The function's values, one a row; targets (n,) meet outputs (n, 1) as (n, 1), not as (n, n)."""
        return self.function(beside(y_true, y_pred), y_pred)

    def get_config(self) -> dict[str, Any]:
        """What tells it from the loss of another function."""
        return {**super().get_config(), "function": f"{getattr(self.function, '__module__', '')}.{self.name}"}


def beside(y_true: Any, y_pred: Any) -> Any:
    """Targets as they stand beside outputs: (n,) beside (n, 1) as (n, 1), or they would broadcast to (n, n)."""
    if len(y_true.shape) == 1 and len(y_pred.shape) == 2 and y_pred.shape[1] == 1:
        return keras.ops.expand_dims(y_true, axis=-1)
    return y_true


def name_of(function: Any) -> str:
    """What a function of one's own is called, as a name that Keras takes."""
    return getattr(function, "__name__", type(function).__name__).strip("<>")  # TensorFlow scopes take no "<lambda>"


def _as_loss(function: Any) -> Any:
    """Keras' own class for a function of Keras, which has the same defaults; else the function as a loss."""
    name = name_of(function)
    if getattr(keras.losses, name, None) is function:
        spelt = {"kl_divergence": "KLDivergence", "ctc": "CTC"}
        return getattr(keras.losses, spelt.get(name, name.title().replace("_", "")))()
    return FunctionLoss(function)


def _is_of_keras(loss: Any) -> bool:
    return type(loss).__module__.startswith("keras.")


def _settings(thing: Any) -> dict[str, Any]:
    """The arguments of a loss or metric without its name; Keras' description leaves some out, such as Huber's delta."""
    config = {**thing.get_config(), **getattr(thing, "_fn_kwargs", {})}
    return {key: value for key, value in config.items() if key != "name"}


def _check_output(width: int, loss: Any, model: Any, data: Data) -> None:
    if data.kind == "regression":
        if width != data.n_outputs:
            raise ModelError(
                f"the model's output has {width} column(s), but y has {data.n_outputs} target(s). "
                f"End the model with Dense({data.n_outputs})."
            )
        return
    if data.kind == "multilabel":
        _check_columns(width, loss, model, data)
        return
    assert data.classes is not None
    n_classes = len(data.classes)
    many = one_hot(loss) or isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
    one = _is_of_keras(loss) and not many
    if (width == n_classes and not one) or (width == 1 and n_classes == 2 and not many):
        return
    if width == n_classes:
        raise ModelError(
            f"the loss {loss.name!r} does not compare labels with {width} columns: write "
            "loss='sparse_categorical_crossentropy', or SparseCategoricalCrossentropy(from_logits=True) for a model "
            "without softmax."
        )
    raise ModelError(
        f"the model's output has {width} column(s), but y has {n_classes} classes "
        f"({_some(data.classes)}) and the loss is {loss.name!r}. End the model with Dense({n_classes})"
        + (" (or Dense(1) and a binary loss)." if n_classes == 2 else ".")
    )


def _check_columns(width: int, loss: Any, model: Any, data: Data) -> None:
    """That each column of the output can say of its label alone whether a row has it."""
    if width != data.n_outputs:
        raise ModelError(
            f"the model's output has {width} column(s), but y has {data.n_outputs} labels of which a row may have "
            f"several. End the model with Dense({data.n_outputs}, activation='sigmoid')."
        )
    if one_hot(loss) or isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        raise ModelError(
            f"the loss {loss.name!r} is for one label a row, but y has {width} labels of which a row may have several: "
            "write loss='binary_crossentropy'. If each row has one of them, pass y.argmax(axis=1)."
        )
    if _last_activation(model) in _SHARES:
        raise ModelError(
            f"the model ends with {_last_activation(model)}, whose columns share a sum of 1, but y has {width} labels "
            f"of which a row may have several: end it with Dense({width}, activation='sigmoid'). If each row has one "
            "of them, pass y.argmax(axis=1)."
        )


def _some(classes: np.ndarray) -> str:
    shown = ", ".join(map(str, classes[:5]))
    return shown + (", ..." if len(classes) > 5 else "")


def _hash_inputs(digest: Any, x: Inputs) -> None:
    digest.update(f"{x.shape}{x.dtype}".encode())
    for chunk in x.chunks() if x.nbytes <= LARGE else [x.sample(np.arange(len(x)))]:
        digest.update(chunk.data)


def _described(thing: Any) -> Any:
    return None if thing is None else [type(thing).__name__, _settings(thing)]


def _architecture(model: Any) -> Any:
    """Layer classes and settings without the names that Keras counts up; shapes for what has no config."""
    try:
        layers: list[Any] = [[type(layer).__name__, _nameless(layer.get_config())] for layer in model.layers]
    except Exception:  # a subclassed model need not describe itself
        layers = [type(model).__name__]
    return [layers, [list(weight.shape) for weight in model.weights]]


def _nameless(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return config  # its name is what it is
        skipped = ("name", "seed", "inbound_nodes", "input_layers", "output_layers", "build_config")
        return {key: _nameless(value) for key, value in config.items() if key not in skipped}
    if isinstance(config, (list, tuple)):
        return [_nameless(item) for item in config]
    return config if isinstance(config, (str, int, float, bool, type(None))) else str(type(config))
