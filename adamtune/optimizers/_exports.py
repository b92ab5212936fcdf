"""What the doors to PyTorch and optax share: which rules they know, and what both place where Keras does not.

Each door says no in its own words: the last argument is its `_refuse`, which takes the reason and what to write
instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from adamtune.errors import ConfigError
from adamtune.hypers import Value
from adamtune.optimizers._rule import Rule

Values = Mapping[str, Value]
Refuse = Callable[[str, str], ConfigError]


def is_known(rule: Rule, table: Collection[str]) -> bool:
    """Whether the table is about this rule: one from outside may have the name of one of ours."""
    return rule.name in table and rule.update.__module__.startswith("adamtune.optimizers.")


def after_correction(v: Values, theirs: str, refuse: Refuse) -> None:
    """Both add epsilon to the corrected root, Keras to the raw one: the same only where the config says so."""
    if v["epsilon"] and not v["epsilon_after_correction"]:
        raise refuse(
            f"{theirs} adds epsilon after the bias correction, and epsilon={v['epsilon']:g} here is added before",
            "Write epsilon_after_correction=True or epsilon=0",
        )


def in_maximum(v: Values, theirs: str, refuse: Refuse) -> None:
    """Where both have the epsilon of Adamax."""
    if v["epsilon"] and not v["epsilon_in_maximum"]:
        raise refuse(
            f"{theirs} adds epsilon inside of the maximum, and epsilon={v['epsilon']:g} here is added to the quotient",
            "Write epsilon_in_maximum=True or epsilon=0",
        )
