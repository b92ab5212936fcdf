import copy
import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given

from adamtune import optimizers
from adamtune.config import Found, OptimizerConfig
from adamtune.errors import AdamTuneError, ConfigError
from adamtune.optimizers import gradients, schedules
from tests.fuzzing import configs

# How Adam is written down here; other frameworks write it otherwise.
CONVENTIONS = {"epsilon_after_correction": False, "bias_correction": True}


@pytest.fixture
def config():
    return OptimizerConfig("adam", learning_rate=3e-4, beta_1=0.95, decay=1e-4, found=Found(20, 32, 900))


# --------------------------------------------------------------------------------------------------- plain data


@given(configs())
def test_json_round_trip(config):
    text = config.to_json()
    assert OptimizerConfig.from_json(text) == config
    assert "\n" not in text
    assert OptimizerConfig.from_json(json.dumps(json.loads(text), indent=2)).to_json() == text
    assert OptimizerConfig.from_dict(config.to_dict()) == config


@given(configs())
def test_copies_are_equal(config):
    for again in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again == config
        assert hash(again) == hash(config)
        assert again.hypers == config.hypers
        assert repr(again) == repr(config)


def test_equal_means_every_field(config):
    others = [
        OptimizerConfig("adam"),
        OptimizerConfig("sgd"),
        OptimizerConfig("adam", learning_rate=1.0),
        OptimizerConfig("adam", schedule="inverse_time"),
        OptimizerConfig("adam", found=Found(1, 2, 3)),
        config,
    ]
    assert len(set(others)) == len(others)
    assert len({OptimizerConfig("ADAM", beta_1=np.float64(0.9), amsgrad=0, decay=0), OptimizerConfig("adam")}) == 1


def test_frozen(config):
    for name in ("optimizer", "values", "found", "learning_rate", "new"):
        with pytest.raises(FrozenInstanceError):
            setattr(config, name, 1)
    config.hypers["learning_rate"] = 1.0
    assert config.learning_rate == 3e-4


def test_values_by_name(config):
    assert (config.learning_rate, config.beta_1, config.epsilon, config.amsgrad) == (3e-4, 0.95, 1e-7, False)
    assert (config.decay, config.schedule) == (1e-4, "inverse_time")
    assert list(config.hypers) == ["learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad", *CONVENTIONS, "decay"]
    assert config.rule is optimizers.get("adam")
    with pytest.raises(AttributeError, match="momentum"):
        _ = config.momentum
    with pytest.raises(AttributeError, match="decay"):
        _ = OptimizerConfig("adam").decay


@pytest.mark.parametrize(
    ("given_as", "shown"),
    [
        ({}, "OptimizerConfig('adam', learning_rate=0.001)"),
        ({"learning_rate": 1 / 3, "amsgrad": True}, "OptimizerConfig('adam', learning_rate=0.333333, amsgrad=True)"),
        (
            {"beta_1": 0.0, "beta_2": 0.99999999},
            "OptimizerConfig('adam', learning_rate=0.001, beta_1=0, beta_2=0.99999999)",
        ),
        ({"beta_2": 1 - 2**-53}, "OptimizerConfig('adam', learning_rate=0.001, beta_2=0.99999999999999989)"),
        ({"decay": 1e-4}, "OptimizerConfig('adam', learning_rate=0.001, decay=0.0001)"),
        (
            {"schedule": "exponential", "warmup": 0.1, "clipvalue": 2, "beta_1": 0.5},
            "OptimizerConfig('adam', learning_rate=0.001, beta_1=0.5, schedule='exponential', warmup=0.1, clipvalue=2)",
        ),
        (
            {"schedule": "exponential", "final": 0.5, "use_ema": True},
            "OptimizerConfig('adam', learning_rate=0.001, schedule='exponential', final=0.5, use_ema=True)",
        ),
    ],
)
def test_repr_shows_what_is_not_the_default(given_as, shown):
    assert repr(OptimizerConfig("adam", **given_as)) == shown


@given(configs())
def test_repr_is_a_config_near_this_one(config):
    # Six digits, and never a value that is out of range (a beta near 1 must not read as 1).
    again = eval(repr(config))
    assert (again.optimizer, again.options) == (config.optimizer, config.options)
    assert again.schedule == config.schedule
    for name, value in again.hypers.items():
        assert value == pytest.approx(config.hypers[name], rel=1e-5)


def test_reading_a_config_loads_no_backend():
    code = (
        "import sys\n"
        "from adamtune.config import OptimizerConfig\n"
        "config = OptimizerConfig.from_json(OptimizerConfig('adam', decay=0.1).to_json())\n"
        "repr(config), config.to_code(), hash(config)\n"
        "loaded = {'keras', 'tensorflow', 'jax', 'optuna', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_absent_is_not_stored():
    plain = OptimizerConfig("adam")
    assert plain.to_dict() == {
        "schema": 1,
        "optimizer": "adam",
        "schedule": "constant",
        "hypers": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
        | CONVENTIONS,
    }
    nothing = {"weight_decay": 0, "clipnorm": None, "clipvalue": float("inf"), "warmup": 0, "decay": 0}
    defaults = {"use_ema": False, "ema_momentum": 0.99, "gradient_accumulation_steps": None}
    assert OptimizerConfig("adam", **nothing, **defaults) == plain
    assert OptimizerConfig("adamw", weight_decay=0).hypers["weight_decay"] == 0.0
    assert plain.options == {}


def test_options_stand_beside_the_hypers():
    config = OptimizerConfig("sgd", clipnorm=1, use_ema=True, ema_momentum=0.5, loss_scale_factor=2)
    assert config.hypers == {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False, "clipnorm": 1.0}
    assert config.options == {"use_ema": True, "ema_momentum": 0.5, "loss_scale_factor": 2.0}
    assert config.to_dict()["options"] == config.options
    assert len({config, OptimizerConfig("sgd", clipnorm=1)}) == 2


@given(configs())
def test_a_row_is_the_config_in_numbers(config):
    rule = config.rule
    row = dict(zip(rule.columns, config.row(100), strict=True))
    assert len(row) == len(rule.columns)
    for hyper in (*rule.hypers, *gradients.HYPERS, schedules.DECAY):
        value = config.hypers.get(hyper.name, hyper.default)
        if hyper not in gradients.HYPERS or hyper.name not in [own.name for own in rule.hypers]:
            assert row[hyper.carried_name] == hyper.carry(value)
    assert row["steps"] == 100


def test_a_row_has_the_steps_it_is_told_or_found_with():
    config = OptimizerConfig("adamw", schedule="cosine", warmup=0.1, found=Found(2, 32, 50))
    steps, warmup = (config.rule.columns.index(name) for name in ("steps", "warmup_steps"))
    assert (config.row()[steps], config.row()[warmup]) == (50, 5)
    assert (config.row(200)[steps], config.row(200)[warmup]) == (200, 20)
    with pytest.raises(ConfigError, match="write steps="):
        OptimizerConfig("adamw", schedule="cosine").row()
    assert config.rule.columns.count("weight_decay") == 1


@pytest.mark.parametrize("name", optimizers.names())
def test_what_a_rule_may_be_given_is_what_is_searchable(name):
    rule = optimizers.get(name)
    names = [hyper.name for hyper in rule.searchable]
    assert len(set(names)) == len(names)
    assert set(names) == {h.name for h in (*rule.hypers, *schedules.HYPERS, *gradients.HYPERS)}
    assert rule.searchable[: len(rule.hypers)] == rule.hypers


# ------------------------------------------------------------------------------------------------ what is refused

REFUSED = [
    (("adagard", {}), ["optimizer='adagard'", "Did you mean 'adagrad'?", "adamtune.optimizers.names()"]),
    (("", {}), ["optimizer=''", "adamtune.optimizers.names()"]),
    ((None, {}), ["optimizer=None", "adamtune.optimizers.names()"]),
    ((["adam"], {}), ["optimizer=['adam']", "adamtune.optimizers.names()"]),
    (("adam", {"lr": 0.1}), ["'lr'", "It has: learning_rate"]),
    (("adam", {"beta1": 0.1}), ["'beta1'", "Did you mean 'beta_1'?"]),
    (("adam", {"momentum": 0.1}), ["'adam' has no hyper 'momentum'", "It has: learning_rate"]),
    (("sgd", {"beta_1": 0.1}), ["'sgd' has no hyper 'beta_1'", "It has: learning_rate"]),
    (("adam", {"self": 0.1}), ["'adam' has no hyper 'self'"]),
    (("adam", {"values": ()}), ["'adam' has no hyper 'values'"]),
    (
        ("adam", {"learning_rate": 0}),
        ["learning_rate=0", "expected learning_rate > 0", "default is learning_rate=0.001"],
    ),
    (("adam", {"learning_rate": float("nan")}), ["learning_rate=nan", "expected learning_rate > 0"]),
    (("adam", {"learning_rate": float("inf")}), ["learning_rate=inf", "expected learning_rate > 0"]),
    (("adam", {"learning_rate": "0.1"}), ["learning_rate='0.1'", "expected learning_rate > 0"]),
    (("adam", {"learning_rate": True}), ["learning_rate=True", "expected learning_rate > 0"]),
    (("adam", {"beta_1": 1}), ["beta_1=1", "expected 0 <= beta_1 < 1", "default is beta_1=0.9"]),
    (("adam", {"beta_1": -0.1}), ["beta_1=-0.1", "expected 0 <= beta_1 < 1"]),
    (("adam", {"epsilon": None}), ["epsilon=None", "expected epsilon >= 0", "default is epsilon=1e-07"]),
    (("adam", {"amsgrad": "yes"}), ["amsgrad='yes'", "expected True or False"]),
    (("adam", {"amsgrad": 2}), ["amsgrad=2", "expected True or False"]),
    (("adam", {"decay": -1}), ["decay=-1", "expected decay >= 0"]),
    (("adam", {"decay": None}), ["decay=None", "expected decay >= 0"]),
    (("adam", {"decay": False}), ["decay=False", "expected decay >= 0"]),
    (("adam", {"decay": np.array([1.0, 2.0])}), ["decay=", "expected decay >= 0"]),
    (
        ("adamw", {"weight_decay": None}),
        ["weight_decay=None", "expected weight_decay >= 0", "default is weight_decay=0.004"],
    ),
    (("adam", {"weight_decay": -1}), ["weight_decay=-1", "expected weight_decay >= 0"]),
    (("adam", {"clipnorm": 0}), ["clipnorm=0", "expected clipnorm > 0"]),
    (("adam", {"clipnorm": 1, "clipvalue": 1}), ["clipvalue and clipnorm are given", "leave one only"]),
    (("adam", {"warmup": 1.5}), ["warmup=1.5", "expected 1 >= warmup >= 0"]),
    (("adam", {"final": 0.1}), ["final=0.1", "a constant schedule has none", "schedule='cosine'"]),
    (("adam", {"decay": 0.1, "schedule": "cosine"}), ["decay=0.1", "a cosine schedule has none", "'inverse_time'"]),
    (
        ("adam", {"schedule": "exponential", "final": 0}),
        ["final=0", "expected 1 >= final > 0", "default is final=0.01"],
    ),
    (("adam", {"use_ema": 1}), ["use_ema=1", "expected True or False"]),
    (("adam", {"ema_momentum": 0.9}), ["ema_momentum=0.9", "no moving average", "use_ema=True"]),
    (("adam", {"gradient_accumulation_steps": 1}), ["gradient_accumulation_steps=1", "a whole number from 2 on"]),
    (("adam", {"decay": 0.1, "schedule": "constant"}), ["decay=0.1", "constant", "schedule='inverse_time'"]),
    (("adam", {"schedule": "cosin"}), ["schedule='cosin'", "There are: constant, inverse_time"]),
    (("adam", {"schedule": "inversetime"}), ["schedule='inversetime'", "Did you mean 'inverse_time'?"]),
    (("adam", {"schedule": ["constant"]}), ["schedule=['constant']", "There are: constant, inverse_time"]),
    (("adam", {"found": {"epochs": 1}}), ["found={'epochs': 1}", "expected Found(epochs, batch_size, steps)"]),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED)
def test_refused_arguments(arguments, says):
    optimizer, others = arguments
    with pytest.raises(ConfigError) as caught:
        OptimizerConfig(optimizer, **others)
    for part in says:
        assert part in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AdamTuneError)


@pytest.mark.parametrize(
    "numbers", [(0, 32, 100), (1, -1, 1), (1.0, 32, 100), (True, 32, 100), ("1", 32, 100), (1, 2, None)]
)
def test_refused_found(numbers):
    with pytest.raises(ConfigError, match=r"found must hold whole numbers above 0 and below 2\*\*63, got"):
        Found(*numbers)


def changed(**fields):
    data = OptimizerConfig("adam", decay=0.1, found=Found(1, 2, 3)).to_dict() | fields
    return {name: value for name, value in data.items() if value is not changed}


REFUSED_DATA = [
    ([], "a config is a mapping, got list"),
    (None, "a config is a mapping, got NoneType"),
    ("adam", "a config is a mapping, got str"),
    ({}, "schema=None"),
    (changed(schema=2), "not a config of schema 1: schema=2"),
    (changed(schema="1"), "schema='1'"),
    (changed(schema=True), "schema=True"),
    (changed(schema=changed), "schema=None"),
    (changed(extra=1, more=2), r"unknown fields: \['extra', 'more'\]"),
    (changed(optimizer=changed), "optimizer='' is unknown"),
    (changed(optimizer="adagard"), "Did you mean 'adagrad'"),
    (changed(optimizer=1), "optimizer=1 is unknown"),
    (changed(optimizer=["adam"]), "is unknown"),
    (changed(schedule="cosin"), "schedule='cosin' is unknown"),
    (changed(schedule="cosine"), "decay=0.1 is given, but a cosine schedule has none"),
    (changed(schedule={}), "schedule={} is unknown"),
    (changed(schedule="constant"), "a constant schedule has none"),
    (changed(hypers=None), "the field 'hypers' is None: expected a mapping from names to numbers"),
    (changed(hypers=[1]), "expected a mapping from names to numbers"),
    (changed(hypers={1: 0.5}), "expected a mapping from names to numbers"),
    (changed(hypers={"optimizer": "sgd"}), r"holds \['optimizer'\]"),
    (changed(hypers={"schedule": "constant"}), r"holds \['schedule'\]"),
    (changed(hypers={"found": None}), r"holds \['found'\]"),
    (changed(hypers={"self": 1}), "no hyper 'self'"),
    (changed(hypers={"cls": 1}), "no hyper 'cls'"),
    (changed(hypers={"__class__": 1}), "no hyper '__class__'"),
    (changed(hypers={"rule": 1}), "no hyper 'rule'"),
    (changed(hypers={"beta_1": 1.5}), "beta_1=1.5"),
    (changed(hypers={"beta_1": {"class_name": "x"}}), "beta_1={'class_name': 'x'}"),
    (changed(hypers={"learning_rate": "1e-3"}), "learning_rate='1e-3'"),
    (changed(hypers={"use_ema": True}), r"holds \['use_ema'\]"),
    (changed(options=None), "the field 'options' is None: expected a mapping from use_ema"),
    (changed(options={"learning_rate": 1.0}), "the field 'options' is"),
    (changed(options={1: 2}), "the field 'options' is"),
    (changed(options={"use_ema": "yes"}), "use_ema='yes'"),
    (changed(found={}), "the field 'found' is {}: expected a mapping of epochs, batch_size, steps"),
    (changed(found=3), "the field 'found' is 3"),
    (changed(found={"epochs": 1, "batch_size": 2, "steps": 3, "more": 4}), "expected a mapping of epochs"),
    (changed(found={"epochs": 1, "batch_size": 2, "steps": 0}), "whole numbers above 0"),
    (changed(found={"epochs": 1, "batch_size": 2, "steps": 1.5}), "whole numbers above 0"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED_DATA)
def test_refused_data(data, message):
    with pytest.raises(ConfigError, match=message):
        OptimizerConfig.from_dict(data)


HYPERS = '{"schema": 1, "optimizer": "adam", "schedule": "constant", "hypers": {"learning_rate": %s}}'
REFUSED_TEXT = {
    "empty": "",
    "none": None,
    "no text": 3,
    "not JSON": "learning_rate=0.1",
    "single quotes": "{'schema': 1}",
    "bytes": b"\xff\xfe\x00",
    "nested": "[" * 100_000,
    "nested within": HYPERS % ("[" * 500 + "]" * 500),
    "objects within": HYPERS % ('{"a":' * 500 + "1" + "}" * 500),
    "long number": HYPERS % ("9" * 5_000),
    "long text": HYPERS % ('"' + "x" * 1_000_000 + '"'),
    "long name": (HYPERS % "1").replace("learning_rate", "x" * 1_000_000),
    "long optimizer": (HYPERS % "1").replace('"adam"', '"' + "adam" * 100_000 + '"'),
    "NaN": HYPERS % "NaN",
    "infinity": HYPERS % "Infinity",
    "too large": HYPERS % "1e400",
    "null": HYPERS % "null",
    "true": HYPERS % "true",
}


@pytest.mark.parametrize("text", REFUSED_TEXT.values(), ids=REFUSED_TEXT)
def test_refused_text(text):
    with pytest.raises(ConfigError) as caught:
        OptimizerConfig.from_json(text)
    assert "xpected" in str(caught.value) or "It has:" in str(caught.value) or "See " in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_may_be_left_out_of_data():
    data = {"schema": 1, "optimizer": "adam", "hypers": {"learning_rate": 0.5}}
    assert OptimizerConfig.from_dict(data) == OptimizerConfig("adam", learning_rate=0.5)


# ---------------------------------------------------------------------------------------------- Keras optimizers

NEAR_ONE = OptimizerConfig("adam", beta_2=1 - 1e-7)
PLAIN = [
    OptimizerConfig("adam", amsgrad=True),
    OptimizerConfig("sgd", momentum=0.9, nesterov=True, decay=0.01),
    OptimizerConfig("adamw", weight_decay=0.25, clipnorm=1.0, use_ema=True, ema_overwrite_frequency=2),
    OptimizerConfig("nadam", schedule_decay=1.0, global_clipnorm=2.0, weight_decay=0.5),
    OptimizerConfig("rmsprop", centered=True, momentum=0.5, schedule="cosine", warmup=0.2, found=Found(1, 1, 10)),
    OptimizerConfig("adam", schedule="linear", final=0.5, loss_scale_factor=4.0, found=Found(1, 1, 10)),
]
# What Keras has no class for: a momentum schedule of one's own, a schedule, a warmup.
OURS = [
    OptimizerConfig("nadam"),
    OptimizerConfig("adam", schedule="inverse_sqrt"),
    OptimizerConfig("sgd", schedule="linear", warmup=0.1, found=Found(1, 1, 10)),
    OptimizerConfig("rmsprop", warmup=0.1, found=Found(1, 1, 10)),
]


def hypers_of(config):
    moving = [hyper.name for hyper in schedules.HYPERS]
    return {name: value for name, value in config.hypers.items() if name not in moving}


@pytest.mark.parametrize("builtin", ["auto", "always", "never"])
@pytest.mark.parametrize("config", PLAIN, ids=repr)
def test_to_keras_makes_a_fresh_optimizer_that_trains(config, builtin):
    import keras

    made = config.to_keras(builtin=builtin)
    assert made is not config.to_keras(builtin=builtin)
    module = "adamtune.optimizers" if builtin == "never" else "keras."
    assert type(made).__module__.startswith(module)
    assert type(made).__name__ == config.rule.class_name
    given_back = made.get_config()
    for name, value in hypers_of(config).items():
        if name == "learning_rate" and config.schedule != "constant":
            continue  # in the schedule
        if name not in given_back and builtin != "never":
            continue  # which Keras' class has not: its own convention
        assert given_back[name] == pytest.approx(value, rel=1e-6)
    assert {name: given_back[name] for name in config.options} == config.options
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer=made, loss="mse", run_eagerly=True)
    model.fit(np.eye(2), np.ones((2, 1)), verbose=0)
    assert int(made.iterations) == 1


def test_to_keras_takes_our_class_where_keras_computes_something_else():
    assert type(NEAR_ONE.to_keras()) is optimizers.Adam
    assert type(NEAR_ONE.to_keras(builtin="never")) is optimizers.Adam
    with pytest.raises(ConfigError, match=r"builtin='always'.*1 - 1\.0e-07 loses.*Write builtin='auto'"):
        NEAR_ONE.to_keras(builtin="always")


@pytest.mark.parametrize("builtin", ["sometimes", True, None, "x" * 10_000])
def test_to_keras_refuses(builtin):
    with pytest.raises(ConfigError, match="write 'auto', 'always' or 'never'") as caught:
        OptimizerConfig("adam").to_keras(builtin=builtin)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("config", "reason"),
    zip(OURS, ("no schedule_decay", "no inverse square root", "no warmup before a linear", "no warmup"), strict=True),
    ids=repr,
)
def test_to_keras_takes_our_class_where_keras_has_none(config, reason):
    made = config.to_keras()
    assert type(made) is getattr(optimizers, config.rule.class_name)
    with pytest.raises(ConfigError, match=rf"builtin='always'.*{reason}"):
        config.to_keras(builtin="always")


def test_steps_are_told_or_found():
    config = OptimizerConfig("adam", schedule="cosine", found=Found(2, 32, 50))
    assert config.to_keras().get_config()["learning_rate"]["config"]["decay_steps"] == 50
    assert config.to_keras(70).get_config()["learning_rate"]["config"]["decay_steps"] == 70
    assert "decay_steps=70" in config.to_code(70)
    for made_of in ("to_keras", "to_code"):
        for hypers in ({"schedule": "linear"}, {"schedule": "linear", "warmup": 0.1}):
            with pytest.raises(ConfigError, match=r"length is not known: write steps=epochs \* ceil"):
                getattr(OptimizerConfig("adam", **hypers), made_of)()


@pytest.mark.parametrize("decay", [0.0, 0.125])
@pytest.mark.parametrize("config", [*PLAIN, *OURS, NEAR_ONE], ids=repr)
def test_code_makes_the_same_optimizer(config, decay):
    import keras

    import adamtune.optimizers

    if config.schedule in ("constant", "inverse_time") and "warmup" not in config.hypers:
        config = OptimizerConfig(config.optimizer, **hypers_of(config), **config.options, decay=decay)
    made = eval(config.to_code(), {"keras": keras, "adamtune": adamtune})
    again = config.to_keras()
    assert type(made) is type(again)
    assert made.get_config() | {"name": ""} == again.get_config() | {"name": ""}


def test_arguments_may_be_positional_as_in_keras():
    assert float(optimizers.Adam(0.5).learning_rate) == 0.5
    assert optimizers.AdamW(0.5, 0.25).weight_decay == 0.25
    assert optimizers.RMSprop(0.5, 0.75, 0.25).get_config()["momentum"] == 0.25
    for arguments, hypers in (((0.5,), {"learning_rate": 0.5}), ((), {"lr": 0.5}), ((1.0,) * 9, {})):
        with pytest.raises(TypeError):
            optimizers.Adam(*arguments, **hypers)
