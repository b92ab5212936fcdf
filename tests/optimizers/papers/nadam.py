"""The algorithm box of torch.optim.NAdam (momentum_decay is psi), which keeps all mu's to multiply them."""

import numpy as np

VALUES = [
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "schedule_decay": 4e-3},
    {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "schedule_decay": 1.0},
    {"learning_rate": 3e-2, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3, "schedule_decay": 0.1},
    {"learning_rate": 1e-1, "beta_1": 0.99, "beta_2": 0.99, "epsilon": 0.0, "schedule_decay": 0.0},
]


def paper(gradients, w, learning_rate, beta_1, beta_2, epsilon, schedule_decay):
    m = v = np.zeros_like(w)
    mus = [beta_1 * (1 - 0.96 ** (t * schedule_decay) / 2) for t in range(1, len(gradients) + 2)]
    for t, g in enumerate(gradients, start=1):
        mu, next_mu = mus[t - 1], mus[t]
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        m_hat = next_mu * m / (1 - np.prod(mus[: t + 1])) + (1 - mu) * g / (1 - np.prod(mus[:t]))
        v_hat = v / (1 - beta_2**t)
        w = w - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)
        yield w
