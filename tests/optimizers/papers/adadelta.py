"""Zeiler 2012, Algorithm 1, whose RMS[x] is sqrt(E[x^2] + epsilon), with a learning rate."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "rho": 0.95, "epsilon": 1e-7},
    {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6},
    {"learning_rate": 1.0, "rho": 0.99, "epsilon": 1e-8},
    {"learning_rate": 10.0, "rho": 0.0, "epsilon": 1e-2},
    {"learning_rate": 0.3, "rho": 0.7, "epsilon": 1.0},
]


def paper(gradients, w, learning_rate, rho, epsilon):
    mean_g2 = mean_dx2 = np.zeros_like(w)
    for g in gradients:
        mean_g2 = rho * mean_g2 + (1 - rho) * g**2
        dx = -np.sqrt(mean_dx2 + epsilon) / np.sqrt(mean_g2 + epsilon) * g
        mean_dx2 = rho * mean_dx2 + (1 - rho) * dx**2
        w = w + learning_rate * dx
        yield w
