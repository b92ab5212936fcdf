"""Hyper: one number of an optimizer that flows into a compiled program as a value.

Four examples cover all kinds. `learning_rate` is positive and searched on a log scale. `beta_1` is a fraction: what
matters about it is how far it is from one, so it is searched on the log of `1 - beta_1` and travels as
`one_minus_beta_1`, because float32 cannot hold a beta near one (a beta of 1 - 1e-6 puts an error of 1.3 % into
`1 - beta**t`, one of 1 - 1e-7 an error of 19 %). `amsgrad` is a flag: a 0/1 mask in the program, never a branch.
`sync_period` is a count: a whole number, searched evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from adamtune.errors import ConfigError, short

# What programs, databases and other languages count with: a larger number of epochs or batches is a mistake.
MOST_COUNT = 2**63 - 1
Scale = Literal["log", "complement", "flag", "count"]
Value = float | bool


@dataclass(frozen=True)
class Hyper:
    """One hyperparameter: its default, its legal values and where to search it.

    Parameters
    ----------
    name : str
        Keras' name of the argument.
    default : float or bool
        What is used when nobody says otherwise.
    scale : {"log", "complement", "flag", "count"}
        How it is searched: on log(value), on log(1 - value), as yes and no, or among whole numbers.
    low, high : float
        Bounds of the search, of `1 - value` for a complement. Unused for a flag.
    tier : int
        From which budget on it is searched by default: 1 always, 2 from 25 trials, 3 from 60 (see `tuning.space`),
        4 only where a space names it.
    meaning : str
        One line for people.
    zero : bool
        Whether a "log" hyper may be exactly 0 (an epsilon or a decay may, a learning rate may not).
    most : float
        The largest legal value of a "log" hyper: 1 for a share. Infinity is legal only where it is the
        default, as a limit that is none.
    """

    name: str
    default: Value
    scale: Scale
    low: float
    high: float
    tier: int
    meaning: str
    zero: bool = False
    most: float = math.inf

    @property
    def carried_name(self) -> str:
        """The name under which the value travels into a program and under which it is searched."""
        return f"one_minus_{self.name}" if self.scale == "complement" else self.name

    @property
    def expected(self) -> str:
        """The legal values in words."""
        if self.scale == "flag":
            return "True or False"
        if self.scale == "complement":
            return f"0 <= {self.name} < 1"
        if self.scale == "count":
            return f"a whole number {self.name} >= 1"
        sign = ">=" if self.zero else ">"
        return f"{self.name} {sign} 0" if self.most == math.inf else f"{self.most:g} >= {self.name} {sign} 0"

    def check(self, value: object) -> Value:
        """The value as a Python float or bool.

        Raises
        ------
        ConfigError
            When it is not a number or outside the legal range.
        """
        number = _number(value)
        if self.scale == "flag":
            if _is_bool(value) or number in (0.0, 1.0):
                return bool(value)
        elif self.scale == "count":
            if 1.0 <= number < math.inf and number == int(number):
                return int(number)
        elif self.scale == "complement":
            if 0.0 <= number < 1.0:
                return number
        else:
            legal = 0.0 < number <= self.most or (self.zero and number == 0.0)
            if legal and (math.isfinite(number) or number == self.default):
                return number
        raise ConfigError(
            f"{self.name}={short(value)} is out of range: expected {self.expected}. "
            f"The default is {self.name}={self.default}."
        )

    def carry(self, value: Value) -> float:
        """The number that travels into a program: `1 - value` for a complement, 0.0 or 1.0 for a flag.

        >>> fraction("beta_1", 0.5, low=1e-2, high=1.0, tier=1, meaning="memory").carry(0.75)
        0.25
        """
        return 1.0 - value if self.scale == "complement" else float(value)

    def uncarry(self, carried: float | bool) -> Value:
        """The inverse of `carry`."""
        if self.scale == "flag":
            return bool(carried)
        if self.scale == "count":
            return round(carried)
        return 1.0 - carried if self.scale == "complement" else float(carried)


def positive(
    name: str,
    default: float,
    *,
    low: float,
    high: float,
    tier: int,
    meaning: str,
    zero: bool = False,
    most: float = math.inf,
) -> Hyper:
    """A positive number, searched on a log scale between `low` and `high`; `zero=True` makes 0 legal too."""
    return Hyper(name, default, "log", low, high, tier, meaning, zero, most)


def fraction(name: str, default: float, *, low: float, high: float, tier: int, meaning: str) -> Hyper:
    """A number in [0, 1) near one, searched on a log scale of `1 - value` between `low` and `high`."""
    return Hyper(name, default, "complement", low, high, tier, meaning)


def flag(name: str, default: bool = False, *, tier: int, meaning: str) -> Hyper:
    """A yes or no that enters the program as a 0/1 mask."""
    return Hyper(name, default, "flag", 0.0, 1.0, tier, meaning)


def count(name: str, default: int, *, low: int, high: int, tier: int, meaning: str) -> Hyper:
    """A whole number above 0, searched evenly from `low` to `high`, both included."""
    return Hyper(name, default, "count", low, high, tier, meaning)


def _number(value: object) -> float:
    """`value` as a float, NaN when it is none (bool is not a number here: `beta_1=True` is a mistake)."""
    if isinstance(value, (str, bytes, bytearray)) or _is_bool(value) or getattr(value, "shape", ()) != ():
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_bool(value: object) -> bool:
    """Whether `value` is a bool of Python, or a single one of numpy."""
    return isinstance(value, bool) or (
        getattr(value, "shape", None) == () and str(getattr(value, "dtype", "")) == "bool"
    )
