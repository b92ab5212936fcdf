from dataclasses import replace

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamtune.config import OptimizerConfig
from adamtune.recommending import surface
from adamtune.recommending.evidence import Evidence, Source, greedy
from adamtune.recommending.features import Features

MIDDLE = Features(
    False, n_rows=1024, n_inputs=64, n_outputs=4, batch_size=32, epochs=8, n_weights=4096, depth=3, width=64
)
CONFIGS = tuple(OptimizerConfig("adam", learning_rate=rate) for rate in (1e-4, 1e-3, 1e-2))
COUNT = st.integers(1, 10**6)
TASK = st.builds(
    Features,
    st.booleans(),
    *[COUNT] * 7,
    st.floats(1, 1e4),
    *[st.booleans()] * 6,
)


def learned(*features, data=None, regret=None):
    """Evidence of a task for each of the features, each on its own data by default."""
    data = data or [f"data {number}" for number in range(len(features))]
    sources = [Source(f"task {n}", "a kind", "a family", data[n], each) for n, each in enumerate(features)]
    if regret is None:
        regret = np.random.default_rng(0).random((len(sources), len(CONFIGS)))
    return Evidence(tuple(sources), CONFIGS, np.asarray(regret, float))


# Smaller and larger than the middle by the same factor, in weights alone.
FEW, MANY = replace(MIDDLE, n_weights=1024), replace(MIDDLE, n_weights=16384)


@given(st.lists(TASK, min_size=1, max_size=6), TASK, st.lists(st.sampled_from("abc"), min_size=6, max_size=6))
def test_weights_add_up_to_one(sources, task, data):
    evidence = learned(*sources, data=data[: len(sources)])
    np.testing.assert_allclose(evidence.weights(task).sum(), 1.0, atol=1e-9)
    np.testing.assert_allclose(evidence.share.sum(), 1.0)


def test_an_average_task_learns_the_same_from_all():
    evidence = learned(FEW, MANY, MIDDLE)
    np.testing.assert_allclose(evidence.weights(MIDDLE), evidence.share)


def test_the_like_of_a_task_says_more_of_it():
    evidence = learned(*[FEW, MIDDLE, MANY] * 10)
    few, middle, many = evidence.weights(FEW).reshape(10, 3).T
    assert (few > middle).all() and (middle > many).all()


def test_with_little_evidence_the_weights_are_nearly_equal():
    apart = [np.ptp(learned(*[FEW, MANY] * times).weights(FEW) * 2 * times) for times in (1, 5, 50)]
    assert apart == sorted(apart)
    assert apart[0] < apart[-1] / 4


def test_the_only_source_says_all_of_everything():
    np.testing.assert_allclose(learned(FEW).weights(MANY), [1.0])


def test_tasks_on_the_same_data_count_as_one():
    evidence = learned(FEW, FEW, FEW, MANY, data=["rows", "rows", "rows", "others"])
    np.testing.assert_allclose(evidence.share, [1 / 6] * 3 + [1 / 2])
    # As if the task had been studied once.
    once = learned(FEW, MANY)
    np.testing.assert_allclose(evidence._scale[1:], once._scale[1:])


def test_a_count_outside_of_what_was_seen_counts_as_its_edge():
    evidence = learned(FEW, MIDDLE, MANY)
    huge = replace(MANY, n_weights=10**9)
    np.testing.assert_array_equal(evidence.weights(huge), evidence.weights(MANY))
    assert evidence.outside(MANY) == {}
    assert evidence.outside(huge) == {"n_weights": pytest.approx(10**9 / MANY.n_weights)}
    assert evidence.outside(replace(FEW, n_weights=1)) == {"n_weights": pytest.approx(FEW.n_weights)}


def test_the_distance_to_a_source_grows_with_what_differs():
    apart = learned(FEW, MIDDLE, MANY, replace(MANY, recurrent=True)).apart(FEW)
    assert apart[0] == 0
    assert (np.diff(apart) > 0).all()


@pytest.mark.parametrize("as_given", [list, np.array], ids=["list", "array"])
def test_evidence_without_some_sources_is_that_of_the_others(as_given):
    every = learned(FEW, MIDDLE, MANY)
    others, left = every.without(as_given([False, True, False])), learned(FEW, MANY)
    assert [each.name for each in others.sources] == ["task 0", "task 2"]
    np.testing.assert_array_equal(others.regret, every.regret[[0, 2]])
    np.testing.assert_allclose(others.weights(MIDDLE), left.weights(MIDDLE))
    np.testing.assert_allclose(others.believed, every.believed[[0, 2]])
    assert every.without([False] * 3).sources == every.sources


def test_what_is_believed_is_the_surface():
    evidence = learned(FEW, MANY, regret=[[0.5, np.nan, 0.0], [1.0, 0.0, 0.5]])
    np.testing.assert_array_equal(evidence.believed, surface.believed(CONFIGS, evidence.regret))


# --------------------------------------------------------------------------------------------------------- the list

REGRET = hnp.arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(0, 1))


def left_over(regret, weights, chosen):
    """The weighted mean of the regret that remains after trying these."""
    return np.maximum(weights, 0) @ regret[:, chosen].min(axis=1)


@st.composite
def problem(draw):
    regret = draw(REGRET)
    return regret, draw(hnp.arrays(float, len(regret), elements=st.floats(-1, 1)))


@given(problem(), st.integers(0, 8))
def test_a_list_never_repeats_and_is_as_long_as_it_can_be(given_problem, length):
    chosen = greedy(*given_problem, length)
    assert len(chosen) == len(set(chosen)) == min(length, given_problem[0].shape[1])


@given(problem())
def test_every_place_lowers_the_regret_the_most(given_problem):
    regret, weights = given_problem
    chosen = greedy(regret, weights, regret.shape[1])
    left = [left_over(regret, weights, chosen[: place + 1]) for place in range(len(chosen))]
    assert (np.diff(left) <= 0).all()
    for place in range(len(chosen)):
        rest = set(range(regret.shape[1])) - set(chosen[:place])
        assert left[place] <= min(left_over(regret, weights, [*chosen[:place], other]) for other in rest) + 1e-12


@given(problem(), st.integers(1, 5))
def test_a_longer_list_begins_with_the_shorter_one(given_problem, length):
    assert greedy(*given_problem, length + 1)[:length] == greedy(*given_problem, length)


@given(problem(), st.data())
def test_a_list_begins_with_what_it_is_told_to(given_problem, data):
    columns = given_problem[0].shape[1]
    first = data.draw(st.permutations(range(columns)))[: data.draw(st.integers(0, columns))]
    length = data.draw(st.integers(0, columns))
    assert greedy(*given_problem, length, first)[: len(first)] == first[:length]


def test_a_source_that_speaks_against_is_not_heard():
    regret = np.array([[0.0, 1.0], [1.0, 0.5]])
    assert greedy(regret, np.array([1.5, -0.5]), 2) == greedy(regret, np.array([1.5, 0.0]), 2) == [0, 1]
    assert greedy(regret, np.array([-0.5, 1.5]), 2) == [1, 0]
