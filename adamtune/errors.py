"""What can go wrong, by name, and what a lane can be.

Every error of the package is an `AdamTuneError`. Its text says what was given, what was expected and what to write
instead. Errors about an argument are `ValueError`s too, because that is what scikit-learn and Keras users catch.
Inside a compiled program nothing can be raised: there the outcome is a value, `LaneStatus`.
"""

from __future__ import annotations

import difflib
import enum
import numbers
import reprlib
from collections.abc import Iterable
from typing import Any


class AdamTuneError(Exception):
    """Base of every error that adamtune raises on purpose."""


class ConfigError(AdamTuneError, ValueError):
    """An optimizer, a hyper or a search space that does not exist or is out of range."""


class DataError(AdamTuneError, ValueError):
    """Rows or targets that cannot be trained on as they are."""


class DataTypeError(DataError, TypeError):
    """Rows of things that are neither numbers nor text; what scikit-learn calls a TypeError."""


class ModelError(AdamTuneError, ValueError):
    """A model that does not fit the data, or cannot be cloned or trained."""


class SettingError(AdamTuneError, ValueError):
    """An argument of the tuner or of the command line that is out of range or not there yet."""


class StudyError(AdamTuneError):
    """A stored study that is missing, is another one than asked for, or holds nothing usable."""


class StorageError(AdamTuneError):
    """A database or a file that cannot be reached, opened, read or written."""


class OutOfMemory(AdamTuneError):
    """Lanes that need more memory than the device, or the machine, has."""


class LaneStatus(enum.Enum):
    """What became of a lane in the last tick; the value is the sentence that people read."""

    RUNNING = "is training"
    DIVERGED = "loss, score or weights became NaN or infinite; the trial is ended, the other lanes go on"


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python writes no more than 4,300 digits
            return f"<a whole number of {x.bit_length()} bits>"


def short(value: Any) -> str:
    """`repr(value)` for a message, whatever was given: cut short, and without an error of its own.

    >>> short("x" * 1000), short(10**5000)
    ("'xxxxxxxxxxxx...xxxxxxxxxxxxx'", '<a whole number of 16610 bits>')
    """
    return _Short().repr(value)


def did_you_mean(given: str, known: Iterable[str], most: int = 1) -> str:
    """A hint for a misspelt name, with at most so many others: `" Did you mean 'adam'?"`; nothing when none is near.

    >>> did_you_mean("adma", ["adam", "sgd"])
    " Did you mean 'adam'?"
    >>> did_you_mean("xyz", ["adam", "sgd"])
    ''
    """
    near = difflib.get_close_matches(given.lower(), list(known), n=most)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def whole(name: str, value: Any, least: int = 1) -> int:
    """The value, if it is a whole number of at least that; else raises SettingError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise SettingError(f"{name}={value!r}: expected a whole number of at least {least}.")
    return int(value)
