"""Zhang et al. 2019, Algorithm 1, in its two loops; inside it SGD, with Keras' decay before each step."""

import numpy as np

from tests.optimizers.papers import sgd

AROUND = [
    {"weight_decay": 0.0, "sync_period": 5, "slow_step_size": 0.5},
    {"weight_decay": 0.3, "sync_period": 1, "slow_step_size": 0.2},
    {"weight_decay": 1e-2, "sync_period": 7, "slow_step_size": 1.0},
    {"weight_decay": 1.0, "sync_period": 1000, "slow_step_size": 0.8},
]
VALUES = [values | around for values, around in zip(sgd.VALUES, AROUND, strict=True)]


def lookahead(inner, gradients, slow, learning_rate, weight_decay, sync_period, slow_step_size, **others):
    """Pairs of fast and slow weights; no step of the inner optimizer may depend on the weights."""
    alone = list(inner(gradients, np.zeros_like(slow), learning_rate=learning_rate, **others))
    steps = np.diff(alone, axis=0, prepend=0)
    for start in range(0, len(steps), sync_period):
        fast = slow
        for k, step in enumerate(steps[start : start + sync_period], start=1):
            fast = (1 - learning_rate * weight_decay) * fast + step
            if k == sync_period:
                fast = slow = slow + slow_step_size * (fast - slow)
            yield fast, slow


def paper(gradients, w, **values):
    for fast, _ in lookahead(sgd.paper, gradients, w, **values):
        yield fast
