"""The door to PyTorch: a config as a `torch.optim.Optimizer` that computes the same updates, or why there is none.

What is translated is the meaning. A name that both have often means two things: PyTorch's `weight_decay` is a term of
the gradient in most of its classes and decoupled in some, its epsilon stands after the bias correction and outside of
the root, and its velocity holds gradients where that of Keras holds steps. `TABLE` says for each rule which class and
which arguments compute the same for the values given, and refuses those for which none do.

That these are the same is tested over 100 steps of a network: `tests/optimizers/test_oracles.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from adamtune.errors import ConfigError
from adamtune.optimizers import schedules
from adamtune.optimizers._exports import Values, after_correction, in_maximum, is_known
from adamtune.optimizers._rule import Rule
from adamtune.optimizers._spelling import Spelled

Made = tuple[str, dict[str, Any]]  # the name of a class of torch.optim and its arguments

_INSTEAD = "Write to_keras() and set KERAS_BACKEND=torch to train with it in PyTorch"

# What PyTorch leaves to the training loop, and how it is done there.
_LOOP = {
    "clipvalue": "call torch.nn.utils.clip_grad_value_(params, {value}) before each step()",
    "clipnorm": "call torch.nn.utils.clip_grad_norm_([p], {value}) for each p of the params before each step()",
    "global_clipnorm": "call torch.nn.utils.clip_grad_norm_(params, {value}) before each step()",
    "use_ema": "keep the average with torch.optim.swa_utils.AveragedModel and get_ema_multi_avg_fn",
    "gradient_accumulation_steps": "call step() after every {value} backward passes of loss / {value}",
    "loss_scale_factor": "scale the loss with torch.amp.GradScaler",
}


def optimizer(rule: Rule, config: schedules.Scheduled, options: Mapping[str, Any], params: Any) -> Any:
    """A `torch.optim.Optimizer` over `params` that computes what the config says.

    Parameters
    ----------
    rule : Rule
    config : OptimizerConfig
        Of that rule.
    options : mapping
        Those of every Keras optimizer that are not at their default.
    params : iterable
        What every class of `torch.optim` takes first.

    Raises
    ------
    ConfigError
        When no class of PyTorch computes the same, with the reason and what to write instead; and when PyTorch is not
        installed.
    """
    class_name, arguments = translated(rule, config, options)
    try:
        import torch
    except ImportError:
        raise ConfigError("to_torch needs PyTorch, which is not installed: run `pip install torch`.") from None
    return getattr(torch.optim, class_name)(params, **arguments)


def code(rule: Rule, config: schedules.Scheduled, options: Mapping[str, Any]) -> str:
    """The line of Python that makes what `optimizer` returns, for the weights of a `model`; needs no PyTorch."""
    class_name, arguments = translated(rule, config, options)
    params = Spelled.named("model").parameters()
    return str(getattr(Spelled.named("torch").optim, class_name)(params, **arguments))


def translated(rule: Rule, config: schedules.Scheduled, options: Mapping[str, Any]) -> Made:
    """The name of the class in `torch.optim` and its arguments; needs no PyTorch. Raises ConfigError as `optimizer`."""
    if not is_known(rule, TABLE):
        raise ConfigError(f"optimizer={rule.name!r}: torch.optim has no class of its equations. {_INSTEAD}.")
    values = config.hypers
    made = TABLE[rule.name](values)
    if _moves(config):
        raise ConfigError(
            f"schedule={config.schedule!r}: an optimizer of PyTorch has no schedule. Write schedule='constant' without "
            "a warmup, and move the rate with torch.optim.lr_scheduler.LambdaLR(optimizer, factor), where factor(i) is "
            "the rate of update i as a share of learning_rate; see adamtune.optimizers.schedules. Where there is a "
            "momentum that is another training: PyTorch's rate stands outside of it."
        )
    for what, how in _LOOP.items():
        value = options.get(what, values.get(what))
        if value is not None and value != math.inf:
            how = how.format(value=value)
            raise ConfigError(f"{what}={value}: PyTorch leaves that to the training loop. Leave it out, and {how}.")
    return made


def _moves(config: schedules.Scheduled) -> bool:
    values = config.hypers
    still = config.schedule == "constant" or (config.schedule == "inverse_time" and not values.get("decay"))
    return not still or bool(values.get("warmup"))


def _refuse(reason: str, instead: str = _INSTEAD) -> ConfigError:
    return ConfigError(f"no class of torch.optim computes the same: {reason}. {instead}.")


# ------------------------------------------------------------------------------------------------ conventions


def _outside_root(v: Values, class_name: str) -> None:
    if v["epsilon"] and not v["epsilon_outside_root"]:
        raise _refuse(
            f"{class_name} adds epsilon to the root, and epsilon={v['epsilon']:g} here is added under it",
            "Write epsilon_outside_root=True or epsilon=0",
        )


def _no_decay(v: Values, class_name: str) -> None:
    """Most classes know an L2 term only, which the moments see and the root divides."""
    if share := v.get("weight_decay"):
        raise _refuse(
            f"the weight_decay of {class_name} is a term of the gradient (L2), and weight_decay={share:g} here is "
            "decoupled from it",
            f"Leave it out, and before each step() multiply the weights with 1 - lr * {share:g}",
        )


def _decay(v: Values) -> dict[str, Any]:
    return {"weight_decay": v["weight_decay"]} if v.get("weight_decay") else {}


def _decoupled(v: Values) -> dict[str, Any]:
    """The arguments of decoupled decay, for the classes that leave the choice."""
    return _decay(v) | {"decoupled_weight_decay": True} if v.get("weight_decay") else {}


def _betas(v: Values) -> dict[str, Any]:
    return {"lr": v["learning_rate"], "betas": (v["beta_1"], v["beta_2"]), "eps": v["epsilon"]}


# ------------------------------------------------------------------------------------------------- the rules


def _sgd(v: Values) -> Made:
    # Without momentum an L2 term and decoupled decay are one: w - lr (g + wd w) = (w - lr wd w) - lr g. With it, the
    # velocity of PyTorch is ours divided by -lr, as long as the rate does not move.
    if v["momentum"]:
        _no_decay(v, "SGD with momentum")
    # Without momentum there is nothing to look ahead along, and PyTorch refuses to.
    nesterov = bool(v["nesterov"] and v["momentum"])
    return "SGD", {"lr": v["learning_rate"], "momentum": v["momentum"], "nesterov": nesterov, **_decay(v)}


def _adam(v: Values) -> Made:
    class_name = "AdamW" if v.get("weight_decay") else "Adam"
    if not v["bias_correction"]:
        raise _refuse(f"{class_name} always corrects the bias of its moments", "Write bias_correction=True")
    after_correction(v, class_name, _refuse)
    return class_name, {**_betas(v), "amsgrad": v["amsgrad"], **_decay(v)}


def _amsgrad(v: Values) -> Made:
    if v["corrected_maximum"] and v["bias_correction"]:
        raise _refuse("Adam takes the maximum of the raw second moments", "Write corrected_maximum=False")
    return _adam({**v, "amsgrad": True})


def _adamax(v: Values) -> Made:
    _no_decay(v, "Adamax")
    in_maximum(v, "Adamax", _refuse)
    return "Adamax", _betas(v)


def _nadam(v: Values) -> Made:
    return "NAdam", {**_betas(v), "momentum_decay": v["schedule_decay"], **_decoupled(v)}


def _nadamw(v: Values) -> Made:
    if v["nesterov"] and v["beta_1"]:
        raise _refuse(
            "NAdam has a momentum that grows on a schedule, and here it stays",
            "Write optimizer='nadam', which is the class NAdam, or nesterov=False",
        )
    return ("AdamW" if v["weight_decay"] else "Adam"), {**_betas(v), **_decay(v)}


def _radam(v: Values) -> Made:
    if v["threshold"] != 5:
        raise _refuse(f"RAdam has a threshold of 5, not of {v['threshold']}", "Write threshold=5")
    if v["epsilon"] and v["epsilon_after_correction"]:
        raise _refuse(
            "RAdam, unlike Adam, adds epsilon before the bias correction", "Write epsilon_after_correction=False"
        )
    return "RAdam", {**_betas(v), **_decoupled(v)}


def _rmsprop(v: Values) -> Made:
    _no_decay(v, "RMSprop")
    _outside_root(v, "RMSprop")
    arguments = {"lr": v["learning_rate"], "alpha": v["rho"], "eps": v["epsilon"]}
    return "RMSprop", {**arguments, "momentum": v["momentum"], "centered": v["centered"]}


def _adagrad(v: Values) -> Made:
    _no_decay(v, "Adagrad")
    _outside_root(v, "Adagrad")
    if not (v["epsilon"] or v["initial_accumulator_value"]):
        raise _refuse(
            "Adagrad divides 0 by 0 where epsilon, its accumulator and a gradient are 0",
            "Write an epsilon or an initial_accumulator_value above 0",
        )
    start = {"initial_accumulator_value": v["initial_accumulator_value"]}
    return "Adagrad", {"lr": v["learning_rate"], "eps": v["epsilon"], **start}


def _adadelta(v: Values) -> Made:
    _no_decay(v, "Adadelta")
    return "Adadelta", {"lr": v["learning_rate"], "rho": v["rho"], "eps": v["epsilon"]}


# Adafactor of PyTorch takes the root of no less than the square of its first epsilon, in the weight's type: this is the
# least whose square float32 holds.
_LEAST = 1.1e-19


def _adafactor(v: Values) -> Made:
    if not v["relative_step"]:
        raise _refuse("Adafactor takes the smaller of its rate and 1 / sqrt(t)", "Write relative_step=True")
    if v["epsilon_1"] > _LEAST:
        raise _refuse(
            f"Adafactor adds nothing to the square of the gradient, and epsilon_1={v['epsilon_1']:g} here is added",
            f"Write epsilon_1=1e-30, which is too small to be seen, or anything below {_LEAST:g}",
        )
    if v.get("weight_decay"):
        raise _refuse("Adafactor measures a weight before its decay, and here it is after", "Write weight_decay=0")
    arguments = {"lr": v["learning_rate"], "beta2_decay": -v["decay_rate"], "d": v["clip_threshold"]}
    return "Adafactor", {**arguments, "eps": (_LEAST, v["epsilon_2"])}


def _muon(v: Values) -> Made:
    raise _refuse(
        "Muon computes in bfloat16, takes matrices only, and leaves it to you which of the weights these are and what "
        "trains the others"
    )


TABLE: dict[str, Callable[[Values], Made]] = {
    "adadelta": _adadelta,
    "adafactor": _adafactor,
    "adagrad": _adagrad,
    "adam": _adam,
    "adamax": _adamax,
    "adamw": _adam,
    "amsgrad": _amsgrad,
    "muon": _muon,
    "nadam": _nadam,
    "nadamw": _nadamw,
    "radam": _radam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}
