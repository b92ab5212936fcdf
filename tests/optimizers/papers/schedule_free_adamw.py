"""Defazio et al. 2024, Algorithm 1, with the mean of all z taken anew each step; v's correction as in their code."""

import numpy as np

VALUES = [
    {"learning_rate": 2.5e-3, "weight_decay": 0.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "r": 0.0},
    {"learning_rate": 3e-2, "weight_decay": 0.3, "beta_1": 0.0, "beta_2": 0.7, "epsilon": 1e-3, "r": 0.75},
    {"learning_rate": 1e-1, "weight_decay": 1e-2, "beta_1": 0.98, "beta_2": 0.99, "epsilon": 1.0, "r": 4.0},
    {"learning_rate": 1e-4, "weight_decay": 1.0, "beta_1": 0.5, "beta_2": 0.0, "epsilon": 0.0, "r": 0.1},
]
VALUES = [values | {"weight_lr_power": power} for values, power in zip(VALUES, (2.0, 0.0, 8.0, 0.5), strict=True)]


def both(gradients, w, learning_rate, weight_decay, beta_1, beta_2, epsilon, r, weight_lr_power):
    """Pairs of y and x; `learning_rate` may be one for each step."""
    rates = np.broadcast_to(learning_rate, len(gradients))
    v = np.zeros_like(w)
    y, zs, shares = w, [w], []
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = beta_2 * v + (1 - beta_2) * g**2
        v_hat = v / (1 - beta_2**t)
        zs.append(zs[-1] - rate * g / (np.sqrt(v_hat) + epsilon) - rate * weight_decay * y)
        shares.append(t**r * max(rates[:t]) ** weight_lr_power)
        x = np.average(zs[1:], axis=0, weights=shares)
        y = (1 - beta_1) * zs[-1] + beta_1 * x
        yield y, x


def paper(gradients, w, **values):
    for y, _ in both(gradients, w, **values):
        yield y
