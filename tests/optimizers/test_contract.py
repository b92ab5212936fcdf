"""The conformance kit, run for every optimizer there is, for one of a third party, and for some that are broken."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from adamtune import optimizers
from adamtune.config import Found, OptimizerConfig
from adamtune.hypers import fraction, positive
from adamtune.optimizers._rule import Rule
from adamtune.testing import RuleTestCase, middle

RULES = [optimizers.get(name) for name in optimizers.names()]
# Values at which Keras has a class that computes the same, where the defaults are none.
BUILTIN = {"nadam": {"schedule_decay": 1.0}, "adafactor": {"epsilon_1": 1e-15}}
# Where a hyper does nothing in the middle of what is searched: Adafactor's floors lie far below what they hold up.
LIVELY = {"adafactor": {"epsilon_1": 1e-3, "epsilon_2": 1.5, "learning_rate": 0.3}}


class TestEveryRule(RuleTestCase):
    @pytest.fixture(params=optimizers.names())
    def rule(self, request):
        return optimizers.get(request.param)

    @pytest.fixture
    def lively(self, rule):
        return middle(rule) | LIVELY.get(rule.name, {})


def three_gradients(g, w, slots, h, t):
    """A step along the last three gradients; the slots move up by one."""
    last, second_last = slots
    memory = 1 - h.one_minus_memory
    return w - h.learning_rate * (g + memory * (last + memory * second_last)), (g, last)


THREE_GRADIENTS = Rule(
    name="three_gradients",
    class_name="ThreeGradients",
    source="these tests",
    hypers=(
        positive("learning_rate", 0.1, low=1e-3, high=0.5, tier=1, meaning="length of a step"),
        fraction("memory", 0.5, low=1e-2, high=1.0, tier=1, meaning="how much the past counts"),
    ),
    slots=("last", "second_last"),
    update=three_gradients,
)


class TestARuleOfOnesOwn(RuleTestCase):
    """A rule that is no file of the package; its slots hand old values on, which a variable would have overwritten."""

    @pytest.fixture
    def rule(self):
        return THREE_GRADIENTS


def settles(h, scalars, t, total):
    """The pace of a step falls with the sum of all paces until now."""
    (passed,) = scalars
    pace = 1 / (1 + (1 - h.one_minus_memory) * passed)
    return SimpleNamespace(**vars(h), pace=pace), (passed + pace,)


def at_a_pace(g, w, slots, h, t):
    return three_gradients(h.pace * g, w, slots, h, t)


SETTLING = replace(
    THREE_GRADIENTS,
    name="settling",
    class_name="Settling",
    update=at_a_pace,
    scalars=(("passed", 0.5),),
    prepare=settles,
)


class TestARuleThatPrepares(RuleTestCase):
    """A rule with a number of its own for the whole optimizer, which does not start at 0."""

    @pytest.fixture
    def rule(self):
        return SETTLING


def forgets_its_dtype(g, w, slots, h, t):
    w, slots = three_gradients(g, w, slots, h, t)
    return ops.cast(w, "float32"), slots


def broadcasts(g, w, slots, h, t):
    w, (last, second_last) = three_gradients(g, w, slots, h, t)
    return w, (ops.reshape(last, (-1,)), second_last)


def keeps_count(g, w, slots, h, t, calls=[]):  # noqa: B006 (the mistake under test)
    calls.append(1)
    return three_gradients(g * len(calls), w, slots, h, t)


def changes_the_hypers(g, w, slots, h, t):
    h.learning_rate = h.learning_rate * 0.5
    return three_gradients(g, w, slots, h, t)


def drifts(g, w, slots, h, t):
    w, slots = three_gradients(g, w, slots, h, t)
    return w * 0.999, slots


def ignores_memory(g, w, slots, h, t):
    return w - h.learning_rate * g, (g, slots[0])


def mixes_lanes(g, w, slots, h, t):
    return three_gradients(g / ops.sqrt(ops.sum(g * g)), w, slots, h, t)


def takes_the_first_step_number(g, w, slots, h, t):
    scale = 1 - 0.5 ** ops.reshape(t, (-1,))[0]
    return three_gradients(scale * g, w, slots, h, t)


def climbs(g, w, slots, h, t):
    return three_gradients(-g, w, slots, h, t)


def explodes(g, w, slots, h, t):
    w, slots = three_gradients(g, w, slots, h, t)
    return w / (1 - 2 * h.learning_rate), slots  # 1 / 0 at the upper end


BROKEN = [
    ("test_keeps_shape_and_dtype", forgets_its_dtype),
    ("test_keeps_shape_and_dtype", broadcasts),
    ("test_is_pure", keeps_count),
    ("test_is_pure", changes_the_hypers),
    ("test_zero_gradient_leaves_a_fresh_weight", drifts),
    ("test_each_hyper_matters", ignores_memory),
    ("test_lanes_equal_separate_runs", mixes_lanes),
    ("test_lanes_train_as_fit_does", mixes_lanes),
    ("test_lanes_equal_separate_runs", takes_the_first_step_number),
    ("test_a_lane_of_nan_leaves_its_neighbours_alone", mixes_lanes),
    ("test_reaches_the_minimum_of_a_quadratic", climbs),
    ("test_both_ends_of_a_search_stay_finite", explodes),
]


@pytest.mark.parametrize(("promise", "update"), BROKEN, ids=[f"{update.__name__}-{name}" for name, update in BROKEN])
def test_a_broken_promise_is_found(promise, update):
    rule = replace(THREE_GRADIENTS, update=update)
    case = RuleTestCase()
    arguments = {
        "test_keeps_shape_and_dtype": ["float64"],
        "test_zero_gradient_leaves_a_fresh_weight": [],
        "test_both_ends_of_a_search_stay_finite": [],
        "test_reaches_the_minimum_of_a_quadratic": [],
    }.get(promise, [middle(rule)])
    getattr(case, promise)(THREE_GRADIENTS, *arguments)
    with pytest.raises(AssertionError):
        getattr(case, promise)(rule, *arguments)


def prepares_by_changing(h, scalars, t, total):
    prepared, scalars = settles(h, scalars, t, total)
    h.pace = prepared.pace
    return h, scalars


def prepares_in_float32(h, scalars, t, total):
    h, (passed,) = settles(h, scalars, t, total)
    return h, (ops.cast(passed, "float32"),)


def prepares_what_it_remembers(h, scalars, t, total, seen=[]):  # noqa: B006 (the mistake under test)
    seen.append(1)
    h, scalars = settles(h, scalars, t, total)
    h.pace = h.pace * len(seen)
    return h, scalars


def prepares_for_the_first_lane(h, scalars, t, total):
    h, scalars = settles(h, scalars, t, total)
    h.pace = 0 * h.pace + ops.reshape(h.pace, (-1,))[0]
    return h, scalars


BROKEN_PREPARE = [
    ("test_is_pure", prepares_by_changing),
    ("test_is_pure", prepares_what_it_remembers),
    ("test_keeps_shape_and_dtype", prepares_in_float32),
    ("test_lanes_equal_separate_runs", prepares_for_the_first_lane),
]


@pytest.mark.parametrize(("promise", "prepare"), BROKEN_PREPARE, ids=[each.__name__ for _, each in BROKEN_PREPARE])
def test_a_broken_preparation_is_found(promise, prepare):
    arguments = ["float64"] if promise == "test_keeps_shape_and_dtype" else [middle(SETTLING)]
    getattr(RuleTestCase(), promise)(SETTLING, *arguments)
    with pytest.raises(AssertionError):
        getattr(RuleTestCase(), promise)(replace(SETTLING, prepare=prepare), *arguments)


@pytest.mark.parametrize(
    ("promise", "broken"),
    [
        ("test_slots_that_are_not_used_change_nothing", {"unused": lambda values: ("last",)}),
        ("test_keras_class_decays_what_it_is_told_to", {"decays": True}),  # and then does not
    ],
)
def test_a_false_word_about_a_rule_is_found(promise, broken):
    arguments = [middle(THREE_GRADIENTS)] if "slots" in promise else []
    getattr(RuleTestCase(), promise)(THREE_GRADIENTS, *arguments)
    with pytest.raises(AssertionError):
        getattr(RuleTestCase(), promise)(replace(THREE_GRADIENTS, **broken), *arguments)


def branches(g, w, slots, h, t):
    return three_gradients(g if h.one_minus_memory > 0.5 else 2 * g, w, slots, h, t)


def test_a_branch_on_a_hyper_is_found():
    with pytest.raises(Exception, match=r"(?i)bool|trace"):
        RuleTestCase().test_hypers_are_values(replace(THREE_GRADIENTS, update=branches), middle(THREE_GRADIENTS))


@pytest.mark.parametrize(
    ("promise", "hyper"),
    [
        ("test_names_are_what_others_build_on", replace(THREE_GRADIENTS.hypers[1], name="learning_rate")),
        ("test_names_are_what_others_build_on", replace(THREE_GRADIENTS.hypers[1], name="steps", scale="log")),
        ("test_default_is_legal_and_would_be_found_by_a_search", replace(THREE_GRADIENTS.hypers[1], default=0.999)),
        ("test_both_ends_of_a_search_are_legal", replace(THREE_GRADIENTS.hypers[1], low=0.0)),
    ],
)
def test_a_broken_hyper_is_found(promise, hyper):
    with pytest.raises(AssertionError):
        getattr(RuleTestCase(), promise)(replace(THREE_GRADIENTS, hypers=(THREE_GRADIENTS.hypers[0], hyper)))


LOADER = """
import pathlib
import sys
import numpy as np
import keras

for folder, is_ours in ((sys.argv[1], False), (sys.argv[2], True)):
    if is_ours:
        from adamtune import optimizers
        optimizers.register()
    for path in sorted(pathlib.Path(folder).glob("*.keras")):
        model = keras.saving.load_model(path)
        model.train_on_batch(np.eye(4, 2), np.ones((4, 1)))
        np.savez(path.with_suffix(".npz"), *model.get_weights(), *model.optimizer.variables)
        assert is_ours or "adamtune" not in sys.modules
"""


def test_a_fresh_process_loads_saved_models(tmp_path):
    # Those with Keras' classes without adamtune, those with ours after register() alone; slots and schedule included.
    models = {}
    cosine = {"schedule": "cosine", "warmup": 0.2, "found": Found(1, 4, 20), "clipnorm": 1.0}
    for builtin, hypers in (("auto", {"decay": 0.1}), ("never", cosine)):
        (tmp_path / builtin).mkdir()
        for name in optimizers.names():
            averages = optimizers.get(name).averaged
            config = OptimizerConfig(
                name, **hypers, **BUILTIN.get(name, {}), use_ema=builtin == "never" and not averages
            )
            if builtin == "auto" and config._unlike_builtin():
                continue
            model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(1)])
            optimizer = config.to_keras(builtin=builtin)
            assert type(optimizer).__module__.startswith("keras." if builtin == "auto" else "adamtune.")
            model.compile(optimizer=optimizer, loss="mse", run_eagerly=True)
            model.train_on_batch(np.ones((4, 2)), np.zeros((4, 1)))
            model.save(tmp_path / builtin / f"{name}.keras")
            models[builtin, name] = model
    assert len(models) == len(optimizers.names()) + sum(rule.builtin is not None for rule in RULES)
    folders = [tmp_path / "auto", tmp_path / "never"]
    subprocess.run([sys.executable, "-c", LOADER, *folders], check=True, cwd=tmp_path)
    for (builtin, name), model in models.items():
        model.train_on_batch(np.eye(4, 2), np.ones((4, 1)))
        here = [*model.get_weights(), *(np.asarray(variable) for variable in model.optimizer.variables)]
        there = list(np.load(tmp_path / builtin / f"{name}.npz").values())
        for one, other in zip(here, there, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{builtin} {name}")


def test_register_names_every_class():
    expected = {"adamtune>LearningRate", *(f"adamtune>{optimizers.get(n).class_name}" for n in optimizers.names())}
    assert set(optimizers.register()) == expected
    for name in expected:
        found = keras.saving.get_registered_object(name)
        assert found is getattr(optimizers, name.removeprefix("adamtune>"))


def test_every_class_is_listed_and_made_once():
    for name in optimizers.names():
        class_name = optimizers.get(name).class_name
        assert class_name in dir(optimizers)
        assert getattr(optimizers, class_name) is getattr(optimizers, class_name)
    with pytest.raises(AttributeError, match="Adma"):
        _ = optimizers.Adma
