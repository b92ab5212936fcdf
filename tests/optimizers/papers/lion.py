"""Chen et al. 2023, Algorithm 2."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.99},
    {"learning_rate": 1e-2, "beta_1": 0.0, "beta_2": 0.7},
    {"learning_rate": 1e-4, "beta_1": 0.5, "beta_2": 0.0},
    {"learning_rate": 3e-2, "beta_1": 0.99, "beta_2": 0.999},
]
# Every step has one length, so its rounding into the weight goes the same way a hundred times.
FLOAT32 = 3e-6


def paper(gradients, w, learning_rate, beta_1, beta_2):
    m = np.zeros_like(w)
    for g in gradients:
        w = w - learning_rate * np.sign(beta_1 * m + (1 - beta_1) * g)
        m = beta_2 * m + (1 - beta_2) * g
        yield w
