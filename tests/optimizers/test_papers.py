"""Every rule against its paper, written a second time in numpy: see `tests.optimizers.papers`."""

import numpy as np
import pytest

from adamtune import optimizers
from adamtune.testing import path
from tests.optimizers import papers

STEPS = 100


def gradients_of(shape, seed):
    """Gradients of many sizes, from 1e-4 to 10, that turn their signs."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, *shape)) * 10.0 ** rng.uniform(-4, 1, size=(STEPS, *shape))


def both(name, dtype, seed):
    """Our weights and the paper's, each of shape (lanes, steps, *shape)."""
    rule, paper = optimizers.get(name), papers.get(name)
    shape = getattr(paper, "SHAPE", (6,))
    gradients = gradients_of(shape, seed).astype(dtype).astype("float64")
    start = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype(dtype).astype("float64")
    lanes = len(paper.VALUES)
    ours = path(rule, paper.VALUES, lambda w, t: 0 * w + gradients[t - 1].astype(dtype), [start] * lanes, STEPS, dtype)
    theirs = [np.stack(list(paper.paper(gradients, start, **values))) for values in paper.VALUES]
    return np.moveaxis(ours, 1, 0), np.stack(theirs)


def test_every_rule_has_its_paper_and_every_value_is_given():
    assert papers.names() == optimizers.names()
    for name in papers.names():
        hypers = {hyper.name for hyper in optimizers.get(name).hypers}
        assert all(set(values) == hypers for values in papers.get(name).VALUES), name


@pytest.mark.parametrize("name", optimizers.names())
def test_a_rule_is_its_paper(name, seed):
    ours, theirs = both(name, "float64", seed)
    for values, one, other in zip(papers.get(name).VALUES, ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=f"{values}")


@pytest.mark.parametrize("name", optimizers.names())
def test_a_rule_is_its_paper_in_float32(name, seed):
    ours, theirs = both(name, "float32", seed)
    allowed = getattr(papers.get(name), "FLOAT32", 1e-6)
    for values, one, other in zip(papers.get(name).VALUES, ours, theirs, strict=True):
        assert np.abs(one - other).max() <= allowed * np.abs(other).max(), values
