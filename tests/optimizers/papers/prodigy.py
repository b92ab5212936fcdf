"""Mishchenko & Defazio 2023, Algorithm 4, as the authors' code has it, for several weights at once.

Its d is written as the sums of the paper's products over all steps so far, each with its power of beta_3.
"""

import numpy as np

VALUES = [
    {"learning_rate": 0.1, "weight_decay": 0.0, "d_coef": 2.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    {"learning_rate": 0.1, "weight_decay": 0.3, "d_coef": 8.0, "beta_1": 0.0, "beta_2": 0.99, "epsilon": 1e-3},
    {"learning_rate": 1.0, "weight_decay": 0.0, "d_coef": 1.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    {"learning_rate": 0.3, "weight_decay": 1e-2, "d_coef": 0.5, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2},
]
OTHERS = [
    {"d0": 1e-6, "growth_rate": np.inf, "bias_correction": False, "safeguard_warmup": False},
    {"d0": 1e-3, "growth_rate": np.inf, "bias_correction": False, "safeguard_warmup": True},
    {"d0": 1e-6, "growth_rate": 1.02, "bias_correction": True, "safeguard_warmup": False},
    {"d0": 1e-2, "growth_rate": 1.5, "bias_correction": True, "safeguard_warmup": True},
]
VALUES = [values | others for values, others in zip(VALUES, OTHERS, strict=True)]
# In the first steps w moves by a few roundings of its own, and d is made of how far it has come.
FLOAT32 = 2e-5


def several(
    gradients,
    weights,
    learning_rate,
    weight_decay,
    d_coef,
    beta_1,
    beta_2,
    epsilon,
    d0,
    growth_rate,
    bias_correction,
    safeguard_warmup,
):
    """Lists of the weights after each step, given a list of gradients for each."""
    start, d, d_max = weights, d0, d0
    beta_3 = np.sqrt(beta_2)
    m = v = [0 * w for w in weights]
    products, pulls = [], []
    for t, now in enumerate(gradients, start=1):
        rate = d * learning_rate * (np.sqrt(1 - beta_2**t) / (1 - beta_1**t) if bias_correction else 1)
        gained = sum(np.sum(g * (first - w)) for g, first, w in zip(now, start, weights, strict=True))
        products.append(d / d0 * rate * gained)
        pulls.append([d / d0 * (d if safeguard_warmup else rate) * g for g in now])
        m = [beta_1 * a + (1 - beta_1) * d * g for a, g in zip(m, now, strict=True)]
        v = [beta_2 * a + (1 - beta_2) * d**2 * g**2 for a, g in zip(v, now, strict=True)]
        powers = beta_3 ** np.arange(t)[::-1]
        numerator = np.dot(powers, products)
        denominator = sum(np.abs(np.tensordot(powers, np.array(each), 1)).sum() for each in zip(*pulls, strict=True))
        d_hat = d_coef * numerator / denominator if denominator else d
        if d == d0:
            d = max(d, d_hat)
        d_max = max(d_max, d_hat)
        d = min(d_max, d * growth_rate)
        weights = [
            w - rate * weight_decay * w - rate * a / (np.sqrt(b) + d * epsilon)
            for w, a, b in zip(weights, m, v, strict=True)
        ]
        yield weights


def paper(gradients, w, **values):
    for (weight,) in several([[g] for g in gradients], [w], **values):
        yield weight
