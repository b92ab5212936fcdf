"""Estimate: what a study will take, said before it begins: time, memory, lanes and why.

The time is measured on a few batches of the program that will run; it decides nothing, so a busy machine changes what
people read and not what is tried.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from adamtune.errors import OutOfMemory
from adamtune.tuning import confirm, policies
from adamtune.tuning.pruning import Asha

if TYPE_CHECKING:
    from adamtune.tuning.run import Run

_MEGABYTE = 2**20


def estimate(run: Run, n_trials: int, n_confirmed: int) -> str:
    """A sentence for people.

    Parameters
    ----------
    n_trials : int
        Trials of the study.
    n_confirmed : int
        Configs that are trained again at its end.
    """
    epochs = expected_epochs(run)
    full = run.task.epochs * len(run.streams)
    what = f"{n_trials} trials of up to {full} epochs"
    if epochs < full:
        what += f" (about {epochs:.0f} with pruning)"
    memory = f"{math.ceil(run.plan.lanes * run.plan.lane_bytes / _MEGABYTE)} MB for lanes"
    if run.plan.rows_at_once is not None:
        memory += f", rows in blocks of {run.plan.rows_at_once}"
    seconds = seconds_a_tick(run)
    if seconds is None:
        return f"Estimate: {what}; the time is known after the first of them."
    waves = math.ceil((n_confirmed + len(run.space.parts)) / run.plan.lanes) * confirm.PASSES
    ticks = n_trials * epochs / run.plan.lanes + waves * run.task.epochs
    return f"Estimate: {what}, {duration(ticks * seconds)} of training; {memory}"


def expected_epochs(run: Run) -> float:
    """Epochs of a trial in the mean, when one in eta goes on at each rung; the full budget for Optuna's pruners."""
    full = run.task.epochs * len(run.streams)
    pruner = policies.pruner_for(run.pruner, run.task.epochs, run.task.direction, len(run.streams))
    if not isinstance(pruner, Asha):
        return float(full)
    steps = [0, *pruner.rungs, full]
    return sum((end - start) / pruner.eta**k for k, (start, end) in enumerate(itertools.pairwise(steps)))


def seconds_a_tick(run: Run) -> float | None:
    """Time of one epoch of all lanes of the first optimizer's program; None where trials go one by one."""
    engine = run.programs(run.space.rules[0].name, 0)
    measure = getattr(engine, "seconds_a_tick", None)
    if measure is None:
        return None
    try:
        return measure()
    except OutOfMemory:  # the loop, which comes next, halves the lanes
        return None


def duration(seconds: float) -> str:
    """A time in words that do not promise too much.

    >>> duration(0.2), duration(47), duration(600), duration(9000)
    ('less than a second', 'about 50 s', 'about 10 min', 'about 2.5 h')
    """
    if seconds < 1:
        return "less than a second"
    if seconds < 10:
        return f"about {seconds:.0f} s"
    if seconds < 90:
        return f"about {10 * round(seconds / 10)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
