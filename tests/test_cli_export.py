"""`export`: the code that is printed runs as it is, and computes what the study found."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from adamtune.config import Found, OptimizerConfig
from adamtune.optimizers._spelling import Spelled
from tests.optimizers import oracles
from tests.shell import add_study, confirmed, database, run

STEPS = 12
AFTER = {"epsilon": 2.0**-10, "epsilon_after_correction": True}
RULES = [case for case in oracles.CASES if case.values is not None and case.oracle != "keras"]
AROUND = [
    {"schedule": "inverse_time", "decay": 0.25, "weight_decay": 0.125},
    {"schedule": "inverse_sqrt", "warmup": 0.25},
    {"schedule": "exponential", "final": 0.125, "hold": 0.25},
    {"schedule": "linear", "warmup": 0.25, "hold": 0.25, "clipvalue": 0.5},
    {"schedule": "cosine", "gradient_accumulation_steps": 3, "global_clipnorm": 0.25},
]


class Printed:
    """A config that is made by running its code, for `oracles.run`."""

    def __init__(self, config, code=None):
        self.optimizer, self.config, self.code = config.optimizer, config, code

    def to_torch(self, params):
        return self._made("torch", {"model": SimpleNamespace(parameters=lambda: params)})

    def to_optax(self, steps):
        return self._made("optax", {}, steps)

    def _made(self, framework, names, steps=None):
        names[framework] = __import__(framework)
        code = self.code or "optimizer = " + self.config.to_code(steps, framework)
        exec(code, names)
        return names["optimizer"]


def path(config, oracle):
    return oracles.run(config, oracle, STEPS)


def program(config):
    """What JAX would compile of a transformation: its first state, and one update."""
    import jax
    import optax

    transformation, weights = config.to_optax(steps=STEPS), [np.ones((4, 6), "float32"), np.ones(6, "float32")]
    params = optax.LookaheadParams.init_synced(weights) if config.optimizer.startswith("lookahead") else weights
    first = jax.make_jaxpr(transformation.init)(params)
    state = jax.eval_shape(transformation.init, params)
    return str(first), str(jax.make_jaxpr(transformation.update)(weights, state, params))


# -------------------------------------------------------------------------------------------- the lines of a config


@pytest.mark.parametrize("case", RULES, ids=lambda case: f"{case.rule}-{case.oracle}")
def test_the_code_of_every_rule_computes_what_the_export_does(case):
    oracles.needs(case.oracle)
    if case.oracle == "torch":
        assert np.array_equal(path(Printed(case.config), "torch"), path(case.config, "torch"))
    else:
        assert program(Printed(case.config)) == program(case.config)


@pytest.mark.parametrize("around", AROUND, ids=str)
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_code_has_what_stands_around_a_rule(name, around):
    oracles.needs("optax")
    own = {"momentum": 0.875} if name == "sgd" else AFTER
    config = OptimizerConfig(name, learning_rate=0.125, **own, **around)
    assert program(Printed(config)) == program(config)
    assert program(config) != program(OptimizerConfig(name, learning_rate=0.125, **own))


def test_code_is_written_without_the_framework(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    monkeypatch.setitem(__import__("sys").modules, "optax", None)
    config = OptimizerConfig("sgd", learning_rate=0.1)
    assert config.to_code(framework="torch").startswith("torch.optim.SGD(model.parameters(), lr=0.1,")
    assert config.to_code(framework="optax") == "optax.scale_by_learning_rate(0.1)"


def test_expressions_keep_their_brackets_and_their_digits():
    t, optax = Spelled.named("t"), Spelled.named("optax")
    number = 0.1 + 0.2
    assert str((-2) ** t - (1 + t) * -number / 2) == f"(-2) ** t - (1 + t) * -{number!r} / 2"
    assert eval(str((1 - t) ** -0.5 + -t), {"t": 0.75}) == 1.25
    assert str(optax.join([lambda age: optax.fall(1)(age), lambda a, b: a - b, True, None], at=(1, -1))) == (
        "optax.join([optax.fall(1), lambda a, b: a - b, True, None], at=(1, -1))"
    )


# ---------------------------------------------------------------------------------------------------- on the shell


@pytest.fixture
def exported():
    """The code that is printed for a study whose winner is this config."""

    def exported(config, to, *more):
        with database() as opened:
            confirmed(add_study(opened, f"mine/{to}", config=config), config=config)
        return run("export", f"mine/{to}", "--to", to, *more)

    return exported


ADAM = OptimizerConfig("adam", learning_rate=2.0**-5, beta_1=0.875, beta_2=0.96875, **AFTER)
COSINE = OptimizerConfig(
    "sgd", schedule="cosine", learning_rate=0.125, momentum=0.875, warmup=0.25, found=Found(4, 8, STEPS)
)


@pytest.mark.parametrize(
    ("config", "to"), [(ADAM, "torch"), (ADAM, "optax"), (COSINE, "optax")], ids=["torch", "optax", "schedule"]
)
def test_what_is_printed_runs_and_takes_our_steps(exported, config, to):
    oracles.needs(to)
    printed = exported(config, to)
    assert printed.exit_code == 0 and printed.stderr == ""
    assert printed.stdout.startswith(f"import {to}\n\noptimizer = {to}.") and "adamtune" not in printed.stdout
    assert max(map(len, printed.stdout.splitlines())) < 80
    ours = oracles.run(config, "ours", STEPS)
    assert np.abs(ours[-1] - ours[0]).max() > 0.01
    assert oracles.apart(ours, path(Printed(config, printed.stdout), to)) <= 1e-9


@pytest.mark.parametrize(
    ("config", "to", "why", "what"),
    [
        (OptimizerConfig("adam"), "torch", "adds epsilon after the bias correction", "--set NAME=VALUE"),
        (OptimizerConfig("adam"), "optax", "adds epsilon after the bias correction", "--set NAME=VALUE"),
        (OptimizerConfig("sgd", decay=0.1), "torch", "LambdaLR", "--set NAME=VALUE"),
        (OptimizerConfig("lion"), "torch", "no class of its equations", "--to keras"),
    ],
)
def test_what_a_framework_has_not_is_refused_with_what_to_write(exported, config, to, why, what):
    refused = exported(config, to)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert why in refused.stderr and what in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_another_value_makes_it_and_is_said(exported):
    oracles.needs("torch")
    config = OptimizerConfig("adam", learning_rate=0.125, decay=0.1, clipnorm=1.0, use_ema=True)
    changes = ["epsilon_after_correction=true", "schedule='constant'", "clipnorm=None", "use_ema=False", "epsilon=1e-3"]
    printed = exported(config, "torch", *(word for change in changes for word in ("--set", change)))
    assert printed.exit_code == 0, printed.stderr
    assert printed.stdout.startswith(f"# Not as study mine/torch trained it: {', '.join(changes)}\nimport torch\n")
    changed = OptimizerConfig("adam", learning_rate=0.125, epsilon=1e-3, epsilon_after_correction=True)
    assert np.array_equal(path(Printed(config, printed.stdout), "torch"), path(changed, "torch"))


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ("epsilon", 2, "expected NAME=VALUE"),
        ("epsilom=0", 1, "Did you mean 'epsilon'"),
        ("epsilon=x", 1, "epsilon='x'"),
        ("optimizer=sgd", 1, "--set optimizer=...: expected a hyper"),
        ("found=3", 1, "--set found=...: expected a hyper"),
        ("epsilon=" + "[" * 100_000, 1, "epsilon='[[[["),
    ],
)
def test_a_change_that_is_none_is_refused(exported, change, code, why):
    refused = exported(ADAM, "torch", "--set", change)
    assert refused.exit_code == code and why in refused.stderr


def test_json_has_the_config_and_the_code(exported):
    printed = exported(COSINE, "optax", "--json")
    data = json.loads(printed.stdout)
    assert (data["study"], data["to"]) == ("mine/optax", "optax")
    assert OptimizerConfig.from_dict(data["config"]).hypers == COSINE.hypers
    assert f"{data['code']}\n" == run("export", "mine/optax", "--to", "optax").stdout
    assert json.loads(run("export", "mine/optax", "--to", "json", "--json").stdout)["code"] is None
