"""Lookahead with SGD: SGD, with or without momentum, explores, and slow weights follow half of the way.

Zhang, Lucas, Hinton & Ba 2019, "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610, Algorithm 1:

    SGD's step of w, see `adamtune.optimizers.sgd`
    every sync_period steps:  s = s + slow_step_size (w - s),  then w = s

s starts at the weights there are, and is what is judged and kept; between two of its steps it is up to sync_period - 1
steps behind. SGD's velocity is left as it is when w jumps. With a slow_step_size of 1 it is SGD, whatever the period.
Neither Keras nor PyTorch has it; optax has `lookahead`, with the same steps. Without momentum and on a quadratic a
round of k steps of one eigenvalue is a step by alpha (1 - (1 - lr lambda)^k) of the distance.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: the second of SGD's steps, .81, becomes .905
>>> [round(w, 4) for w in three_steps("lookahead_sgd", learning_rate=0.1, sync_period=2)]
[0.9, 0.905, 0.8145]
"""

from __future__ import annotations

from adamtune.optimizers import sgd
from adamtune.optimizers._lookahead import around

RULE = around(sgd.RULE, "lookahead_sgd", "LookaheadSGD", __doc__)
