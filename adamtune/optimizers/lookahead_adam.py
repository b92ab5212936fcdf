"""Lookahead with Adam: Adam explores, and slow weights follow half of the way every five steps.

Zhang, Lucas, Hinton & Ba 2019, "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610, Algorithm 1:

    Adam's step of w, see `adamtune.optimizers.adam`
    every sync_period steps:  s = s + slow_step_size (w - s),  then w = s

s starts at the weights there are, and is what is judged and kept; between two of its steps it is up to sync_period - 1
steps behind. Adam's moments are left as they are when w jumps. With a slow_step_size of 1 it is Adam, whatever the
period. Neither Keras nor PyTorch has it; optax has `lookahead`, with the same steps.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: after two of Adam's steps half of the way back
>>> [round(w, 4) for w in three_steps("lookahead_adam", learning_rate=0.1, sync_period=2)]
[0.9, 0.9002, 0.8007]
"""

from __future__ import annotations

from adamtune.optimizers import adam
from adamtune.optimizers._lookahead import around

RULE = around(adam.RULE, "lookahead_adam", "LookaheadAdam", __doc__)
