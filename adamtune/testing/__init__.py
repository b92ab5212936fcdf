"""Tools to try a rule on, and every promise of a `Rule` as tests to inherit.

An optimizer is tested by a subclass with one fixture; each test says in its name what is promised.

    class TestMyRule(RuleTestCase):
        @pytest.fixture
        def rule(self):
            return RULE

Who writes an optimizer of their own, in a file of their own, gets the same tests that adamtune's optimizers pass.
"""

from adamtune.testing.paths import carried, floatx, path, three_steps
from adamtune.testing.rules import RuleTestCase, middle

__all__ = ["RuleTestCase", "carried", "floatx", "middle", "path", "three_steps"]
