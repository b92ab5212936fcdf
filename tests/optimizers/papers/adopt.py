"""Taniguchi et al. 2024, Algorithm 2: a loop over t = 1, 2, ... after a look at g_0."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.9999, "epsilon": 1e-6},
    {"learning_rate": 3e-2, "beta_1": 0.0, "beta_2": 0.5, "epsilon": 1e-2},
    {"learning_rate": 1e-2, "beta_1": 0.99, "beta_2": 0.9, "epsilon": 1e-3},
]


def paper(gradients, w, learning_rate, beta_1, beta_2, epsilon):
    m, v = np.zeros_like(w), gradients[0] ** 2
    yield w
    for t, g in enumerate(gradients[1:], start=1):
        n = np.clip(g / np.maximum(np.sqrt(v), epsilon), -(t**0.25), t**0.25)
        m = beta_1 * m + (1 - beta_1) * n
        w = w - learning_rate * m
        v = beta_2 * v + (1 - beta_2) * g**2
        yield w
