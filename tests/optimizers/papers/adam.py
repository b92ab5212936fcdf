"""Kingma & Ba 2015, end of section 2 (epsilon hat); AMSGrad with Keras' maximum over the raw second moment."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False},
    {"learning_rate": 3e-2, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3, "amsgrad": False},
    {"learning_rate": 1e-1, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 1.0, "amsgrad": False},
    {"learning_rate": 1e-2, "beta_1": 0.9, "beta_2": 0.95, "epsilon": 0.0, "amsgrad": True},
]


def paper(gradients, w, learning_rate, beta_1, beta_2, epsilon, amsgrad):
    m = v = v_max = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        v_max = np.maximum(v_max, v)
        alpha = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        w = w - alpha * m / (np.sqrt(v_max if amsgrad else v) + epsilon)
        yield w
