"""The next day of a series from the last four weeks: time order respected, and beside what anybody would say.

The series is made: a demand with a week, a year, holidays of its own and noise. Trials are judged by the weeks that
follow those they train on, never by rows in between, and the forecast by weeks that come after both.
"""

import keras
import numpy as np

from adamtune import AdamTunerRegressor

WINDOW = 28  # days


def demand(days, seed=0):
    """A positive number for each day."""
    rng = np.random.default_rng(seed)
    day = np.arange(days)
    week = np.array([1.0, 0.9, 0.95, 1.0, 1.3, 1.6, 0.6])[day % 7]
    year = 1 + 0.3 * np.sin(2 * np.pi * day / 365)
    drift = np.cumsum(rng.normal(0, 0.02, days))
    return 100 * week * year * np.exp(drift - drift.mean()) * rng.lognormal(0, 0.05, days)


def windows(series):
    """X of shape (n, WINDOW, 1) and the value of the day after each."""
    X = np.lib.stride_tricks.sliding_window_view(series, WINDOW)[:-1]
    return X[..., None], series[WINDOW:]


def network(X, y):
    return keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1),
        ]
    )


def main(days=1500, n_trials=32, epochs=15):
    series = np.log(demand(days))
    X, y = windows(series)
    end, judged = len(X) - 200, 150  # the last 200 days are the test, the 150 before them judge trials
    centre, scale = y[: end - judged].mean(), y[: end - judged].std()  # of what trains alone
    X, y = (X - centre) / scale, (y - centre) / scale

    tuner = AdamTunerRegressor(
        network,
        space={"learning_rate": (1e-4, 1e-1), "schedule": ["constant", "cosine"]},
        loss="mse",
        n_trials=n_trials,
        epochs=epochs,
        storage="memory",
        random_state=0,
        verbose=0,
    )
    tuner.fit(X[: end - judged], y[: end - judged], validation_data=(X[end - judged : end], y[end - judged : end]))

    def error(forecast):
        """Mean absolute error in per cent of the demand, which is a logarithm here."""
        return 100 * float(np.abs(np.expm1(scale * (forecast - y[end:]))).mean())

    ours = error(tuner.predict(X[end:]))
    naive = {"yesterday": error(X[end:, -1, 0]), "the same day of last week": error(X[end:, -7, 0])}
    print(f"{tuner.best_config_}\nmean error over the last 200 days: {ours:.1f} %")
    for name, value in naive.items():
        print(f"as {name}: {value:.1f} %")
    return ours, naive


if __name__ == "__main__":
    main()
