"""ASHA over all reports of a tick: a trial goes on while it is among the best 1/eta that ever reached its rung.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934, in the stopping form. Rungs
are epochs 1, eta, eta**2, ... up to half of the full budget. All reports of a tick are recorded before any is judged,
so the outcome does not depend on the order of lanes.

Where a trial has several passes (folds, seeds) a rung counts the epochs of all of them. Inside a later pass a value
is a mean over passes that went to the end and one that did not, so rungs beyond the first pass are rounded down to
whole passes.

`stopped` is the loop's one question, for this pruner and for any of Optuna's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np
import optuna

from adamtune.tuning import records

# Li et al. use 4, Hyperband (Li et al. 2018, JMLR 18) 3; the smaller one forgives a slow first epoch more.
_ETA = 3


class Asha(optuna.pruners.BasePruner):
    """Asynchronous successive halving with explicit resources.

    Parameters
    ----------
    epochs : int
        Epochs of one pass; times `passes` the full budget of a trial, the largest resource.
    direction : {"minimize", "maximize"}
    eta : int
        One in `eta` goes on at each rung.
    passes : int
    """

    def __init__(self, epochs: int, direction: str, eta: int = _ETA, passes: int = 1) -> None:
        # A rung past half of the budget saves little and cuts trials that are nearly done: with 10 epochs, one at 9
        # ended four of the six that came so far.
        powers = [eta**k for k in range(32) if 2 * eta**k <= epochs * passes]
        self.rungs = list(dict.fromkeys(rung if rung <= epochs else rung - rung % epochs for rung in powers))
        self.eta = eta
        self._sign = records.sign(direction)
        self._seen: dict[int, list[float]] = {rung: [] for rung in self.rungs}
        self._known: set[int] = set()  # numbers of the trials that were taken in

    def fresh(self) -> Asha:
        """The same pruner for another study: it has seen nothing."""
        other = copy.copy(self)
        other._seen, other._known = {rung: [] for rung in self.rungs}, set()
        return other

    def learn(self, trials: Iterable[optuna.trial.FrozenTrial]) -> None:
        """Take in what finished trials of an earlier run, or of another process, reached; each of them once.

        A resumed study then judges as an undisturbed one, and several processes judge as one.
        """
        for trial in trials:
            if trial.state not in records.FINISHED or trial.number in self._known:
                continue
            self._known.add(trial.number)
            for rung in self.rungs:
                if rung in trial.intermediate_values:
                    self._seen[rung].append(self._sign * trial.intermediate_values[rung])

    def share(self, rung: int) -> float:
        """Of the trials that reach a rung, those that go on."""
        return 1 / self.eta

    def judge(self, rung: int, values: Sequence[float]) -> list[bool]:
        """Record the values that reach a rung in one tick, then say of each whether its trial goes on.

        NaN counts as worst and never goes on.
        """
        signed = [self._sign * value for value in values]
        self._seen[rung] += signed
        seen = np.array(self._seen[rung])
        ranked = np.sort(np.where(np.isnan(seen), np.inf, seen))
        cutoff = ranked[max(math.ceil(len(ranked) * self.share(rung) - 1e-9), 1) - 1]
        return [bool(value <= cutoff) for value in signed]

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Optuna's question for one trial, answered from all that is stored (its own loop asks this way)."""
        step = trial.last_step
        if step is None or step not in self._seen:
            return False
        others = [t.intermediate_values.get(step) for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        fresh = self.fresh()
        fresh._seen[step] = [self._sign * v for v in others if v is not None]
        return not fresh.judge(step, [trial.intermediate_values[step]])[0]


def stopped(pruner: optuna.pruners.BasePruner | None, reported: Sequence[tuple[optuna.Trial, int, float]]) -> set[int]:
    """Numbers of the trials that a pruner ends, once all that was reported since the last question is stored.

    Parameters
    ----------
    pruner : optuna.pruners.BasePruner or None
        The study's own. Those of Optuna are asked as in its own loop, one trial at a time in the order of trials.
    reported : sequence of (trial, step, value)
        In the order of trials; `value` is what the trial has just reported at `step`.
    """
    if pruner is None:
        return set()
    if not isinstance(pruner, Asha):
        return {trial.number for trial, _, _ in reported if trial.should_prune()}
    ended: set[int] = set()
    for rung in pruner.rungs:
        at_rung = [(trial.number, value) for trial, step, value in reported if step == rung]
        if at_rung:
            stays = pruner.judge(rung, [value for _, value in at_rung])
            ended |= {number for (number, _), stay in zip(at_rung, stays, strict=True) if not stay}
    return ended
