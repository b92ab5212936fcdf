"""What JAX adds to a program: its gradient, its map over lanes, its compiler.

Stacked lanes are `jax.vmap`. The arrays of the lanes are donated, so a tick writes over them instead of copying.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from adamtune.engine.program import NotStackable

# Whether one call should train one batch of a looped lane instead of a whole epoch: XLA compiles a convolution within a
# loop badly for a CPU (30 batches of a small MNIST network took 3.8 s in a loop of the program, 1.1 s in 30 calls).
LOOPED_SINGLY = True


def device() -> str:
    """The device JAX will use, in words."""
    first = jax.devices()[0]
    return "CPU" if first.platform == "cpu" else f"{first.platform.upper()} ({first.device_kind})"


def memory() -> int | None:
    """Bytes of the device's memory, where it says."""
    return (jax.devices()[0].memory_stats() or {}).get("bytes_limit")


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is how JAX says that memory is short."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


class _Care:
    """Who compiles with care and who without: how well XLA optimises is a setting of the whole process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._careful = self._hasty = 0
        self._usual = False
        self._own = threading.local()

    @property
    def is_without(self) -> bool:
        """Whether this thread compiles without."""
        return getattr(self._own, "hasty", False)

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._careful)
            if not self._hasty:
                self._usual = jax.config.read("jax_disable_most_optimizations")
                jax.config.update("jax_disable_most_optimizations", True)
            self._hasty += 1
        self._own.hasty = True
        try:
            yield
        finally:
            self._own.hasty = False
            with self._changed:
                self._hasty -= 1
                if not self._hasty:
                    jax.config.update("jax_disable_most_optimizations", self._usual)
                self._changed.notify_all()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._hasty)
            self._careful += 1
        try:
            yield
        finally:
            with self._changed:
                self._careful -= 1
                self._changed.notify_all()


_care = _Care()


def hastily() -> contextlib.AbstractContextManager[None]:
    """Compile what runs once without optimising it.

    The first weights of a small network took 0.65 s, because each of their shapes is compiled; like this 0.2 s.
    """
    return _care.without()


def place(array: np.ndarray) -> Any:
    """The array on the device."""
    return jax.device_put(array)


def rows(array: Any, index: Any) -> Any:
    """The rows of those numbers, all of which there are."""
    return array.at[index].get(mode="promise_in_bounds")


def compiled(function: Callable, donates: bool = False) -> Compiled:
    """The function compiled by XLA; where it donates, the memory of its first argument is given away."""
    return Compiled(function, donates)


class Compiled:
    """A compiled function that can be compiled beforehand, while others work."""

    def __init__(self, function: Callable, donates: bool) -> None:
        self._function = jax.jit(function, donate_argnums=0 if donates else ())
        self._compiling: Future | None = None
        self._known: set[Any] = set()

    def compile(self, arguments: tuple[Any, ...]) -> None:
        """Begin to compile for these arguments; XLA needs seconds, in which others open a database, say."""
        leaves, tree = jax.tree.flatten(arguments)
        kind = tree, tuple((each.shape, each.dtype) for each in leaves)
        # Whoever compiles without care waits for nobody who does: then the first call compiles.
        if kind in self._known or _care.is_without:
            return
        self._known.add(kind)
        lowered = self._function.trace(*arguments).lower()
        compiler = ThreadPoolExecutor(1)
        self._compiling = compiler.submit(_cached, lowered.compile)
        compiler.shutdown(wait=False)

    def __call__(self, *arguments: Any) -> Any:
        """The function's result, once it is compiled."""
        if (compiling := self._compiling) is not None:
            self._compiling = None
            try:
                compiling.result()
            except Exception:
                self._known.clear()
                raise
        return self._function(*arguments)


def _cached(compile: Callable) -> Any:
    """What `compile` returns; where the user has a persistent cache, it keeps even what took less than a second."""
    try:
        # Private in JAX: the public setting is the whole process's, and would fill the cache with little operations.
        from jax._src.config import persistent_cache_min_compile_time_secs as least
    except ImportError:
        least = contextlib.nullcontext
    with least(0.0), _care.taken():
        return compile()


def check(function: Compiled, arguments: tuple[Any, ...]) -> None:
    """Trace the function now; raises NotStackable when an operation has no batching rule."""
    try:
        function.compile(arguments)
    except NotImplementedError as error:
        raise NotStackable(f"JAX cannot stack an operation: {error}") from None


def gradient(function: Callable, values: Any) -> tuple[Any, Any]:
    """What `function(values) -> (loss, extra)` returns beside the loss, and the loss's gradient by `values[0]`."""
    first, *rest = values
    found, extra = jax.grad(lambda first: function((first, *rest)), has_aux=True)(first)
    return extra, found


def stacked(function: Callable, values: Any) -> Any:
    """`function` of each lane's slice of `values`, all lanes going through each operation together."""
    return jax.vmap(function)(values)


def stacked_gradients(function: Callable, values: Any) -> tuple[Any, Any]:
    """`gradient` of each lane's slice, all lanes together."""
    return stacked(lambda slices: gradient(function, slices), values)


def either(condition: Any, this: Callable, that: Callable) -> Any:
    """What `this()` returns where the condition holds, else `that()`."""
    return jax.lax.cond(condition, this, that)


def loop(function: Callable, values: Any) -> Any:
    """`function`, which returns one number, of each lane's slice of `values`; JAX has no need to loop."""
    return stacked(function, values)
