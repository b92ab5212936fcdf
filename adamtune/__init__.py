"""adamtune: tune the optimizer of a Keras model, hundreds of configurations in the time of a few.

Public names load when first touched, so that reading the catalogue does not load a backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamtune import presets
    from adamtune.config import OptimizerConfig
    from adamtune.tuner import AdamTuner, AdamTunerClassifier, AdamTunerRegressor

__all__ = ["AdamTuner", "AdamTunerClassifier", "AdamTunerRegressor", "OptimizerConfig", "presets"]

_HOMES = {
    "AdamTuner": "tuner",
    "AdamTunerClassifier": "tuner",
    "AdamTunerRegressor": "tuner",
    "OptimizerConfig": "config",
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
