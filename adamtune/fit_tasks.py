"""What scikit-learn's callbacks are told of a fit: a task for each phase, and in it one for each trial or pass.

A fit is a tree of tasks there, which hangs in the tree of a `GridSearchCV` or a `Pipeline` around it. scikit-learn has
callbacks since 1.9: before, an estimator has no `set_callbacks` and nothing is told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    # scikit-learn tears down after a method of this kind whatever was set up since.
    _tear_down = with_callbacks(lambda estimator: None)
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing, before scikit-learn 1.9."""

    def _tear_down(estimator: Any) -> None: ...


class FitTasks:
    """The tasks of one fit; without an estimator to tell of, none.

    Parameters
    ----------
    estimator : AdamTuner, optional
        The one whose callbacks are told.
    n_phases : int
        How many phases there will be at most.
    rows : dict
        `X`, `y` and `metadata`, as callbacks may ask for them.
    """

    def __init__(self, estimator: Any = None, n_phases: int = 0, **rows: Any) -> None:
        self._told = {"estimator": estimator, **rows}
        self._fit: Any = None
        self._phase: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=n_phases)
            self._fit.call_on_fit_task_begin(**self._told)

    def begin(self, name: str, total: int | None) -> None:
        """Another phase, of at most `total` units; None when nobody knows."""
        self._end_phase()
        if self._fit is not None:
            self._phase = self._fit.subcontext(name, max_subtasks=total).call_on_fit_task_begin(**self._told)

    def advance(self, name: str) -> bool:
        """One unit of the phase is done; True when a callback asks to stop."""
        if self._phase is None:
            return False
        return self._phase.subcontext(name).call_on_fit_task_begin(**self._told).call_on_fit_task_end(**self._told)

    def end(self) -> None:
        """The fit is over, and the estimator can predict as far as it ever will."""
        self._end_phase()
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._told, reconstruction_attributes=dict)

    def _end_phase(self) -> None:
        if self._phase is not None:
            self._phase.call_on_fit_task_end(**self._told)
            self._phase = None


@contextlib.contextmanager
def told(estimator: Any, n_phases: int, **rows: Any) -> Iterator[FitTasks]:
    """The tasks of a fit, from its beginning to its end; see `FitTasks` for the parameters."""
    try:
        tasks = FitTasks(estimator, n_phases, **rows)
        yield tasks
        tasks.end()
    finally:
        _tear_down(estimator)
