"""Loshchilov & Hutter 2019, Algorithm 2, with Keras' learning rate in the decay and Adam's step of above."""

import numpy as np

from tests.optimizers.papers import adam

DECAYS = (4e-3, 1.0, 0.0, 0.3, 0.1, 4e-3, 0.0, 1.0)
VALUES = [{"weight_decay": decay} | values for decay, values in zip(DECAYS, adam.VALUES, strict=True)]
# The weight is rounded twice a step: after the decay and after Adam's step.
FLOAT32 = 3e-6


def paper(gradients, w, learning_rate, weight_decay, **others):
    shares = np.full(len(gradients), weight_decay * learning_rate)
    steps = np.diff(list(adam.paper(gradients, np.zeros_like(w), learning_rate, **others)), axis=0, prepend=0)
    for share, step in zip(shares, steps, strict=True):
        w = (1 - share) * w + step
        yield w
