"""OptimizerConfig: one frozen choice of optimizer, hypers and schedule.

It is what a study stores, shows, recommends and reuses. It is plain data (JSON both ways, checked against the
catalogue), and `to_keras()` makes a fresh optimizer of it each time, because a Keras optimizer belongs to one model.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adamtune import optimizers
from adamtune.errors import ConfigError
from adamtune.hypers import Hyper, Value
from adamtune.optimizers import schedules
from adamtune.optimizers._rule import Rule, find

_SCHEMA = 1


@dataclass(frozen=True)
class Found:
    """The training a config was found with: it is advice for that batch size and length, not for every one."""

    epochs: int
    batch_size: int
    steps: int

    def __post_init__(self) -> None:
        if not all(type(number) is int and number > 0 for number in vars(self).values()):
            raise ConfigError(f"found must hold whole numbers above 0, got {reprlib.repr(vars(self))}.")


@dataclass(frozen=True, init=False)
class OptimizerConfig:
    """A rule, all its hyper values and the schedule of its learning rate.

    Parameters
    ----------
    optimizer : str
        Name of the optimizer, see `adamtune.optimizers.names()`.
    schedule : {"constant", "inverse_time"}, optional
        How the learning rate moves. Default: "inverse_time" when `decay` is given, else "constant".
    found : Found, optional
        Epochs, batch size and steps of the training that found it; a config from a study carries them.
    **hypers
        Values by Keras' names (`learning_rate`, `beta_1`, ...); what is left out has the optimizer's default.

    Raises
    ------
    ConfigError
        For an unknown optimizer, schedule or hyper, or a value out of range.

    Examples
    --------
    >>> config = OptimizerConfig("adam", learning_rate=3e-4, beta_1=0.95)
    >>> config.beta_1, config.epsilon
    (0.95, 1e-07)
    >>> OptimizerConfig.from_json(config.to_json()) == config
    True
    """

    optimizer: str
    schedule: str
    values: tuple[tuple[str, Value], ...]
    found: Found | None

    def __init__(
        self,
        /,  # `from_dict` must be able to refuse a hyper called "self"
        optimizer: str,
        *,
        schedule: str | None = None,
        found: Found | None = None,
        **hypers: Any,
    ) -> None:
        rule = optimizers.get(optimizer)
        decay = schedules.DECAY.check(hypers.get("decay", 0.0))
        if schedule is None:
            schedule = "inverse_time" if decay else "constant"
        allowed = rule.hypers + schedules.get(schedule).hypers
        if schedule == "constant" and decay:
            raise ConfigError(
                f"decay={decay} is given, but a constant schedule has none: write schedule='inverse_time' or leave one "
                "of the two out."
            )
        if schedule == "constant":
            hypers.pop("decay", None)
        if found is not None and not isinstance(found, Found):
            raise ConfigError(f"found={reprlib.repr(found)}: expected Found(epochs, batch_size, steps) or None.")
        given = {find(name, allowed, rule.name).name: value for name, value in hypers.items()}
        values = tuple((hyper.name, hyper.check(given.get(hyper.name, hyper.default))) for hyper in allowed)
        object.__setattr__(self, "optimizer", rule.name)
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "found", found)

    @property
    def rule(self) -> Rule:
        """The optimizer's mathematics."""
        return optimizers.get(self.optimizer)

    @property
    def hypers(self) -> dict[str, Value]:
        """All values by name, in the catalogue's order."""
        return dict(self.values)

    def __getattr__(self, name: str) -> Value:
        if name != "values" and name in (values := dict(self.values)):
            return values[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        changed = [
            f"{name}={_short(self._hyper(name), value)}"
            for name, value in self.values
            if name == "learning_rate" or value != self._hyper(name).default
        ]
        return f"OptimizerConfig({self.optimizer!r}, {', '.join(changed)})"

    def _hyper(self, name: str) -> Hyper:
        return find(name, self.rule.hypers + schedules.HYPERS, self.optimizer)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold; the inverse of `from_dict`."""
        data: dict[str, Any] = {
            "schema": _SCHEMA,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "hypers": self.hypers,
        }
        if self.found:
            data["found"] = dict(vars(self.found))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OptimizerConfig:
        """A config from `to_dict`'s data, every field checked.

        Raises
        ------
        ConfigError
            When a field is missing, unknown or out of range. Nothing is imported or executed from the data.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(
                f"a config is a mapping, got {type(data).__name__}. Expected the data of OptimizerConfig.to_dict()."
            )
        extra = set(data) - {"schema", "optimizer", "schedule", "hypers", "found"}
        schema = data.get("schema")
        if extra or type(schema) is not int or schema != _SCHEMA:
            foreign = reprlib.repr(sorted(map(str, extra))) if extra else "none"
            raise ConfigError(
                f"not a config of schema {_SCHEMA}: schema={reprlib.repr(schema)}, unknown fields: {foreign}. "
                "Expected the data of OptimizerConfig.to_dict()."
            )
        hypers = data.get("hypers", {})
        if not isinstance(hypers, Mapping) or not all(isinstance(name, str) for name in hypers):
            raise ConfigError(
                f"the field 'hypers' is {reprlib.repr(hypers)}: expected a mapping from names to numbers."
            )
        reserved = set(hypers) & {"optimizer", "schedule", "found"}
        if reserved:
            raise ConfigError(f"the field 'hypers' holds {sorted(reserved)}, which are fields beside it, no hypers.")
        found = data.get("found")
        return cls(
            data.get("optimizer", ""),
            schedule=data.get("schedule", "constant"),
            found=_found(found) if found is not None else None,
            **hypers,
        )

    def to_json(self) -> str:
        """The config as one line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> OptimizerConfig:
        """The inverse of `to_json`; raises ConfigError."""
        try:
            data = json.loads(text)
        # Also: no text at all, bytes that are no text, a number of 5,000 digits, brackets 100,000 deep.
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"not JSON: {error}. Expected the text of OptimizerConfig.to_json().") from None
        return cls.from_dict(data)

    def to_keras(self, steps: int | None = None, builtin: str = "auto") -> Any:
        """A fresh Keras optimizer, for `model.compile(optimizer=...)`.

        Parameters
        ----------
        steps : int, optional
            Number of updates of the training, for schedules with an end. Neither schedule of this version has one.
        builtin : {"auto", "always", "never"}
            Whether to use Keras' own class: wherever it computes the same update for these values (a saved model
            then loads without adamtune), always, or never. Keras' schedule goes with Keras' class, ours with ours.

        Returns
        -------
        keras.optimizers.Optimizer

        Raises
        ------
        ConfigError
            With `builtin="always"` when Keras has no class that computes the same, with the reason.
        """
        if builtin not in ("auto", "always", "never"):
            raise ConfigError(f"builtin={reprlib.repr(builtin)} is unknown: write 'auto', 'always' or 'never'.")
        import keras

        reason = self._unlike_builtin()
        if builtin == "always" and reason:
            raise ConfigError(
                f"builtin='always', but no class of keras.optimizers computes the same: {reason}. Write builtin='auto'."
            )
        ours = builtin == "never" or bool(reason)
        arguments: dict[str, Any] = self.hypers
        decay = arguments.pop("decay", 0.0)
        if self.schedule == "inverse_time":
            rate = arguments["learning_rate"]
            arguments["learning_rate"] = (
                optimizers.LearningRate(rate, decay=decay)
                if ours
                else keras.optimizers.schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=decay)
            )
        if ours:
            return getattr(optimizers, self.rule.class_name)(**arguments)
        return getattr(keras.optimizers, str(self.rule.builtin))(**arguments)

    def to_code(self) -> str:
        """A line of Python that makes the same optimizer, to paste into `model.compile`.

        >>> OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9).to_code()
        'keras.optimizers.SGD(learning_rate=0.1, momentum=0.9, nesterov=False)'
        """
        ours = bool(self._unlike_builtin())
        arguments = {name: repr(value) for name, value in self.values if name != "decay"}
        if self.schedule == "inverse_time":
            rate = arguments["learning_rate"]
            arguments["learning_rate"] = (
                f"adamtune.optimizers.LearningRate({rate}, decay={self.decay!r})"
                if ours
                else f"keras.optimizers.schedules.InverseTimeDecay({rate}, decay_steps=1, decay_rate={self.decay!r})"
            )
        name = f"adamtune.optimizers.{self.rule.class_name}" if ours else f"keras.optimizers.{self.rule.builtin}"
        return f"{name}({', '.join(f'{argument}={value}' for argument, value in arguments.items())})"

    def _unlike_builtin(self) -> str:
        if self.rule.builtin is None:
            return f"keras.optimizers has no {self.rule.class_name}"
        return self.rule.unlike_builtin(self.hypers)


def _found(data: Any) -> Found:
    fields = ("epochs", "batch_size", "steps")
    if not isinstance(data, Mapping) or set(data) != set(fields):
        raise ConfigError(f"the field 'found' is {reprlib.repr(data)}: expected a mapping of {', '.join(fields)}.")
    return Found(**data)


def _short(hyper: Hyper, value: Value) -> str:
    """A value to six digits, counted from where it differs from 1 for a complement: 0.9999999 must not read as 1."""
    if isinstance(value, bool):
        return str(value)
    nines = int(-math.log10(hyper.carry(value))) if hyper.scale == "complement" else 0
    return f"{value:.{min(17, 6 + nines)}g}"
