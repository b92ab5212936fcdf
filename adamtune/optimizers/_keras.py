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
import numpy as np
from keras import ops

from adamtune.hypers import Value
from adamtune.optimizers import gradients, schedules
from adamtune.optimizers._rule import Place, Rule, find, places


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
    __signature__: inspect.Signature

    def __init__(self, *positional: Any, **arguments: Any) -> None:
        given = self.__signature__.bind(*positional, **arguments).arguments
        hypers = {hyper.name: hyper for hyper in self.rule.hypers}
        rate = given.pop("learning_rate", hypers["learning_rate"].default)
        # A schedule or a callable is Keras' business; a number is checked like every other hyper.
        if not callable(rate):
            rate = hypers["learning_rate"].check(rate)
        if "weight_decay" in hypers and given.get("weight_decay", 0.0) is None:  # as Keras says that there is none
            given["weight_decay"] = 0.0
        values = {name: h.check(given.pop(name, h.default)) for name, h in hypers.items() if name != "learning_rate"}
        # A weight decay is Keras' business too, with the rule's own default and bounds.
        base = given | {name: value for name, value in values.items() if name in _BASE}
        if base.get("weight_decay") is not None:
            # TensorFlow's cast takes a Python float through float32, one of numpy as it is.
            base["weight_decay"] = np.float64(gradients.WEIGHT_DECAY.check(base["weight_decay"]))
        self.rule.one_average(base)
        super().__init__(learning_rate=rate, **base)
        for name, value in values.items():
            if name not in _BASE:
                setattr(self, name, value)
        self._ready = SimpleNamespace()  # the hypers of a step, as the rule has prepared them

    def build(self, variables: list[Any]) -> None:
        """Create the rule's slots, one zero array per slot and variable, and its scalars."""
        if self.built:
            return
        super().build(variables)
        unused = self.rule.unused({hyper.name: getattr(self, hyper.name) for hyper in self.rule.hypers[1:]})
        self._kept = [slot not in unused for slot in self.rule.slots]
        self._places = places(variables)
        self._slots = [self._slots_of(variable, place) for variable, place in zip(variables, self._places, strict=True)]
        self._decayed = [self._use_weight_decay(variable) for variable in variables]
        dtype = variables[0].dtype if variables else keras.config.floatx()
        self._scalars = [
            self.add_variable((), keras.initializers.Constant(value), dtype, "only_first_replica", name=name)
            for name, value in self.rule.scalars
        ]

    def _slots_of(self, variable: Any, place: Place) -> list[Any]:
        """A variable for each slot of a weight, None where it is not kept."""
        if self._overwrite_variable_with_gradient(variable):
            return []
        return [
            None
            if not kept
            else self.add_variable_from_reference(variable, name)
            if shape == place.shape
            else self.add_variable(shape, dtype=variable.dtype, name=f"{variable.path.replace('/', '_')}_{name}")
            for name, shape, kept in zip(self.rule.slots, self.rule.slot_shapes(place), self._kept, strict=True)
        ]

    def _hypers(self, learning_rate: Any, dtype: Any) -> SimpleNamespace:
        """The hypers as `Rule.update` takes them; without the decay, which is a weight's own, see `_decay`."""
        return SimpleNamespace(
            **{
                hyper.carried_name: ops.convert_to_tensor(hyper.carry(getattr(self, hyper.name)), dtype=dtype)
                for hyper in self.rule.hypers
                if hyper.name != "learning_rate" and hyper.name not in _BASE
            },
            learning_rate=ops.cast(learning_rate, dtype),
        )

    def _decay(self, index: int, dtype: Any) -> dict[str, Any]:
        """The weight decay where it is the rule's business: 0 for a weight that Keras was told to leave out."""
        if not self.rule.decays:
            return {}
        share = self.weight_decay if self.weight_decay is not None and self._decayed[index] else 0.0
        return {"weight_decay": ops.convert_to_tensor(share, dtype=dtype)}

    def _arrays(self, gradient: Any, variable: Any, index: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """Gradient, weight and slots as a rule takes them."""
        dtype = variable.dtype
        # `cast` reads a variable. `convert_to_tensor` may return the variable itself, and a rule that hands one slot's
        # old value on to the next would then hand on the new one.
        shapes = self.rule.slot_shapes(self._places[index])
        slots = tuple(
            ops.zeros(shape, dtype) if slot is None else ops.cast(slot, dtype)
            for slot, shape in zip(self._slots[index], shapes, strict=True)
        )
        # An embedding's gradient is sparse on TensorFlow; `reshape` makes it dense, as Keras' own classes do.
        return ops.cast(ops.reshape(gradient, variable.shape), dtype), ops.cast(variable, dtype), slots

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        """All the variables' steps, after what the rule does once for all of them."""
        dtype = (self._scalars or trainable_variables)[0].dtype
        h = self._hypers(learning_rate, dtype)
        before = tuple(ops.cast(scalar, dtype) for scalar in self._scalars)

        def total(term: Any, h: SimpleNamespace) -> Any:
            pairs = zip(grads, trainable_variables, strict=True)
            arrays = [self._arrays(g, variable, self._get_variable_index(variable)) for g, variable in pairs]
            return sum(ops.cast(ops.sum(term(*each, h)), dtype) for each in arrays)

        self._ready, after = self.rule.prepare(h, before, ops.cast(self.iterations + 1, dtype), total)
        for scalar, value in zip(self._scalars, after, strict=True):
            self.assign(scalar, value)
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        # It may belong to a graph that ends here.
        self._ready = SimpleNamespace()

    def _apply_weight_decay(self, variables: Any) -> None:
        if not self.rule.decays:
            super()._apply_weight_decay(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of the rule for one variable; Keras calls it."""
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        ready = {name: ops.cast(value, dtype) for name, value in vars(self._ready).items()}
        h = SimpleNamespace(**ready, **self._decay(index, dtype))
        arrays = self._arrays(gradient, variable, index)
        update = self.rule.update_at(self._places[index])
        weight, slots = update(*arrays, h, ops.cast(self.iterations + 1, dtype))
        for slot, value in zip(self._slots[index], slots, strict=True):
            if slot is not None:
                self.assign(slot, value)
        self.assign(variable, weight)

    def averages(self) -> list[tuple[Any, np.ndarray]]:
        """Pairs of a variable and the value it is judged, kept and predicted with, where the rule says they differ.

        There are none before the first update.
        """
        if self.rule.averaged is None or not self.built or not int(self.iterations):
            return []
        place = self.rule.slots.index(self.rule.averaged)
        pairs = zip(self._trainable_variables, self._slots, strict=True)
        # As numpy: JAX would share the array between variable and slot, and a step gives the memory of one away.
        return [(variable, ops.convert_to_numpy(slots[place])) for variable, slots in pairs if slots]

    def finalize_variable_values(self, var_list: Any) -> None:
        """At the end of `fit`: put what the rule, or Keras' moving average, has averaged in the weights' place."""
        super().finalize_variable_values(var_list)
        for variable, average in self.averages():
            variable.assign(average)

    def get_config(self) -> dict[str, Any]:
        """Keras' config and the rule's hypers."""
        config = super().get_config() | {hyper.name: getattr(self, hyper.name) for hyper in self.rule.hypers[1:]}
        decay = config["weight_decay"]
        return config | {"weight_decay": None if decay is None else float(decay)}


def averages(optimizer: Any) -> list[tuple[Any, np.ndarray]]:
    """`RuleOptimizer.averages` of any Keras optimizer, also of one within a LossScaleOptimizer; most have none."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner.averages() if isinstance(inner, RuleOptimizer) else []


class AveragedWeights(keras.callbacks.Callback):
    """Judge a training by the averaged weights: for `fit` with Schedule-Free, Lookahead and their like.

    These train at one point and are judged at another. After `fit` the model holds the averaged weights by itself; with
    this callback it also holds them while validation data is judged. With any other optimizer it does nothing.

    Parameters
    ----------
    swap_on_epoch : bool
        Whether the model also holds them between the end of an epoch and the start of the next, when other callbacks
        save it. Put this one before those.

    Examples
    --------
    >>> from adamtune.optimizers import AveragedWeights
    >>> callbacks = [AveragedWeights(swap_on_epoch=True)]  # then keras.callbacks.ModelCheckpoint(...) and others
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._trained: list[tuple[Any, np.ndarray]] = []  # variables that hold averages, and what they held

    def on_test_begin(self, logs: Any = None) -> None:
        """Put the averages in place."""
        self._swap_in()

    def on_test_end(self, logs: Any = None) -> None:
        """Put the trained weights back."""
        self._swap_out()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Put the averages in place, for callbacks that come after."""
        if self.swap_on_epoch:
            self._swap_in()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Put the trained weights back."""
        self._swap_out()

    def on_train_end(self, logs: Any = None) -> None:
        """Leave the averages where they are: `fit` has put them there for good."""
        self._trained = []

    def _swap_in(self) -> None:
        if not self._trained:
            for variable, average in averages(self.model.optimizer):
                self._trained.append((variable, ops.convert_to_numpy(variable)))
                variable.assign(average)

    def _swap_out(self) -> None:
        for variable, trained in self._trained:
            variable.assign(trained)
        self._trained = []


@keras.saving.register_keras_serializable(package="adamtune")
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a config as a Keras schedule, computed as lanes compute it: in the model's float type.

    The schedules of Keras compute in float32 in a float64 model too, which moves a rate by 1e-8 of itself.

    Parameters
    ----------
    learning_rate : float
        The rate at the start, or at the end of the warmup.
    schedule : str, optional
        One of `schedules.names()`. Default: "inverse_time" when `decay` is given, else "constant".
    steps : int, optional
        Number of updates of the training, for a schedule that ends with it and for a warmup.
    **hypers
        The numbers of `schedules.HYPERS` that the schedule has; what is left out has its default.

    Raises
    ------
    ConfigError
        For an unknown schedule or hyper, a value out of range, or `steps` missing where it is needed.
    """

    def __init__(
        self, learning_rate: float, schedule: str | None = None, steps: int | None = None, **hypers: Any
    ) -> None:
        given = {find(name, schedules.HYPERS, "LearningRate").name: value for name, value in hypers.items()}
        self.schedule, values = schedules.choose(schedule, given)
        self.steps = steps
        self.hypers: dict[str, Value] = {"learning_rate": float(learning_rate), **values}
        self._row = schedules.row(self, steps)

    def __call__(self, step: Any) -> Any:
        """The rate after `step` updates."""
        dtype = keras.config.floatx()
        numbers = dict(zip(schedules.COLUMNS, self._row, strict=True), learning_rate=self.hypers["learning_rate"])
        h = SimpleNamespace(**{name: ops.convert_to_tensor(value, dtype=dtype) for name, value in numbers.items()})
        return schedules.learning_rate(h, ops.cast(step, dtype))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same schedule."""
        steps = {} if self.steps is None else {"steps": self.steps}
        return {"schedule": self.schedule, **steps, **self.hypers}


@cache
def keras_class(rule: Rule) -> type[RuleOptimizer]:
    """The Keras class of a rule, made once; `optimizers.register` tells Keras of it."""
    kinds = inspect.Parameter
    own = [kinds(h.name, kinds.POSITIONAL_OR_KEYWORD, default=h.default) for h in rule.hypers]
    names = {hyper.name for hyper in rule.hypers}
    base = [each.replace(kind=kinds.KEYWORD_ONLY) for name, each in _BASE.items() if name not in names]
    return type(
        rule.class_name,
        (RuleOptimizer,),
        {
            "rule": rule,
            "__doc__": _doc(rule),
            "__module__": "adamtune.optimizers",
            "__signature__": inspect.Signature([*own, *base]),
        },
    )


def _doc(rule: Rule) -> str:
    lines = [f"{hyper.name} : {hyper.expected}, default {hyper.default}\n    {hyper.meaning}." for hyper in rule.hypers]
    return (
        f"{rule.class_name} as a Keras optimizer.\n\nSource: {rule.source}\n\nParameters\n----------\n"
        + "\n".join(lines)
        + "\n\nand those of every Keras optimizer: "
        + ", ".join(name for name in _BASE if name not in {hyper.name for hyper in rule.hypers})
        + "."
    )
