import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from adamtune.config import OptimizerConfig
from adamtune.tuning.confirm import Confirmed, best, confirm
from tests.tuning.fakes import PASS, FakeEngine, FakePrograms, loss_of

TASK = SimpleNamespace(epochs=5, direction="minimize", build=lambda seed: seed)
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


class NoisyEngine(FakeEngine):
    """Every config has luck of its own in every pass."""

    def _report(self, lane, config, age):
        report = super()._report(lane, config, age)
        luck = np.random.default_rng([self.number, round(1e9 * config.learning_rate)]).normal(0, 0.3)
        return dataclasses.replace(report, value=report.value - PASS * self.number + luck)


def test_confirming_leaves_less_to_luck_than_the_best_of_many():
    """Of 21 configs the worth is known; a repetition sees each once, and the best three three times more."""
    configs = [OptimizerConfig("adam", learning_rate=10.0**-rate) for rate in np.linspace(2, 4, 21)]
    worth, engine = np.array([loss_of(config, TASK.epochs) for config in configs]), NoisyEngine(8)
    excess = []
    for repetition in range(100):
        passes = [SimpleNamespace(seed=4 * repetition + number) for number in range(4)]
        (once,) = confirm(TASK, lambda rule: engine, configs, passes[:1])
        top = np.argsort([each.mean for each in once])[:3]
        *_, again = confirm(TASK, lambda rule: engine, [configs[number] for number in top], passes[1:])
        excess.append(worth[[top[0], top[best(again, "minimize")]]] - worth.min())
    plain, confirmed = np.transpose(excess)
    assert confirmed.mean() < 0.8 * plain.mean()
    assert stats.wilcoxon(confirmed, plain, zero_method="zsplit", alternative="less").pvalue < 0.01
