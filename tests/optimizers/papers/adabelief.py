"""Zhuang et al. 2020, Algorithm 2, whose s is Adam's second moment around m, plus epsilon in every step."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-16},
    {"learning_rate": 1e-2, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3},
    {"learning_rate": 1e-1, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 1e-8},
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 0.0},
    # Without memory g - m is 0, and s is what epsilon adds up to.
    {"learning_rate": 1e-3, "beta_1": 0.0, "beta_2": 0.9, "epsilon": 1.0},
]


def paper(gradients, w, learning_rate, beta_1, beta_2, epsilon):
    m = s = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        s = beta_2 * s + (1 - beta_2) * (g - m) ** 2 + epsilon
        w = w - learning_rate * (m / (1 - beta_1**t)) / (np.sqrt(s / (1 - beta_2**t)) + epsilon)
        yield w
