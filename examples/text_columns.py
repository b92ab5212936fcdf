"""A table with a column of text, in a scikit-learn Pipeline: which adverts for used bicycles sell within a week.

The adverts are made up, and so is the rule by which they sell: cheap for their age, of a liked brand, and not described
as damaged. What is worth a look is how the columns reach the network.
"""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from adamtune import AdamTunerClassifier

GOOD = ["new tyres", "serviced in spring", "kept in a garage", "hardly used", "one owner"]
BAD = ["rusty chain", "bent wheel", "brakes need work", "scratched frame", "no lights"]
PLAIN = ["city bike", "touring bike", "for tall riders", "with a rack", "pick up only"]
LIKED = {"Alba": 0.8, "Birk": 0.3, "Corvo": -0.3, "Dunn": -0.8}


def adverts(n, seed=0):
    """A table of n adverts with text, a category, numbers of which some are missing, and whether each sold."""
    rng = np.random.default_rng(seed)
    age = rng.integers(1, 15, n)
    price = np.round(900 * np.exp(-0.15 * age) * rng.lognormal(0, 0.4, n))
    brand = rng.choice(list(LIKED), n)
    texts, wear = [], []
    for _ in range(n):
        good, bad = rng.choice(GOOD, rng.integers(0, 3)), rng.choice(BAD, rng.integers(0, 3))
        phrases = rng.permutation([*good, *bad, *rng.choice(PLAIN, 2)])
        texts.append(", ".join(phrases))
        wear.append(len(good) - len(bad))
    score = np.array(wear) - 2 * np.log(price / (900 * np.exp(-0.15 * age))) + np.vectorize(LIKED.get)(brand)
    sold = np.where(score + rng.logistic(0, 0.3, n) > 0, "sold", "unsold")
    table = pd.DataFrame({"text": texts, "brand": brand, "age": age.astype(float), "price": price})
    table.loc[rng.random(n) < 0.05, "age"] = np.nan
    return table, sold


def main(n_rows=1200, n_trials=32, epochs=10):
    table, sold = adverts(n_rows)
    X_train, X_test, y_train, y_test = train_test_split(table, sold, random_state=0, stratify=sold)

    columns = ColumnTransformer(
        [
            ("words", TfidfVectorizer(), "text"),  # a name, not a list: it takes one column of texts
            ("brands", OneHotEncoder(handle_unknown="ignore"), ["brand"]),
            ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["age", "price"]),
        ],
        sparse_threshold=0,  # an array: with so few words a sparse matrix would save nothing
    )
    tuner = AdamTunerClassifier(n_trials=n_trials, epochs=epochs, storage="memory", random_state=0, verbose=0)
    pipeline = make_pipeline(columns, tuner).fit(X_train, y_train)

    accuracy = pipeline.score(X_test, y_test)
    usual = max((y_test == label).mean() for label in ("sold", "unsold"))
    numbers = make_pipeline(columns.set_params(words="drop"), tuner).fit(X_train, y_train).score(X_test, y_test)
    print(f"{tuner.best_config_}")
    print(f"test accuracy {accuracy:.3f}; without the text {numbers:.3f}; always the more usual answer {usual:.3f}")
    print(pd.DataFrame({"text": X_test["text"], "predicted": pipeline.predict(X_test), "was": y_test}).head())
    return accuracy, numbers, usual


if __name__ == "__main__":
    main()
