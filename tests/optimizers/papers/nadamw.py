"""Choi et al. 2019, Table 1, NAdam, around it the decay of Loshchilov & Hutter 2019 times the learning rate."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "weight_decay": 1e-2, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "nesterov": True},
    {"learning_rate": 3e-2, "weight_decay": 1.0, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3, "nesterov": True},
    {"learning_rate": 1e-1, "weight_decay": 0.0, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 0.1, "nesterov": True},
    {"learning_rate": 1e-2, "weight_decay": 0.3, "beta_1": 0.5, "beta_2": 0.95, "epsilon": 0.0, "nesterov": True},
    {"learning_rate": 1e-2, "weight_decay": 0.3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 0.1, "nesterov": False},
]
# The weight is rounded twice a step: after the decay and after the rule's step.
FLOAT32 = 3e-6


def paper(gradients, w, learning_rate, weight_decay, beta_1, beta_2, epsilon, nesterov):
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        b = np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        along = beta_1 * m + (1 - beta_1) * g if nesterov else m
        step = b * along / (np.sqrt(v) + epsilon * np.sqrt(1 - beta_2**t))
        w = (1 - learning_rate * weight_decay) * w - learning_rate * step
        yield w
