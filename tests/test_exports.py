"""What stands around a rule, exported: schedules, clipping, decay, several batches an update; and what is refused.

The rules themselves are in tests/optimizers/test_oracles.py.
"""

import builtins
from dataclasses import replace

import numpy as np
import pytest

from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.optimizers import _optax, _torch, schedules
from tests.optimizers import oracles

STEPS = 30
ADAM = {"learning_rate": 2.0**-5, "epsilon": 2.0**-10, "epsilon_after_correction": True}
RULES = {
    "adam": ADAM,
    "sgd": {"learning_rate": 0.125, "momentum": 0.875, "nesterov": True},
    "rmsprop": {"learning_rate": 2.0**-6, "momentum": 0.75, "centered": True},
}


def same(config, oracle):
    ours, theirs = (oracles.run(config, each, STEPS) for each in ("ours", oracle))
    assert np.abs(ours[-1] - ours[0]).max() > 0.01
    return oracles.apart(ours, theirs) <= 1e-9


# ------------------------------------------------------------------------------------------------------- to_optax

SCHEDULES = {
    "constant": {},
    "inverse_time": {"decay": 0.1},
    "inverse_sqrt": {},
    "exponential": {"final": 0.05},
    "linear": {"final": 0.1},
    "cosine": {"final": 0.1},
}


@pytest.mark.parametrize(
    ("name", "schedule", "warmup", "hold"),
    [
        *(("sgd", schedule, warmup, 0.0) for schedule in SCHEDULES for warmup in (0.0, 0.2)),
        *(("sgd", schedule, warmup, 0.3) for schedule in schedules.owners("hold") for warmup in (0.0, 0.2)),
        ("adam", "cosine", 0.2, 0.0),
        ("rmsprop", "cosine", 0.2, 0.3),
    ],
)
def test_a_schedule_goes_with_it(name, schedule, warmup, hold):
    oracles.needs("optax")
    assert set(SCHEDULES) == set(schedules.names())
    values = RULES[name] | SCHEDULES[schedule] | {"weight_decay": 0.25}
    assert same(OptimizerConfig(name, schedule=schedule, warmup=warmup, hold=hold, **values), "optax")


def test_a_schedule_goes_on_after_its_end():
    oracles.needs("optax")
    config = OptimizerConfig("sgd", schedule="cosine", final=0.25, warmup=0.25, learning_rate=0.125)
    import jax

    params = [jax.numpy.zeros(())]
    transformation = config.to_optax(steps=8)
    state = transformation.init(params)
    rates = []
    for _ in range(12):
        updates, state = transformation.update([jax.numpy.ones(())], state, params)
        rates.append(-float(updates[0]))
    assert rates[:3] == pytest.approx([0.125 / 3, 0.25 / 3, 0.125])
    assert rates[8:] == pytest.approx([0.125 * 0.25] * 4)


@pytest.mark.parametrize(
    "around",
    [
        {"clipvalue": 0.01},
        {"global_clipnorm": 0.05},
        {"global_clipnorm": 1e6},
        {"gradient_accumulation_steps": 3},
        {"gradient_accumulation_steps": 2, "schedule": "inverse_time", "decay": 0.25, "weight_decay": 0.25},
        {"gradient_accumulation_steps": 4, "schedule": "linear", "warmup": 0.2, "global_clipnorm": 0.05},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_what_stands_around_a_rule_goes_with_it(name, around):
    oracles.needs("optax")
    assert same(OptimizerConfig(name, **(RULES[name] | around)), "optax")


def test_a_relative_step_of_adafactor_begins_where_it_is_the_smaller():
    oracles.needs("optax")
    # From t = 17 on 1 / sqrt(t) is smaller than 0.25.
    assert same(OptimizerConfig("adafactor", learning_rate=0.25), "optax")
    assert same(OptimizerConfig("adafactor", learning_rate=0.25, relative_step=False, schedule="cosine"), "optax")
    with pytest.raises(ConfigError, match="relative_step=False"):
        OptimizerConfig("adafactor", learning_rate=0.25, schedule="cosine").to_optax(steps=STEPS)


def test_the_length_of_a_training_is_that_it_was_found_with():
    oracles.needs("optax")
    config = OptimizerConfig("sgd", schedule="cosine")
    with pytest.raises(ConfigError, match="steps="):
        config.to_optax()


@pytest.mark.parametrize(
    ("around", "told"),
    [
        ({"clipnorm": 1.0}, "no clipping of each weight's norm"),
        ({"use_ema": True}, "optax.incremental_update"),
        ({"loss_scale_factor": 8.0}, "multiply the loss yourself"),
    ],
)
def test_what_optax_cannot_say_is_refused(around, told):
    oracles.needs("optax")
    with pytest.raises(ConfigError, match=told):
        OptimizerConfig("sgd", **around).to_optax()


def test_lookahead_and_schedule_free_say_what_they_cannot():
    oracles.needs("optax")
    with pytest.raises(ConfigError, match="pairs"):
        OptimizerConfig("lookahead_sgd", gradient_accumulation_steps=2).to_optax()
    with pytest.raises(ConfigError, match="rate of the next"):
        OptimizerConfig("schedule_free_adamw", schedule="constant", warmup=0.1).to_optax(steps=100)
    with pytest.raises(ConfigError, match="has no r"):
        OptimizerConfig("schedule_free_adamw", r=1.0).to_optax()


# ------------------------------------------------------------------------------------------------------- to_torch


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_decay_without_momentum_is_that_of_an_l2_term(share):
    oracles.needs("torch")
    config = OptimizerConfig("sgd", learning_rate=0.125, weight_decay=share)
    assert _torch.translated(config.rule, config, {}) == (
        "SGD",
        {"lr": 0.125, "momentum": 0.0, "nesterov": False} | ({"weight_decay": share} if share else {}),
    )
    assert same(config, "torch")


def test_names_are_translated_by_what_they_mean():
    config = OptimizerConfig("nadam", weight_decay=0.01, schedule_decay=0.5)
    made = _torch.translated(config.rule, config, {})
    assert made == (
        "NAdam",
        {
            "lr": 0.001,
            "betas": (0.9, 0.999),
            "eps": 1e-7,
            "momentum_decay": 0.5,
            "weight_decay": 0.01,
            "decoupled_weight_decay": True,
        },
    )


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("sgd", {"schedule": "cosine"}, "LambdaLR"),
        ("sgd", {"warmup": 0.1}, "LambdaLR"),
        ("sgd", {"decay": 0.1}, "LambdaLR"),
        ("sgd", {"clipvalue": 2.0}, r"clip_grad_value_\(params, 2.0\)"),
        ("sgd", {"clipnorm": 2.0}, r"clip_grad_norm_\(\[p\], 2.0\)"),
        ("sgd", {"global_clipnorm": 2.0}, r"clip_grad_norm_\(params, 2.0\)"),
        ("sgd", {"use_ema": True}, "AveragedModel"),
        ("sgd", {"gradient_accumulation_steps": 4}, "every 4 backward passes of loss / 4"),
        ("sgd", {"loss_scale_factor": 8.0}, "GradScaler"),
        ("sgd", {"momentum": 0.5, "weight_decay": 0.1}, "decoupled"),
        ("adadelta", {"weight_decay": 0.1}, "decoupled"),
        ("adam", {}, "epsilon_after_correction=True"),
        ("adam", {"epsilon_after_correction": True, "bias_correction": False}, "bias_correction=True"),
        ("rmsprop", {}, "epsilon_outside_root=True"),
        ("radam", {"threshold": 4}, "threshold=5"),
        ("lion", {}, "KERAS_BACKEND=torch"),
    ],
)
def test_what_pytorch_cannot_say_is_refused_and_what_to_write_instead_is_said(name, values, told):
    config = OptimizerConfig(name, **values)
    with pytest.raises(ConfigError, match=told):
        config.to_torch([])


def test_a_schedule_that_stands_still_is_none():
    oracles.needs("torch")
    config = OptimizerConfig("sgd", schedule="inverse_time", decay=0.0, learning_rate=0.125)
    assert same(config, "torch")


# ------------------------------------------------------------------------------------------------------ not there


@pytest.mark.parametrize("package", ["torch", "optax"])
def test_a_missing_package_is_named(package, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    config = OptimizerConfig("sgd")
    with pytest.raises(ConfigError, match=f"pip install {package}"):
        config.to_torch([]) if package == "torch" else config.to_optax()


@pytest.mark.parametrize("name", ["own", "sgd"])
def test_an_optimizer_of_ones_own_is_refused_whatever_its_name(name):
    def update(g, w, slots, h, t):
        return w - h.learning_rate * g, slots

    own = replace(OptimizerConfig("sgd").rule, name=name, update=update)
    config = OptimizerConfig("sgd")
    for asked in (lambda: _torch.translated(own, config, {}), lambda: _optax.transformation(own, config, {}, None)):
        with pytest.raises(ConfigError, match=f"optimizer={name!r}: .*of its equations"):
            asked()
