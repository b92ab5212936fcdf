"""Reddi et al. 2018, Algorithm 2, and the same with Adam's corrections after the maximum (Keras) or before (optax)."""

import numpy as np

_KERAS = {"epsilon_after_correction": False, "bias_correction": True, "corrected_maximum": False}
VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, **_KERAS},
    {"learning_rate": 1e-1, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 0.0, **_KERAS},
    {"learning_rate": 3e-2, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 0.1, **_KERAS},
]
VALUES += [
    {**VALUES[2], "epsilon_after_correction": True},
    {**VALUES[0], "bias_correction": False},
    {**VALUES[2], "bias_correction": False, "epsilon_after_correction": True, "corrected_maximum": True},
    {**VALUES[0], "corrected_maximum": True},
    {**VALUES[2], "corrected_maximum": True},
    {**VALUES[2], "corrected_maximum": True, "epsilon_after_correction": True},
    {**VALUES[1], "corrected_maximum": True},
]


def paper(
    gradients, w, learning_rate, beta_1, beta_2, epsilon, epsilon_after_correction, bias_correction, corrected_maximum
):
    m = v = largest_raw = largest_corrected = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        largest_raw = np.maximum(largest_raw, v)
        largest_corrected = np.maximum(largest_corrected, v / (1 - beta_2**t))
        if not bias_correction:
            w = w - learning_rate * m / (np.sqrt(largest_raw) + epsilon)
        else:
            largest = largest_corrected if corrected_maximum else largest_raw / (1 - beta_2**t)
            floor = epsilon if epsilon_after_correction else epsilon / np.sqrt(1 - beta_2**t)
            w = w - learning_rate * (m / (1 - beta_1**t)) / (np.sqrt(largest) + floor)
        yield w
