"""Presets: the defaults of other frameworks and of papers, by the names people know.

`presets.get("torch/adam")` is a config that computes what `torch.optim.Adam(params)` computes. It is the meaning that
is carried over and not the numbers alone: PyTorch adds epsilon after the bias correction, so its 1e-8 comes with
`epsilon_after_correction`. What makes a preset differ from adamtune's own defaults stands in it; what is not named has
adamtune's default, which is Keras 3's where Keras has the optimizer.

The part before the slash says whose defaults they are:

    keras2/          standalone Keras 2 (2.2.4, 2.3.1), see `adamtune.optimizers.from_keras2`
    keras3/          Keras 3, `keras.optimizers`
    tf1/             TensorFlow 1, `tf.compat.v1.train`. "tensorflow/" is another name for it, because that is what the
                     tables of defaults mean that list TensorFlow beside Keras; in TensorFlow 2 it is `tf.keras`,
                     which today is "keras3/"
    torch/           PyTorch, `torch.optim`; "pytorch/" is another name for it
    torch7/          Torch for Lua, `optim`
    optax/           optax, `optax` and `optax.contrib`
    blocks/, lasagne/, mxnet/, caffe/, h2o/
    paper/           what the authors of an optimizer, or of a well-known training, used

Where a framework has no default for the learning rate, as optax for most, adamtune's own stays, and `source` says so.
Weight decay of the L2 kind, a term of the gradient, is in no preset: adamtune has none. PyTorch's velocity holds
gradients and Keras' steps, so with a momentum and a schedule "torch/sgd" is another thing there. What adamtune computes
otherwise than a framework whatever the values (Muon of Keras, PyTorch and optax; Keras' Schedule-Free; optax' Nadam and
Adan) has no preset, and neither has what we have no second source for (most papers' numbers).
"""

from __future__ import annotations

import difflib
import fnmatch
import glob
from collections.abc import Mapping
from typing import Any, NamedTuple

from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, short
from adamtune.optimizers import _keras2


class Preset(NamedTuple):
    """One of them: the optimizer's name, the values that are not adamtune's own, and where they stand."""

    optimizer: str
    values: Mapping[str, Any]
    source: str


def get(name: str) -> OptimizerConfig:
    """The config of that name, such as "keras2/adam".

    Raises
    ------
    ConfigError
        When there is none, with the nearest names.

    Examples
    --------
    >>> get("h2o/adadelta")
    OptimizerConfig('adadelta', learning_rate=1, rho=0.99, epsilon=1e-08)
    >>> get("keras3/nadam").schedule_decay, get("keras2/nadam").schedule_decay
    (1.0, 0.004)
    """
    preset = _find(name)
    return OptimizerConfig(preset.optimizer, **preset.values)


def names(pattern: str | None = None) -> list[str]:
    """The names there are, sorted.

    Parameters
    ----------
    pattern : str, optional
        Only names like it, as file names are matched: "torch/*", "*/adam".

    Examples
    --------
    >>> names("h2o/*")
    ['h2o/adadelta']
    """
    like = "*" if pattern is None else _whole(pattern)
    return sorted(fnmatch.filter(_ALL, like))


def source(name: str) -> str:
    """Where a preset's numbers stand, and what of the original is not in it."""
    return _find(name).source


def _find(name: Any) -> Preset:
    if isinstance(name, str) and _whole(name) in _ALL:
        return _ALL[_whole(name)]
    raise ConfigError(
        f"{short(name)} is no preset.{_near(name) if isinstance(name, str) else ''} See adamtune.presets.names()."
    )


def _whole(name: str) -> str:
    """The name in the spelling of the table."""
    owner, slash, optimizer = name.lower().partition("/")
    return _ALIASES.get(owner, owner) + slash + optimizer


def _near(name: str) -> str:
    """The names that are meant most probably: one optimizer everywhere, or those that look alike."""
    whole = _whole(name[:50])
    _, _, optimizer = whole.rpartition("/")
    near = difflib.get_close_matches(whole, _ALL, n=3)
    near += [each for each in names(f"*/{glob.escape(optimizer)}") if each not in near]
    return f" Did you mean {' or '.join(map(repr, near[:5]))}?" if near else ""


_ALIASES = {"tensorflow": "tf1", "pytorch": "torch"}

_BETAS = {"beta_1": 0.9, "beta_2": 0.999}
_PAPER_ADAM = {"learning_rate": 1e-3, **_BETAS, "epsilon": 1e-8}
_AFTER = {"epsilon_after_correction": True}
_SCHEDULE_FREE = {"learning_rate": 2.5e-3, **_BETAS, "epsilon": 1e-8, "weight_decay": 0.0, "weight_lr_power": 2.0}

_KERAS2 = "Keras 2.2.4 and 2.3.1, keras/optimizers.py"
_KERAS3 = "Keras 3.15, keras.optimizers"
_TF1 = "TensorFlow, tf.compat.v1.train"
_TORCH = "PyTorch 2.13, torch.optim"
_OPTAX = "optax 0.2.8; its learning rate has no default, so adamtune's stays"
_LASAGNE = "Lasagne, lasagne/updates.py"
_BLOCKS = "Blocks, blocks/algorithms"
_MXNET = "MXNet 1, python/mxnet/optimizer"
_KRIZHEVSKY = "Krizhevsky, Sutskever & Hinton 2012 (AlexNet), section 5; without its L2 term of 5e-4"
_ZAGORUYKO = "Zagoruyko & Komodakis 2016 (Wide ResNet), arXiv 1605.07146; without its L2 term of 5e-4"
_LOOKAHEAD = "Zhang et al. 2019, arXiv 1907.08610; what moves the fast weights has adamtune's defaults"

_ALL: dict[str, Preset] = {
    f"keras2/{name.lower()}": Preset(*_keras2.translate(name)[:2], _KERAS2) for name in _keras2.names()
} | {
    # ------------------------------------------------------------------------------------------------- Keras 3
    "keras3/sgd": Preset("sgd", {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False}, _KERAS3),
    "keras3/rmsprop": Preset(
        "rmsprop",
        {"learning_rate": 1e-3, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False},
        _KERAS3,
    ),
    "keras3/adagrad": Preset(
        "adagrad", {"learning_rate": 1e-3, "initial_accumulator_value": 0.1, "epsilon": 1e-7}, _KERAS3
    ),
    "keras3/adadelta": Preset("adadelta", {"learning_rate": 1e-3, "rho": 0.95, "epsilon": 1e-7}, _KERAS3),
    "keras3/adam": Preset("adam", {**_PAPER_ADAM, "epsilon": 1e-7}, _KERAS3),
    "keras3/adamw": Preset("adamw", {**_PAPER_ADAM, "epsilon": 1e-7, "weight_decay": 4e-3}, _KERAS3),
    "keras3/adamax": Preset("adamax", {**_PAPER_ADAM, "epsilon": 1e-7}, _KERAS3),
    "keras3/nadam": Preset("nadam", {**_PAPER_ADAM, "epsilon": 1e-7, "schedule_decay": 1.0}, _KERAS3),
    "keras3/adafactor": Preset(
        "adafactor",
        {"learning_rate": 1e-3, "decay_rate": 0.8, "epsilon_1": 1e-30, "epsilon_2": 1e-3, "clip_threshold": 1.0},
        f"{_KERAS3}; decay_rate is its beta_2_decay with the other sign",
    ),
    "keras3/lion": Preset("lion", {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.99}, _KERAS3),
    "keras3/lamb": Preset("lamb", {**_PAPER_ADAM, "epsilon": 1e-7}, _KERAS3),
    # -------------------------------------------------------------------------------------------- TensorFlow 1
    "tf1/adam": Preset("adam", _PAPER_ADAM, f"{_TF1}.AdamOptimizer; epsilon before the correction"),
    "tf1/adadelta": Preset(
        "adadelta", {"learning_rate": 1e-3, "rho": 0.95, "epsilon": 1e-8}, f"{_TF1}.AdadeltaOptimizer"
    ),
    "tf1/adagrad": Preset(
        "adagrad",
        {"initial_accumulator_value": 0.1, "epsilon": 0.0},
        f"{_TF1}.AdagradOptimizer, which has no epsilon, and no default for the rate: adamtune's stays",
    ),
    # ------------------------------------------------------------------------------------------------- PyTorch
    "torch/sgd": Preset("sgd", {"learning_rate": 1e-3, "momentum": 0.0, "nesterov": False}, _TORCH),
    "torch/rmsprop": Preset(
        "rmsprop",
        {
            "learning_rate": 0.01,
            "rho": 0.99,
            "momentum": 0.0,
            "epsilon": 1e-8,
            "centered": False,
            "epsilon_outside_root": True,
        },
        _TORCH,
    ),
    "torch/adagrad": Preset(
        "adagrad",
        {"learning_rate": 0.01, "initial_accumulator_value": 0.0, "epsilon": 1e-10, "epsilon_outside_root": True},
        _TORCH,
    ),
    "torch/adadelta": Preset("adadelta", {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6}, _TORCH),
    "torch/adam": Preset("adam", {**_PAPER_ADAM, **_AFTER}, _TORCH),
    "torch/amsgrad": Preset("amsgrad", {**_PAPER_ADAM, **_AFTER}, f"{_TORCH}: Adam(amsgrad=True)"),
    "torch/adamw": Preset("adamw", {**_PAPER_ADAM, **_AFTER, "weight_decay": 0.01}, _TORCH),
    "torch/adamax": Preset(
        "adamax",
        {**_PAPER_ADAM, "learning_rate": 2e-3, "epsilon_in_maximum": True},
        f"{_TORCH}; epsilon in the maximum",
    ),
    "torch/nadam": Preset("nadam", {**_PAPER_ADAM, "learning_rate": 2e-3, "schedule_decay": 4e-3}, _TORCH),
    "torch/radam": Preset("radam", {**_PAPER_ADAM, "threshold": 5.0}, _TORCH),
    "torch7/adam": Preset("adam", _PAPER_ADAM, "Torch 7, optim/adam.lua; epsilon before the correction"),
    # --------------------------------------------------------------------------------------------------- optax
    "optax/sgd": Preset("sgd", {"momentum": 0.0, "nesterov": False}, _OPTAX),
    "optax/rmsprop": Preset("rmsprop", {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-8, "centered": False}, _OPTAX),
    "optax/adagrad": Preset("adagrad", {"initial_accumulator_value": 0.1, "epsilon": 1e-7}, _OPTAX),
    "optax/adadelta": Preset(
        "adadelta",
        {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6},
        "optax 0.2.8; its learning_rate=None is a rate of 1, but then it goes up the gradient: here it goes down",
    ),
    "optax/adam": Preset("adam", {**_BETAS, "epsilon": 1e-8, **_AFTER}, _OPTAX),
    "optax/adamw": Preset("adamw", {**_BETAS, "epsilon": 1e-8, **_AFTER, "weight_decay": 1e-4}, _OPTAX),
    "optax/amsgrad": Preset("amsgrad", {**_BETAS, "epsilon": 1e-8, **_AFTER, "corrected_maximum": True}, _OPTAX),
    "optax/adamax": Preset("adamax", {**_BETAS, "epsilon": 1e-8, "epsilon_in_maximum": True}, _OPTAX),
    "optax/radam": Preset("radam", {**_BETAS, "epsilon": 1e-8, **_AFTER, "threshold": 5.0}, _OPTAX),
    "optax/yogi": Preset(
        "yogi",
        {**_BETAS, "epsilon": 1e-3, "initial_accumulator_value": 1e-6, "bias_correction": True},
        _OPTAX,
    ),
    "optax/adabelief": Preset("adabelief", {**_BETAS, "epsilon": 1e-16}, _OPTAX),
    "optax/lion": Preset("lion", {"beta_1": 0.9, "beta_2": 0.99, "weight_decay": 1e-3}, _OPTAX),
    "optax/lamb": Preset("lamb", {**_BETAS, "epsilon": 1e-6, "weight_decay": 0.0}, _OPTAX),
    "optax/prodigy": Preset(
        "prodigy",
        {"learning_rate": 1.0, **_BETAS, "epsilon": 1e-8, "d0": 1e-6, "d_coef": 1.0, "bias_correction": True},
        "optax 0.2.8, optax.contrib",
    ),
    "optax/schedule_free_adamw": Preset("schedule_free_adamw", _SCHEDULE_FREE, "optax 0.2.8, optax.contrib"),
    "optax/adopt": Preset("adopt", {"beta_1": 0.9, "beta_2": 0.9999, "epsilon": 1e-6}, f"{_OPTAX}; optax.contrib"),
    # -------------------------------------------------------------------------------------- older frameworks
    "lasagne/adagrad": Preset(
        "adagrad", {"learning_rate": 1.0, "initial_accumulator_value": 0.0, "epsilon": 1e-6}, _LASAGNE
    ),
    "lasagne/rmsprop": Preset("rmsprop", {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6}, _LASAGNE),
    "lasagne/adadelta": Preset("adadelta", {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6}, _LASAGNE),
    "lasagne/adam": Preset("adam", _PAPER_ADAM, f"{_LASAGNE}; epsilon before the correction"),
    "lasagne/amsgrad": Preset("amsgrad", _PAPER_ADAM, _LASAGNE),
    "lasagne/adamax": Preset("adamax", {**_PAPER_ADAM, "learning_rate": 2e-3}, _LASAGNE),
    "blocks/adagrad": Preset(
        "adagrad",
        {"learning_rate": 2e-3, "initial_accumulator_value": 0.0, "epsilon": 1e-6, "epsilon_outside_root": True},
        _BLOCKS,
    ),
    "blocks/adadelta": Preset(
        "adadelta", {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6}, f"{_BLOCKS}; it has no rate, which is 1"
    ),
    "blocks/adam": Preset(
        "adam", {**_PAPER_ADAM, "learning_rate": 2e-3}, f"{_BLOCKS}; its decay_factor of beta_1 is 1, that is none"
    ),
    "mxnet/adagrad": Preset(
        "adagrad", {"learning_rate": 0.01, "initial_accumulator_value": 0.0, "epsilon": 1e-7}, _MXNET
    ),
    "mxnet/adadelta": Preset(
        "adadelta", {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-5}, f"{_MXNET}; it has no rate, which is 1"
    ),
    "mxnet/adam": Preset("adam", _PAPER_ADAM, f"{_MXNET}; epsilon before the correction"),
    "mxnet/nadam": Preset("nadam", {**_PAPER_ADAM, "schedule_decay": 4e-3}, _MXNET),
    "caffe/adam": Preset(
        "adam",
        _PAPER_ADAM,
        "Caffe, adam_solver.cpp: momentum2 and delta are defaults of caffe.proto, the rate and beta_1 those of its "
        "example lenet_solver_adam.prototxt",
    ),
    "h2o/adadelta": Preset(
        "adadelta",
        {"learning_rate": 1.0, "rho": 0.99, "epsilon": 1e-8},
        "H2O-3, deep learning with adaptive_rate=True; its root is exact to 5 %, and its `rate` does nothing",
    ),
    # -------------------------------------------------------------------------------------------------- papers
    "paper/momentum": Preset("sgd", {"learning_rate": 0.01, "momentum": 0.9}, _KRIZHEVSKY),
    "paper/nesterov": Preset("sgd", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}, _ZAGORUYKO),
    "paper/rmsprop": Preset(
        "rmsprop",
        {"learning_rate": 1e-4, "rho": 0.95, "momentum": 0.9, "epsilon": 1e-4, "centered": True},
        "Graves 2013, arXiv 1308.0850, equations 38-41",
    ),
    "paper/adadelta": Preset(
        "adadelta", {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6}, "Zeiler 2012, arXiv 1212.5701"
    ),
    "paper/adam": Preset("adam", {**_PAPER_ADAM, **_AFTER}, "Kingma & Ba 2015, arXiv 1412.6980, Algorithm 1"),
    "paper/adamax": Preset(
        "adamax",
        {"learning_rate": 2e-3, **_BETAS},
        "Kingma & Ba 2015, arXiv 1412.6980, Algorithm 2; it has no epsilon, adamtune's stays for weights without a "
        "gradient",
    ),
    "paper/amsgrad": Preset(
        "amsgrad",
        {"beta_1": 0.9, "beta_2": 0.99, "bias_correction": False},
        "Reddi, Kale & Kumar 2018, arXiv 1904.09237, Algorithm 2 with the betas of its synthetic experiment; it has "
        "no default rate and no epsilon, adamtune's stay",
    ),
    "paper/radam": Preset(
        "radam",
        {**_BETAS, "threshold": 4.0},
        "Liu et al. 2020, arXiv 1908.03265, Algorithm 2; its experiments have many rates, adamtune's stays",
    ),
    "paper/adabelief": Preset(
        "adabelief",
        {"learning_rate": 1e-3, **_BETAS, "epsilon": 1e-16},
        "Zhuang et al. 2020, arXiv 2010.07468, the authors' code; without its rectified start",
    ),
    "paper/adabound": Preset(
        "adabound",
        {**_PAPER_ADAM, "final_lr": 0.1, "gamma": 1e-3},
        "Luo et al. 2019, arXiv 1902.09843, the authors' code",
    ),
    "paper/amsbound": Preset(
        "amsbound",
        {**_PAPER_ADAM, "final_lr": 0.1, "gamma": 1e-3},
        "Luo et al. 2019, arXiv 1902.09843, the authors' code with amsbound=True",
    ),
    "paper/yogi": Preset(
        "yogi",
        {"learning_rate": 0.01, **_BETAS, "epsilon": 1e-3, "initial_accumulator_value": 1e-6},
        "Zaheer et al. 2018, NeurIPS, Algorithm 2",
    ),
    "paper/lion": Preset(
        "lion", {"learning_rate": 1e-4, "beta_1": 0.9, "beta_2": 0.99}, "Chen et al. 2023, the authors' code"
    ),
    "paper/lamb": Preset(
        "lamb",
        {**_BETAS, "epsilon": 1e-6},
        "You et al. 2020, arXiv 1904.00962; it has no default rate, adamtune's stays",
    ),
    "paper/adan": Preset(
        "adan",
        {"learning_rate": 1e-3, "beta_1": 0.98, "beta_2": 0.92, "beta_3": 0.99, "epsilon": 1e-8},
        "Xie et al. 2022, arXiv 2208.06677, the authors' code; they advise a weight_decay of 0.02",
    ),
    "paper/adafactor": Preset(
        "adafactor",
        {"learning_rate": 0.01, "decay_rate": 0.8, "epsilon_1": 1e-30, "epsilon_2": 1e-3, "clip_threshold": 1.0},
        "Shazeer & Stern 2018, arXiv 1804.04235, Algorithms 4 and 5",
    ),
    "paper/schedule_free_adamw": Preset(
        "schedule_free_adamw",
        _SCHEDULE_FREE,
        "Defazio et al. 2024, arXiv 2405.15682, the authors' code; they advise a warmup",
    ),
    "paper/prodigy": Preset(
        "prodigy",
        {"learning_rate": 1.0, **_BETAS, "epsilon": 1e-8, "d0": 1e-6, "d_coef": 1.0, "bias_correction": False},
        "Mishchenko & Defazio 2023, arXiv 2306.06101, the authors' code",
    ),
    "paper/lookahead_sgd": Preset("lookahead_sgd", {"sync_period": 5, "slow_step_size": 0.5}, _LOOKAHEAD),
    "paper/lookahead_adam": Preset("lookahead_adam", {"sync_period": 5, "slow_step_size": 0.5}, _LOOKAHEAD),
    "paper/adopt": Preset(
        "adopt",
        {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.9999, "epsilon": 1e-6},
        "Taniguchi et al. 2024, arXiv 2411.02853, the authors' code",
    ),
}
