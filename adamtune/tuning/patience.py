"""Patience: a training ends when it has not become better for so many epochs, and counts as what it was at its best.

As `keras.callbacks.EarlyStopping(restore_best_weights=True)` does, but for the objective of the task, whatever it is.
Without patience a training goes through all its epochs and counts as what it is at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adamtune.tuning import records


@dataclass
class Course:
    """How far one training is, and what it is worth so far.

    Parameters
    ----------
    epochs : int
        Of a whole training.
    direction : {"minimize", "maximize"}
    patience : int or None
        Epochs without a better value after which it ends; None never ends it early.

    Attributes
    ----------
    value : float
        What it is worth: the best value, without patience the last one. NaN before the first epoch.
    epoch : int
        Of that value, from 1.
    is_over : bool

    Examples
    --------
    >>> course = Course(epochs=10, direction="minimize", patience=2)
    >>> for epoch, value in enumerate([0.5, 0.3, 0.4, 0.3], start=1):
    ...     course.take(epoch, value)
    >>> course.value, course.epoch, course.is_over
    (0.3, 2, True)
    """

    epochs: int
    direction: str
    patience: int | None = None
    value: float = field(default=float("nan"), init=False)
    epoch: int = field(default=0, init=False)
    is_over: bool = field(default=False, init=False)

    def take(self, epoch: int, value: float) -> None:
        """Take in the value after an epoch."""
        sign = records.sign(self.direction)
        if self.patience is None or self.epoch == 0 or sign * value < sign * self.value:
            self.value, self.epoch = value, epoch
        self.is_over = epoch >= self.epochs or (self.patience is not None and epoch - self.epoch >= self.patience)

    def anew(self) -> Course:
        """Another training of the same kind, from its beginning."""
        return Course(self.epochs, self.direction, self.patience)
