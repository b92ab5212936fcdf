"""Graves 2013, equations 38 to 41, with Delta for -u."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False},
    {"learning_rate": 3e-2, "rho": 0.0, "momentum": 0.9, "epsilon": 1e-3, "centered": False},
    {"learning_rate": 1e-2, "rho": 0.99, "momentum": 0.0, "epsilon": 1e-5, "centered": True},
    {"learning_rate": 1e-3, "rho": 0.7, "momentum": 0.5, "epsilon": 1.0, "centered": True},
]


def paper(gradients, w, learning_rate, rho, momentum, epsilon, centered):
    n = mean = delta = np.zeros_like(w)
    for g in gradients:
        n = rho * n + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        delta = momentum * delta - learning_rate * g / np.sqrt(n - (mean**2 if centered else 0) + epsilon)
        w = w + delta
        yield w
