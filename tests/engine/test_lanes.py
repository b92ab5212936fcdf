"""How many lanes, and which models have to go one by one."""

import keras
import pytest

from adamtune import optimizers
from adamtune.engine import lanes
from adamtune.errors import SettingError
from tests.engine import problems

CPU, GPU = "CPU (2 cores)", "GPU (any)"


def planned(asked="auto", n_trials=64, learns=True, device=CPU, network=problems.plain):
    task, stream = problems.make_task(network)
    return lanes.plan(task, task.build(stream.seed), optimizers.get("adam"), asked, n_trials, learns, device)


@pytest.mark.parametrize(
    ("n_trials", "learns", "device", "expected"),
    [
        (64, True, CPU, 8),
        (64, False, CPU, 32),
        (200, True, CPU, 16),
        (1000, True, CPU, 32),
        (1000, True, GPU, 64),
        (5000, False, GPU, 256),
        (5, True, CPU, 4),
        (1, True, CPU, 1),
    ],
)
def test_number_of_lanes_follows_the_written_rule(n_trials, learns, device, expected):
    assert planned(n_trials=n_trials, learns=learns, device=device).lanes == expected


def test_lanes_fit_into_memory(monkeypatch):
    task, stream = problems.make_task()
    one = lanes.lane_bytes(task, task.build(stream.seed), optimizers.get("adam"))
    monkeypatch.setattr(lanes, "memory", lambda: int(5 * one / lanes._MEMORY_SHARE))
    assert planned().lanes == 4


def test_large_network_gets_few_lanes_on_a_cpu():
    def large(X, y):
        return keras.Sequential([keras.Input((12,)), keras.layers.Dense(8000), keras.layers.Dense(3)])

    assert planned(network=large).lanes == 4
    assert planned(network=large, device=GPU).lanes == 8


def test_asked_number_is_taken_as_it_is():
    assert planned(asked=5).lanes == 5


@pytest.mark.parametrize("asked", [0, -1, 2.0, True, "many"])
def test_senseless_number_is_refused(asked):
    with pytest.raises(SettingError, match="lanes="):
        planned(asked=asked)


def convolution(X, y):
    return keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Reshape((12, 1)),
            keras.layers.Conv1D(4, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


def constrained(X, y):
    return keras.Sequential([keras.Input((12,)), keras.layers.Dense(3, kernel_constraint="unit_norm")])


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def own_step(X, y):
    inputs = keras.Input((12,))
    return OwnStep(inputs, keras.layers.Dense(3)(inputs))


@pytest.mark.parametrize(
    ("network", "reason"), [(convolution, "convolution"), (constrained, "constraint"), (own_step, "own train_step")]
)
def test_what_lanes_cannot_take_goes_one_by_one_with_the_reason(network, reason):
    plan = planned(network=network)
    assert (plan.strategy, plan.lanes) == ("one_by_one", 1)
    assert reason in plan.reason
    assert reason in str(plan)
