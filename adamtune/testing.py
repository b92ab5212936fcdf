"""Small tools to try a rule on, used by doctests and by the conformance tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.optimizers import schedules


def carried(config: OptimizerConfig, iterations: int, dtype: str = "float64") -> SimpleNamespace:
    """The config's values as `Rule.update` takes them, after `iterations` updates, as scalar tensors."""
    from keras import ops

    values = config.hypers
    h = SimpleNamespace(
        **{
            hyper.carried_name: ops.convert_to_tensor(hyper.carry(values.get(hyper.name, hyper.default)), dtype=dtype)
            for hyper in config.rule.hypers + schedules.HYPERS
        }
    )
    h.learning_rate = schedules.learning_rate(h, ops.cast(iterations, dtype))
    return h


def path(config: OptimizerConfig, gradient: Any, start: Any, steps: int, dtype: str = "float64") -> list[Any]:
    """The weights after each of `steps` updates from `start`; `gradient(w, t)` is called with t = 1, 2, ..."""
    from keras import ops

    w = ops.convert_to_tensor(start, dtype=dtype)
    slots = tuple(ops.zeros_like(w) for _ in config.rule.slots)
    weights = []
    for t in range(1, steps + 1):
        g = ops.convert_to_tensor(gradient(w, t), dtype=dtype)
        w, slots = config.rule.update(
            g, w, slots, carried(config, t - 1, dtype), ops.convert_to_tensor(float(t), dtype=dtype)
        )
        weights.append(ops.convert_to_numpy(w))
    return weights


def three_steps(optimizer: str, **hypers: Any) -> list[float]:
    """The first three weights on 0.5 * w**2 from w = 1 (the gradient is w), in float64."""
    config = OptimizerConfig(optimizers.get(optimizer).name, **hypers)
    return [float(w) for w in path(config, lambda w, t: w, 1.0, steps=3)]
