"""A trial of a stored study in one's own `model.fit`: the Keras callback beside the functions of `own_loop`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from adamtune.errors import SettingError, StudyError
from adamtune.own_loop import OpenTrial, _run_of, finish_trial, report_epoch


class ReportToStudy(keras.callbacks.Callback):
    """Reports each epoch of a `model.fit` to a stored study, and stops the training of a trial that is pruned.

    The value is what the logs of Keras have under the name of the study's objective. A trial that is pruned, or whose
    loss is NaN or infinite, ends the training as `keras.callbacks.EarlyStopping` does. At its end the trial is told;
    where `fit` is left by an exception, a `with trial:` around it tells so at once (see `OpenTrial`).

    Parameters
    ----------
    trial : OpenTrial
        From `begin_trial`, for one `fit` of as many epochs as the study says.

    Raises
    ------
    SettingError
        When `fit` has another number of epochs, or its logs lack the objective.
    StudyError
        When the trial is over already.

    Examples
    --------
    >>> import os, tempfile
    >>> from adamtune import begin_trial
    >>> url = f"sqlite:///{os.path.join(tempfile.mkdtemp(), 'runs.db')}"
    >>> trial = begin_trial("line", "sgd", objective="loss", epochs=2, storage=url)
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(optimizer=trial.config.to_keras(), loss="mse")
    >>> x = np.linspace(0, 1, 8)[:, None]
    >>> _ = model.fit(x, 2 * x, epochs=2, verbose=0, callbacks=[ReportToStudy(trial)])
    >>> trial.state, trial.epoch
    ('complete', 2)
    """

    def __init__(self, trial: OpenTrial) -> None:
        super().__init__()
        self.trial = trial
        _run_of(trial)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that this is the training that the trial was begun for."""
        epochs = self.params.get("epochs")
        if self.trial.state != "running" or self.trial.epoch:
            raise StudyError(
                f"trial {self.trial.number} is for one fit, and has had it ({self.trial.state} after "
                f"{self.trial.epoch} epochs): begin another trial, or call report_epoch in a loop of your own."
            )
        if epochs != self.trial.epochs:
            self._refuse(
                f"fit has epochs={epochs} and the study {self.trial.epochs}: trials of different length cannot be "
                f"compared. Write epochs={self.trial.epochs}, that is fit(epochs=trial.epochs)."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report, and stop the training where the trial is over."""
        logs, objective = logs or {}, self.trial.objective
        train_loss = float(logs.get("loss", np.nan))
        if objective not in logs and np.isfinite(train_loss):
            self._refuse(
                f"objective={objective!r} is not among what fit measured after epoch {epoch + 1}: "
                f"{', '.join(logs) or 'nothing'}. Give fit validation_data, with validation_freq=1, and compile the "
                "model with the metric; or name another objective."
            )
        given = {"train_loss": logs.get("loss"), "val_loss": None if objective == "val_loss" else logs.get("val_loss")}
        if report_epoch(self.trial, logs.get(objective, np.nan), **given) and self.trial.state != "complete":
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Tell the study."""
        finish_trial(self.trial)

    def _refuse(self, why: str) -> None:
        self.trial._run.fail()
        raise SettingError(why)
