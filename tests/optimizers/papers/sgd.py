"""Sutskever et al. 2013, equations 1-4, with Keras' velocity."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-2, "momentum": 0.0, "nesterov": False},
    {"learning_rate": 1e-2, "momentum": 0.0, "nesterov": True},
    {"learning_rate": 1e-1, "momentum": 0.9, "nesterov": False},
    {"learning_rate": 1e-3, "momentum": 0.995, "nesterov": True},
]


def paper(gradients, w, learning_rate, momentum, nesterov):
    u = np.zeros_like(w)
    for g in gradients:
        u = momentum * u - learning_rate * g
        w = w + momentum * u - learning_rate * g if nesterov else w + u
        yield w
