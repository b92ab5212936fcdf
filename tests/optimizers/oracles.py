"""The rules against other people's programs: 100 steps of one small network, in float64, with the same gradients.

The gradient is written in numpy, so each optimizer asks the same function at its own weights, and what is compared is
the optimizer alone. An oracle is

    keras    the class of `keras.optimizers`, by `config.to_keras(builtin="always")`
    torch    the class of `torch.optim`, by `config.to_torch(params)`
    optax    the transformation, by `config.to_optax()`

and ours is the Keras class made of the rule, `config.to_keras(builtin="never")`. `CASES` says for every rule at which
values an oracle computes the same, and where there are none, what adamtune answers who asks for it.
"""

import functools
import importlib.util
import math
import os
from dataclasses import dataclass

import numpy as np
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.testing import floatx
from adamtune.testing.paths import compiled_apply

STEPS = 100
ORACLES = {"keras": "Keras", "torch": "PyTorch", "optax": "optax"}
SHAPES = {"hidden_kernel": (4, 6), "hidden_bias": (6,), "output_kernel": (6, 3), "output_bias": (3,)}  # 51 weights

# ------------------------------------------------------------------------------------------------- the network


@functools.cache
def data():
    """32 rows of 4 features, and the targets of another network, with noise."""
    rng = np.random.default_rng(19470)
    x = rng.normal(size=(32, 4))
    return x, np.tanh(x @ rng.normal(size=(4, 3))) + 0.3 * rng.normal(size=(32, 3))


def start():
    """The weights before the first step; none is 0."""
    rng = np.random.default_rng(7)
    return [rng.normal(size=shape) / 2 for shape in SHAPES.values()]


def gradient(weights, step):
    """The gradient of the mean squared error over the 8 rows of that step, of a tanh layer and a linear one."""
    x, y = (part[step % 4 :: 4] for part in data())
    kernel, bias, out, out_bias = weights
    hidden = np.tanh(x @ kernel + bias)
    error = 2 * (hidden @ out + out_bias - y) / y.size
    back = (error @ out.T) * (1 - hidden**2)
    return [x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]


def loss(weights, step):
    """What `gradient` is the gradient of."""
    x, y = (part[step % 4 :: 4] for part in data())
    kernel, bias, out, out_bias = weights
    return np.square(np.tanh(x @ kernel + bias) @ out + out_bias - y).mean()


# ------------------------------------------------------------------------------------------------- the programs


def _flat(arrays):
    return np.concatenate([np.asarray(array, "float64").ravel() for array in arrays])


def run_keras(config, builtin, steps=STEPS, gradient=gradient):
    """The weights after each step of a Keras optimizer, of shape (steps, weights): ours by "never", theirs by "always".

    `gradient(weights, step)` gets and returns lists of arrays of `SHAPES`.
    """
    import keras

    with floatx("float64"):
        variables = [keras.Variable(w, dtype="float64", name=name) for name, w in zip(SHAPES, start(), strict=True)]
        optimizer = config.to_keras(steps=steps, builtin=builtin)
        apply = compiled_apply(optimizer, variables)
        path = []
        for step in range(steps):
            now = [keras.ops.convert_to_numpy(variable) for variable in variables]
            apply([keras.ops.convert_to_tensor(g) for g in gradient(now, step)])
            path.append(_flat([keras.ops.convert_to_numpy(variable) for variable in variables]))
    return np.stack(path)


def run_torch(config, steps=STEPS, gradient=gradient):
    """The same of PyTorch."""
    import torch

    # NAdam keeps its product of momenta in the default type.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        params = [torch.nn.Parameter(torch.tensor(w)) for w in start()]
        optimizer = config.to_torch(params)
        path = []
        for step in range(steps):
            for param, g in zip(params, gradient([p.detach().numpy() for p in params], step), strict=True):
                param.grad = torch.tensor(g)
            optimizer.step()
            path.append(_flat([param.detach().numpy() for param in params]))
    finally:
        torch.set_default_dtype(before)
    return np.stack(path)


def run_optax(config, steps=STEPS, gradient=gradient):
    """The same of optax, on a CPU whatever Keras computes with."""
    import jax
    import optax

    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        params = [jax.numpy.asarray(w) for w in start()]
        transformation = config.to_optax(steps=steps)
        pair = config.optimizer.startswith("lookahead")
        if pair:
            params = optax.LookaheadParams.init_synced(params)
        state = transformation.init(params)
        update = jax.jit(transformation.update)
        path = []
        for step in range(steps):
            now = params.fast if pair else params
            grads = [jax.numpy.asarray(g) for g in gradient([np.asarray(w) for w in now], step)]
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            path.append(_flat(params.fast if pair else params))
    return np.stack(path)


def run(config, oracle, steps=STEPS, gradient=gradient):
    """The weights after each step of an oracle, or of "ours"."""
    if oracle in ("ours", "keras"):
        return run_keras(config, "never" if oracle == "ours" else "always", steps, gradient)
    return (run_torch if oracle == "torch" else run_optax)(config, steps, gradient)


@functools.cache
def ours(config):
    """Our weights after each of 100 steps: for several oracles the same."""
    return run(config, "ours")


def apart(ours, theirs):
    """The largest difference on the way, as a share of the largest weight."""
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def needs(oracle):
    """Skip a test whose oracle cannot be asked here; in CI, where all of them have to be installed, fail it."""
    if not importlib.util.find_spec(oracle):
        reason = f"{oracle} is not installed, which `make oracles` does"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


# ---------------------------------------------------------------------------------------------------- the cases


def exact(rule, **values):
    """The defaults of a rule, each moved to the nearest power of 2 (of 1 minus it, for a beta), and `values`.

    Keras puts its betas and some other numbers through float32 in float64 too; these are the same in both.
    """
    moved = {}
    for hyper in optimizers.get(rule).hypers:
        number = hyper.carry(hyper.default)
        if hyper.scale in ("log", "complement") and 0 < number < math.inf:
            moved[hyper.name] = hyper.uncarry(2.0 ** round(math.log2(number)))
    return OptimizerConfig(rule, **(moved | values))


@dataclass(frozen=True)
class Case:
    """A rule and an oracle: where the two compute the same, or why they never do.

    `values` are those at which they agree, beside the defaults; None where there are none. `refused` is what the answer
    says at the defaults, where these are not among them. `note` is for the page.
    """

    rule: str
    oracle: str
    values: dict | None
    refused: str = ""
    tolerance: float = 1e-12  # rounding adds up to 3e-15 in 100 steps; 1 % more of most epsilons, to more than 1e-12
    note: str = ""

    @property
    def config(self):
        return exact(self.rule, **(self.values or {}))

    def difference(self):
        """How far the oracle is from ours at `values`, over 100 steps."""
        return apart(ours(self.config), run(self.config, self.oracle))

    def answer(self):
        """What adamtune answers who asks for the oracle at the defaults: why there is none, or ""."""
        return refusal(OptimizerConfig(self.rule), self.oracle)


def refusal(config, oracle, steps=STEPS):
    """Why an oracle cannot compute a config, or ""."""
    try:
        if oracle == "keras":
            config.to_keras(steps=steps, builtin="always")
        elif oracle == "torch":
            import torch

            config.to_torch([torch.nn.Parameter(torch.zeros(()))])
        else:
            config.to_optax(steps=steps)
    except ConfigError as error:
        return str(error)
    return ""


AFTER, OUTSIDE = {"epsilon_after_correction": True}, {"epsilon_outside_root": True}
CORRECTED = {"bias_correction": True}
HEAVY = {"momentum": 0.875, "nesterov": True}
DECAYED = {"weight_decay": 0.25}
AFTER_IT, OUTSIDE_IT = "adds epsilon after the bias correction", "adds epsilon to the root"
NO_CLASS = "torch.optim has no class of its equations"

CASES = [
    Case("adabelief", "keras", None, "keras.optimizers has no AdaBelief"),
    Case("adabelief", "torch", None, NO_CLASS),
    Case("adabelief", "optax", {}),
    Case("adabound", "keras", None, "keras.optimizers has no AdaBound"),
    Case("adabound", "torch", None, NO_CLASS),
    Case("adabound", "optax", None, "optax has nothing of its equations"),
    # At Keras' rates of 1e-3 these two hardly move.
    Case("adadelta", "keras", {"learning_rate": 1.0}),
    Case("adadelta", "torch", {"learning_rate": 1.0}),
    Case("adadelta", "optax", {"learning_rate": 1.0} | DECAYED),
    # keras.ops.mean, of which keras.optimizers.Adafactor makes use, computes in float32 on JAX.
    Case("adafactor", "keras", {"epsilon_1": 2.0**-40}, "divides 0 by 0", tolerance=1e-8),
    Case("adafactor", "torch", {}),
    Case("adafactor", "optax", {}),
    Case("adagrad", "keras", {"learning_rate": 0.125}),
    Case("adagrad", "torch", {"learning_rate": 0.125} | OUTSIDE, OUTSIDE_IT),
    Case("adagrad", "optax", {"learning_rate": 0.125} | DECAYED),
    Case("adam", "keras", {}),
    Case("adam", "torch", AFTER, AFTER_IT),
    Case("adam", "optax", AFTER, AFTER_IT),
    Case("adamax", "keras", {}),
    Case("adamax", "torch", {"epsilon_in_maximum": True}, "inside of the maximum"),
    Case("adamax", "optax", {"epsilon_in_maximum": True}, "inside of the maximum"),
    Case("adamw", "keras", {}),
    Case("adamw", "torch", AFTER, AFTER_IT),
    Case("adamw", "optax", AFTER, AFTER_IT),
    Case("adan", "keras", None, "keras.optimizers has no Adan"),
    Case("adan", "torch", None, NO_CLASS),
    Case("adan", "optax", {"beta_2": 0.5, "no_prox": True} | DECAYED, "optax#1715"),
    Case("adopt", "keras", None, "keras.optimizers has no ADOPT"),
    Case("adopt", "torch", None, NO_CLASS),
    Case("adopt", "optax", DECAYED),
    Case("amsbound", "keras", None, "keras.optimizers has no AMSBound"),
    Case("amsbound", "torch", None, NO_CLASS),
    Case("amsbound", "optax", None, "optax has nothing of its equations"),
    Case("amsgrad", "keras", {}),
    Case("amsgrad", "torch", AFTER, AFTER_IT),
    Case("amsgrad", "optax", AFTER | {"corrected_maximum": True}, "the maximum of the corrected second moments"),
    Case("lamb", "keras", {}),
    Case("lamb", "torch", None, NO_CLASS),
    Case("lamb", "optax", DECAYED),
    Case("lion", "keras", {}),
    Case("lion", "torch", None, NO_CLASS),
    Case("lion", "optax", DECAYED),
    Case("lookahead_adam", "keras", None, "keras.optimizers has no LookaheadAdam"),
    Case("lookahead_adam", "torch", None, NO_CLASS),
    Case("lookahead_adam", "optax", AFTER | DECAYED, AFTER_IT),
    Case("lookahead_sgd", "keras", None, "keras.optimizers has no LookaheadSGD"),
    Case("lookahead_sgd", "torch", None, NO_CLASS),
    Case("lookahead_sgd", "optax", HEAVY | DECAYED),
    Case(
        "muon",
        "keras",
        None,
        "keras.optimizers has no Muon",
        note="the same for matrices, but `Muon` has Adam for convolutions and its own steps for the output layer",
    ),
    Case("muon", "torch", None, "bfloat16"),
    Case("muon", "optax", None, "which of the weights are embeddings"),
    # keras.optimizers.Nadam has its 0.96 in float32.
    Case("nadam", "keras", {"schedule_decay": 1.0}, "has no schedule_decay", tolerance=1e-9),
    Case("nadam", "torch", DECAYED),
    Case("nadam", "optax", None, "optax.nadam has no schedule of the momentum"),
    Case("nadamw", "keras", None, "keras.optimizers has no NAdamW"),
    Case("nadamw", "torch", {"nesterov": False}, "a momentum that grows"),
    Case("nadamw", "optax", {"nesterov": False}, "for step t + 1"),
    Case("prodigy", "keras", None, "keras.optimizers has no Prodigy"),
    Case("prodigy", "torch", None, NO_CLASS),
    Case("prodigy", "optax", CORRECTED | DECAYED, "always corrects the bias"),
    Case("radam", "keras", None, "keras.optimizers has no RAdam"),
    Case("radam", "torch", DECAYED),
    Case("radam", "optax", AFTER, AFTER_IT),
    Case("rmsprop", "keras", {}),
    Case("rmsprop", "torch", OUTSIDE, OUTSIDE_IT),
    Case("rmsprop", "optax", {}),
    Case(
        "schedule_free_adamw",
        "keras",
        None,
        "keras.optimizers has no ScheduleFreeAdamW",
        note="`ScheduleFreeAdamW` never puts the average in place, and undoes its decay",
    ),
    Case("schedule_free_adamw", "torch", None, NO_CLASS),
    Case("schedule_free_adamw", "optax", DECAYED),
    Case("sgd", "keras", HEAVY),
    Case("sgd", "torch", HEAVY),
    Case("sgd", "optax", HEAVY | DECAYED),
    Case("yogi", "keras", None, "keras.optimizers has no Yogi"),
    Case("yogi", "torch", None, NO_CLASS),
    Case("yogi", "optax", CORRECTED, "corrects the bias"),
]
