"""ASHA over all reports of a tick: a trial goes on while it is among the best 1/eta that ever reached its rung.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934, in the stopping form. Rungs
are epochs 1, eta, eta**2, ... up to half of the full budget. All reports of a tick are recorded before any is judged,
so the outcome does not depend on the order of lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import optuna

# Li et al. use 4, Hyperband (Li et al. 2018, JMLR 18) 3; the smaller one forgives a slow first epoch more.
_ETA = 3


class Asha(optuna.pruners.BasePruner):
    """Asynchronous successive halving with explicit resources.

    Parameters
    ----------
    epochs : int
        The full budget of a trial; the largest resource.
    direction : {"minimize", "maximize"}
    eta : int
        One in `eta` goes on at each rung.
    """

    def __init__(self, epochs: int, direction: str, eta: int = _ETA) -> None:
        # A rung past half of the budget saves little and cuts trials that are nearly done: with 10 epochs, one at 9
        # ended four of the six that came so far.
        self.rungs = [eta**k for k in range(32) if 2 * eta**k <= epochs]
        self.eta = eta
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._seen: dict[int, list[float]] = {rung: [] for rung in self.rungs}

    def learn(self, trials: Iterable[optuna.trial.FrozenTrial]) -> None:
        """Take in what trials of an earlier run reached, so that a resumed study judges as an undisturbed one."""
        for trial in trials:
            for rung in self.rungs:
                if rung in trial.intermediate_values:
                    self._seen[rung].append(self._sign * trial.intermediate_values[rung])

    def judge(self, rung: int, values: Sequence[float]) -> list[bool]:
        """Record the values that reach a rung in one tick, then say of each whether its trial goes on.

        NaN counts as worst and never goes on.
        """
        signed = [self._sign * value for value in values]
        self._seen[rung] += signed
        ranked = np.sort(self._seen[rung])  # NaN last
        cutoff = ranked[-(-len(ranked) // self.eta) - 1]
        return [bool(value <= cutoff) for value in signed]

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Optuna's question for one trial, answered from all that is stored (its own loop asks this way)."""
        step = trial.last_step
        if step is None or step not in self._seen:
            return False
        others = [t.intermediate_values.get(step) for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        fresh = Asha(1, "minimize", self.eta)
        fresh._sign, fresh._seen = self._sign, {step: [self._sign * v for v in others if v is not None]}
        return not fresh.judge(step, [trial.intermediate_values[step]])[0]
