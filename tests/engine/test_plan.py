"""How many lanes, and which models have to go one by one."""

import keras
import pytest

from adamtune import optimizers
from adamtune.engine import plan as plans
from adamtune.errors import SettingError
from tests.engine import cases, problems

CPU, GPU = "CPU (2 cores)", "GPU (any)"
MOST = plans._MOST_ON_CPU[keras.backend.backend()]


@pytest.fixture
def planned(monkeypatch):
    monkeypatch.setattr(plans, "_memory", lambda device: 16 * 2**30)

    def plan(asked="auto", n_trials=64, *, learns=True, device=CPU, model=problems.plain, rules=("adam",), **options):
        monkeypatch.setattr(plans, "device", lambda: device)
        task, stream = problems.make_task(model)
        found = [optimizers.get(rule) for rule in rules]
        return plans.plan(task, task.build(stream.seed), found, asked, n_trials, learns=learns, **options)

    return plan


@pytest.mark.parametrize(
    ("n_trials", "learns", "device", "expected"),
    [
        (64, True, CPU, 8),
        (64, False, CPU, MOST),
        (200, True, CPU, 16),
        (1000, True, CPU, MOST),
        (1000, True, GPU, 64),
        (5000, False, GPU, 256),
        (5, True, CPU, 4),
        (1, True, CPU, 1),
    ],
)
def test_number_of_lanes_follows_the_written_rule(planned, n_trials, learns, device, expected):
    assert planned(n_trials=n_trials, learns=learns, device=device).lanes == expected


def test_programs_in_turns_have_half_the_lanes_each(planned):
    assert planned(learns=False).lanes == MOST
    several = planned(learns=False, rules=("adam", "sgd"))
    assert (several.lanes, several.at_once) == (MOST // 2, MOST)
    assert planned(learns=False, n_passes=5).lanes == MOST // 2


def test_lanes_fit_into_memory(planned, monkeypatch):
    one = planned().lane_bytes
    monkeypatch.setattr(plans, "_memory", lambda device: int(5 * one / plans._MEMORY_SHARE))
    assert planned().lanes == 4


def test_rows_that_do_not_fit_come_in_blocks(planned, monkeypatch):
    assert planned().rows_at_once is None
    task, _ = problems.make_task()
    monkeypatch.setattr(plans, "_memory", lambda device: task.data.x.nbytes)
    monkeypatch.setattr(plans, "_BLOCK_BYTES", 40 * task.data.x.row_nbytes)
    assert planned(asked=2).rows_at_once == 40


def large(X, y):
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(12_000), keras.layers.Dense(3)])


def test_large_network_gets_few_lanes_on_a_cpu(planned):
    assert planned(model=large).lanes == 4
    assert planned(model=large, device=GPU).lanes == 8


def test_asked_number_is_taken_as_it_is(planned):
    assert planned(asked=5).lanes == 5


@pytest.mark.parametrize(
    ("lanes", "cores", "width"),
    [(32, 2, 16), (32, 1, 32), (64, 8, 8), (8, 2, None), (13, 2, 13), (12, 2, None), (1, 2, 1)],
)
def test_lanes_of_a_small_network_fall_into_groups_a_core(planned, monkeypatch, lanes, cores, width):
    monkeypatch.setattr(plans.os, "cpu_count", lambda: cores)
    found = planned(asked=lanes).width
    assert lanes % found == 0
    assert width in (None, found)


def test_large_networks_and_graphics_cards_take_all_lanes_together(planned):
    assert planned(device=GPU).width is None
    assert planned(model=large).width is None


@pytest.mark.parametrize(
    ("n_trials", "learns", "asked", "ahead"),
    [
        (64, True, "auto", 0),  # its eight lanes are all that may be asked at once
        (1000, True, 32, 32),
        (320, True, 32, 8),
        (64, True, 1, 0),  # one after the other
        (64, False, 16, 16),
        (64, False, 60, 4),
    ],
)
def test_what_is_asked_ahead_counts_as_lanes_do(planned, n_trials, learns, asked, ahead):
    assert planned(asked=asked, n_trials=n_trials, learns=learns).ahead == ahead


def test_nothing_is_asked_ahead_where_programs_take_turns(planned):
    assert planned(asked=8, learns=False, rules=("adam", "sgd")).ahead == 0
    assert planned(asked=8, learns=False, n_passes=3).ahead == 0


@pytest.mark.parametrize("asked", [0, -1, 2.0, True, "many"])
def test_senseless_number_is_refused(planned, asked):
    with pytest.raises(SettingError, match="lanes="):
        planned(asked=asked)


def test_convolutions_go_looped_on_a_cpu(planned):
    def convolution(X, y):
        inner = [keras.layers.Reshape((6, 1)), keras.layers.Conv1D(4, 3), keras.layers.Flatten()]
        return keras.Sequential([keras.Input((6,)), *inner, keras.layers.Dense(3)])

    plan = planned(model=convolution)
    assert plan.strategy == "looped"
    assert "convolution" in plan.reason and "convolution" in str(plan)


@pytest.mark.parametrize("case", [case for case in cases.LAYERS if case.refused], ids=str)
def test_what_lanes_cannot_take_goes_one_by_one_with_the_reason(planned, case):
    plan = planned(model=case.model)
    assert (plan.strategy, plan.lanes, plan.at_once) == ("one_by_one", 1, 1)
    assert case.refused in plan.reason
    assert case.refused in str(plan)


def test_option_that_lanes_cannot_take_goes_one_by_one(planned):
    assert "fixed factor" in planned(options={"loss_scale_factor": 8.0}).reason


def test_loss_is_scaled_where_keras_scales_it():
    """Keras asks the model, not its layers, whether it computes in float16."""
    inside = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, dtype="mixed_float16")])
    whole = cases.under("mixed_float16", cases.dense)(None, None)
    scaled = []
    for model in (inside, whole):
        model.compile("sgd", "mse")
        scaled.append(isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer))
        assert plans.scales_loss(model) == scaled[-1]
    assert scaled == [False, True]
