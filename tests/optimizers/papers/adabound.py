"""Luo et al. 2019, the authors' code, at a rate that does not change: then final_lr stays what it is."""

import numpy as np

_DEFAULTS = {"learning_rate": 1e-3, "final_lr": 0.1, "gamma": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

VALUES = [
    _DEFAULTS,
    # Within the bounds, at the lower one, at the upper one, and between bounds that have closed.
    _DEFAULTS | {"learning_rate": 1e-2, "gamma": 1e-5, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3},
    _DEFAULTS | {"learning_rate": 1e-5, "final_lr": 1e-2, "gamma": 1e-1, "beta_2": 0.9},
    _DEFAULTS | {"learning_rate": 1e-1, "final_lr": 1e-3, "gamma": 1e-2, "beta_1": 0.99, "epsilon": 0.0},
    _DEFAULTS | {"final_lr": 1e-2, "gamma": 1e12},
]


def paper(gradients, w, learning_rate, final_lr, gamma, beta_1, beta_2, epsilon, amsbound=False):
    m = v = v_max = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        v_max = np.maximum(v_max, v)
        low = final_lr * (1 - 1 / (gamma * t + 1))
        high = final_lr * (1 + 1 / (gamma * t))
        adam = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        w = w - np.clip(adam / (np.sqrt(v_max if amsbound else v) + epsilon), low, high) * m
        yield w
