"""Meta-features: the few numbers by which one task is like another, read without training and without a backend.

What is counted is what the learning rate is known to depend on: rows of a step, number of steps, width, depth and kind
of layers. Everything comes from shapes and names, so it takes microseconds, however many rows there are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A layer's kind shows in the name of its class; wrappers such as Bidirectional hold the layer that is meant.
_KINDS = {
    "recurrent": ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM"),
    "convolutional": ("Conv", "DepthwiseConv", "SeparableConv"),
    "embedded": ("Embedding",),
    "attending": ("MultiHeadAttention", "GroupedQueryAttention", "Attention", "AdditiveAttention"),
    "normalised": ("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"),
    "dropped": ("Dropout", "SpatialDropout", "GaussianDropout", "AlphaDropout", "GaussianNoise"),
}


@dataclass(frozen=True)
class Features:
    """What a task looks like from outside.

    Parameters
    ----------
    regression : bool
        Numbers are learned, not labels.
    n_rows : int
        Rows that train.
    n_inputs, n_outputs : int
        Numbers of a row, and what is said of it: classes or targets.
    batch_size, epochs : int
        The budget of one training.
    n_weights : int
        That are trained.
    depth : int
        Layers with a weight matrix.
    width : float
        Median number of inputs of a unit, over those layers.
    recurrent, convolutional, embedded, attending, normalised, dropped : bool
        Whether there are such layers.
    """

    regression: bool
    n_rows: int
    n_inputs: int
    n_outputs: int
    batch_size: int
    epochs: int
    n_weights: int
    depth: int
    width: float
    recurrent: bool = False
    convolutional: bool = False
    embedded: bool = False
    attending: bool = False
    normalised: bool = False
    dropped: bool = False

    @property
    def steps(self) -> int:
        """Updates of one training."""
        return self.epochs * -(-self.n_rows // self.batch_size)

    def vector(self) -> NDArray[np.float64]:
        """As coordinates, in the order of `COORDINATES`: counts by their logarithm, what is or is not by 1 and 0."""
        return np.array([_coordinate(getattr(self, name)) for name in COORDINATES])

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name, the inverse of `from_dict`."""
        return {name: float(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, float]) -> Features:
        """From `to_dict`'s numbers; what is not there counts as 0."""
        kinds = {"bool": bool, "int": int, "float": float}
        return cls(**{field.name: kinds[str(field.type)](data.get(field.name, 0)) for field in fields(cls)})


# The order of `Features.vector`; rows and epochs count by the steps they make.
COORDINATES = ("steps", *(field.name for field in fields(Features) if field.name not in ("epochs", "n_rows")))


def _coordinate(value: Any) -> float:
    return float(value) if isinstance(value, bool) else math.log(max(value, 1))


def of_model(model: Any) -> dict[str, Any]:
    """The features that a built Keras model has: its size and its kinds of layers."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer is not model]
    # Attention has a Dropout inside that most often does nothing.
    names = {type(layer).__name__ for layer in layers if getattr(layer, "rate", None) != 0}
    shapes = [tuple(weight.shape) for weight in model.trainable_weights]
    tables = {id(w) for layer in layers if type(layer).__name__ == "Embedding" for w in layer.trainable_weights}
    multiplied = [tuple(weight.shape) for weight in model.trainable_weights if id(weight) not in tables]
    fan_in = [math.prod(shape[:-1]) for shape in multiplied if len(shape) > 1]
    return {
        "n_weights": sum(math.prod(shape) for shape in shapes),
        "depth": len(fan_in),
        "width": float(np.median(fan_in)) if fan_in else 1.0,
    } | {kind: any(name.startswith(starts) for name in names) for kind, starts in _KINDS.items()}


def of_default_network(n_inputs: int, n_outputs: int, width: int) -> dict[str, Any]:
    """Those of the dense network that stands in where no model is given: two hidden layers of that width."""
    sizes = [n_inputs, width, width, n_outputs]
    return {
        "n_weights": sum((before + 1) * after for before, after in itertools.pairwise(sizes)),
        "depth": 3,
        "width": float(np.median(sizes[:-1])),
    }
