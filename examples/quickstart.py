"""The shortest use: data in, a tuned and trained classifier out."""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from adamtune import AdamTunerClassifier


def main(n_trials=64, epochs=10, storage="memory"):
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)

    tuner = AdamTunerClassifier(n_trials=n_trials, epochs=epochs, storage=storage, random_state=0)
    tuner.fit(X_train, y_train)

    print(f"best config: {tuner.best_config_}")
    print(f"test accuracy: {tuner.score(X_test, y_test):.3f}")
    return tuner, X_test, y_test


if __name__ == "__main__":
    main(storage="sqlite:///adamtune.db")
