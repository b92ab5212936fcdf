"""How many lanes, and by which strategy: a written rule, not a stopwatch.

Strategy and count decide which trials meet in a tick, so they must not depend on how busy the machine is: the same
study on the same machine resolves to the same numbers, and a resumed one keeps what was stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from adamtune.engine.program import JUDGED_AT_ONCE
from adamtune.errors import SettingError
from adamtune.optimizers._rule import Rule
from adamtune.tasks.task import Task

# More lanes than this gain little on two CPU cores. 10 epochs of digits (9,000 weights) took 52 ms a trial in 8 lanes,
# 30 in 32, 22 in 64 on TensorFlow; 12, 9 and 9 on JAX. A GPU has room for more.
_MOST_ON_CPU, _MOST_ON_GPU = {"jax": 32, "tensorflow": 64}, 256
# On a CPU a large network is arithmetic, which lanes do not make less: 235,000 weights took 375 ms of CPU time for an
# epoch of 12,000 rows in 1 lane, 294 a lane in 4, 297 in 8, 291 in 16. More lanes are more idle seats at the end.
_LARGE, _MOST_FOR_LARGE = 100_000, 4
# Lanes of a small network go through the program in groups, one a core, because its operations are too small for more:
# the same trials took 14 ms in one group of 32 and 9 in two of 16 on JAX. TensorFlow has threads of its own and gains
# nothing, but then the last trials of a study can leave a group empty. Fewer lanes than this make no group.
_LEAST_WIDTH = {"jax": 4, "tensorflow": 8}
# A sampler that learns must not be asked too much at once: with 64 lanes before anything is told, TPE is random search
# (mean best of 64 trials 0.054 with 1 lane, 0.075 with 8, 0.103 with 32, 0.141 with 64).
_LEARNER_LEAST, _LEARNER_SHARE = 8, 8
# Share of the machine's memory that lanes may take; the rest is the user's and the temporary arrays'.
_MEMORY_SHARE = 0.25
# Arrays of a weight's size alive at once in a step, besides its slots: weight, gradient, their new values, one
# temporary.
_COPIES = 5


# Rows take a device's memory once for all lanes; more than this share of it and they are fed in blocks of this size:
# large enough that reading one is long compared with handing it over.
_ROWS_SHARE, _BLOCK_BYTES = 0.25, 2**28
# Programs that take turns (several optimizers, several passes) have half the lanes each, so that about as many trials
# are asked and not yet told as with one program, but no fewer than this, and no more than so many full ones at a time.
_LEAST_IN_TURNS, _MOST_IN_TURNS = 4, 3


@dataclass(frozen=True)
class Plan:
    """How trials will be trained.

    Parameters
    ----------
    strategy : {"stacked", "looped", "one_by_one"}
    lanes : int
        Seats of each program.
    at_once : int
        Trials that may be asked and not yet told, those asked ahead not counted.
    reason : str
        Why not stacked, in words; empty for stacked.
    device : str
        Where, in words.
    lane_bytes : int
        Estimate of the memory one lane takes.
    rows_at_once : int or None
        Rows that lie on the device together; None for all.
    width : int or None
        Stacked lanes that go through a program together; None for all.
    ahead : int
        Trials that may be asked beside `at_once`, while lanes train.
    """

    strategy: str
    lanes: int
    at_once: int
    reason: str
    device: str
    lane_bytes: int = 0
    rows_at_once: int | None = None
    width: int | None = None
    ahead: int = 0

    def __str__(self) -> str:
        what = {"stacked": f"{self.lanes} lanes", "looped": f"{self.lanes} lanes in a loop"}
        return f"{what.get(self.strategy, 'one trial at a time')} on {self.device}" + (
            f" ({self.reason})" if self.reason else ""
        )

    def halved(self) -> Plan:
        """The same with half of the lanes."""
        lanes = max(1, self.lanes // 2)
        ahead = min(self.ahead, lanes) if lanes > 1 else 0
        return replace(self, lanes=lanes, at_once=max(1, self.at_once // 2), ahead=ahead)

    def one_by_one(self, reason: str) -> Plan:
        """The same without lanes."""
        return replace(self, strategy="one_by_one", lanes=1, at_once=1, ahead=0, reason=reason)


def plan(
    task: Task,
    model: Any,
    rules: Sequence[Rule],
    asked: int | str,
    n_trials: int,
    *,
    learns: bool,
    n_passes: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Choose strategy and number of lanes.

    Parameters
    ----------
    asked : int or "auto"
        A number of lanes is taken as it is.
    n_trials : int
        How many trials the study has in all.
    learns : bool
        Whether the sampler learns from what it is told.
    n_passes : int
        Passes of each trial: folds times seeds.
    options : mapping, optional
        What the optimizer does besides its rule, see `OptimizerConfig.options`.
    """
    if asked != "auto" and (isinstance(asked, bool) or not isinstance(asked, int) or asked < 1):
        raise SettingError(f"lanes={asked!r}: expected 'auto' or a whole number of at least 1.")
    backend = keras.backend.backend()
    where = device()
    memory = _memory(where)
    bytes_a_lane = max(lane_bytes(task, model, rule) for rule in rules)
    fits = task.data.x.nbytes <= _ROWS_SHARE * memory
    rows = None if fits else max(task.batch_size, _BLOCK_BYTES // max(1, task.data.x.row_nbytes))
    reason = why_not_lanes(model, options or {}) if backend in BACKENDS else f"the {backend} backend has no lanes"
    looped = "" if reason else why_looped(model, where)
    turns = len(rules) * n_passes
    small = where.startswith("CPU") and not (reason or looped) and model.count_params() <= _LARGE
    in_flight = max(_LEARNER_LEAST, n_trials // _LEARNER_SHARE) if learns else n_trials
    if isinstance(asked, int):
        lanes = asked
    else:
        most = _MOST_ON_GPU
        if where.startswith("CPU"):
            most = _MOST_ON_CPU[backend] if small else _MOST_FOR_LARGE
        most = min(most, in_flight)
        if turns > 1:
            most = min(most, max(_LEAST_IN_TURNS, most // 2))
        most = min(most, max(1, n_trials))
        lanes = 2 ** int(np.log2(max(1, min(most, int(_MEMORY_SHARE * memory // bytes_a_lane)))))
    # One lane is a study one after the other, as Optuna alone runs it.
    ahead = min(lanes, max(0, in_flight - lanes)) if small and turns == 1 and lanes > 1 else 0
    made = Plan(
        "looped" if looped else "stacked",
        lanes,
        lanes * min(turns, _MOST_IN_TURNS),
        looped,
        where,
        bytes_a_lane,
        rows,
        _width(lanes) if small and fits else None,  # each group would read the blocks for itself
        ahead,
    )
    return made.one_by_one(reason) if reason else made


def _width(lanes: int) -> int:
    """Lanes of a group on a CPU: a divisor of their number near the one wanted, or all."""
    wanted = min(lanes, max(_LEAST_WIDTH[keras.backend.backend()], lanes // (os.cpu_count() or 1)))
    nearest = max(width for width in range(1, wanted + 1) if lanes % width == 0)
    return nearest if 2 * nearest >= wanted else lanes


def why_not_lanes(model: Any, options: Mapping[str, Any]) -> str:
    """The reason why this model's trials run one by one through `model.fit`, or "" when lanes can take it."""
    for method in ("train_step", "test_step", "compute_loss", "fit", "evaluate"):
        if getattr(type(model), method) is not getattr(keras.Model, method):
            return f"the model has its own {method}"
    kinds = {keras.backend.standardize_dtype(weight.dtype) for weight in model.trainable_variables}
    if kinds - {"float32", "float64"} or len(kinds) > 1:
        return f"the model has weights of {' and '.join(sorted(kinds))}"
    if any(weight.constraint is not None for weight in model.trainable_variables):
        return "the model has weight constraints"
    if any(getattr(weight, "overwrite_with_gradient", False) for weight in model.trainable_variables):
        return "the model has weights that their gradients overwrite"
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.SpectralNormalization):
            return f"the layer {layer.name!r} sets its kernel itself"
    if options.get("loss_scale_factor"):
        return "the optimizer scales the loss by a fixed factor"
    return ""


def why_looped(model: Any, device: str) -> str:
    """The reason why lanes go one after the other, or "" when they go through each operation together.

    On a CPU a stacked convolution is slower than a loop (50 ms a lane-step against 26 on JAX), and TensorFlow has no
    stacked form of one at all.
    """
    stackable = keras.backend.backend() != "tensorflow" and not device.startswith("CPU")
    for layer in model._flatten_layers():
        if isinstance(layer, _CONVOLUTIONS) and not stackable:
            return f"the layer {layer.name!r} is a convolution"
    return ""


def scales_loss(model: Any) -> bool:
    """Whether Keras would compile the model with a dynamic scale of the loss; it asks the model, not its layers."""
    return bool(model.dtype_policy.name == "mixed_float16")


_CONVOLUTIONS = tuple(
    getattr(keras.layers, name) for name in dir(keras.layers) if name.startswith(("Conv", "Depthwise", "Separable"))
)


def lane_bytes(task: Task, model: Any, rule: Rule) -> int:
    """An estimate of the memory one lane takes: weights, slots and the activations of a batch, forth and back.

    Judging takes more rows at a time, but only forth, and frees each layer behind it.
    """
    item = np.dtype(keras.backend.standardize_dtype(model.trainable_variables[0].dtype)).itemsize
    weights = sum(int(np.prod(weight.shape)) for weight in model.weights)
    widths = [_size(getattr(layer, "output", None)) for layer in model._flatten_layers()] or [0]
    activations = max(2 * task.batch_size * sum(widths), 2 * JUDGED_AT_ONCE * max(widths))
    return max(1, item * (weights * (_COPIES + len(rule.slots)) + activations))


def device() -> str:
    """The device training will run on, in words: "CPU (2 cores)" or "GPU (name)"."""
    name = keras.backend.backend()
    found = BACKENDS[name]().device() if name in BACKENDS else "CPU"
    return f"CPU ({os.cpu_count()} cores)" if found == "CPU" else found


def _tensorflow() -> Any:
    from adamtune.engine import tensorflow_lanes

    return tensorflow_lanes


def _jax() -> Any:
    from adamtune.engine import jax_lanes

    return jax_lanes


# What opens each backend's file; only the one in use is imported.
BACKENDS: dict[str, Callable[[], Any]] = {"tensorflow": _tensorflow, "jax": _jax}


def _memory(device: str) -> int:
    """Bytes of memory of the device; of a graphics card that does not say, what the smallest common one has."""
    if device.startswith("CPU"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return BACKENDS[keras.backend.backend()]().memory() or _SMALL_GPU


_SMALL_GPU = 8 * 2**30


def _size(output: Any) -> int:
    shape = getattr(output, "shape", None)
    return int(np.prod([n or 1 for n in shape[1:]])) if shape else 0
