"""The rules against Keras, PyTorch and optax: what is said to be the same is, the rest is refused with its reason."""

import itertools

import numpy as np
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from tests.optimizers import oracles, papers

AGREE = [case for case in oracles.CASES if case.values is not None]
REFUSED = [case for case in oracles.CASES if case.refused]


def of(case):
    return f"{case.rule}-{case.oracle}"


def test_the_gradient_is_the_slope_of_the_loss():
    weights, small = oracles.start(), 1e-6
    for step, which in itertools.product(range(4), range(len(weights))):
        direction = np.random.default_rng(which).normal(size=weights[which].shape)
        there, back = (
            [w + sign * small * direction if i == which else w for i, w in enumerate(weights)] for sign in (1, -1)
        )
        slope = (oracles.loss(there, step) - oracles.loss(back, step)) / (2 * small)
        assert slope == pytest.approx((oracles.gradient(weights, step)[which] * direction).sum(), rel=1e-6)


def test_every_rule_is_compared_with_every_oracle():
    ours = [name for name in optimizers.names() if optimizers.get(name).update.__module__.startswith("adamtune.")]
    assert sorted((case.rule, case.oracle) for case in oracles.CASES) == sorted(
        itertools.product(ours, oracles.ORACLES)
    )


@pytest.mark.parametrize("case", AGREE, ids=of)
def test_an_oracle_computes_the_same(case):
    oracles.needs(case.oracle)
    assert case.difference() <= case.tolerance
    # And it was put to the test: the weights went somewhere.
    path = oracles.ours(case.config)
    assert np.abs(path[-1] - path[0]).max() > 0.01


@pytest.mark.parametrize("case", REFUSED, ids=of)
def test_what_has_no_equal_is_refused_with_its_reason(case):
    oracles.needs(case.oracle)
    assert case.refused in case.answer()


@pytest.mark.parametrize("oracle", oracles.ORACLES)
def test_at_its_defaults_a_rule_is_exported_or_the_case_says_why_not(oracle):
    oracles.needs(oracle)
    for case in (case for case in oracles.CASES if case.oracle == oracle):
        assert bool(case.refused) == bool(case.answer()), (case.rule, case.answer())


STEPS = 12
PAPERS = sorted(set(papers.names()) & set(optimizers.names()))


@pytest.fixture
def noise(seed):
    """Gradients of many sizes, from 1e-4 to 10, that no weight has a say in: so a small difference stays small."""
    rng = np.random.default_rng(seed)
    sizes = [(STEPS, *shape) for shape in oracles.SHAPES.values()]
    steps = [rng.normal(size=size) * 10.0 ** rng.uniform(-4, 1, size=size) for size in sizes]
    return lambda weights, step: [each[step] for each in steps]


@pytest.mark.parametrize("oracle", ["torch", "optax"])
@pytest.mark.parametrize("name", PAPERS)
def test_whatever_values_are_exported_compute_the_same(name, oracle, noise):
    oracles.needs(oracle)
    # The values of a paper file reach every flag and the extremes of every hyper; every other one with a decay.
    for values, decay in zip(papers.get(name).VALUES, itertools.cycle([{}, {"weight_decay": 0.25}])):
        config = OptimizerConfig(name, **(values | decay))
        if not oracles.refusal(config, oracle):
            ours, theirs = (oracles.run(config, each, STEPS, noise) for each in ("ours", oracle))
            assert oracles.apart(ours, theirs) <= 1e-9, config
