"""What Keras users bring: the models and the options that a lane has to train as `model.fit` does.

A case has a float type and a tolerance. In float64 the two runs differ by rounding alone, 1e-16 an operation, so 1e-9
leaves room for what training amplifies and none for other mathematics. Models are smooth (a kink turns rounding into
another gradient), and Adam's epsilon is 1e-3 (a gradient that is zero but for rounding stays a small step).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from adamtune.config import OptimizerConfig
from tests.engine import problems

layers = keras.layers
EXACT = 1e-9
# On JAX `keras.ops.mean` and `keras.ops.tanh` go through float32 in a float64 model too, and so do the layers and
# regularisers that use them.
MEANS = 1e-6 if keras.backend.backend() == "jax" else EXACT
# Without training nothing amplifies the rounding.
UNTRAINED = MEANS if keras.backend.backend() == "jax" else 1e-12
# Keras' own classes take their betas through float32, so these are ones that float32 holds exactly.
BETAS = {"beta_1": 0.875, "beta_2": 1 - 2.0**-7}


def adam(**hypers: Any) -> OptimizerConfig:
    return OptimizerConfig("adam", **{"learning_rate": 0.02, "epsilon": 1e-3, **BETAS, **hypers})


def sgd(**hypers: Any) -> OptimizerConfig:
    return OptimizerConfig("sgd", **{"learning_rate": 0.1, **hypers})


@dataclass(frozen=True, eq=False)
class Case:
    """One thing that lanes are tried on.

    Parameters
    ----------
    name : str
    model : callable
        `model(X, y)`.
    kind : callable
        The kind of its rows, see `problems`.
    configs : dict
        Label to config: the lanes of one program. The last one takes over the lane of the first halfway.
    precision : str
        The float type of the task.
    tolerance : float
        Largest relative difference that is still the same training.
    prepared : dict
        Weights of rows.
    refused : str
        Part of the reason why it cannot be trained in lanes.
    builtin : float
        Tolerance against Keras' own optimizer classes; 0 where they are not tried.
    compared : int or None
        How many lanes, from the first, are compared; None for all. The first is taken over halfway, so for a layer,
        which knows nothing of other lanes, it says all there is to say.
    """

    name: str
    model: Callable[[Any, Any], Any] = problems.smooth
    kind: Callable = problems.numbers
    configs: dict[str, OptimizerConfig] = field(default_factory=lambda: {"fast": adam(learning_rate=0.05), "": adam()})
    precision: str = "float64"
    tolerance: float = EXACT
    prepared: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    builtin: float = 0.0
    compared: int | None = None

    def __str__(self) -> str:
        return self.name


def net(kind: Callable, *inner: Callable[[], Any], last: dict[str, Any] | None = None) -> Callable[[Any, Any], Any]:
    """A function that makes a Sequential of new layers, ending in three scores."""
    shape = kind(np.random.default_rng(0), 1).shape[1:]

    def model(X: Any, y: Any) -> Any:
        ending = layers.Dense(problems.N_CLASSES, **(last or {}))
        return keras.Sequential([keras.Input(shape), *(make() for make in inner), ending])

    return model


def _of(kind: Callable, name: str, *inner: Callable[[], Any], **fields: Any) -> Case:
    return Case(name, net(kind, *inner), kind, **fields)


# ------------------------------------------------------------------------------------------------- layers


def dense() -> Any:
    return layers.Dense(6, activation="tanh")


class OwnLosses(keras.Layer):
    """A layer that adds a loss of its own to the model's."""

    def call(self, x: Any) -> Any:
        self.add_loss(1e-2 * keras.ops.mean(keras.ops.square(x)))
        return x


class Subclassed(keras.Model):
    """A model whose forward pass is Python."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = layers.Dense(6, activation="tanh")
        self.drop = layers.Dropout(0.3)
        self.outer = layers.Dense(problems.N_CLASSES)

    def call(self, x: Any, training: bool = False) -> Any:
        hidden = self.inner(x)
        return self.outer(self.drop(hidden, training=training) + keras.ops.sin(hidden))


class Silent(keras.Model):
    """A model that is not told whether it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = layers.Dense(problems.N_CLASSES)

    def call(self, x: Any) -> Any:
        return self.outer(keras.ops.tanh(x))


class OwnStep(keras.Model):
    """A model that trains in its own way."""

    def train_step(self, *arguments: Any) -> Any:
        return super().train_step(*arguments)


def own_step(X: Any, y: Any) -> Any:
    inputs = keras.Input((6,))
    return OwnStep(inputs, layers.Dense(problems.N_CLASSES)(inputs))


def frozen(X: Any, y: Any) -> Any:
    model = net(problems.numbers, dense, layers.BatchNormalization, dense)(X, y)
    model.layers[0].trainable = model.layers[1].trainable = False
    return model


def normalized(X: Any, y: Any) -> Any:
    adapted = layers.Normalization()
    adapted.adapt(np.asarray(X))
    return net(problems.numbers, lambda: adapted, dense)(X, y)


def discretized(X: Any, y: Any) -> Any:
    return net(
        problems.numbers,
        lambda: layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0]),
        lambda: layers.Embedding(4, 3),
        layers.Flatten,
    )(X, y)


def encoded(X: Any, y: Any) -> Any:
    return net(problems.bytes_, lambda: layers.CategoryEncoding(8, output_mode="multi_hot"), dense)(X, y)


def nested(X: Any, y: Any) -> Any:
    shared = keras.Sequential(
        [keras.Input((6,)), dense(), layers.BatchNormalization(momentum=0.9), layers.Dropout(0.2)]
    )
    inputs = keras.Input((6,))
    left, right = shared(inputs), shared(keras.ops.flip(inputs, axis=1))
    return keras.Model(inputs, layers.Dense(problems.N_CLASSES)(layers.Concatenate()([left, right])))


def attention(X: Any, y: Any) -> Any:
    inputs = keras.Input((6, 2))
    x = layers.MultiHeadAttention(2, 3, dropout=0.1)(inputs, inputs)
    x = layers.LayerNormalization()(layers.Add()([inputs, x]))
    return keras.Model(inputs, layers.Dense(problems.N_CLASSES)(layers.GlobalAveragePooling1D()(x)))


def other_attention(X: Any, y: Any) -> Any:
    inputs = keras.Input((6, 2))
    x = layers.EinsumDense("abc,cd->abd", output_shape=(6, 4), bias_axes="d")(inputs)
    x = layers.Attention(use_scale=True)([x, x])
    return keras.Model(inputs, layers.Dense(problems.N_CLASSES)(layers.Flatten()(x)))


def masked_attention(X: Any, y: Any) -> Any:
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(12, 4, mask_zero=True)(inputs)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    return keras.Model(inputs, layers.Dense(problems.N_CLASSES)(layers.GlobalAveragePooling1D()(x)))


def pretrained(X: Any, y: Any) -> Any:
    model = net(problems.numbers, dense)(X, y)
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def under(policy: str, *inner: Callable[[], Any], scale: float = 1.0) -> Callable[[Any, Any], Any]:
    """A model made under a dtype policy, with a float32 end as Keras advises."""

    def model(X: Any, y: Any) -> Any:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            made = net(problems.numbers, *inner)(X, y)
            made.add(layers.Rescaling(scale, dtype="float32"))
            return made
        finally:
            keras.config.set_dtype_policy(before)

    return model


# Half precision rounds each product: 2^-8 in bfloat16, 2^-11 in float16, and the two programs order sums differently.
# Over 24 steps that wanders by some ten units of rounding; another algorithm differs by far more.
BFLOAT16, FLOAT16 = 5e-2, 1e-2
_N, _S, _T, _I = problems.numbers, problems.series, problems.tokens, problems.images

_LAYERS: tuple[Case, ...] = (
    _of(_N, "Dense", dense),
    _of(
        _N,
        "BatchNormalization",
        lambda: layers.Dense(6, use_bias=False),
        lambda: layers.BatchNormalization(momentum=0.9),
        dense,
        tolerance=MEANS,
    ),
    _of(_N, "LayerNormalization", dense, layers.LayerNormalization, tolerance=MEANS),
    _of(_N, "GroupNormalization", dense, lambda: layers.GroupNormalization(2), tolerance=MEANS),
    _of(_N, "Dropout", dense, lambda: layers.Dropout(0.3)),
    _of(
        _N,
        "GaussianNoise, GaussianDropout, AlphaDropout",
        lambda: layers.GaussianNoise(0.3),
        dense,
        lambda: layers.GaussianDropout(0.3),
        dense,
        lambda: layers.AlphaDropout(0.3),
    ),
    _of(_T, "Embedding", lambda: layers.Embedding(12, 4), layers.Flatten),
    _of(_T, "Embedding(mask_zero=True), LSTM", lambda: layers.Embedding(12, 4, mask_zero=True), lambda: layers.LSTM(4)),
    _of(_S, "LSTM with dropout", lambda: layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2)),
    _of(_S, "Masking, GRU", layers.Masking, lambda: layers.GRU(4)),
    # SimpleRNN does not run in float64 on JAX.
    _of(
        _S,
        "Bidirectional(SimpleRNN)",
        lambda: layers.Bidirectional(layers.SimpleRNN(3)),
        precision="float32",
        tolerance=1e-4,
    ),
    Case("MultiHeadAttention with dropout, GlobalAveragePooling1D", attention, _S, tolerance=MEANS),
    Case("MultiHeadAttention with a mask", masked_attention, _T, tolerance=MEANS),
    Case("Attention, EinsumDense", other_attention, _S),
    _of(
        _S,
        "Conv1D, SpatialDropout1D",
        lambda: layers.Conv1D(4, 3, activation="tanh"),
        lambda: layers.SpatialDropout1D(0.3),
        layers.Flatten,
    ),
    _of(
        _I,
        "Conv2D, MaxPooling2D",
        lambda: layers.Conv2D(4, 3, activation="tanh"),
        layers.MaxPooling2D,
        layers.Flatten,
    ),
    _of(_I, "SeparableConv2D", lambda: layers.SeparableConv2D(4, 3, activation="tanh"), layers.Flatten),
    _of(_I, "DepthwiseConv2D", lambda: layers.DepthwiseConv2D(3, activation="tanh"), layers.Flatten),
    _of(_I, "Conv2DTranspose", lambda: layers.Conv2DTranspose(3, 3, activation="tanh"), layers.Flatten),
    _of(
        _I,
        "Conv3D",
        lambda: layers.Reshape((3, 6, 2, 2)),
        lambda: layers.Conv3D(2, 2, activation="tanh"),
        layers.Flatten,
    ),
    _of(
        _I,
        "MaxPooling2D, UpSampling2D, ZeroPadding2D, GlobalAveragePooling2D",
        lambda: layers.Dense(4, activation="tanh"),
        layers.MaxPooling2D,
        layers.UpSampling2D,
        layers.ZeroPadding2D,
        layers.GlobalAveragePooling2D,
        tolerance=MEANS,
    ),
    _of(
        _N,
        "regularisers of weights and of activity",
        lambda: layers.Dense(
            6,
            "tanh",
            kernel_regularizer="l2",
            bias_regularizer=keras.regularizers.L1L2(1e-2, 1e-2),
            activity_regularizer="l2",
        ),
        tolerance=MEANS,
    ),
    _of(_N, "add_loss", dense, OwnLosses, tolerance=MEANS),
    Case("frozen layer and frozen batch norm", frozen, tolerance=MEANS),
    Case("Normalization, adapted", normalized),
    _of(
        _I,
        "Rescaling, RandomFlip, RandomContrast",
        lambda: layers.Rescaling(0.5, offset=0.1),
        lambda: layers.RandomFlip("horizontal"),
        lambda: layers.RandomContrast(0.1, value_range=(-4, 4)),
        layers.Flatten,
        tolerance=MEANS,
    ),
    # RandomRotation does not run in float64 on TensorFlow.
    _of(_I, "RandomRotation", lambda: layers.RandomRotation(0.1), layers.Flatten, precision="float32", tolerance=1e-4),
    Case("CategoryEncoding", encoded, problems.bytes_),
    Case("Discretization, Embedding", discretized),
    Case("subclassed model", lambda X, y: Subclassed()),
    Case("call without training", lambda X, y: Silent(), tolerance=MEANS),
    Case("nested model, shared layers", nested, tolerance=MEANS),
    Case("pretrained weights", pretrained),
    # float32: 1e-7 an operation, and training amplifies it as it does in float64.
    Case("float32, with batch norm, dropout and noise", problems.noisy, precision="float32", tolerance=1e-4),
    Case("mixed_bfloat16", under("mixed_bfloat16", dense), precision="float32", tolerance=BFLOAT16),
    Case("mixed_float16", under("mixed_float16", dense), precision="float32", tolerance=FLOAT16),
    # A scale of 2^15 takes the first gradients beyond float16's 65504: these steps are skipped, and the scale halves
    # each time. No gradient is near the edge, where rounding would decide whether a step is skipped.
    Case(
        "mixed_float16, overflowing",
        under("mixed_float16", dense, scale=200.0),
        precision="float32",
        tolerance=FLOAT16,
        configs={"fast": sgd(learning_rate=5e-4), "": sgd(learning_rate=1.5e-4, momentum=0.5)},
    ),
    Case(
        "SpectralNormalization",
        net(_N, lambda: layers.SpectralNormalization(layers.Dense(6, activation="tanh"))),
        refused="sets its kernel",
    ),
    Case("bfloat16 weights", under("bfloat16", dense), precision="float32", refused="weights of bfloat16"),
    _of(_N, "constraint", lambda: layers.Dense(6, kernel_constraint="max_norm"), refused="constraint"),
    Case("own train_step", own_step, refused="own train_step"),
)
LAYERS = tuple(replace(case, compared=1) for case in _LAYERS)


# ------------------------------------------------------------------------------------------------- options


def _lanes(rule: Callable[..., OptimizerConfig], **given: dict[str, Any]) -> dict[str, OptimizerConfig]:
    return {label.replace("_", " "): rule(**hypers) for label, hypers in given.items()}


def _rule(name: str, **given: dict[str, Any]) -> dict[str, OptimizerConfig]:
    return _lanes(lambda **hypers: OptimizerConfig(name, **hypers), **given)


_WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, 107)
_ADAM = {"learning_rate": 0.02, "epsilon": 1e-3, **BETAS}
_FAST = {"learning_rate": 0.05}
_RMS = {"learning_rate": 0.01, "rho": 0.875, "epsilon": 1e-3}
# Keras' classes take 0.96 (Nadam) and their schedules through float32.
_SINGLE = 1e-5

OPTIONS: tuple[Case, ...] = (
    Case(
        "adam",
        configs=_rule("adam", plain=_ADAM, amsgrad={**_ADAM, "amsgrad": True}, no_momentum={**_ADAM, "beta_1": 0.0}),
        builtin=EXACT,
    ),
    Case("adamw", configs=_rule("adamw", plain=_ADAM, strong={**_ADAM, "weight_decay": 0.25}), builtin=EXACT),
    Case(
        "nadam",
        configs=_rule("nadam", plain={**_ADAM, "schedule_decay": 1.0}, fast={**_ADAM, **_FAST, "schedule_decay": 1.0}),
        builtin=_SINGLE,
    ),
    Case("nadam, growing momentum", configs=_rule("nadam", slow=_ADAM, faster={**_ADAM, "schedule_decay": 0.1})),
    Case(
        "rmsprop",
        configs=_rule(
            "rmsprop",
            plain=_RMS,
            centered={**_RMS, "centered": True},
            momentum={**_RMS, "momentum": 0.5},
            centered_momentum={**_RMS, "centered": True, "momentum": 0.5},
        ),
        builtin=EXACT,
    ),
    Case(
        "sgd",
        configs=_lanes(sgd, plain={}, momentum={"momentum": 0.875}, nesterov={"momentum": 0.875, "nesterov": True}),
        builtin=EXACT,
    ),
    Case(
        "clipping",
        configs=_lanes(
            adam,
            none={},
            clipnorm={"clipnorm": 0.05},
            clipvalue={"clipvalue": 0.01},
            global_clipnorm={"global_clipnorm": 0.1},
        ),
        builtin=EXACT,
    ),
    Case(
        "weight decay, adam",
        configs=_lanes(adam, none={}, small={"weight_decay": 0.125}, large={"weight_decay": 0.5}),
        builtin=EXACT,
    ),
    Case("weight decay, sgd", configs=_lanes(sgd, none={}, some={"weight_decay": 0.125})),
    # 6 batches an epoch: 4 does not divide them, so gradients wait from one epoch to the next.
    Case(
        "gradient accumulation",
        configs=_lanes(
            adam,
            four={"gradient_accumulation_steps": 4},
            two={"gradient_accumulation_steps": 2},
        ),
    ),
    Case(
        "gradient accumulation, nadam",
        configs=_rule(
            "nadam", four={**_ADAM, "gradient_accumulation_steps": 4}, two={**_ADAM, "gradient_accumulation_steps": 2}
        ),
    ),
    Case("use_ema", configs=_lanes(adam, some={"use_ema": True}, short={"use_ema": True, "ema_momentum": 0.5})),
    Case(
        "ema_overwrite_frequency",
        configs=_lanes(
            adam,
            five={"use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 5},
            never={"use_ema": True, "ema_momentum": 0.75},
            three={"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
        ),
    ),
    Case(
        "accumulation, clipping, decay, overwriting and a schedule together",
        configs=_lanes(
            adam,
            one={
                "gradient_accumulation_steps": 4,
                "clipnorm": 0.05,
                "weight_decay": 0.125,
                "use_ema": True,
                "ema_momentum": 0.75,
                "ema_overwrite_frequency": 3,
                "schedule": "cosine",
                "warmup": 0.1,
            },
            other={"gradient_accumulation_steps": 2, "global_clipnorm": 0.1, "use_ema": True},
        ),
    ),
    Case(
        "schedules",
        configs=_lanes(
            adam,
            constant={},
            inverse_time={"decay": 0.05},
            inverse_sqrt={"schedule": "inverse_sqrt"},
            exponential={"schedule": "exponential"},
            linear={"schedule": "linear", "final": 0.1},
            cosine={"schedule": "cosine"},
        ),
        builtin=_SINGLE,
    ),
    Case(
        "schedules with warmup",
        configs=_lanes(
            adam,
            constant={"warmup": 0.25},
            inverse_time={"decay": 0.05, "warmup": 0.25},
            inverse_sqrt={"schedule": "inverse_sqrt", "warmup": 0.25},
            exponential={"schedule": "exponential", "warmup": 0.25},
            linear={"schedule": "linear", "warmup": 0.25},
            cosine={"schedule": "cosine", "warmup": 0.25},
        ),
    ),
    Case("sample weights", prepared={"sample_weight": _WEIGHTS}, compared=1),
    Case("class weights", prepared={"class_weight": {0: 2.0, 2: 0.5}}, compared=1),
    Case("sample and class weights", prepared={"sample_weight": _WEIGHTS, "class_weight": "balanced"}, compared=1),
    Case(
        "dynamic loss scale with accumulation, clipping and overwriting",
        under("mixed_float16", dense, scale=200.0),
        precision="float32",
        tolerance=FLOAT16,
        configs=_lanes(
            sgd,
            one={"learning_rate": 5e-4, "gradient_accumulation_steps": 4, "clipnorm": 50.0},
            other={"learning_rate": 5e-4, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 5},
        ),
    ),
    Case(
        "loss_scale_factor",
        configs=_lanes(adam, one={"loss_scale_factor": 8.0}),
        refused="scales the loss by a fixed factor",
    ),
)
