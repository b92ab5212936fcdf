import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from adamtune import optimizers
from adamtune.errors import ConfigError
from adamtune.tuning.parameter import Parameter, at, named, nearest, read, whole

ADAM = optimizers.get("adam")

DISTRIBUTIONS = [
    FloatDistribution(1e-4, 10.0, log=True),
    FloatDistribution(-1.0, 3.0),
    FloatDistribution(0.5, 0.9, step=0.1),
    IntDistribution(1, 7),
    IntDistribution(1, 9, step=2),
    IntDistribution(1, 100, log=True),
    CategoricalDistribution(["a", "b", "c"]),
]


@given(st.sampled_from(DISTRIBUTIONS), st.floats(0.0, 1.0))
def test_every_share_is_a_value_of_the_distribution(distribution, share):
    value = at(distribution, share)
    assert distribution._contains(distribution.to_internal_repr(value))
    assert type(value) is {FloatDistribution: float, IntDistribution: int}.get(type(distribution), str)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS[2:5] + DISTRIBUTIONS[6:])
def test_discrete_values_come_equally_often(distribution):
    counts = Counter(at(distribution, share) for share in np.linspace(0, 1, 1000, endpoint=False))
    assert max(counts.values()) - min(counts.values()) <= 2


@given(st.sampled_from(DISTRIBUTIONS), st.floats(0.0, 1.0))
def test_nearest_to_a_value_is_the_value(distribution, share):
    assert nearest(distribution, at(distribution, share)) == at(distribution, share)


@pytest.mark.parametrize(("name", "carried"), [("beta_1", False), ("one_minus_beta_1", True), ("epsilon", True)])
def test_name_says_whether_the_carried_number_is_meant(name, carried):
    hyper, found = named(name, ADAM)
    assert (found, Parameter(hyper, found, DISTRIBUTIONS[0]).name) == (carried, name)


def test_fixed_values_may_be_said_either_way():
    beta, epsilon = ADAM.hyper("beta_1"), ADAM.hyper("epsilon")
    assert read(beta, False, 0.75) == read(beta, True, 0.25) == 0.75
    assert read(epsilon, True, np.float32(0.5)) == 0.5
    assert (
        read(beta, False, (0.5, 0.75))
        == read(beta, True, (0.25, 0.5))
        == read(beta, True, np.array([0.25, 0.5]).tolist())
    )


def test_no_limit_is_said_as_keras_says_it():
    (limit,) = [hyper for hyper in ADAM.searchable if hyper.name == "clipnorm"]
    assert read(limit, True, None) == math.inf
    with pytest.raises(ConfigError):
        read(ADAM.hyper("epsilon"), True, None)


def test_whole_range_is_the_catalogues():
    for hyper in ADAM.searchable:
        parameter = whole(hyper)
        if hyper.scale != "flag":
            assert (parameter.distribution.low, parameter.distribution.high) == (hyper.low, hyper.high)
