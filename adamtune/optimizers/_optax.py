"""The door to optax: a config as an `optax.GradientTransformation` of the same updates, or why there is none.

What is translated is the meaning, as for PyTorch: `TABLE` says for each rule which transformations compute the same
for the values given, and refuses those for which none do. Around the rule stands what stands around it in Keras, in
the same order: the mean of several batches' gradients, clipping, the rule, and the decay of the weights, whose share is
taken of the weights before the step in both.

That these are the same is tested over 100 steps of a network: `tests/optimizers/test_oracles.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from adamtune.errors import ConfigError
from adamtune.optimizers import schedules
from adamtune.optimizers._exports import Values, after_correction, in_maximum, is_known
from adamtune.optimizers._moments import too_near_one
from adamtune.optimizers._rule import Rule
from adamtune.optimizers._spelling import Spelled

Rate = float | Callable[[Any], Any]  # a number, or what optax calls with the number of updates done

_INSTEAD = "Write to_keras() and set KERAS_BACKEND=jax to train with it in JAX"


def transformation(rule: Rule, config: schedules.Scheduled, options: Mapping[str, Any], steps: int | None) -> Any:
    """An `optax.GradientTransformation` that computes what the config says.

    Parameters
    ----------
    rule : Rule
    config : OptimizerConfig
        Of that rule.
    options : mapping
        Those of every Keras optimizer that are not at their default.
    steps : int or None
        Number of updates of the training, for a schedule that ends with it and for a warmup.

    Raises
    ------
    ConfigError
        When nothing in optax computes the same, with the reason and what to write instead; when the schedule needs
        `steps` and there are none; and when optax is not installed.
    """
    return _made(_optax, rule, config, options, steps)


def code(rule: Rule, config: schedules.Scheduled, options: Mapping[str, Any], steps: int | None) -> str:
    """The line of Python that makes what `transformation` returns; needs no optax. Raises ConfigError as that does."""
    return str(_made(lambda: Spelled.named("optax"), rule, config, options, steps))


def _made(
    door: Callable[[], Any],
    rule: Rule,
    config: schedules.Scheduled,
    options: Mapping[str, Any],
    steps: int | None,
) -> Any:
    if not is_known(rule, TABLE):
        raise ConfigError(f"optimizer={rule.name!r}: optax has nothing of its equations. {_INSTEAD}.")
    _refuse_options(rule, options)
    numbers = schedules.row(config, steps)
    optax = door()
    values = config.hypers
    batches = int(options.get("gradient_accumulation_steps", 1))
    rate = _every(_rate(optax, config.schedule, float(values["learning_rate"]), numbers), batches)
    step = TABLE[rule.name](optax, values, rate)
    parts = [*_clipping(optax, values), step if rule.decays else _with_decay(optax, step, values, rate)]
    made = optax.chain(*parts) if len(parts) > 1 else parts[0]
    if batches == 1:
        return made
    # None: sums in the weights' own type, where optax would take float32.
    return optax.MultiSteps(made, batches, accumulator_dtype=None).gradient_transformation()


def _refuse_options(rule: Rule, options: Mapping[str, Any]) -> None:
    if options.get("use_ema"):
        raise ConfigError(
            "use_ema=True: an average of the weights is no part of a transformation of gradients. Leave it out, and "
            "after each update keep optax.incremental_update(params, average, 1 - ema_momentum)."
        )
    if factor := options.get("loss_scale_factor"):
        raise ConfigError(
            f"loss_scale_factor={factor:g}: optax does not see the loss. Leave it out, multiply the loss yourself, and "
            f"chain optax.scale(1 / {factor:g}) before what to_optax returns."
        )
    if rule.name.startswith("lookahead") and "gradient_accumulation_steps" in options:
        raise ConfigError(
            "gradient_accumulation_steps: optax.MultiSteps cannot stand around optax.lookahead, whose weights are "
            "pairs. Leave it out, and take the mean of the gradients before the update."
        )


def _optax() -> Any:
    try:
        import optax
    except ImportError:
        raise ConfigError("to_optax needs optax, which is not installed: run `pip install optax`.") from None
    return optax


# ---------------------------------------------------------------------------------------------------- the rate


def _rate(optax: Any, schedule: str, learning_rate: float, numbers: list[float]) -> Rate:
    """The schedule that `schedules` describes, of the pieces of optax, which run in any program of JAX."""
    _, decay, final, warmup_steps, hold_steps, steps = numbers
    length = steps - warmup_steps - hold_steps
    falls: dict[str, Rate] = {
        "constant": learning_rate,
        "inverse_time": (lambda age: learning_rate / (1 + decay * age)) if decay else learning_rate,
        "inverse_sqrt": lambda age: learning_rate * (1 + age) ** -0.5,
        "exponential": lambda age: learning_rate * final ** (age / length),
        "linear": lambda age: optax.linear_schedule(learning_rate, final * learning_rate, length)(age),
        "cosine": lambda age: optax.cosine_decay_schedule(learning_rate, length, final)(age),
    }
    fall = falls[schedule]
    if not warmup_steps and not hold_steps:
        return fall
    ramp = optax.linear_schedule(learning_rate / (warmup_steps + 1), learning_rate, warmup_steps)
    after = fall if callable(fall) else optax.constant_schedule(fall)
    ends = [int(warmup_steps), int(warmup_steps + hold_steps)]
    return optax.join_schedules([ramp, optax.constant_schedule(learning_rate), after], ends)


def _every(rate: Rate, batches: int) -> Rate:
    """The rate of an update that several batches make: Keras counts the batches, and asks at the last of them."""
    if not callable(rate) or batches == 1:
        return rate
    return lambda updates: rate(batches * updates + batches - 1)


def _times(rate: Rate, factor: float) -> Rate:
    return (lambda updates: factor * rate(updates)) if callable(rate) else factor * rate


# ------------------------------------------------------------------------------------------------- around a rule


def _clipping(optax: Any, v: Values) -> list[Any]:
    if (limit := v.get("clipvalue", math.inf)) != math.inf:
        return [optax.clip(limit)]
    if (limit := v.get("global_clipnorm", math.inf)) != math.inf:
        return [optax.clip_by_global_norm(limit)]
    if (limit := v.get("clipnorm", math.inf)) != math.inf:
        # That of optax for one weight at a time, `clip_by_block_rms`, has the mean of the squares for their sum.
        raise ConfigError(
            f"clipnorm={limit:g}: optax has no clipping of each weight's norm by itself. Write global_clipnorm or "
            "clipvalue, or leave it out."
        )
    return []


def _refuse(reason: str, instead: str = _INSTEAD) -> ConfigError:
    return ConfigError(f"nothing in optax computes the same: {reason}. {instead}.")


# ------------------------------------------------------------------------------------------------ conventions


def _near_one(v: Values, what: str, *betas: str) -> None:
    if reason := too_near_one(v, what, betas):
        raise _refuse(reason)


def _betas(v: Values, what: str) -> dict[str, Any]:
    """The arguments of all that has Adam's moments, and corrects their bias."""
    _near_one(v, what, "beta_1", "beta_2")
    return {"b1": v["beta_1"], "b2": v["beta_2"], "eps": v["epsilon"]}


def _with_decay(optax: Any, step: Any, v: Values, rate: Rate) -> Any:
    """The step, and off with a share of the weights before it: w - rate (step + weight_decay w)."""
    share = v.get("weight_decay", 0.0)
    return optax.chain(step, optax.add_decayed_weights(_times(rate, -share))) if share else step


# ------------------------------------------------------------------------------------------------- the rules


def _sgd(optax: Any, v: Values, rate: Rate) -> Any:
    # optax.sgd has the rate outside of the velocity; this order has it inside, which is another training where the rate
    # moves.
    step = optax.scale_by_learning_rate(rate)
    return optax.chain(step, optax.trace(v["momentum"], v["nesterov"])) if v["momentum"] else step


def _adam(optax: Any, v: Values, rate: Rate) -> Any:
    if v["amsgrad"]:
        return _amsgrad(optax, {**v, "corrected_maximum": False}, rate)
    if not v["bias_correction"]:
        raise _refuse("optax.adam always corrects the bias of its moments", "Write bias_correction=True")
    after_correction(v, "optax.adam", _refuse)
    return optax.adam(rate, **_betas(v, "optax.adam"))


def _amsgrad(optax: Any, v: Values, rate: Rate) -> Any:
    if not v["bias_correction"]:  # Algorithm 2 of the paper, on which both places of epsilon agree
        betas = {"b1": v["beta_1"], "b2": v["beta_2"], "eps": v["epsilon"]}
        return optax.amsgrad(rate, **betas, bias_correction_mu=False, bias_correction_nu=False)
    if not v["corrected_maximum"]:
        raise _refuse(
            "optax.amsgrad takes the maximum of the corrected second moments, and here it is of the raw ones",
            "Write optimizer='amsgrad' with corrected_maximum=True and epsilon_after_correction=True",
        )
    after_correction(v, "optax.amsgrad", _refuse)
    return optax.amsgrad(rate, **_betas(v, "optax.amsgrad"))


def _adamax(optax: Any, v: Values, rate: Rate) -> Any:
    in_maximum(v, "optax.adamax", _refuse)
    _near_one(v, "optax.adamax", "beta_1")
    return optax.adamax(rate, b1=v["beta_1"], b2=v["beta_2"], eps=v["epsilon"])


def _nadam(optax: Any, v: Values, rate: Rate) -> Any:
    raise _refuse(
        "optax.nadam has no schedule of the momentum: beta_1 looks ahead from the first step on, and the bias is "
        "corrected otherwise"
    )


def _nadamw(optax: Any, v: Values, rate: Rate) -> Any:
    if v["nesterov"] and v["beta_1"]:
        raise _refuse(
            "optax.nadam corrects the bias of what it looks ahead along for step t + 1, here it is for step t",
            "Write nesterov=False",
        )
    return optax.adam(rate, **_betas(v, "optax.adam"))


def _radam(optax: Any, v: Values, rate: Rate) -> Any:
    after_correction(v, "optax.radam", _refuse)
    # Below 4 optax takes the root of a negative number.
    return optax.radam(rate, **_betas(v, "optax.radam"), threshold=max(v["threshold"], 4))


def _rmsprop(optax: Any, v: Values, rate: Rate) -> Any:
    return optax.rmsprop(
        rate,
        decay=v["rho"],
        eps=v["epsilon"],
        eps_in_sqrt=not v["epsilon_outside_root"],
        centered=v["centered"],
        momentum=v["momentum"] or None,
    )


def _adagrad(optax: Any, v: Values, rate: Rate) -> Any:
    if v["epsilon"] and v["epsilon_outside_root"]:
        raise _refuse(
            f"optax.adagrad adds epsilon under the root, and epsilon={v['epsilon']:g} here is added to it",
            "Write epsilon_outside_root=False or epsilon=0",
        )
    return optax.adagrad(rate, initial_accumulator_value=v["initial_accumulator_value"], eps=v["epsilon"])


def _adadelta(optax: Any, v: Values, rate: Rate) -> Any:
    # The rate has to be given: without one, optax.adadelta goes up the gradient.
    return optax.adadelta(rate, rho=v["rho"], eps=v["epsilon"])


def _adafactor(optax: Any, v: Values, rate: Rate) -> Any:
    # Not optax.adafactor, which computes its decay in float32 and has no relative step. Kernels of convolutions are
    # factored along their two largest axes there, here along the last two.
    if v.get("weight_decay"):
        raise _refuse("optax measures a weight before its decay, and here it is after", "Write weight_decay=0")
    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=v["decay_rate"],
            min_dim_size_to_factor=1,
            epsilon=v["epsilon_1"],
            decay_rate_fn=lambda updates, exponent: 1 - (updates + 1.0) ** -exponent,
        ),
        optax.clip_by_block_rms(v["clip_threshold"]),
        optax.scale_by_param_block_rms(v["epsilon_2"]),
        optax.scale_by_learning_rate(_relative(optax, rate) if v["relative_step"] else rate),
    )


def _relative(optax: Any, rate: Rate) -> Rate:
    """The smaller of a constant rate and 1 / sqrt(t)."""
    if callable(rate):
        raise _refuse("a rate that moves and is below 1 / sqrt(t) is no schedule of optax", "Write relative_step=False")
    last = min(math.floor(rate**-2), 2**31 - 1)  # the last t at which it is the rate; optax counts in int32
    return optax.join_schedules([optax.constant_schedule(rate), lambda more: (last + more + 1.0) ** -0.5], [last])


def _yogi(optax: Any, v: Values, rate: Rate) -> Any:
    if not v["bias_correction"]:
        raise _refuse("optax.yogi corrects the bias of its moments, the paper does not", "Write bias_correction=True")
    start = {"initial_accumulator_value": v["initial_accumulator_value"]}
    step = optax.scale_by_yogi(**_betas(v, "optax.yogi"), **start)  # optax.yogi itself takes no start
    return optax.chain(step, optax.scale_by_learning_rate(rate))


def _adabelief(optax: Any, v: Values, rate: Rate) -> Any:
    return optax.adabelief(rate, **_betas(v, "optax.adabelief"), eps_root=v["epsilon"])


def _lion(optax: Any, v: Values, rate: Rate) -> Any:
    return optax.lion(rate, b1=v["beta_1"], b2=v["beta_2"], weight_decay=0.0)


def _lamb(optax: Any, v: Values, rate: Rate) -> Any:
    return optax.lamb(rate, **_betas(v, "optax.lamb"), weight_decay=v["weight_decay"])


def _adan(optax: Any, v: Values, rate: Rate) -> Any:
    if v["beta_2"] != 0.5:
        # google-deepmind/optax#1715. Where beta_2 is a half, the two are one.
        raise _refuse(
            "optax.adan has 1 - beta_2 as the factor of the differences where the authors' code has beta_2 = "
            f"{v['beta_2']:.3g}, a defect of optax 0.2.8 (google-deepmind/optax#1715)"
        )
    if v["weight_decay"] and not v["no_prox"]:
        raise _refuse("optax.adan has AdamW's decay, not the proximal one", "Write no_prox=True or weight_decay=0")
    _near_one(v, "optax.adan", "beta_1", "beta_2", "beta_3")
    betas = {"b1": v["beta_1"], "b2": v["beta_2"], "b3": v["beta_3"]}
    return optax.adan(rate, **betas, eps=v["epsilon"], eps_root=0.0, weight_decay=v["weight_decay"])


def _adopt(optax: Any, v: Values, rate: Rate) -> Any:
    return optax.contrib.adopt(rate, b1=v["beta_1"], b2=v["beta_2"], eps=v["epsilon"])


def _prodigy(optax: Any, v: Values, rate: Rate) -> Any:
    if not v["bias_correction"]:
        raise _refuse("optax.contrib.prodigy always corrects the bias of its moments", "Write bias_correction=True")
    if v["growth_rate"] != math.inf:
        raise _refuse("optax.contrib.prodigy has no growth_rate", "Leave growth_rate out")
    _near_one(v, "optax.contrib.prodigy", "beta_1", "beta_2")
    return optax.contrib.prodigy(
        rate,
        betas=(v["beta_1"], v["beta_2"]),
        eps=v["epsilon"],
        estim_lr0=v["d0"],
        estim_lr_coef=v["d_coef"],
        weight_decay=v["weight_decay"],
        safeguard_warmup=v["safeguard_warmup"],
    )


def _schedule_free_adamw(optax: Any, v: Values, rate: Rate) -> Any:
    if callable(rate):
        raise _refuse(
            "optax.contrib.schedule_free_adamw weighs each step by the rate of the next",
            "Write schedule='constant' without a warmup",
        )
    if v["r"]:
        raise _refuse("optax.contrib.schedule_free_adamw has no r", "Write r=0")
    if not v["beta_1"]:
        raise _refuse("optax.contrib.schedule_free_adamw divides by beta_1", "Write beta_1 above 0")
    return optax.contrib.schedule_free_adamw(
        rate,
        **_betas(v, "optax.contrib.schedule_free_adamw"),
        weight_decay=v["weight_decay"],
        weight_lr_power=v["weight_lr_power"],
    )


def _muon(optax: Any, v: Values, rate: Rate) -> Any:
    raise _refuse(
        "optax.contrib.muon has the sum of its look ahead corrected for a bias, one epsilon for matrices and for Adam, "
        "and does not know which of the weights are embeddings or the output layer"
    )


def _lookahead(inner: Callable[[Any, Values, Rate], Any]) -> Callable[[Any, Values, Rate], Any]:
    # The decay is that of the fast weights.
    return lambda optax, v, rate: optax.lookahead(
        _with_decay(optax, inner(optax, v, rate), v, rate), v["sync_period"], v["slow_step_size"]
    )


TABLE: dict[str, Callable[[Any, Values, Rate], Any]] = {
    "adabelief": _adabelief,
    "adadelta": _adadelta,
    "adafactor": _adafactor,
    "adagrad": _adagrad,
    "adam": _adam,
    "adamax": _adamax,
    "adamw": _adam,
    "adan": _adan,
    "adopt": _adopt,
    "amsgrad": _amsgrad,
    "lamb": _lamb,
    "lion": _lion,
    "lookahead_adam": _lookahead(_adam),
    "lookahead_sgd": _lookahead(_sgd),
    "muon": _muon,
    "nadam": _nadam,
    "nadamw": _nadamw,
    "prodigy": _prodigy,
    "radam": _radam,
    "rmsprop": _rmsprop,
    "schedule_free_adamw": _schedule_free_adamw,
    "sgd": _sgd,
    "yogi": _yogi,
}
