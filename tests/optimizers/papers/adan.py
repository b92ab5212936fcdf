"""Xie et al. 2022, Algorithm 1 in its own betas (one minus the code's), with the corrections of the authors' code."""

import numpy as np

VALUES = [
    dict(zip(("learning_rate", "beta_1", "beta_2", "beta_3", "epsilon", "weight_decay", "no_prox"), row, strict=True))
    for row in (
        (1e-3, 0.98, 0.92, 0.99, 1e-8, 0.0, False),
        (3e-2, 0.0, 0.5, 0.9, 1e-3, 0.3, False),
        (1e-2, 0.9, 0.0, 0.0, 1.0, 1.0, True),
        (1e-2, 0.5, 0.99, 0.999, 0.0, 0.02, True),
        (1e-1, 0.98, 0.92, 0.99, 1e-8, 30.0, False),
    )
]
# The weight is rounded twice a step: after the step and after the decay.
FLOAT32 = 3e-6


def paper(gradients, w, learning_rate, beta_1, beta_2, beta_3, epsilon, weight_decay, no_prox):
    b1, b2, b3 = 1 - beta_1, 1 - beta_2, 1 - beta_3
    m = v = n = np.zeros_like(w)
    before = gradients[0]
    for k, g in enumerate(gradients, start=1):
        difference = g - before
        m = (1 - b1) * m + b1 * g
        v = (1 - b2) * v + b2 * difference
        n = (1 - b3) * n + b3 * (g + (1 - b2) * difference) ** 2
        m_hat, v_hat, n_hat = m / (1 - (1 - b1) ** k), v / (1 - (1 - b2) ** k), n / (1 - (1 - b3) ** k)
        step = learning_rate / (np.sqrt(n_hat) + epsilon) * (m_hat + (1 - b2) * v_hat)
        share = learning_rate * weight_decay
        w = w - share * w - step if no_prox else (w - step) / (1 + share)
        before = g
        yield w
