"""OptimizerConfig: one frozen choice of optimizer, hypers and schedule.

It is what a study stores, shows, recommends and reuses. It is plain data (JSON both ways, checked against the
catalogue), and `to_keras()` makes a fresh optimizer of it each time, because a Keras optimizer belongs to one model.
What is absent (a limit for the gradients, a warmup, an option of Keras at its default) is not stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adamtune import optimizers
from adamtune.errors import ConfigError, short
from adamtune.hypers import MOST_COUNT, Hyper, Value
from adamtune.optimizers import gradients, schedules
from adamtune.optimizers._rule import Rule, find

_SCHEMA = 1


@dataclass(frozen=True)
class Found:
    """The training a config was found with: it is advice for that batch size and length, not for every one."""

    epochs: int
    batch_size: int
    steps: int

    def __post_init__(self) -> None:
        if not all(type(number) is int and 0 < number <= MOST_COUNT for number in vars(self).values()):
            raise ConfigError(f"found must hold whole numbers above 0 and below 2**63, got {short(vars(self))}.")


@dataclass(frozen=True, init=False)
class OptimizerConfig:
    """A rule, all its hyper values and the schedule of its learning rate.

    Parameters
    ----------
    optimizer : str
        Name of the optimizer, see `adamtune.optimizers.names()`.
    schedule : str, optional
        How the learning rate moves, see `adamtune.optimizers.schedules`: "constant", "inverse_time", "inverse_sqrt",
        "exponential", "linear" or "cosine". Default: "inverse_time" when `decay` is given, else "constant".
    found : Found, optional
        Epochs, batch size and steps of the training that found it; a config from a study carries them.
    **hypers
        Values by Keras' names (`learning_rate`, `beta_1`, ...); what is left out has the optimizer's default. Beside
        its own there are `decay`, `final`, `warmup` and `hold` of the schedule; `weight_decay`, one of `clipvalue`,
        `clipnorm`, `global_clipnorm`, where None is none; and the options of every Keras optimizer (`use_ema`,
        `ema_momentum`, `ema_overwrite_frequency`, `gradient_accumulation_steps`, `loss_scale_factor`).

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
    >>> OptimizerConfig("adamw", schedule="cosine", warmup=0.05, clipnorm=1.0, use_ema=True)
    OptimizerConfig('adamw', learning_rate=0.001, schedule='cosine', warmup=0.05, clipnorm=1, use_ema=True)
    """

    optimizer: str
    schedule: str
    values: tuple[tuple[str, Value], ...]
    found: Found | None
    structure: tuple[tuple[str, Any], ...] = ()

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
        if found is not None and not isinstance(found, Found):
            raise ConfigError(f"found={short(found)}: expected Found(epochs, batch_size, steps) or None.")
        structure = _options({name: hypers.pop(name) for name in list(hypers) if name in _OPTIONS})
        given = {find(name, rule.searchable, rule.name).name: value for name, value in hypers.items()}
        schedule, moving = schedules.choose(schedule, given)
        values = {hyper.name: hyper.check(given.get(hyper.name, hyper.default)) for hyper in rule.hypers} | moving
        for hyper in gradients.HYPERS:
            if hyper.name not in values and given.get(hyper.name) is not None:
                value = hyper.check(given[hyper.name])
                if value != hyper.default:
                    values[hyper.name] = value
        gradients.one_clip(values)
        rule.one_average(structure)
        object.__setattr__(self, "optimizer", rule.name)
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "values", tuple(values.items()))
        object.__setattr__(self, "found", found)
        object.__setattr__(self, "structure", tuple(structure.items()))

    @property
    def rule(self) -> Rule:
        """The optimizer's mathematics."""
        return optimizers.get(self.optimizer)

    @property
    def hypers(self) -> dict[str, Value]:
        """All values by name, in the catalogue's order."""
        return dict(self.values)

    @property
    def options(self) -> dict[str, Any]:
        """The options of every Keras optimizer that are not at their default: lanes of one program share them."""
        return dict(self.structure)

    def found_with(self, found: Found | None) -> OptimizerConfig:
        """The same config, said to be found with that training; None leaves open with which."""
        return OptimizerConfig(self.optimizer, schedule=self.schedule, found=found, **self.hypers, **self.options)

    def row(self, steps: int | None = None) -> list[float]:
        """The config as numbers in the order of `rule.columns`, as lanes take them.

        Parameters
        ----------
        steps : int, optional
            Number of updates of the whole training; by default that of `found`.

        Raises
        ------
        ConfigError
            When the schedule needs `steps` and there are none.
        """
        return self.rule.row(self, self._steps(steps))

    def _steps(self, steps: int | None) -> int | None:
        return self.found.steps if steps is None and self.found else steps

    def __getattr__(self, name: str) -> Value:
        if name != "values" and name in (values := dict(self.values)):
            return values[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        changed = {
            name: _short(self._hyper(name), value)
            for name, value in self.values
            if name == "learning_rate" or value != self._hyper(name).default
        }
        rate = f"learning_rate={changed.pop('learning_rate')}"
        implied = "inverse_time" if "decay" in changed else "constant"
        shown = {} if self.schedule == implied else {"schedule": repr(self.schedule)}
        # In the order of __init__'s description: the rule's own, the schedule and its hypers, what stands around.
        own = {hyper.name for hyper in self.rule.hypers}
        before = {name: text for name, text in changed.items() if name in own}
        after = {name: text for name, text in changed.items() if name not in own}
        named = before | shown | after | {name: repr(value) for name, value in self.structure}
        return f"OptimizerConfig({', '.join([repr(self.optimizer), rate, *_arguments(named)])})"

    def _hyper(self, name: str) -> Hyper:
        return find(name, self.rule.hypers + schedules.get(self.schedule).hypers + self.rule.searchable, self.optimizer)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold; the inverse of `from_dict`."""
        data: dict[str, Any] = {
            "schema": _SCHEMA,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "hypers": self.hypers,
        }
        if self.structure:
            data["options"] = self.options
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
        extra = set(data) - {"schema", "optimizer", "schedule", "hypers", "options", "found"}
        schema = data.get("schema")
        if extra or type(schema) is not int or schema != _SCHEMA:
            foreign = short(sorted(map(str, extra))) if extra else "none"
            raise ConfigError(
                f"not a config of schema {_SCHEMA}: schema={short(schema)}, unknown fields: {foreign}. "
                "Expected the data of OptimizerConfig.to_dict()."
            )
        hypers = data.get("hypers", {})
        if not isinstance(hypers, Mapping) or not all(isinstance(name, str) for name in hypers):
            raise ConfigError(f"the field 'hypers' is {short(hypers)}: expected a mapping from names to numbers.")
        reserved = set(hypers) & {"optimizer", "schedule", "found", *_OPTIONS}
        if reserved:
            raise ConfigError(
                f"the field 'hypers' holds {sorted(reserved)}, which are fields or options beside it, no hypers."
            )
        options = data.get("options", {})
        if not isinstance(options, Mapping) or not set(options) <= set(_OPTIONS):
            raise ConfigError(
                f"the field 'options' is {short(options)}: expected a mapping from {', '.join(_OPTIONS)}."
            )
        found = data.get("found")
        return cls(
            data.get("optimizer", ""),
            schedule=data.get("schedule", "constant"),
            found=_found(found) if found is not None else None,
            **hypers,
            **options,
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
            Number of updates of the training, for a schedule that ends with it and for a warmup. By default that of
            `found`.
        builtin : {"auto", "always", "never"}
            Whether to use Keras' own class: wherever it computes the same update for these values (a saved model
            then loads without adamtune), always, or never. Keras' schedule goes with Keras' class, ours with ours.

        Returns
        -------
        keras.optimizers.Optimizer

        Raises
        ------
        ConfigError
            With `builtin="always"` when Keras has no class that computes the same, with the reason; and when the
            schedule needs `steps` and there are none.
        """
        if builtin not in ("auto", "always", "never"):
            raise ConfigError(f"builtin={short(builtin)} is unknown: write 'auto', 'always' or 'never'.")
        import keras

        reason = self._unlike_builtin()
        if builtin == "always" and reason:
            raise ConfigError(
                f"builtin='always', but no class of keras.optimizers computes the same: {reason}. Write builtin='auto'."
            )
        ours = builtin == "never" or bool(reason)
        arguments, schedule = self._parts(steps, ours)
        if schedule:
            owner = optimizers if ours else keras.optimizers.schedules
            arguments["learning_rate"] = getattr(owner, schedule[0])(**schedule[1])
        return getattr(optimizers if ours else keras.optimizers, self._class_name(ours))(**arguments)

    def to_code(self, steps: int | None = None, framework: str = "keras") -> str:
        """A line of Python that makes the same optimizer, to paste into `model.compile`, or into another framework.

        Parameters
        ----------
        steps : int, optional
            As for `to_keras`.
        framework : {"keras", "torch", "optax"}
            What `to_keras`, `to_torch` for the weights of a `model`, or `to_optax` makes. The last two need neither
            adamtune where the line runs nor the framework where it is written.

        Raises
        ------
        ConfigError
            As `to_keras`, `to_torch` and `to_optax` do.

        >>> config = OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9)
        >>> config.to_code()
        'keras.optimizers.SGD(learning_rate=0.1, momentum=0.9, nesterov=False)'
        >>> config.to_code(framework="torch")
        'torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=False)'
        """
        if framework == "torch":
            from adamtune.optimizers import _torch

            return _torch.code(self.rule, self, self.options)
        if framework == "optax":
            from adamtune.optimizers import _optax

            return _optax.code(self.rule, self, self.options, self._steps(steps))
        if framework != "keras":
            raise ConfigError(f"framework={short(framework)} is unknown: write 'keras', 'torch' or 'optax'.")
        ours = bool(self._unlike_builtin())
        arguments, schedule = self._parts(steps, ours)
        code = {name: repr(value) for name, value in arguments.items()}
        if schedule:
            owner = "adamtune.optimizers" if ours else "keras.optimizers.schedules"
            # The rate comes first in every schedule, so it needs no name.
            rate, *others = ((name, repr(value)) for name, value in schedule[1].items())
            code["learning_rate"] = f"{owner}.{schedule[0]}({', '.join([rate[1], *_arguments(dict(others))])})"
        owner = "adamtune.optimizers" if ours else "keras.optimizers"
        return f"{owner}.{self._class_name(ours)}({', '.join(_arguments(code))})"

    def to_torch(self, params: Any) -> Any:
        """A fresh `torch.optim.Optimizer` that computes the same updates, for a training in PyTorch.

        Parameters
        ----------
        params : iterable
            The weights, as every class of `torch.optim` takes them: `model.parameters()`, or groups.

        Returns
        -------
        torch.optim.Optimizer

        Raises
        ------
        ConfigError
            Where no class of PyTorch computes the same, with the reason and what to write instead: its conventions
            differ from those of Keras. And when PyTorch is not installed.
        """
        from adamtune.optimizers import _torch

        return _torch.optimizer(self.rule, self, self.options, params)

    def to_optax(self, steps: int | None = None) -> Any:
        """An `optax.GradientTransformation` that computes the same updates, schedule included, for a training in JAX.

        Parameters
        ----------
        steps : int, optional
            As for `to_keras`.

        Returns
        -------
        optax.GradientTransformation
            Give its `update` the weights as the third argument. That of a Lookahead takes pairs of weights,
            `optax.LookaheadParams.init_synced(params)`, as every `optax.lookahead` does.

        Raises
        ------
        ConfigError
            Where nothing in optax computes the same, with the reason and what to write instead; when the schedule needs
            `steps` and there are none; and when optax is not installed.
        """
        from adamtune.optimizers import _optax

        return _optax.transformation(self.rule, self, self.options, self._steps(steps))

    def _class_name(self, ours: bool) -> str:
        return self.rule.class_name if ours or self.rule.builtin is None else self.rule.builtin.class_name

    def _parts(self, steps: int | None, ours: bool) -> tuple[dict[str, Any], tuple[str, dict[str, Any]] | None]:
        """The arguments of the optimizer's class, and the schedule's class and arguments where there is one."""
        steps = self._steps(steps)
        values = self.hypers
        moving = {hyper.name: values.pop(hyper.name) for hyper in schedules.HYPERS if hyper.name in values}
        if not ours and self.rule.builtin is not None:
            return self.rule.builtin.arguments(values) | self.options, schedules.builtin(self, steps)
        arguments = values | self.options
        if self.schedule == "constant" and not moving:
            return arguments, None
        schedules.row(self, steps)
        named = (
            {"schedule": self.schedule, "steps": steps} if schedules.needs_steps(self) else {"schedule": self.schedule}
        )
        return arguments, ("LearningRate", {"learning_rate": values["learning_rate"], **named, **moving})

    def _unlike_builtin(self) -> str:
        if self.rule.builtin is None:
            return f"keras.optimizers has no {self.rule.class_name}"
        return self.rule.builtin.unlike(self.hypers) or schedules.unlike_builtin(self)


_OPTIONS = {option.name: option for option in gradients.OPTIONS}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not at their default, checked."""
    checked = {name: option.check(given[name]) for name, option in _OPTIONS.items() if name in given}
    options = {name: value for name, value in checked.items() if value != _OPTIONS[name].default}
    without = [name for name in ("ema_momentum", "ema_overwrite_frequency") if name in options]
    if without and not options.get("use_ema"):
        raise ConfigError(
            f"{without[0]}={options[without[0]]} is given, but there is no moving average: write use_ema=True or leave "
            "it out."
        )
    return options


def _arguments(named: Mapping[str, str]) -> list[str]:
    return [f"{name}={text}" for name, text in named.items()]


def _found(data: Any) -> Found:
    fields = ("epochs", "batch_size", "steps")
    if not isinstance(data, Mapping) or set(data) != set(fields):
        raise ConfigError(f"the field 'found' is {short(data)}: expected a mapping of {', '.join(fields)}.")
    return Found(**data)


def _short(hyper: Hyper, value: Value) -> str:
    """A value to six digits, counted from where it differs from 1 for a complement: 0.9999999 must not read as 1."""
    if isinstance(value, bool):
        return str(value)
    nines = int(-math.log10(hyper.carry(value))) if hyper.scale == "complement" else 0
    return f"{value:.{min(17, 6 + nines)}g}"
