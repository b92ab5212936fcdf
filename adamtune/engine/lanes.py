"""How many lanes, and by which strategy: a written rule, not a stopwatch.

Strategy and count decide which trials meet in a tick, so they must not depend on how busy the machine is: the same
study on the same machine resolves to the same numbers, and a resumed one keeps what was stored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from adamtune.errors import SettingError
from adamtune.optimizers._rule import Rule
from adamtune.tasks.task import Task

# More lanes than this gain little on two CPU cores: an epoch of digits (9,000 weights) took 15 ms of CPU time in 1
# lane, 7.1 a lane in 8, 4.8 in 32, 4.1 in 64. A GPU has room for more.
_MOST_ON_CPU, _MOST_ON_GPU = 32, 256
# On a CPU a large network is arithmetic, which lanes do not make less: 235,000 weights took 375 ms of CPU time for an
# epoch of 12,000 rows in 1 lane, 294 a lane in 4, 297 in 8, 291 in 16. More lanes are more idle seats at the end.
_LARGE, _MOST_FOR_LARGE = 100_000, 4
# A sampler that learns must not be asked too much at once: with 64 lanes before anything is told, TPE is random search
# (mean best of 64 trials 0.054 with 1 lane, 0.075 with 8, 0.103 with 32, 0.141 with 64).
_LEARNER_LEAST, _LEARNER_SHARE = 8, 8
# Share of the machine's memory that lanes may take; the rest is the user's and the temporary arrays'.
_MEMORY_SHARE = 0.25
# Arrays of a weight's size alive at once in a step, besides its slots: weight, gradient, their new values, one
# temporary.
_COPIES = 5


@dataclass(frozen=True)
class Plan:
    """How trials will be trained.

    Parameters
    ----------
    strategy : {"stacked", "one_by_one"}
    lanes : int
    reason : str
        Why not stacked, in words; empty for stacked.
    device : str
        Where, in words.
    """

    strategy: str
    lanes: int
    reason: str
    device: str

    def __str__(self) -> str:
        what = f"{self.lanes} lanes" if self.strategy == "stacked" else "one trial at a time"
        return f"{what} on {self.device}" + (f" ({self.reason})" if self.reason else "")


def plan(task: Task, model: Any, rule: Rule, asked: int | str, n_trials: int, learns: bool, device: str) -> Plan:
    """Choose strategy and number of lanes.

    Parameters
    ----------
    asked : int or "auto"
        A number of lanes is taken as it is.
    n_trials : int
        How many trials the study has in all.
    learns : bool
        Whether the sampler learns from what it is told.
    device : str
        Name of the device, "CPU..." for a processor.
    """
    if asked != "auto" and (isinstance(asked, bool) or not isinstance(asked, int) or asked < 1):
        raise SettingError(f"lanes={asked!r}: expected 'auto' or a whole number of at least 1.")
    reason = why_not_stacked(model, device)
    if reason:
        return Plan("one_by_one", 1, reason, device)
    if asked != "auto":
        return Plan("stacked", int(asked), "", device)
    most = _MOST_ON_GPU
    if device.startswith("CPU"):
        most = _MOST_FOR_LARGE if model.count_params() > _LARGE else _MOST_ON_CPU
    if learns:
        most = min(most, max(_LEARNER_LEAST, n_trials // _LEARNER_SHARE))
    most = min(most, max(1, n_trials))
    fits = int(_MEMORY_SHARE * memory() // lane_bytes(task, model, rule))
    return Plan("stacked", 2 ** int(np.log2(max(1, min(most, fits)))), "", device)


def why_not_stacked(model: Any, device: str) -> str:
    """The reason why this model's trials run one by one through `model.fit`, or "" when lanes can take it."""
    if keras.backend.backend() != "tensorflow":
        return f"lanes on the {keras.backend.backend()} backend are not there yet"
    for method in ("train_step", "test_step", "compute_loss", "fit", "evaluate"):
        if getattr(type(model), method) is not getattr(keras.Model, method):
            return f"the model has its own {method}"
    if model.dtype_policy.name.startswith("mixed") or any(
        layer.dtype_policy.name.startswith("mixed") for layer in model.layers
    ):
        return "mixed precision in lanes is not there yet"
    for layer in model._flatten_layers():
        if isinstance(layer, _CONVOLUTIONS):
            return f"the layer {layer.name!r} is a convolution, which lanes do not take yet"
    kinds = {weight.dtype for weight in model.trainable_variables}
    if kinds - {"float32", "float64"} or len(kinds) > 1:
        return f"weights of {' and '.join(sorted(kinds))} in lanes are not there yet"
    if any(weight.constraint is not None for weight in model.trainable_variables):
        return "weight constraints in lanes are not there yet"
    return ""


_CONVOLUTIONS = tuple(
    getattr(keras.layers, name) for name in dir(keras.layers) if name.startswith(("Conv", "Depthwise", "Separable"))
)


def lane_bytes(task: Task, model: Any, rule: Rule) -> int:
    """An estimate of the memory one lane takes: weights, slots and the activations of a batch, forth and back."""
    weights = sum(int(np.prod(weight.shape)) for weight in model.weights)
    widths = [_size(getattr(layer, "output", None)) for layer in model._flatten_layers()]
    activations = 2 * task.batch_size * sum(widths)
    return max(1, 4 * (weights * (_COPIES + len(rule.slots)) + activations))


def memory() -> int:
    """Bytes of memory in this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _size(output: Any) -> int:
    shape = getattr(output, "shape", None)
    return int(np.prod([n or 1 for n in shape[1:]])) if shape else 0
