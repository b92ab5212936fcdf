"""Text as token ids with an Embedding: made-up reviews in which "not" turns the next word round.

The reviews are drawn from a few words, so that it takes seconds; a text of your own becomes ids by
`keras.layers.TextVectorization` and goes the same way. Words alone do not tell how a review ends: a linear model that
counts them is there to compare with, and a network that sees pairs of words should do better.
"""

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from adamtune import AdamTunerClassifier

WORDS = [
    "",
    "not",
    "good",
    "fine",
    "fun",
    "warm",
    "bad",
    "dull",
    "slow",
    "cold",
    "film",
    "plot",
    "the",
    "a",
    "was",
    "and",
]
GOOD, BAD = range(2, 6), range(6, 10)
LENGTH = 16


def reviews(n, seed=0):
    """Token ids of shape (n, LENGTH), 0 behind the end, and whether each review is a good one."""
    rng = np.random.default_rng(seed)
    ids, liked = np.zeros((n, LENGTH), "int32"), np.zeros(n, "int32")
    while (todo := np.flatnonzero(ids[:, 0] == 0)).size:
        for row in todo:
            tokens = rng.integers(1, len(WORDS), rng.integers(8, LENGTH + 1))
            tokens[rng.random(len(tokens)) < 0.2] = WORDS.index("not")
            mood = np.isin(tokens, GOOD).astype(int) - np.isin(tokens, BAD)
            mood[1:][tokens[:-1] == WORDS.index("not")] *= -1
            if mood.sum():  # neither good nor bad: another one
                ids[row], liked[row] = np.pad(tokens, (0, LENGTH - len(tokens))), mood.sum() > 0
    return ids, liked


def network(X, y):
    return keras.Sequential(
        [
            keras.Input(X.shape[1:], dtype="int32"),
            keras.layers.Embedding(len(WORDS), 8),
            keras.layers.Conv1D(32, 2, activation="relu"),  # pairs of words
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def main(n_rows=3000, n_trials=24, epochs=12):
    X, y = reviews(n_rows)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

    tuner = AdamTunerClassifier(
        network, n_trials=n_trials, epochs=epochs, storage="memory", random_state=0, verbose=0
    ).fit(X_train, y_train)

    def counts(ids):
        return np.stack([np.bincount(row, minlength=len(WORDS))[1:] for row in ids])

    counting = LogisticRegression(max_iter=1000).fit(counts(X_train), y_train).score(counts(X_test), y_test)
    accuracy = tuner.score(X_test, y_test)
    print(f"{tuner.best_config_}\ntest accuracy {accuracy:.3f}, by counting words {counting:.3f}")
    text = "the plot was not good and the film was not fun"
    ids = [WORDS.index(word) for word in text.split(" ")]
    liked = tuner.predict_proba(np.pad(ids, (0, LENGTH - len(ids)))[None])[0, 1]
    print(f"{text!r} is good with probability {liked:.2f}")
    return accuracy, counting


if __name__ == "__main__":
    main()
