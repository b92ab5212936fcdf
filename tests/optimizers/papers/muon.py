"""Jordan et al. 2024 with Moonlight's scale: the polynomial applied five times to the singular values themselves."""

import numpy as np

SHAPE = (4, 5)
VALUES = [
    {"learning_rate": 1e-3, "weight_decay": 4e-3, "momentum": 0.95, "nesterov": True, "rms_rate": 0.2},
    {"learning_rate": 2e-2, "weight_decay": 0.0, "momentum": 0.0, "nesterov": True, "rms_rate": 1.0},
    {"learning_rate": 1e-2, "weight_decay": 0.3, "momentum": 0.8, "nesterov": False, "rms_rate": 0.2},
    {"learning_rate": 1e-1, "weight_decay": 1e-2, "momentum": 0.99, "nesterov": True, "rms_rate": 0.05},
]
# For all that is no matrix: see tests.optimizers.test_muon.
ADAM = {"adam_lr_ratio": 0.3, "adam_beta_1": 0.8, "adam_beta_2": 0.99, "epsilon": 1e-5}
VALUES = [values | ADAM for values in VALUES]
# Small singular values are lifted 480-fold, and so is their rounding.
FLOAT32 = 1e-5


def near_one(matrix):
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.sqrt((s**2).sum()) + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ np.diag(s) @ v


def paper(gradients, w, learning_rate, weight_decay, momentum, nesterov, rms_rate, **adam):
    u = np.zeros_like(w)
    for g in gradients:
        u = momentum * u + g
        o = near_one((g + momentum * u if nesterov else u).reshape(-1, w.shape[-1]))
        w = w - learning_rate * weight_decay * w
        w = w - learning_rate * rms_rate * np.sqrt(max(o.shape)) * o.reshape(w.shape)
        yield w
