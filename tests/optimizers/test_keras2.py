"""`from_keras2` against Keras 2, whose equations stand here a second time, with its defaults."""

import json
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.optimizers import _keras2, from_keras2
from adamtune.testing import floatx

STEPS = 50


# ------------------------------------------------- keras/optimizers.py of Keras 2.2.4, `get_updates`, in numpy


def sgd(gradients, p, lr=0.01, momentum=0.0, decay=0.0, nesterov=False):
    m = np.zeros_like(p)
    for iterations, g in enumerate(gradients):
        rate = lr * (1.0 / (1.0 + decay * iterations))
        v = momentum * m - rate * g
        m = v
        p = p + momentum * v - rate * g if nesterov else p + v
        yield p


def rmsprop(gradients, p, lr=0.001, rho=0.9, epsilon=1e-7, decay=0.0):
    a = np.zeros_like(p)
    for iterations, g in enumerate(gradients):
        rate = lr * (1.0 / (1.0 + decay * iterations))
        a = rho * a + (1.0 - rho) * g**2
        p = p - rate * g / (np.sqrt(a) + epsilon)
        yield p


def adagrad(gradients, p, lr=0.01, epsilon=1e-7, decay=0.0):
    a = np.zeros_like(p)
    for iterations, g in enumerate(gradients):
        rate = lr * (1.0 / (1.0 + decay * iterations))
        a = a + g**2
        p = p - rate * g / (np.sqrt(a) + epsilon)
        yield p


def adadelta(gradients, p, lr=1.0, rho=0.95, epsilon=1e-7, decay=0.0):
    a, d_a = np.zeros_like(p), np.zeros_like(p)
    for iterations, g in enumerate(gradients):
        rate = lr * (1.0 / (1.0 + decay * iterations))
        a = rho * a + (1.0 - rho) * g**2
        update = g * np.sqrt(d_a + epsilon) / np.sqrt(a + epsilon)
        p = p - rate * update
        d_a = rho * d_a + (1 - rho) * update**2
        yield p


def adam(gradients, p, lr=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, decay=0.0, amsgrad=False):
    m, v, v_hat = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for iterations, g in enumerate(gradients):
        rate = lr * (1.0 / (1.0 + decay * iterations))
        t = iterations + 1
        rate = rate * (np.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t))
        m = beta_1 * m + (1.0 - beta_1) * g
        v = beta_2 * v + (1.0 - beta_2) * g**2
        v_hat = np.maximum(v_hat, v)
        p = p - rate * m / (np.sqrt(v_hat if amsgrad else v) + epsilon)
        yield p


def adamax(gradients, p, lr=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-7, decay=0.0):
    m, u = np.zeros_like(p), np.zeros_like(p)
    for iterations, g in enumerate(gradients):
        rate = lr * (1.0 / (1.0 + decay * iterations))
        m = beta_1 * m + (1.0 - beta_1) * g
        u = np.maximum(beta_2 * u, np.abs(g))
        p = p - rate / (1.0 - beta_1 ** (iterations + 1)) * m / (u + epsilon)
        yield p


def nadam(gradients, p, lr=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-7, schedule_decay=0.004):
    m, v, m_schedule = np.zeros_like(p), np.zeros_like(p), 1.0
    for t, g in enumerate(gradients, start=1):
        cache_t = beta_1 * (1.0 - 0.5 * 0.96 ** (t * schedule_decay))
        cache_t_1 = beta_1 * (1.0 - 0.5 * 0.96 ** ((t + 1) * schedule_decay))
        m_schedule = m_schedule * cache_t
        g_prime = g / (1.0 - m_schedule)
        m = beta_1 * m + (1.0 - beta_1) * g
        m_prime = m / (1.0 - m_schedule * cache_t_1)
        v = beta_2 * v + (1.0 - beta_2) * g**2
        v_prime = v / (1.0 - beta_2**t)
        p = p - lr * ((1.0 - cache_t) * g_prime + cache_t_1 * m_prime) / (np.sqrt(v_prime) + epsilon)
        yield p


CASES = [
    (sgd, "SGD", {}),
    (sgd, "SGD", {"lr": 0.1, "momentum": 0.9, "decay": 1e-2}),
    (sgd, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "decay": 1e-2}),
    (rmsprop, "RMSprop", {}),
    (rmsprop, "RMSprop", {"lr": 0.05, "rho": 0.5, "epsilon": 1e-2, "decay": 0.1}),
    (adagrad, "Adagrad", {}),
    (adagrad, "Adagrad", {"lr": 0.5, "epsilon": 1e-2, "decay": 0.1}),
    (adadelta, "Adadelta", {}),
    (adadelta, "Adadelta", {"lr": 0.5, "rho": 0.7, "epsilon": 1e-3, "decay": 0.1}),
    (adam, "Adam", {}),
    (adam, "Adam", {"lr": 0.01, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2, "decay": 0.1}),
    (adam, "Adam", {"lr": 0.01, "beta_2": 0.7, "amsgrad": True}),
    (adamax, "Adamax", {}),
    (adamax, "Adamax", {"lr": 0.01, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2, "decay": 0.1}),
    (nadam, "Nadam", {}),
    (nadam, "Nadam", {"lr": 0.01, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2, "schedule_decay": 0.1}),
]


@pytest.fixture
def gradients(seed):
    """Gradients of many sizes, of two weights with two elements each."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, 4)) * 10.0 ** rng.uniform(-4, 1, size=(STEPS, 4))


START = np.array([-1.0, -0.3, 0.3, 1.0])


def trained(given, gradients, **arguments):
    """The four elements after each step, as two weights of a model."""
    with floatx("float64"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = from_keras2(given, **arguments)
        variables = [keras.Variable(half, dtype="float64") for half in np.split(START, 2)]
        weights = []
        for g in gradients:
            halves = [ops.convert_to_tensor(half, dtype="float64") for half in np.split(g, 2)]
            optimizer.apply(halves, variables)
            weights.append(np.concatenate([ops.convert_to_numpy(variable) for variable in variables]))
    return np.stack(weights)


@pytest.mark.parametrize(("paper", "name", "arguments"), CASES)
def test_it_computes_what_keras_2_computed(paper, name, arguments, gradients):
    theirs = np.stack(list(paper(gradients, START, **arguments)))
    np.testing.assert_allclose(trained(name, gradients, **arguments), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("clip", "clipped"),
    [
        ({"clipnorm": 0.5}, lambda g: g * min(1.0, 0.5 / np.sqrt((g**2).sum()))),
        ({"clipvalue": 0.1}, lambda g: np.clip(g, -0.1, 0.1)),
        ({"clipnorm": 0.0, "clipvalue": 0.0}, lambda g: g),
    ],
)
def test_it_clips_as_keras_2_did(clip, clipped, gradients):
    theirs = np.stack(list(sgd([clipped(g) for g in gradients], START, lr=0.1)))
    np.testing.assert_allclose(trained("SGD", gradients, lr=0.1, **clip), theirs, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------------------------ what it is given


@pytest.mark.parametrize(
    "saved",
    [
        {"class_name": "Nadam", "config": {"lr": 0.01, "schedule_decay": 0.1, "epsilon": 1e-2}},
        {"class_name": "nadam", "lr": 0.01, "schedule_decay": 0.1, "epsilon": 1e-2},
        {"class_name": "Nadam", "config": {"learning_rate": 0.01, "schedule_decay": 0.1, "epsilon": 1e-2}},
    ],
)
def test_what_keras_2_saved_is_read(saved, gradients):
    arguments = {"lr": 0.01, "schedule_decay": 0.1, "epsilon": 1e-2}
    saved = json.loads(json.dumps(saved))
    np.testing.assert_array_equal(trained(saved, gradients), trained("Nadam", gradients, **arguments))
    assert _keras2.translate(saved) == _keras2.translate("NADAM", **arguments)


def test_it_says_what_keras_3_means_otherwise():
    with pytest.warns(UserWarning) as warned:
        from_keras2("Adagrad", decay=1e-3, epsilon=None, clipnorm=1.0)
    said = [str(warning.message) for warning in warned if "from_keras2" in str(warning.message)]
    words = ["learning_rate=0.01", "epsilon=None", "epsilon_outside_root", "starts at 0.1", "inverse_time", "clipnorm"]
    assert len(said) == len(words)
    for sentence, word in zip(said, words, strict=True):
        assert word in sentence
        assert len(sentence) < 200
    assert all(warning.filename == __file__ for warning in warned if "from_keras2" in str(warning.message))


def test_it_is_silent_where_nothing_is_otherwise():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = from_keras2("Adam", lr=0.002, beta_1=0.8, epsilon=1e-4, decay=0.0, clipvalue=0.5)
    assert type(made) is optimizers.Adam
    assert made.clipvalue == 0.5


@pytest.mark.parametrize("name", _keras2.names())
def test_a_translation_is_what_a_config_takes(name):
    # Its defaults come from the names Keras 2 gave: those of Keras 3 are others for five of the seven.
    translation = _keras2.translate(name, **({} if name == "Nadam" else {"decay": 1e-3}))
    config = OptimizerConfig(translation.optimizer, **translation.hypers)
    assert config.schedule == ("constant" if name == "Nadam" else "inverse_time")
    assert optimizers.get(translation.optimizer).class_name == name


def test_it_can_be_saved():
    with pytest.warns(UserWarning, match="inverse_time"):
        made = from_keras2("Adam", lr=0.002, decay=1e-3)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert again.get_config() == made.get_config()


@pytest.mark.parametrize(
    ("given", "arguments", "said"),
    [
        ("Adagard", {}, "Did you mean 'adagrad'"),
        ("AdamW", {}, "no optimizer of Keras 2"),
        (3, {}, "no optimizer of Keras 2"),
        ({"config": {}}, {}, "None is no optimizer of Keras 2"),
        ({"class_name": "Adam", "config": {"lr": 1.0}, "lr": 1.0}, {}, "not what Keras 2 saved"),
        ({"class_name": "Adam", "config": 3}, {}, "not what Keras 2 saved"),
        ({"class_name": "Adam"}, {"lr": 1.0}, "cannot be given beside"),
        ("Adam", {"lr_rate": 1.0}, "no argument 'lr_rate'"),
        ("Adam", {"beta1": 0.9}, "Did you mean 'beta_1'"),
        ("Nadam", {"decay": 0.1}, "no argument 'decay'"),
        ("Adam", {"lr": 0.1, "learning_rate": 0.1}, "one number"),
        ("Adam", {"lr": 0.0}, "learning_rate=0.0 is out of range"),
        ("Adam", {"lr": -1.0, "decay": 0.1}, "learning_rate=-1.0 is out of range"),
        ("Adam", {"lr": None}, "learning_rate=None is out of range"),
        ("Adam", {"decay": -0.1}, "decay=-0.1 is out of range"),
        ("Adam", {"decay": "0.1"}, "decay='0.1' is out of range"),
        ("SGD", {"clipnorm": -1.0}, "clipnorm=-1.0 is out of range"),
        ("SGD", {"clipnorm": 1.0, "clipvalue": 1.0}, "clipped in one way"),
    ],
)
@pytest.mark.filterwarnings("ignore:from_keras2")
def test_what_keras_2_had_not_is_refused(given, arguments, said):
    with pytest.raises(ConfigError, match=said):
        from_keras2(given, **arguments)
