"""adamtune: tune the optimizer of a Keras model, hundreds of configurations in the time of a few.

Public names load when first touched, so that reading the catalogue does not load a backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamtune import presets
    from adamtune.config import OptimizerConfig
    from adamtune.own_fit import ReportToStudy
    from adamtune.own_loop import begin_trial, finish_trial, report_epoch
    from adamtune.recommending import recommend
    from adamtune.tuner import AdamTuner, AdamTunerClassifier, AdamTunerRegressor, load

__all__ = [
    "AdamTuner",
    "AdamTunerClassifier",
    "AdamTunerRegressor",
    "OptimizerConfig",
    "ReportToStudy",
    "begin_trial",
    "finish_trial",
    "load",
    "presets",
    "recommend",
    "report_epoch",
]

_HOMES = {
    "AdamTuner": "tuner",
    "AdamTunerClassifier": "tuner",
    "AdamTunerRegressor": "tuner",
    "OptimizerConfig": "config",
    "ReportToStudy": "own_fit",
    "begin_trial": "own_loop",
    "finish_trial": "own_loop",
    "load": "tuner",
    "recommend": "recommending",
    "report_epoch": "own_loop",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "presets":
        return importlib.import_module(f"{__name__}.presets")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
