"""Kingma & Ba 2015, Algorithm 2, the maximum over all steps at once as in section 7.1; both places of epsilon."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "epsilon_in_maximum": False},
    {"learning_rate": 3e-2, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3, "epsilon_in_maximum": False},
    {"learning_rate": 1e-1, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 1.0, "epsilon_in_maximum": False},
    {"learning_rate": 1e-2, "beta_1": 0.9, "beta_2": 0.95, "epsilon": 0.0, "epsilon_in_maximum": True},
    {"learning_rate": 3e-2, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3, "epsilon_in_maximum": True},
    {"learning_rate": 1e-1, "beta_1": 0.99, "beta_2": 0.0, "epsilon": 1.0, "epsilon_in_maximum": True},
]


def paper(gradients, w, learning_rate, beta_1, beta_2, epsilon, epsilon_in_maximum):
    inside, outside = (epsilon, 0.0) if epsilon_in_maximum else (0.0, epsilon)
    m = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        u = np.max([beta_2 ** (t - i) * (abs(gradients[i - 1]) + inside) for i in range(1, t + 1)], axis=0)
        w = w - learning_rate / (1 - beta_1**t) * m / (u + outside)
        yield w
