"""A pruner that knows how learning curves went: how far back later winners have been, as the training went on.

ASHA keeps the same share at every rung because it knows nothing. In the corpus of `studies/defaults` a config that ends
among the best of 64 is rarely in the worse half after a tenth of the epochs, nor outside of the best seventh after six
tenths: those shares, by the part of the training that is over, say how many trials go on at a rung. They are 95 %
quantiles over tasks, and stand in the shipped store.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adamtune.tuning import records
from adamtune.tuning.pruning import Asha

# Parts of the training at which shares are told, and the last at which a trial is judged.
PARTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75)


class CurvePruner(Asha):
    """ASHA with rungs at every report, and with shares that were learned from earlier curves.

    Parameters
    ----------
    epochs : int
        Of one pass.
    direction : {"minimize", "maximize"}
    shares : sequence of float
        Of all trials, those that go on after each of `PARTS` of the training; from the shipped store
        `adamtune.recommending.shares()`.
    passes : int

    Examples
    --------
    >>> pruner = CurvePruner(10, "minimize", shares=[0.5, 0.5, 0.4, 0.3, 0.2, 0.2, 0.1, 0.1])
    >>> pruner.rungs
    [1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(self, epochs: int, direction: str, shares: Sequence[float], passes: int = 1) -> None:
        super().__init__(epochs, direction, passes=passes)
        full = epochs * passes
        judged = [step for step in sorted(records.report_steps(full, [])) if step / full <= PARTS[-1]]
        # Inside a later pass nothing can be compared, see `Asha`.
        self.rungs = list(dict.fromkeys(step if step <= epochs else step - step % epochs for step in judged))
        self._seen = {rung: [] for rung in self.rungs}
        kept = np.interp([rung / full for rung in self.rungs], PARTS, np.minimum.accumulate(shares))
        # Who reaches a rung was kept at the one before.
        self._going_on = dict(zip(self.rungs, kept / np.concatenate([[1.0], kept[:-1]]), strict=True))

    def share(self, rung: int) -> float:
        """Of the trials that reach a rung, those that go on."""
        return self._going_on[rung]
