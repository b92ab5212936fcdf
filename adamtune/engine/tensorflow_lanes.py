"""What TensorFlow adds to a program: its gradient, its map over lanes, its compiler.

Gradients of stacked lanes come from one tape over `tf.vectorized_map`: their losses are independent, so the gradient of
the sum is each lane's own. No XLA: on CPU it makes stacked lanes 3 to 10 times slower.
"""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from adamtune.engine.program import NotStackable

# How TensorFlow names the operation that it cannot stack.
_UNVECTORISED = re.compile(r"No pfor vectorization defined for (\w+)|of op '(\w+)' expected to be")
# Whether one call should train one batch of a looped lane instead of a whole epoch.
LOOPED_SINGLY = False
# Its recurrent layers fail in a branch of a loop.
either = None


def device() -> str:
    """The device TensorFlow will use, in words."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    return f"GPU ({name})"


def memory() -> int | None:
    """Bytes of the device's memory; TensorFlow does not say."""
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is how TensorFlow says that memory is short."""
    return isinstance(error, tf.errors.ResourceExhaustedError)


def hastily() -> contextlib.AbstractContextManager[None]:
    """TensorFlow does not compile what runs once."""
    return contextlib.nullcontext()


def place(array: np.ndarray) -> Any:
    """The array as a tensor on the device."""
    return tf.constant(array)


def rows(array: Any, index: Any) -> Any:
    """The rows of those numbers, all of which there are."""
    return tf.gather(array, index)


def compiled(function: Callable, donates: bool = False) -> Any:
    """The function as a graph (which frees what it no longer needs by itself)."""
    return tf.function(function, autograph=False, jit_compile=False)


def check(function: Any, arguments: tuple[Any, ...]) -> None:
    """Trace the function now; raises NotStackable when an operation has no vectorised form."""
    try:
        with _quiet():
            function.get_concrete_function(*arguments)
    except Exception as error:
        # Any error from within the vectoriser: of its many kinds, only some name the operation.
        if not any(frame.name == "convert" for frame in traceback.extract_tb(error.__traceback__)):
            raise
        found = _UNVECTORISED.search(str(error))
        what = (found[1] or found[2]) if found else f"an operation: {str(error).splitlines()[0]}"
        raise NotStackable(f"TensorFlow cannot stack {what}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the pages that TensorFlow logs about an operation it cannot stack: the error is answered."""
    logger, about_others = tf.get_logger(), lambda record: record.filename != "pfor.py"
    logger.addFilter(about_others)
    try:
        yield
    finally:
        logger.removeFilter(about_others)


def gradient(function: Callable, values: Any) -> tuple[Any, Any]:
    """What `function(values) -> (loss, extra)` returns beside the loss, and the loss's gradient by `values[0]`."""
    with tf.GradientTape() as tape:
        tape.watch(values[0])
        loss, extra = function(values)
    found = tape.gradient(loss, values[0], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return extra, tuple(tf.convert_to_tensor(each) for each in found)


def stacked(function: Callable, values: Any) -> Any:
    """`function` of each lane's slice of `values`, all lanes going through each operation together."""
    # Without the flag an operation that cannot be vectorised would silently become a slow loop.
    return tf.vectorized_map(function, values, fallback_to_while_loop=False)


def stacked_gradients(function: Callable, values: Any) -> tuple[Any, Any]:
    """`gradient` of each lane's slice, all lanes together."""
    return gradient(lambda all_lanes: stacked(function, all_lanes), values)


def loop(function: Callable, values: Any) -> Any:
    """`function`, which returns one number, of each lane's slice of `values`, one after the other."""
    number = function(tf.nest.map_structure(lambda value: value[0], values))
    return tf.map_fn(function, values, fn_output_signature=tf.TensorSpec((), number.dtype))
