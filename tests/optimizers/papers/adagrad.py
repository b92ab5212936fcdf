"""Duchi et al. 2011, Figure 1: s_i is the norm of all gradients of a weight until now, and delta its start."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "initial_accumulator_value": 0.1, "epsilon": 1e-7, "epsilon_outside_root": False},
    {"learning_rate": 1e-2, "initial_accumulator_value": 0.0, "epsilon": 1e-2, "epsilon_outside_root": False},
    {"learning_rate": 1e-2, "initial_accumulator_value": 0.0, "epsilon": 1e-10, "epsilon_outside_root": True},
    {"learning_rate": 1e-1, "initial_accumulator_value": 1.0, "epsilon": 0.5, "epsilon_outside_root": True},
    {"learning_rate": 1e-1, "initial_accumulator_value": 0.0, "epsilon": 0.0, "epsilon_outside_root": False},
]


def paper(gradients, w, learning_rate, initial_accumulator_value, epsilon, epsilon_outside_root):
    under, beside = (0, epsilon) if epsilon_outside_root else (epsilon, 0)
    start = np.full((1, *w.shape), np.sqrt(initial_accumulator_value))
    for t in range(1, len(gradients) + 1):
        s = np.linalg.norm(np.concatenate([start, gradients[:t]]), axis=0)
        w = w - learning_rate * gradients[t - 1] / (np.sqrt(s**2 + under) + beside)
        yield w
