"""The one lazy door to `keras.ops`.

Importing Keras loads a backend and takes seconds. What only reads the catalogue (names, defaults, search spaces, the
command line's help) must not pay for that, so rules say `ops.sqrt` through this proxy and Keras is imported when the
first number is computed.
"""

from __future__ import annotations

from typing import Any


class _LazyOps:
    def __getattr__(self, name: str) -> Any:
        import keras

        return getattr(keras.ops, name)


ops = _LazyOps()
