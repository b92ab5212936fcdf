"""Your own Keras model, and what tuning buys it: the same network with the optimizer found and with defaults."""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from adamtune import AdamTunerClassifier


def network(X, y):
    """Any Keras model; compiled or not."""
    model = keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Flatten(),
            keras.layers.Dense(64, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy")
    return model


def main(n_trials=32, epochs=10):
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8, 1)
    X_train, X_test, y_train, y_test = train_test_split(images, y, random_state=0, stratify=y)

    tuner = AdamTunerClassifier(
        network,
        optimizer="sgd",
        space={"learning_rate": (1e-4, 1.0), "momentum": (0.0, 0.99), "nesterov": (False, True)},
        metric="accuracy",
        n_trials=n_trials,
        epochs=epochs,
        storage="memory",
        random_state=0,
        verbose=0,
    ).fit(X_train, y_train)

    keras.utils.set_random_seed(0)
    default = network(X_train, y_train)
    default.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    default.fit(X_train, y_train, epochs=epochs, verbose=0)
    default_accuracy = float((default.predict(X_test, verbose=0).argmax(axis=1) == y_test).mean())

    accuracy = tuner.score(X_test, y_test)
    print(f"{tuner.best_config_}\ntest accuracy {accuracy:.3f}, with Keras' default SGD {default_accuracy:.3f}")
    return accuracy, default_accuracy


if __name__ == "__main__":
    main()
