"""How large the network is that stands in where a user gives none; known without a backend."""

from __future__ import annotations

import math

# Two hidden layers of 64 to 512 units: the widths of the dense networks in the studies behind the search spaces.
_NARROWEST, _WIDEST = 64, 512


def hidden_width(n_inputs: int) -> int:
    """Units of a hidden layer: the power of two nearest above twice the number of inputs, within 64 .. 512.

    >>> hidden_width(4), hidden_width(100), hidden_width(3000)
    (64, 256, 512)
    """
    return min(_WIDEST, max(_NARROWEST, 2 ** math.ceil(math.log2(2 * n_inputs))))
