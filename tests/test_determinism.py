"""The same random_state gives the same study and model, bit for bit, in another process and on each backend."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
from tests import small

tuner = small.tuned(
    optimizer=["adam", "nadam", "sgd"], n_trials=24, epochs=3, lanes=4, confirm=2, refit=True,
    space={"learning_rate": (1e-4, 1.0), "schedule": ["constant", "cosine"]},
)
print(small.told(tuner))
print([array.tobytes().hex() for array in (*tuner.model_.get_weights(), tuner.predict_proba(small.X))])
"""


@pytest.mark.parametrize("backend", [name for name in ("tensorflow", "jax") if importlib.util.find_spec(name)])
def test_two_processes_make_the_same_study_and_model(backend):
    # Another seed of Python's own hashes: the order of no set may decide anything.
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "KERAS_BACKEND": backend, "PYTHONHASHSEED": hashes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for hashes in ("1", "2")
    ]
    (one, error), (two, _) = (process.communicate() for process in running)
    assert running[0].returncode == running[1].returncode == 0, error
    assert one == two

    study, _, model = one.rpartition("\n[")
    assert model.count(",") == 4  # two layers and the probabilities
    trials = json.loads(study)["trials"]
    seats = [trial["attributes"]["lane"] for trial in trials]
    assert {trial["params"]["optimizer"] for trial in trials} == {"adam", "nadam", "sgd"}
    assert "PRUNED" in {trial["state"] for trial in trials}  # what is compared has all of it: pruning,
    assert len(set(seats)) < len(trials) / 3  # lanes that were filled again (three programs share their numbers),
    assert sum(trial["state"] != "FAIL" for trial in trials) > 12  # and trials beyond the design
