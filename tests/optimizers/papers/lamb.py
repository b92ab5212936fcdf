"""You et al. 2020, Algorithm 2, for one layer, with phi(z) = z."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "weight_decay": 0.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    {"learning_rate": 3e-2, "weight_decay": 0.3, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3},
    {"learning_rate": 1e-2, "weight_decay": 1.0, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 1.0},
    {"learning_rate": 1e-2, "weight_decay": 1e-4, "beta_1": 0.5, "beta_2": 0.95, "epsilon": 0.0},
]
SHAPE = (4, 5)


def paper(gradients, x, learning_rate, weight_decay, beta_1, beta_2, epsilon):
    m = v = np.zeros_like(x)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        r = m_hat / (np.sqrt(v_hat) + epsilon)
        direction = r + weight_decay * x
        x = x - learning_rate * np.linalg.norm(x) / np.linalg.norm(direction) * direction
        yield x
