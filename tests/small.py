"""A data set, a model and a study that together take about a second: what the tests of whole studies share."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import optuna

from adamtune import AdamTunerClassifier
from adamtune.tuning import records, run

_rng = np.random.default_rng(20141222)
Y = np.arange(61) % 3  # 61 rows: neither folds nor batches come out even
X = (_rng.normal(size=(61, 4)) + Y[:, None]).astype("float32")

SETTINGS = {
    "n_trials": 6,
    "epochs": 2,
    "batch_size": 16,
    "confirm": 0,
    "refit": False,
    "storage": "memory",
    "start_from": None,  # what studies start from has tests of its own: test_experience.py
    "random_state": 0,
    "verbose": 0,
}


def network(X: Any, y: Any) -> Any:
    return keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(5, "tanh"), keras.layers.Dense(3)])


def tuned(X: Any = X, y: Any = Y, fit: dict[str, Any] | None = None, **settings: Any) -> Any:
    return AdamTunerClassifier(**{"model": network, **SETTINGS, **settings}).fit(X, y, **(fit or {}))


def watch_runs(monkeypatch: Any) -> list[Any]:
    """The `Run` of each fit from now on: the task, streams and programs, which an estimator does not keep."""
    runs = []

    def prepare(*given: Any, **named: Any) -> Any:
        runs.append(original(*given, **named))
        return runs[-1]

    original = run.prepare
    monkeypatch.setattr(run, "prepare", prepare)
    return runs


def trials(tuner: Any, *states: str) -> list[optuna.trial.FrozenTrial]:
    wanted = [optuna.trial.TrialState[state.upper()] for state in states] or None
    return tuner.study_.get_trials(deepcopy=False, states=wanted)


def start_ticks(trial: optuna.trial.FrozenTrial) -> list[int]:
    """The tick at which each pass began that the trial came to."""
    first = [trial.user_attrs["start_tick"]] if "start_tick" in trial.user_attrs else []
    later = (f"start_tick_{number}" for number in range(1, len(trial.user_attrs)))
    return first + [trial.user_attrs[name] for name in later if name in trial.user_attrs]


def stamp(tuner: Any) -> records.Stamp:
    return records.read_stamp(tuner.study_)


def told(tuner: Any) -> str:
    """Everything that a study says, as text: equal texts are bit-identical studies."""
    found = [
        {
            "state": trial.state.name,
            "params": trial.params,
            "values": trial.values,
            "reported": trial.intermediate_values,
            "attributes": trial.user_attrs,
        }
        for trial in trials(tuner)
    ]
    return json.dumps({"trials": found, "best": tuner.best_config_.to_dict(), "score": tuner.best_score_}, indent=1)


class Interrupted(SimpleNamespace):
    """Stands in for a method and is Ctrl-C at its n-th call."""

    def __init__(self, monkeypatch: Any, owner: Any, method: str, at: int = 1) -> None:
        super().__init__(calls=0)
        original = getattr(owner, method)

        def interrupted(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == at:
                raise KeyboardInterrupt
            return original(*given, **named)

        monkeypatch.setattr(owner, method, interrupted)
