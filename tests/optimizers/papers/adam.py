"""Kingma & Ba 2015: Algorithm 1, the end of section 2 (epsilon hat), and section 6.4 (no correction).

AMSGrad has Keras' maximum over the raw second moment.
"""

import numpy as np

_KERAS = {"epsilon_after_correction": False, "bias_correction": True}
VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False, **_KERAS},
    {"learning_rate": 3e-2, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3, "amsgrad": False, **_KERAS},
    {"learning_rate": 1e-1, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 1.0, "amsgrad": False, **_KERAS},
    {"learning_rate": 1e-2, "beta_1": 0.9, "beta_2": 0.95, "epsilon": 0.0, "amsgrad": True, **_KERAS},
]
# With epsilons that show on which side of the correction they stand.
VALUES += [
    {**VALUES[0], "epsilon": 1e-2, "epsilon_after_correction": True},
    {**VALUES[2], "epsilon": 1e-1, "epsilon_after_correction": True, "amsgrad": True},
    {**VALUES[0], "epsilon": 1e-2, "bias_correction": False},
    {**VALUES[3], "epsilon": 1e-1, "bias_correction": False, "epsilon_after_correction": True},
]


def paper(
    gradients, w, learning_rate, beta_1, beta_2, epsilon, amsgrad, epsilon_after_correction=False, bias_correction=True
):
    m = v = v_max = np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        v_max = np.maximum(v_max, v)
        seen = v_max if amsgrad else v
        if not bias_correction:
            w = w - learning_rate * m / (np.sqrt(seen) + epsilon)
        elif epsilon_after_correction:
            m_hat, v_hat = m / (1 - beta_1**t), seen / (1 - beta_2**t)
            w = w - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)
        else:
            alpha = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
            w = w - alpha * m / (np.sqrt(seen) + epsilon)
        yield w
