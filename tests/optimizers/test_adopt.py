"""What is known of ADOPT."""

import numpy as np
import pytest

from adamtune import optimizers
from adamtune.testing import path

ADOPT, ADAM = optimizers.get("adopt"), optimizers.get("adam")


def test_the_first_step_moves_nothing_and_the_second_by_the_rate():
    g = np.array([1e-4, -3.0, 50.0])
    weights = path(ADOPT, {"learning_rate": 0.1, "beta_1": 0.0}, lambda w, t: g, np.zeros(3), steps=2)
    np.testing.assert_array_equal(weights[0], np.zeros(3))
    np.testing.assert_allclose(weights[1], -0.1 * np.sign(g), rtol=1e-12)


def test_a_gradient_is_not_divided_by_itself():
    # beta_2 = 0: the second moment is the last gradient's square. Adam would make every step one of length lr.
    values = {"learning_rate": 0.1, "beta_1": 0.0, "beta_2": 0.0, "epsilon": 1e-6}
    given = np.array([[1.0], [1.0], [0.5], [0.25]])
    weights = path(ADOPT, values, lambda w, t: given[t - 1], np.zeros(1), steps=4)
    np.testing.assert_allclose(np.diff(weights[:, 0]), [-0.1, -0.05, -0.05], rtol=1e-12)


@pytest.mark.parametrize("beta_2", [0.1, 0.3])
def test_a_small_beta_2_converges_where_adams_does_not(beta_2):
    """Reddi et al. 2018, theorem 1: a gradient of 3 every third step, else -1, so the way is downwards."""
    values = {"learning_rate": 0.1, "beta_1": 0.0, "beta_2": beta_2, "schedule": "inverse_sqrt"}
    ends = {
        rule.name: path(rule, values, lambda w, t: 0 * w + (3.0 if t % 3 == 1 else -1.0), np.zeros(1), 300)[-1, 0]
        for rule in (ADOPT, ADAM)
    }
    assert ends["adopt"] < -0.1 and ends["adam"] > 0.1
