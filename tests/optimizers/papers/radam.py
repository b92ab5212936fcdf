"""Liu et al. 2020, Algorithm 2, with rho as section 4.2 finds it: the length of a plain average of the last squares.

Its mean age is that of the exponential average; a mean of positive numbers loses no digit to a beta_2 near one.
"""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "threshold": 5},
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-2, "threshold": 4},
    {"learning_rate": 1e-2, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3, "threshold": 5},
    {"learning_rate": 1e-2, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 0.0, "threshold": 6},
    {"learning_rate": 1e-2, "beta_1": 0.9, "beta_2": 0.9, "epsilon": 0.1, "threshold": 1},
    {"learning_rate": 1e-2, "beta_1": 0.5, "beta_2": 0.6, "epsilon": 1e-8, "threshold": 4},
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.0, "epsilon": 1e-8, "threshold": 4},
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 1 - 2**-20, "epsilon": 1e-8, "threshold": 5},
]
VALUES = [values | {"epsilon_after_correction": after} for values in VALUES for after in (False, True)]


def paper(gradients, w, learning_rate, beta_1, beta_2, epsilon, threshold, epsilon_after_correction):
    m = v = np.zeros_like(w)
    rho_inf = 2 / (1 - beta_2) - 1
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        shares = beta_2 ** np.arange(t)
        mean_age = np.average(np.arange(1, t + 1), weights=shares)
        rho = 2 * mean_age - 1  # the mean age of the last rho is (rho + 1) / 2
        m_hat = m / (1 - beta_1**t)
        if rho > max(threshold, 4):
            root = np.sqrt((1 - beta_2) * shares.sum())
            r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            divisor = np.sqrt(v) / root + epsilon if epsilon_after_correction else (np.sqrt(v) + epsilon) / root
            w = w - learning_rate * r * m_hat / divisor
        else:
            w = w - learning_rate * m_hat
        yield w
