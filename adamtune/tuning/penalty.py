"""What a diverged trial is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import optuna

from adamtune.tuning import records

if TYPE_CHECKING:  # the engine loads a backend, which a loop of one's own may not need
    from adamtune.engine import Engine

# What a diverged trial is told while nothing finite is known at all: any number does that is worse than every other.
_HOPELESS = 1e9


class Penalty:
    """What a diverged trial is told: no better than the untrained model, nor than the worst value seen.

    A sampler learns nothing from a failed trial, and ranks a pruned one by how long it lived; a finite bad value is
    what teaches it to stay away.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._worse = max if study.direction == optuna.study.StudyDirection.MINIMIZE else min
        self._worst: float | None = None
        self._untrained: Engine | None = None
        self._is_known = False
        self._hopeless = records.sign(study.direction) * _HOPELESS
        for trial in study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.FAIL:  # it is tried again
                continue
            for value in trial.intermediate_values.values():
                self._take(value)

    @property
    def value(self) -> float:
        """The penalty now; always finite."""
        if self._untrained is not None and not self._is_known:
            self._is_known = True
            self._take(self._untrained.initial_loss())
        return self._hopeless if self._worst is None else self._worst

    def know(self, engine: Engine) -> None:
        """The value of the untrained model counts, that of the first program; it is asked when it is needed."""
        if self._untrained is None:
            self._untrained = engine

    def see(self, value: float) -> None:
        """Take what a trial did in a tick into account."""
        self._take(value)

    def _take(self, value: float) -> None:
        if np.isfinite(value):
            self._worst = value if self._worst is None else self._worse(self._worst, value)
