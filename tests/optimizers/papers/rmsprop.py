"""Graves 2013, equations 38 to 41, with Delta for -u; epsilon outside the root as in the box of torch.optim.RMSprop."""

import numpy as np

VALUES = [
    {
        "learning_rate": 1e-3,
        "rho": 0.9,
        "momentum": 0.0,
        "epsilon": 1e-7,
        "centered": False,
        "epsilon_outside_root": False,
    },
    {
        "learning_rate": 3e-2,
        "rho": 0.0,
        "momentum": 0.9,
        "epsilon": 1e-3,
        "centered": False,
        "epsilon_outside_root": False,
    },
    {
        "learning_rate": 1e-2,
        "rho": 0.99,
        "momentum": 0.0,
        "epsilon": 1e-5,
        "centered": True,
        "epsilon_outside_root": False,
    },
    {
        "learning_rate": 1e-3,
        "rho": 0.7,
        "momentum": 0.5,
        "epsilon": 1.0,
        "centered": True,
        "epsilon_outside_root": False,
    },
    {
        "learning_rate": 1e-2,
        "rho": 0.99,
        "momentum": 0.9,
        "epsilon": 1e-8,
        "centered": False,
        "epsilon_outside_root": True,
    },
    {
        "learning_rate": 1e-2,
        "rho": 0.9,
        "momentum": 0.0,
        "epsilon": 1e-2,
        "centered": True,
        "epsilon_outside_root": True,
    },
    {
        "learning_rate": 1e-3,
        "rho": 0.5,
        "momentum": 0.5,
        "epsilon": 0.0,
        "centered": False,
        "epsilon_outside_root": True,
    },
]


def paper(gradients, w, learning_rate, rho, momentum, epsilon, centered, epsilon_outside_root):
    n = mean = delta = np.zeros_like(w)
    for g in gradients:
        n = rho * n + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        square = n - (mean**2 if centered else 0)
        root = np.sqrt(square) + epsilon if epsilon_outside_root else np.sqrt(square + epsilon)
        delta = momentum * delta - learning_rate * g / root
        w = w + delta
        yield w
