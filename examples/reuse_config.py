"""A config outlives its study: read it back from SQL, write it as JSON, and compile other models with it."""

import tempfile

import keras
import optuna
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from adamtune import AdamTunerRegressor, OptimizerConfig
from adamtune.tuning import records


def main(n_trials=16, epochs=20):
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studies.db"
        settings = {"n_trials": n_trials, "epochs": epochs, "storage": url, "random_state": 0, "verbose": 0}
        tuner = AdamTunerRegressor(study_name="diabetes", **settings).fit(X, y)

        # The study is a plain Optuna study in a plain database.
        study = optuna.load_study(study_name=tuner.study_.study_name, storage=url)
        stored = records.config_of(study.best_trial)

    text = tuner.best_config_.to_json()
    config = OptimizerConfig.from_json(text)
    print(text)

    # A fresh optimizer each time: a Keras optimizer belongs to one model.
    losses = []
    for width in (16, 32):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((10,)), keras.layers.Dense(width, activation="relu"), keras.layers.Dense(1)]
        )
        model.compile(optimizer=config.to_keras(), loss="mse")
        losses.append(model.fit(X, y, epochs=epochs, verbose=0).history["loss"])
        print(f"width {width}: loss {losses[-1][0]:.3f} -> {losses[-1][-1]:.3f}")
    return config, stored, losses


if __name__ == "__main__":
    main()
