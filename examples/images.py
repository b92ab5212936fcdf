"""Images and a convolution: scikit-learn's digits, 8 by 8 pixels, several optimizers to choose from."""

import keras
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

from adamtune import AdamTunerClassifier


def network(X, y):
    return keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def main(n_trials=24, epochs=8):
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8, 1)
    X_train, X_test, y_train, y_test = train_test_split(images, y, random_state=0, stratify=y)

    tuner = AdamTunerClassifier(
        network,
        optimizer=["adam", "sgd"],
        n_trials=n_trials,
        epochs=epochs,
        storage="memory",
        random_state=0,
        verbose=0,
    ).fit(X_train, y_train)

    keras.utils.set_random_seed(0)
    default = network(X_train, y_train)
    default.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    default.fit(X_train, y_train, epochs=epochs, verbose=0)
    default_accuracy = float((default.predict(X_test, verbose=0).argmax(axis=1) == y_test).mean())

    accuracy = tuner.score(X_test, y_test)
    mistaken = confusion_matrix(y_test, tuner.predict(X_test))
    print(f"{tuner.best_config_}\ntest accuracy {accuracy:.3f}, with Keras' default Adam {default_accuracy:.3f}")
    print(f"rows: the digit; columns: what it was taken for\n{mistaken}")
    return accuracy, default_accuracy


if __name__ == "__main__":
    main()
