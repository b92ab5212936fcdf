"""Tools to try a rule on, and every promise of a `Rule` as tests to inherit.

An optimizer is tested by a subclass with one fixture; each test says in its name what is promised.

    class TestMyRule(RuleTestCase):
        @pytest.fixture
        def rule(self):
            return RULE

Who writes an optimizer of their own, in a file of their own, gets the same tests that adamtune's optimizers pass. The
tests need pytest; the tools do not.
"""

from __future__ import annotations

from typing import Any

from adamtune.testing.paths import carried, floatx, path, three_steps

__all__ = ["RuleTestCase", "carried", "floatx", "middle", "path", "three_steps"]


def __getattr__(name: str) -> Any:
    if name in ("RuleTestCase", "middle"):
        from adamtune.testing import rules

        return getattr(rules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
