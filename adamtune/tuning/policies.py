"""Names to samplers and pruners, with every argument written out, and objects of Optuna's as they are.

Optuna's defaults change between versions and two of them do not suit us: conditional parameters would be sampled
independently, and a seeded sampler that is created again repeats its first suggestions. So a new sampler is made for
each trial, seeded by (study seed, trial number); it costs no more, and a resumed study goes on instead of starting
over. A sampler that is given as an object is used as it is and seeded by nobody: what it repeats on resume is its own.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np
import optuna

from adamtune.errors import SettingError, did_you_mean
from adamtune.tuning.design import STARTUP
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import Space

Sampler = str | optuna.samplers.BaseSampler
Pruner = str | optuna.pruners.BasePruner | None

SAMPLERS = ("tpe", "random", "qmc", "gp")
PRUNERS = ("asha", "hyperband", "median", "none")

# Optuna's that suggest the same whatever they are told.
_BLIND = (
    optuna.samplers.RandomSampler,
    optuna.samplers.QMCSampler,
    optuna.samplers.GridSampler,
    optuna.samplers.BruteForceSampler,
)


def check_sampler(given: Any, space: Space | None = None) -> Sampler:
    """The sampler as it was given.

    Raises
    ------
    SettingError
        For what is unknown, cannot search the space, or needs a package that is not there.
    """
    if isinstance(given, optuna.samplers.BaseSampler):
        return given
    if not isinstance(given, str) or given not in SAMPLERS:
        raise SettingError(
            f"sampler={given!r} is unknown.{did_you_mean(str(given), SAMPLERS)} There are: {', '.join(SAMPLERS)}, or "
            "any optuna.samplers.BaseSampler object."
        )
    if given == "gp":
        if importlib.util.find_spec("torch") is None:
            raise SettingError("sampler='gp' needs PyTorch, which is not installed: pip install torch, or write 'tpe'.")
        if space is not None and space.conditional:
            raise SettingError(
                "sampler='gp' models one fixed set of numbers, and here they depend on a choice of optimizer or "
                "schedule: write sampler='tpe', or search one optimizer with one schedule."
            )
    return given


def check_stored(sampler: Any) -> None:
    """Refuse a sampler that would run what it finds in a database.

    Raises
    ------
    SettingError
        For Optuna's CMA-ES, which keeps its state in the study as a pickle.
    """
    if isinstance(sampler, optuna.samplers.CmaEsSampler):
        raise SettingError(
            "sampler=CmaEsSampler() unpickles what it finds in the study, and nothing in a database is run: write "
            "storage='memory', or sampler='tpe'."
        )


def check_pruner(given: Any) -> Pruner:
    """The pruner as it was given; raises SettingError for what is unknown."""
    if given is None or isinstance(given, optuna.pruners.BasePruner) or (isinstance(given, str) and given in PRUNERS):
        return given
    raise SettingError(
        f"pruner={given!r} is unknown.{did_you_mean(str(given), PRUNERS)} There are: {', '.join(PRUNERS)} (or None), "
        "or any optuna.pruners.BasePruner object."
    )


def name_of(policy: Sampler | Pruner) -> str:
    """What a sampler or pruner is called in a stored study: its name, or the class of an object."""
    return policy if isinstance(policy, str) else "none" if policy is None else type(policy).__qualname__


def learns(sampler: Sampler) -> bool:
    """Whether the sampler uses what it is told, so that too many lanes make it blind."""
    return sampler not in ("random", "qmc") if isinstance(sampler, str) else not isinstance(sampler, _BLIND)


def sampler_for(name: str, seed: int, number: int, conditional: bool = False) -> optuna.samplers.BaseSampler:
    """The sampler that suggests trial `number` of a study with that seed.

    Parameters
    ----------
    conditional : bool
        Whether some parameters are there only after some choices.
    """
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    independent = optuna.samplers.RandomSampler(seed=own)
    with warnings.catch_warnings():
        # group=True is experimental in Optuna 5 and the only way to sample conditional parameters jointly.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(
                n_startup_trials=0,  # when it is asked there is enough, see `tuning.design`
                n_ei_candidates=24,
                multivariate=True,
                group=conditional,
                constant_liar=True,
                seed=own,
            )
        if name == "gp":
            return optuna.samplers.GPSampler(
                seed=own,
                independent_sampler=independent,
                n_startup_trials=STARTUP,
                deterministic_objective=False,
                warn_independent_sampling=True,
            )
    return independent


def pruner_for(given: Any, epochs: int, direction: str, passes: int = 1) -> optuna.pruners.BasePruner | None:
    """The pruner for trials of `passes` times `epochs` epochs; None prunes nothing.

    Notes
    -----
    Hyperband deals trials out to its brackets by a hash of the study's name, so with it the same seed gives the same
    study only under the same name (optuna/optuna#3893).
    """
    checked = check_pruner(given)
    if checked == "asha":
        return Asha(epochs, direction, passes=passes)
    if checked == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=epochs * passes, reduction_factor=3, bootstrap_count=0
        )
    if checked == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0, interval_steps=1, n_min_trials=1)
    if isinstance(checked, Asha):
        return checked.fresh()
    return checked if isinstance(checked, optuna.pruners.BasePruner) else None
