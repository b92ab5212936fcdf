"""Any Rule as a `keras.optimizers.Optimizer`, for `model.compile`, saving and loading.

The base class of Keras does what is not the rule's own: decoupled weight decay, clipping, EMA, gradient accumulation,
loss scaling, schedules. A class made here only turns Keras' attributes into the rule's values and writes back what the
rule returns.
"""

from __future__ import annotations

import inspect
from functools import cache
from types import SimpleNamespace
from typing import Any

import keras
from keras import ops

from adamtune.optimizers import schedules
from adamtune.optimizers._rule import Rule, find


def _base_parameters() -> dict[str, inspect.Parameter]:
    # The public class hides its arguments behind *args; they stand in the base that all backends share.
    for base in keras.optimizers.Optimizer.__mro__:
        parameters = inspect.signature(base.__init__).parameters
        if "weight_decay" in parameters:
            skipped = ("self", "learning_rate", "kwargs")
            return {name: each for name, each in parameters.items() if name not in skipped}
    raise AssertionError("keras.optimizers.Optimizer takes no weight_decay: unknown Keras version")


_BASE = _base_parameters()


class RuleOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose `update_step` is a Rule's; subclasses set `rule`."""

    rule: Rule

    def __init__(self, **arguments: Any) -> None:
        hypers = {hyper.name: hyper for hyper in self.rule.hypers}
        base = {name: value for name, value in arguments.items() if name not in hypers}
        rate = arguments.get("learning_rate", hypers["learning_rate"].default)
        # A schedule or a callable is Keras' business; a number is checked like every other hyper.
        if not callable(rate):
            rate = hypers["learning_rate"].check(rate)
        super().__init__(learning_rate=rate, **base)
        for name, hyper in hypers.items():
            if name != "learning_rate":
                setattr(self, name, hyper.check(arguments.get(name, hyper.default)))

    def build(self, variables: list[Any]) -> None:
        """Create the rule's slots, one zero array per slot and variable."""
        if self.built:
            return
        super().build(variables)
        self._slots = self.add_optimizer_variables(variables, list(self.rule.slots))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of the rule for one variable; Keras calls it."""
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        slots = [slot[index] for slot in self._slots]
        h = SimpleNamespace(
            **{
                hyper.carried_name: ops.convert_to_tensor(hyper.carry(getattr(self, hyper.name)), dtype=dtype)
                for hyper in self.rule.hypers
                if hyper.name != "learning_rate"
            },
            learning_rate=ops.cast(learning_rate, dtype),
        )
        # `cast` reads a variable. `convert_to_tensor` may return the variable itself, and a rule that hands one slot's
        # old value on to the next would then hand on the new one.
        weight, new_slots = self.rule.update(
            # An embedding's gradient is sparse on TensorFlow; `reshape` makes it dense, as Keras' own classes do.
            ops.cast(ops.reshape(gradient, variable.shape), dtype),
            ops.cast(variable, dtype),
            tuple(ops.cast(slot, dtype) for slot in slots),
            h,
            ops.cast(self.iterations + 1, dtype),
        )
        for slot, value in zip(slots, new_slots, strict=True):
            self.assign(slot, value)
        self.assign(variable, weight)

    def get_config(self) -> dict[str, Any]:
        """Keras' config and the rule's hypers."""
        own = {hyper.name: getattr(self, hyper.name) for hyper in self.rule.hypers[1:]}
        return super().get_config() | own


@keras.saving.register_keras_serializable(package="adamtune")
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a config as a Keras schedule, computed as lanes compute it: in the model's float type.

    The schedules of Keras compute in float32 in a float64 model too, which moves a rate by 1e-8 of itself.

    Parameters
    ----------
    learning_rate : float
        The rate at the start.
    **hypers
        The numbers of `schedules.HYPERS`; what is left out has its default.
    """

    def __init__(self, learning_rate: float, **hypers: Any) -> None:
        given = {find(name, schedules.HYPERS, "LearningRate").name: value for name, value in hypers.items()}
        own = {hyper.name: hyper.check(given.get(hyper.name, hyper.default)) for hyper in schedules.HYPERS}
        self._values = {"learning_rate": float(learning_rate), **own}

    def __call__(self, step: Any) -> Any:
        """The rate after `step` updates."""
        dtype = keras.config.floatx()
        h = SimpleNamespace(**{name: ops.convert_to_tensor(value, dtype=dtype) for name, value in self._values.items()})
        return schedules.learning_rate(h, ops.cast(step, dtype))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same schedule."""
        return dict(self._values)


@cache
def keras_class(rule: Rule) -> type[RuleOptimizer]:
    """The Keras class of a rule, made once and registered with Keras as "adamtune>Name"."""
    made = type(
        rule.class_name,
        (RuleOptimizer,),
        {"rule": rule, "__doc__": _doc(rule), "__module__": "adamtune.optimizers"},
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(h.name, keyword, default=h.default) for h in rule.hypers]
    base = [parameter.replace(kind=keyword) for parameter in _BASE.values()]
    made.__signature__ = inspect.Signature([*own, *base])  # type: ignore[attr-defined]
    return keras.saving.register_keras_serializable(package="adamtune")(made)


def _doc(rule: Rule) -> str:
    lines = [f"{hyper.name} : {hyper.expected}, default {hyper.default}\n    {hyper.meaning}." for hyper in rule.hypers]
    return (
        f"{rule.class_name} as a Keras optimizer.\n\nSource: {rule.source}\n\nParameters\n----------\n"
        + "\n".join(lines)
        + "\n\nand those of every Keras optimizer: "
        + ", ".join(_BASE)
        + "."
    )
