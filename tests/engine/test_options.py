"""A lane does what Keras' optimizers do: every rule, schedule and option, against `model.fit` with them.

The cases stand in `cases`; a file of their own, so that two processes share the work.
"""

import pytest

from tests.engine import cases
from tests.engine.equality import STRATEGIES, compare


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", cases.OPTIONS, ids=str)
def test_options_train_as_in_keras_fit(case, strategy):
    compare(case, strategy, "never", case.tolerance)


@pytest.mark.parametrize("case", [case for case in cases.OPTIONS if case.builtin], ids=str)
def test_options_train_as_with_the_optimizers_of_keras(case):
    compare(case, "looped", "always", case.builtin)
