import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.optimizers import schedules
from adamtune.recommending.surface import believed, coordinates

RATES = np.logspace(-5, 0, 21)
ADAMS = [OptimizerConfig("adam", learning_rate=float(rate)) for rate in RATES]
# Regret of tasks whose best rates are a decade apart: smooth, as that of real ones is.
SMOOTH = np.clip([0.1 * (np.log10(RATES) - best) ** 2 for best in (-4, -3, -2)], 0, 1)


@st.composite
def tried(draw):
    """Regrets of a few tasks, on each of which something was tried."""
    regret = draw(hnp.arrays(float, (3, len(ADAMS)), elements=st.floats(0, 1) | st.just(np.nan)))
    regret[:, draw(st.integers(0, len(ADAMS) - 1))] = draw(st.floats(0, 1))
    return regret


@given(tried())
def test_what_is_believed_is_a_regret_for_every_config_on_every_task(regret):
    found = believed(ADAMS, regret)
    assert found.shape == regret.shape
    assert ((found >= 0) & (found <= 1)).all()


@given(tried(), st.randoms())
def test_the_order_of_tasks_and_configs_says_nothing(regret, random):
    tasks, columns = (random.sample(range(count), count) for count in regret.shape)
    found = believed([ADAMS[column] for column in columns], regret[np.ix_(tasks, columns)])
    np.testing.assert_allclose(found, believed(ADAMS, regret)[np.ix_(tasks, columns)], atol=1e-9)


@given(tried())
def test_a_task_is_believed_by_its_own_trainings_alone(regret):
    alone = np.concatenate([believed(ADAMS, row[None]) for row in regret])
    np.testing.assert_allclose(believed(ADAMS, regret), alone, atol=1e-9)


@given(tried())
def test_what_was_measured_is_not_changed(regret):
    before = regret.copy()
    believed(ADAMS, regret)
    np.testing.assert_array_equal(regret, before)


def test_the_luck_of_single_trainings_is_taken_out(seed):
    noise = 0.1 * np.random.default_rng(seed).normal(size=SMOOTH.shape)
    noisy = np.clip(SMOOTH + noise, 0, 1)
    assert ((believed(ADAMS, noisy) - SMOOTH) ** 2).mean() < ((noisy - SMOOTH) ** 2).mean()


def test_what_was_not_tried_is_filled_in_from_what_is_like_it(seed):
    left = np.random.default_rng(seed).random(SMOOTH.shape) < 0.3
    found = believed(ADAMS, np.where(left, np.nan, SMOOTH))
    mean = np.where(left, np.nan, SMOOTH)
    mean = np.broadcast_to(np.nanmean(mean, axis=1, keepdims=True), SMOOTH.shape)
    assert abs(found - SMOOTH)[left].mean() < abs(mean - SMOOTH)[left].mean() / 3


@pytest.mark.parametrize("regret", [0.0, 0.25, 1.0])
def test_where_all_are_equally_good_the_others_are_too(regret):
    measured = np.full((1, len(ADAMS)), np.nan)
    measured[0, ::4] = regret
    np.testing.assert_allclose(believed(ADAMS, measured), regret, atol=1e-12)


def test_a_config_says_more_of_rules_that_compute_nearly_the_same():
    near = [OptimizerConfig(rule, learning_rate=0.01) for rule in ("adam", "nadam", "adamax")]
    far = [OptimizerConfig("adam", learning_rate=rate) for rate in (1e-6, 1e-5)]
    _, like, unlike, *_ = believed([*near, *far], np.array([[0.0, np.nan, np.nan, 1.0, 1.0]]))[0]
    assert like < unlike < 2 / 3  # which is the mean of what was tried


@pytest.mark.parametrize("rule", optimizers.names())
def test_every_optimizer_has_a_place_on_the_surface(rule):
    default = OptimizerConfig(rule)
    assert np.isfinite(coordinates(default)).all()
    for schedule in schedules.names():
        moving = coordinates(OptimizerConfig(rule, schedule=schedule, warmup=0.1))
        assert np.isfinite(moving).all() and len(moving) == len(coordinates(default))


@pytest.mark.parametrize(
    "changed",
    [
        {"learning_rate": 0.01},
        {"beta_1": 0.5},
        {"beta_2": 0.9},
        {"epsilon": 1e-3},
        {"weight_decay": 0.1},
        {"warmup": 0.1},
        {"schedule": "cosine"},
        {"schedule": "linear", "hold": 0.5},
    ],
    ids=repr,
)
def test_what_matters_moves_a_config(changed):
    assert coordinates(OptimizerConfig("adam", **changed)) != coordinates(OptimizerConfig("adam"))


def test_a_decay_of_nothing_does_not_fall():
    constant, decayed = OptimizerConfig("adam"), OptimizerConfig("adam", schedule="inverse_time", decay=0.0)
    assert coordinates(constant) == coordinates(decayed)
    assert coordinates(constant) != coordinates(OptimizerConfig("adam", decay=1e-3))
