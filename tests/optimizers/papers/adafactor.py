"""Shazeer & Stern 2018, Algorithms 4 and 5, with the sums of the paper, matrix by matrix."""

import numpy as np

VALUES = [
    dict(
        zip(
            ("learning_rate", "decay_rate", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step"),
            row,
            strict=True,
        )
    )
    for row in (
        (1e-3, 0.8, 1e-30, 1e-3, 1.0, True),
        (0.3, 0.5, 1e-8, 0.3, 0.5, True),
        (0.1, 1.0, 1e-3, 10.0, 10.0, True),
        (0.03, 0.8, 1e-30, 0.0, 1.0, False),
        (0.3, 0.3, 1.0, 1e-3, 0.1, False),
    )
]
SHAPE = (4, 5)


def rms(x):
    return np.sqrt(np.average(x**2))


def paper(gradients, w, learning_rate, decay_rate, epsilon_1, epsilon_2, clip_threshold, relative_step):
    v = np.zeros_like(w)
    r, c = {}, {}
    for t, g in enumerate(gradients, start=1):
        beta = 1 - t ** (-decay_rate)
        rho = min(learning_rate, t**-0.5) if relative_step else learning_rate
        alpha = max(epsilon_2, rms(w)) * rho
        if w.ndim < 2:
            v = beta * v + (1 - beta) * (g**2 + epsilon_1)
        else:
            v = np.empty_like(w)
            n, m = w.shape[-2:]
            for i in np.ndindex(w.shape[:-2]):
                square = g[i] ** 2 + epsilon_1 * np.ones((n, m))
                r[i] = beta * r.get(i, 0) + (1 - beta) * square @ np.ones(m)
                c[i] = beta * c.get(i, 0) + (1 - beta) * np.ones(n) @ square
                v[i] = np.outer(r[i], c[i]) / (np.ones(n) @ r[i])
        u = g / np.sqrt(v)
        w = w - alpha * u / max(1, rms(u) / clip_threshold)
        yield w
