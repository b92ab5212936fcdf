"""Presets against the frameworks that they speak of, where these are installed."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers, presets
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing import floatx
from tests.optimizers import oracles

STEPS = 30
# The classes of PyTorch and the factories of optax where the name is not ours, and what has to be said beside the
# defaults for it to be the optimizer of that name.
TORCH = {
    "sgd": ("SGD", {}),
    "rmsprop": ("RMSprop", {}),
    "adagrad": ("Adagrad", {}),
    "adadelta": ("Adadelta", {}),
    "adam": ("Adam", {}),
    "amsgrad": ("Adam", {"amsgrad": True}),
    "adamw": ("AdamW", {}),
    "adamax": ("Adamax", {}),
    "nadam": ("NAdam", {}),
    "radam": ("RAdam", {}),
}
TF1 = {"adam": "AdamOptimizer", "adadelta": "AdadeltaOptimizer", "adagrad": "AdagradOptimizer"}


def of(owner):
    return [name.split("/")[1] for name in presets.names(f"{owner}/*")]


@pytest.fixture
def gradients(seed):
    """Gradients that turn their signs, from 10 down to sizes at which every epsilon counts."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, 6)) * 10.0 ** rng.uniform(-9, 1, size=(STEPS, 6))


def assert_same_way(ours, theirs, rtol):
    """That they have gone the same way from the start, to a share of all of it."""
    way = np.abs(np.asarray(theirs) - START).max(axis=0)
    assert (np.abs(ours - theirs) <= rtol * way + 1e-13).all()


START = np.linspace(-1, 1, 6)


def trained(config, gradients):
    """The weights after each step of adamtune's own class."""
    with floatx("float64"):
        return applied(config.to_keras(builtin="never"), gradients)


def applied(optimizer, gradients):
    variable = keras.Variable(START, dtype="float64")
    weights = []
    for g in gradients:
        optimizer.apply([ops.convert_to_tensor(g, dtype="float64")], [variable])
        weights.append(ops.convert_to_numpy(variable))
    return np.stack(weights)


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_a_config_that_makes_an_optimizer(name):
    config = presets.get(name)
    assert presets.source(name)
    assert OptimizerConfig.from_json(config.to_json()) == config
    assert config.to_keras()


# -------------------------------------------------------------------------------------------------------- Keras 3


@pytest.mark.parametrize("name", of("keras3"))
def test_keras_3_computes_the_same_by_default(name, gradients):
    config = presets.get(f"keras3/{name}")
    builtin = config.rule.builtin
    make = getattr(keras.optimizers, builtin.class_name)

    def plain(optimizer):
        saved = optimizer.get_config()
        return {**saved, "name": "", "weight_decay": saved["weight_decay"] or None}

    assert plain(make(**builtin.arguments(config.hypers))) == plain(make())
    # Keras puts its hypers into float32 in every model: 1 - beta_2 is off by 1e-5 of itself.
    with floatx("float64"):
        theirs = applied(make(), gradients)
    assert_same_way(trained(config, gradients), theirs, rtol=1e-4)


def test_every_rule_that_keras_3_has_is_there():
    rules = [optimizers.get(name) for name in optimizers.names()]
    of_keras = {rule.name for rule in rules if rule.builtin and rule.builtin.class_name == rule.class_name}
    assert of_keras == set(of("keras3"))


# -------------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("name", of("torch"))
def test_pytorch_computes_the_same_by_default(name, gradients):
    oracles.needs("torch")
    import torch

    class_name, said = TORCH[name]
    weight = torch.nn.Parameter(torch.tensor(START))
    optimizer = getattr(torch.optim, class_name)([weight], **said)
    theirs = []
    for g in gradients:
        weight.grad = torch.tensor(g)
        optimizer.step()
        theirs.append(weight.detach().numpy().copy())
    # NAdam keeps its product of momentums in float32.
    assert_same_way(trained(presets.get(f"torch/{name}"), gradients), theirs, rtol=1e-7)


# ---------------------------------------------------------------------------------------------------------- optax


@pytest.mark.parametrize("name", of("optax"))
def test_optax_computes_the_same_by_default(name, gradients):
    oracles.needs("optax")
    import jax
    import optax

    config = presets.get(f"optax/{name}")
    make = getattr(optax, name, None) or getattr(optax.contrib, name)
    with jax.enable_x64(True):
        has_rate = isinstance(inspect.signature(make).parameters["learning_rate"].default, float)
        optimizer = make() if has_rate else make(config.learning_rate)
        weight = jax.numpy.asarray(START)
        state = optimizer.init(weight)
        theirs = []
        for g in gradients:
            updates, state = optimizer.update(jax.numpy.asarray(g), state, weight)
            weight = optax.apply_updates(weight, updates)
            theirs.append(np.asarray(weight))
    assert_same_way(trained(config, gradients), theirs, rtol=1e-9)


# --------------------------------------------------------------------------------------------------- TensorFlow 1


@pytest.mark.parametrize("name", of("tf1"))
def test_tensorflow_1_computes_the_same_by_default(name, gradients):
    import tensorflow as tf

    config = presets.get(f"tensorflow/{name}")
    make = getattr(tf.compat.v1.train, TF1[name])
    optimizer = make(config.learning_rate) if name == "adagrad" else make()
    weight = tf.Variable(START, dtype="float64")
    theirs = []
    for g in gradients:
        optimizer.apply_gradients([(tf.constant(g, dtype="float64"), weight)])
        theirs.append(weight.numpy())
    # As do the optimizers of TensorFlow 1.
    assert_same_way(trained(config, gradients), theirs, rtol=1e-4)


# ----------------------------------------------------------------------------------------------------- the names


def test_the_seed_table_of_adam():
    # The table of Adam's defaults in the articles that adamtune started from: only Blocks and Keras stand out.
    epsilon = {name: presets.get(name).epsilon for name in presets.names("*/adam") if not name.startswith("optax")}
    assert {name for name in epsilon if epsilon[name] != 1e-8} == {"keras2/adam", "keras3/adam"}
    rates = {name: presets.get(name).learning_rate for name in epsilon}
    assert {name for name in rates if rates[name] != 1e-3} == {"blocks/adam"}


def test_reading_them_loads_no_backend():
    script = """if True:
        import sys, adamtune
        print(adamtune.presets.get("torch/adam").epsilon, adamtune.presets.get("keras2/adam").epsilon)
        print(sorted({"keras", "tensorflow", "jax", "torch", "optax"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["1e-08 1e-07", "[]"]


def test_names_are_found_in_any_case_and_by_other_names():
    assert presets.get("PyTorch/Adam") == presets.get("torch/adam")
    assert presets.get("tensorflow/adam") == presets.get("tf1/adam")
    assert presets.names("tensorflow/*") == presets.names("tf1/*") != []
    assert presets.names() == sorted(presets.names())
    assert presets.names("no such/*") == []


@pytest.mark.parametrize(
    ("given", "near"),
    [("torch/adma", "'torch/adam'"), ("jax/adamw", "'torch/adamw'"), ("adabelief", "'paper/adabelief'")],
)
def test_an_unknown_name_is_told_the_near_ones(given, near):
    with pytest.raises(ConfigError, match=f"is no preset. Did you mean .*{near}"):
        presets.get(given)
    with pytest.raises(ConfigError):
        presets.source(given)


@pytest.mark.parametrize("given", [None, 3, "", "x" * 10_000, "*/*", "[/"])
def test_what_is_no_name_is_refused_shortly(given):
    with pytest.raises(ConfigError) as refused:
        presets.get(given)
    assert len(str(refused.value)) < 400
