"""The estimators that are checked, and the check itself: run by contract.py in a process of its own.

    python cases.py AdamTunerClassifier FILE.json

Every estimator trains a network of two hidden layers of 64 units with Adam, in about as many epochs.
"""

import json
import logging
import os
import sys
import time
import warnings
from collections import Counter
from functools import partial
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A weight of 2 is no row that comes twice: batches are made of rows, and so is the split. scikit-learn expects the same
# failures of its own MLPClassifier and SGDClassifier.
REASON = "mini-batches are made of rows, not of weights"
EXPECTED = {f"check_sample_weight_equivalence_on_{kind}_data": REASON for kind in ("dense", "sparse")}

EPOCHS, RATE, UNITS = 20, 1e-2, 64


def adamtune(name):
    import adamtune

    return getattr(adamtune, name)(
        n_trials=2,
        epochs=EPOCHS,
        space={"learning_rate": (RATE / 2, 2 * RATE)},
        lanes=2,
        confirm=0,
        storage="memory",
        random_state=0,
        verbose=0,
    )


def wrapper(name):
    import keras

    loss, last = ("categorical_crossentropy", "softmax") if name.endswith("Classifier") else ("mse", None)
    network = partial(network_for_wrapper, last=last, loss=loss)
    return getattr(keras.wrappers, name)(network, fit_kwargs={"epochs": EPOCHS, "verbose": 0})


def network_for_wrapper(X, y, last, loss):
    return compiled(X.shape[1], 1 if y.ndim == 1 else y.shape[1], last, loss)


def scikeras(name):
    import scikeras.wrappers

    network = regressor_for_scikeras if name == "KerasRegressor" else classifier_for_scikeras
    return getattr(scikeras.wrappers, name)(network, epochs=EPOCHS, random_state=0, verbose=0)


def regressor_for_scikeras(meta):
    return compiled(meta["n_features_in_"], meta["n_outputs_"], None, "mse")


def classifier_for_scikeras(meta):
    if meta["target_type_"] == "binary":
        return compiled(meta["n_features_in_"], 1, "sigmoid", "binary_crossentropy")
    return compiled(meta["n_features_in_"], meta["n_classes_"], "softmax", "sparse_categorical_crossentropy")


def compiled(n_features, width, activation, loss):
    import keras

    layers = [keras.layers.Dense(UNITS, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((n_features,)), *layers, keras.layers.Dense(width, activation)])
    model.compile(keras.optimizers.Adam(RATE), loss)
    return model


CASES = {
    "AdamTuner": ("adamtune", adamtune),
    "AdamTunerClassifier": ("adamtune", adamtune),
    "AdamTunerRegressor": ("adamtune", adamtune),
    "SKLearnClassifier": ("keras", wrapper),
    "SKLearnRegressor": ("keras", wrapper),
    "KerasClassifier": ("scikeras", scikeras),
    "KerasRegressor": ("scikeras", scikeras),
}


def check(name):
    """What came out of every check, and how long they took together."""
    from sklearn.utils.estimator_checks import check_estimator

    package, make = CASES[name]
    began = time.monotonic()
    results = check_estimator(
        make(name),
        on_fail=None,
        on_skip=None,
        expected_failed_checks=EXPECTED if package == "adamtune" else None,
    )
    return {
        "name": name,
        "package": f"{package} {version(package)}",
        "sklearn": version("scikit-learn"),
        "backend": os.environ["KERAS_BACKEND"],
        "counts": Counter(result["status"] for result in results),
        "failed": [said(result) for result in results if result["status"] in ("failed", "xfail")],
        "seconds": time.monotonic() - began,
        "versions": {p: version(p) for p in ("keras", os.environ["KERAS_BACKEND"], "numpy")},
    }


def said(result):
    lines = [line.strip() for line in str(result["exception"]).splitlines() if line.strip()]
    kind = type(result["exception"]).__name__
    return {
        "check": result["check_name"],
        "expected": result["status"] == "xfail",
        "error": f"{kind}: {lines[0][:120] if lines else ''}",
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    name, file = sys.argv[1:]
    found = check(name)
    with open(file, "w", encoding="utf-8") as output:
        json.dump(found, output)
