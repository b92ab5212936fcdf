"""A loop of your own: trials of a stored study in your `fit`, then in a loop that has no `fit` at all.

Run it in several terminals at once and they share the trials. `adamtune show moons --storage sqlite:///own_loop.db`
shows the study meanwhile.
"""

import keras
import optuna
from sklearn.datasets import make_moons

from adamtune import ReportToStudy, begin_trial, report_epoch
from adamtune.tuning import records

X, Y = make_moons(300, noise=0.2, random_state=0)
TRAIN, JUDGE = slice(0, 200), slice(200, 300)


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]
    )


def with_fit(storage, n_trials, epochs):
    """`model.fit` as you have it, and one callback more."""
    while trial := begin_trial("moons", epochs=epochs, n_trials=n_trials, storage=storage, random_state=0):
        with trial:  # where `fit` fails or is interrupted, the trial has failed
            model = network()
            model.compile(optimizer=trial.config.to_keras(), loss="binary_crossentropy")
            rows = {"x": X[TRAIN], "y": Y[TRAIN], "validation_data": (X[JUDGE], Y[JUDGE])}
            model.fit(**rows, epochs=trial.epochs, verbose=0, callbacks=[ReportToStudy(trial)])
        print(trial)


def without_fit(storage, n_trials, epochs):
    """Any loop at all: GANs, reinforcement learning, another framework. A stretch of training, then a report."""
    settings = {"objective": "accuracy", "direction": "maximize", "storage": storage, "random_state": 0}
    while trial := begin_trial("moons-by-hand", ["adam", "sgd"], epochs=epochs, n_trials=n_trials, **settings):
        model = network()
        model.compile(optimizer=trial.config.to_keras(), loss="binary_crossentropy")  # or config.to_torch(parameters)
        for _ in range(trial.epochs):
            for first in range(0, 200, 20):
                loss = model.train_on_batch(X[first : first + 20], Y[first : first + 20])
            right = (model.predict_on_batch(X[JUDGE])[:, 0] > 0.5) == Y[JUDGE]
            if report_epoch(trial, right.mean(), train_loss=loss):
                break
        print(trial)


def main(storage="sqlite:///own_loop.db", n_trials=16, epochs=10):
    with_fit(storage, n_trials, epochs)
    without_fit(storage, n_trials, epochs)
    best = {}
    for name in ("moons", "moons-by-hand"):
        study = optuna.load_study(study_name=name, storage=storage)
        best[name] = records.ranked(study)[0]
        print(f"{name}: {best[name].value:.3f} with {records.config_of(best[name])}")
    return best


if __name__ == "__main__":
    main()
