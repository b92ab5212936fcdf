"""Names to samplers and pruners, with every argument written out.

Optuna's defaults change between versions and two of them do not suit us: conditional parameters would be sampled
independently, and a seeded sampler that is created again repeats its first suggestions. So a new sampler is made for
each trial, seeded by (study seed, trial number); it costs no more, and a resumed study goes on instead of starting
over.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna

from adamtune.errors import SettingError, did_you_mean
from adamtune.tuning.pruning import Asha

SAMPLERS = ("tpe", "random")
PRUNERS = ("asha", "none")


def check_sampler(name: Any) -> str:
    """The sampler's name; raises SettingError for what is unknown."""
    if isinstance(name, str) and name in SAMPLERS:
        return name
    raise SettingError(
        f"sampler={name!r} is unknown.{did_you_mean(str(name), SAMPLERS)} There are: {', '.join(SAMPLERS)}. "
        "Other samplers are not there yet."
    )


def learns(sampler: str) -> bool:
    """Whether the sampler uses what it is told, so that too many lanes make it blind."""
    return sampler != "random"


def sampler_for(name: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that suggests trial `number` of a study with that seed."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if name == "random":
        return optuna.samplers.RandomSampler(seed=own)
    with warnings.catch_warnings():
        # group=True is experimental in Optuna 5 and the only way to sample conditional parameters jointly.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=10,
            n_ei_candidates=24,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=own,
        )


def pruner_for(name: Any, epochs: int, direction: str) -> Asha | None:
    """The pruner of that name for trials of `epochs` epochs; None prunes nothing."""
    if name is None or name == "none":
        return None
    if name == "asha":
        return Asha(epochs, direction)
    raise SettingError(
        f"pruner={name!r} is unknown.{did_you_mean(str(name), PRUNERS)} There are: {', '.join(PRUNERS)} (or None). "
        "Other pruners are not there yet."
    )
