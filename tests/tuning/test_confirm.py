import math
from types import SimpleNamespace

import pytest

from adamtune.config import OptimizerConfig
from adamtune.tuning.confirm import Confirmed, best, confirm
from tests.tuning.fakes import FakePrograms, loss_of

TASK = SimpleNamespace(epochs=5, build=lambda seed: seed)
PASSES = [SimpleNamespace(seed=seed) for seed in (0, 2, 5)]
CONFIGS = [
    OptimizerConfig("adam", learning_rate=0.01),
    OptimizerConfig("sgd", learning_rate=0.1),
    *(OptimizerConfig("adam", learning_rate=10.0**-k) for k in range(3, 6)),
    OptimizerConfig("sgd", learning_rate=0.9),
]


@pytest.mark.parametrize("n_lanes", [1, 2, 8])
def test_every_config_of_every_optimizer_meets_every_pass(n_lanes):
    programs = FakePrograms(n_lanes, diverges_above=0.5)
    known = list(confirm(TASK, programs, CONFIGS, PASSES))
    assert set(programs.opened) == {("adam", 0), ("sgd", 0)}
    for n, each in enumerate(known, 1):
        assert [confirmed.config for confirmed in each] == CONFIGS
        assert all(len(confirmed.values) == n for confirmed in each)
    for confirmed in known[-1][:-1]:
        assert confirmed.values == tuple(loss_of(confirmed.config, 5, stream.seed) for stream in PASSES)
    assert all(math.isnan(value) for value in known[-1][-1].values)
    assert not any(engine.seated for engine in programs.opened.values())


@pytest.mark.parametrize(("direction", "place"), [("minimize", 1), ("maximize", 2)])
def test_best_mean_wins_and_the_diverged_comes_last(direction, place):
    config = OptimizerConfig("adam")
    values = [(math.nan, 0.0), (1.0, 2.0), (3.0, 1.0)]
    assert best([Confirmed(config, each) for each in values], direction) == place
