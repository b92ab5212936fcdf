"""Zaheer et al. 2018, Algorithm 2, with its sign as the two cases it tells apart; corrected: optax.yogi."""

import numpy as np

VALUES = [
    {
        "learning_rate": 1e-2,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-3,
        "initial_accumulator_value": 1e-6,
        "bias_correction": False,
    },
    {
        "learning_rate": 1e-1,
        "beta_1": 0.0,
        "beta_2": 0.7,
        "epsilon": 1e-2,
        "initial_accumulator_value": 0.0,
        "bias_correction": False,
    },
    {
        "learning_rate": 1e-2,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-3,
        "initial_accumulator_value": 1e-6,
        "bias_correction": True,
    },
    {
        "learning_rate": 1e-3,
        "beta_1": 0.99,
        "beta_2": 0.9,
        "epsilon": 0.0,
        "initial_accumulator_value": 0.3,
        "bias_correction": True,
    },
]


def paper(gradients, w, learning_rate, beta_1, beta_2, epsilon, initial_accumulator_value, bias_correction):
    m = np.full_like(w, initial_accumulator_value if bias_correction else 0.0)
    v = np.full_like(w, initial_accumulator_value)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = np.where(g**2 > v, v + (1 - beta_2) * g**2, v - (1 - beta_2) * g**2)
        corrections = (1 - beta_1**t, 1 - beta_2**t) if bias_correction else (1, 1)
        w = w - learning_rate * (m / corrections[0]) / (np.sqrt(v / corrections[1]) + epsilon)
        yield w
