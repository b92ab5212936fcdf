"""Trials of a stored study for a loop of one's own: a GAN, reinforcement learning, PyTorch, a `fit` with its own ways.

    while trial := adamtune.begin_trial("gan", epochs=30):
        optimizer = trial.config.to_torch(net.parameters())  # or to_keras(), to_optax()
        for _ in range(trial.epochs):
            if adamtune.report_epoch(trial, train_an_epoch(net, optimizer)):
                break

The study has the space, the sampler and the pruner of an `AdamTuner`, and its trials are stored alike: `adamtune show`,
optuna-dashboard and the learning curves know them. Any number of processes may take trials of one study at once. For
`model.fit` there is `ReportToStudy`. Nothing here loads Keras.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import time
import warnings
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from adamtune.config import OptimizerConfig
from adamtune.errors import SettingError, StudyError
from adamtune.settings import check_own_loop
from adamtune.tuning import curves, leases, policies, records, recovery, sharing
from adamtune.tuning import storage as storages
from adamtune.tuning.asking import Asking
from adamtune.tuning.curves import Curve
from adamtune.tuning.penalty import Penalty
from adamtune.tuning.pruning import Asha
from adamtune.tuning.records import Stamp
from adamtune.tuning.space import Space

if TYPE_CHECKING:
    from adamtune.tasks.task import Direction

_State = optuna.trial.TrialState
_LOSS = "val_loss"
# Seconds between writes of the curve: what a killed process may lose of it.
_DRAW_EVERY = 1.0
# In the stamp of a study, where that of an AdamTuner has a fingerprint of its data and model.
_FINGERPRINT = "own loop"


@dataclass(eq=False)
class _Run:
    """A trial that has been asked, and what was reported of it."""

    trial: optuna.Trial
    stamp: Stamp
    steps: set[int]  # epochs that are stored and judged
    reports: list[tuple[float, float, float]] = field(default_factory=list)  # train_loss, val_loss, value
    state: str = "running"
    process: int = field(default_factory=os.getpid)
    drawn: float = field(default_factory=time.monotonic)

    def take(self, value: float, train_loss: float | None, val_loss: float | None) -> None:
        """Take in the next epoch; ends the trial where it is over."""
        given = [number for number in (value, train_loss, val_loss) if number is not None]
        unknown = value if self.stamp.objective == _LOSS else np.nan
        self.reports.append(
            (np.nan if train_loss is None else train_loss, unknown if val_loss is None else val_loss, value)
        )
        epoch = len(self.reports)
        if not np.isfinite(given).all():
            self.end("diverged")
            return
        if epoch in self.steps:
            self.trial.report(value, epoch)
            storages.flush(self.trial.study._storage)  # other processes compare with it
            if self._stored_state().is_finished():
                self._lose()
                return
        if epoch == self.stamp.epochs:
            self.end("complete")
        elif epoch in self.steps and self.trial.should_prune():
            self.end("pruned")
        elif time.monotonic() - self.drawn > _DRAW_EVERY:
            self._draw()

    def end(self, state: str) -> None:
        """Tell the study how it ended, and close the storage."""
        study = self.trial.study
        value = Penalty(study).value if state == "diverged" else self.reports[-1][-1]
        with storages.together(study):
            self._write(diverged=state == "diverged")
            if state == "pruned":
                study.tell(self.trial, state=_State.PRUNED)
            else:
                study.tell(self.trial, value)
        if self._stored_state() is _State.FAIL:
            self._lose()
            return
        self.state = state
        self._close()

    def fail(self) -> None:
        """Tell the study that nobody goes on with it; nothing for a trial that has ended, or of another process."""
        if self.state != "running" or self.process != os.getpid():
            return
        self.state = "failed"
        study = self.trial.study
        # This runs beside an error that matters more, or when the process ends and nobody is left to be told.
        with contextlib.suppress(Exception):
            with storages.together(study):
                self._write(diverged=False)
                self.trial.set_user_attr(records.STOPPED, records.STOPS[0])
                study.tell(self.trial, state=_State.FAIL, skip_if_finished=True)
            self._close()

    def _stored_state(self) -> optuna.trial.TrialState:
        """As others see it, who may have ended it: then it is no trial of this process any more."""
        return self.trial.study._storage.get_trial(self.trial._trial_id).state

    def _lose(self) -> None:
        """Go on without it."""
        self.state = "failed"
        warnings.warn(
            f"trial {self.trial.number} was ended elsewhere, because this process was silent for over "
            f"{leases.GRACE:.0f} s and was taken for dead: what it reports is dropped, and another trial tries the "
            "same config.",
            UserWarning,
            stacklevel=4,
        )
        storages.close(self.trial.study._storage)

    def _write(self, diverged: bool) -> None:
        last = self.reports[-1] if self.reports else ()
        names = ("train_loss", _LOSS, self.stamp.objective)  # where the loss is the objective it is the same number
        records.trained(self.trial, len(self.reports), diverged, dict(zip(names, last, strict=False)))

    def _draw(self) -> None:
        """Write the curve as far as it goes."""
        train_loss, val_loss, value = np.transpose(self.reports)
        metric = None if self.stamp.objective == _LOSS else value
        curves.write(self.trial.study, {self.trial.number: Curve(train_loss, val_loss, metric)})
        self.drawn = time.monotonic()

    def _close(self) -> None:
        if self.reports:
            self._draw()
        storages.close(self.trial.study._storage)


class OpenTrial:
    """A trial that `begin_trial` has begun, for one training in this process.

    As a context manager it is finished at the end of the block, and told to have failed where the block is left by an
    exception. Without one that happens when the trial is deleted or the process ends. The trial of a process that is
    killed is tried again, once, by whoever next begins a trial of the study.

    Attributes
    ----------
    number : int
        In its study, from 0.
    config : OptimizerConfig
        What to train with: `config.to_keras()`, `config.to_torch(params)`, `config.to_optax()`.
    epochs : int
        How many it may train.
    objective : str
    epoch : int
        How many have been reported.
    value : float or None
        What was reported last.
    state : {"running", "complete", "pruned", "diverged", "failed"}
    """

    def __init__(self, run: _Run, config: OptimizerConfig) -> None:
        self._run = run
        self.number, self.config = run.trial.number, config
        self.epochs, self.objective = run.stamp.epochs, run.stamp.objective
        weakref.finalize(self, run.fail)

    @property
    def epoch(self) -> int:
        """How many epochs have been reported."""
        return len(self._run.reports)

    @property
    def value(self) -> float | None:
        """What was reported last."""
        return self._run.reports[-1][-1] if self._run.reports else None

    @property
    def state(self) -> str:
        """What has become of it."""
        return self._run.state

    def __repr__(self) -> str:
        return f"<trial {self.number}, {self.state} after {self.epoch} of {self.epochs} epochs: {self.config!r}>"

    def __enter__(self) -> OpenTrial:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            finish_trial(self)
        else:
            self._run.fail()


def begin_trial(
    study: str,
    optimizer: str | list[str] = "adam",
    *,
    epochs: int = 20,
    n_trials: int = 64,
    space: Any = "auto",
    objective: str = _LOSS,
    direction: Direction | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    sampler: Any = "tpe",
    pruner: Any = "asha",
    storage: str | None = None,
    random_state: int | None = None,
) -> OpenTrial | None:
    """The next trial of a stored study, which is made where there is none; None once it has all its trials.

    Parameters
    ----------
    study : str
        Its name. Whoever takes trials of the same study gives the same optimizer, epochs and objective.
    optimizer, space, sampler, pruner
        As for `AdamTuner`. The optimizer "all" is refused; the space "auto" of a stored study is the one it has.
    epochs : int
        How often a full trial reports. Epochs here, or any stretch of training after which there is a value.
    n_trials : int
        How many trials the study has when it is done: complete, pruned and diverged ones. Those that run in several
        processes when it comes to this number are trained to their end and come on top.
    objective : str
        Name of the value that is reported.
    direction : {"minimize", "maximize"}, optional
        Needed for an objective that is no loss.
    batch_size, steps : int, optional
        Rows of an update, and updates of a full trial. Schedules that end with the training need them; where they are
        given, `config` carries them.
    storage : str, optional
        As for `AdamTuner`, but "memory".
    random_state : int, optional
        Seed of what is suggested, the same for all of the study; default: the study's own.

    Returns
    -------
    OpenTrial or None

    Raises
    ------
    SettingError, ConfigError
        For an argument that is out of range.
    StudyError
        When there is a study of that name with another optimizer, space, number of epochs, objective or seed, or one
        that an `AdamTuner` made.
    StorageError
        When the database cannot be opened or written.

    Examples
    --------
    >>> import os, tempfile
    >>> url = f"sqlite:///{os.path.join(tempfile.mkdtemp(), 'runs.db')}"
    >>> while trial := begin_trial("parabola", "sgd", epochs=2, n_trials=2, storage=url):
    ...     while not report_epoch(trial, (trial.config.learning_rate - 0.1) ** 2):
    ...         pass
    >>> trial is None
    True
    """
    searched = check_own_loop(
        optimizer,
        space,
        sampler=sampler,
        pruner=pruner,
        n_trials=n_trials,
        epochs=epochs,
        batch_size=batch_size,
        steps=steps,
    )
    name, towards = _name(study), _direction(objective, direction)
    stamp = Stamp(
        fingerprint=_FINGERPRINT,
        task=_FINGERPRINT,
        optimizer="+".join(searched.parts),
        space=searched.to_json(),
        objective=objective,
        epochs=int(epochs),
        batch_size=int(batch_size or 0),
        steps=int(steps or 0),
        seed=_seed(random_state),
        lanes=1,
        strategy="own_loop",
        device="",
        backend="",
        sampler=policies.name_of(sampler),
        pruner=policies.name_of(pruner),
        version=importlib.metadata.version("adamtune"),
    )
    whatever = [*(["seed"] if random_state is None else []), *(["space"] if space == "auto" else [])]
    database = _open(storage)
    try:
        joined, stamp = sharing.join(database, name, towards, stamp, searched, whatever)
        recovery.recover(joined, stopped=False)
        if records.n_finished(joined) >= n_trials:
            storages.close(database)
            return None
        return _ask(joined, stamp, sampler, pruner)
    except BaseException:
        storages.close(database)
        raise


def report_epoch(trial: OpenTrial, value: Any, *, train_loss: Any = None, val_loss: Any = None) -> bool:
    """Report the next epoch of a trial; True when the trial is over and the training should stop.

    A trial is over when it is pruned, when a number that is reported is NaN or infinite, or with its last epoch. The
    study is told at once. It is over with a warning where other processes took this one for dead, after a minute in
    which the system did not let it run.

    Parameters
    ----------
    trial : OpenTrial
    value : number
        The study's objective after this epoch.
    train_loss, val_loss : number, optional
        For the learning curve; `val_loss` only where the objective is another.

    Raises
    ------
    StudyError
        When the trial is over already.
    SettingError
        When a value is no number.
    """
    run = _run_of(trial)
    if run.state != "running":
        raise StudyError(
            f"trial {trial.number} is over ({run.state}) after {trial.epoch} epochs and takes no report: stop when "
            "report_epoch returns True, and begin another trial for another training."
        )
    if val_loss is not None and trial.objective == _LOSS:
        raise SettingError(
            f"val_loss={val_loss!r} is given beside value={value!r}, which is the val_loss: leave it out."
        )
    run.take(
        _number("value", value),
        None if train_loss is None else _number("train_loss", train_loss),
        None if val_loss is None else _number("val_loss", val_loss),
    )
    return run.state != "running"


def finish_trial(trial: OpenTrial) -> None:
    """End a trial that has ended its training before `epochs`; its value is what was reported last.

    Nothing for a trial that is over.

    Raises
    ------
    StudyError
        When nothing was reported: the trial is then told to have failed.
    """
    run = _run_of(trial)
    if run.state == "running" and not run.reports:
        run.fail()
        raise StudyError(
            f"trial {trial.number} ends without a value: call report_epoch(trial, value) after each epoch."
        )
    if run.state == "running":
        run.end("complete")


def _ask(study: optuna.Study, stamp: Stamp, sampler: policies.Sampler, pruner: policies.Pruner) -> OpenTrial:
    """The next trial of a study, asked and written."""
    judge = policies.pruner_for(pruner, stamp.epochs, study.direction.name.lower())
    asked = Asking(study, Space.from_json(stamp.space), sampler, stamp.seed).next()
    assert asked is not None  # there is no wave, and no limit is given
    steps = records.report_steps(stamp.epochs, judge.rungs if isinstance(judge, Asha) else [])
    trial, _ = asked
    run = _Run(trial, stamp, steps)
    try:
        storages.flush(study._storage)  # whoever asks next waits for it
        study.pruner = judge or optuna.pruners.NopPruner()
        return OpenTrial(run, records.config_of(study._storage.get_trial(trial._trial_id), stamp))
    except BaseException:
        run.fail()
        raise


def _run_of(trial: OpenTrial) -> _Run:
    if not isinstance(trial, OpenTrial):
        raise SettingError(
            f"trial={trial!r}: expected what begin_trial returns, which is None once the study has all its trials."
        )
    return trial._run


def _number(name: str, given: Any) -> float:
    try:
        if isinstance(given, (str, bytes)):
            raise TypeError
        return float(given)
    except (TypeError, ValueError):
        raise SettingError(
            f"{name}={given!r}: expected a number; one that is NaN or infinite ends the trial."
        ) from None


def _name(study: Any) -> str:
    if not (isinstance(study, str) and study.strip()):
        raise SettingError(f"study={study!r}: expected the name of a study, a text.")
    return study


def _direction(objective: Any, direction: Any) -> Direction:
    if not (isinstance(objective, str) and objective.strip()):
        raise SettingError(f"objective={objective!r}: expected the name of what is reported, such as 'val_loss'.")
    if direction is None and objective.endswith("loss"):
        return "minimize"
    if direction not in ("minimize", "maximize"):
        raise SettingError(
            f"direction={direction!r} with objective={objective!r}: write which is better, 'minimize' or 'maximize'."
        )
    return direction


def _seed(given: Any) -> int:
    if given is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or not 0 <= given < 2**32:
        raise SettingError(f"random_state={given!r}: expected a whole number from 0 to 2**32 - 1, or None.")
    return int(given)


def _open(given: str | None) -> optuna.storages.BaseStorage:
    url = storages.resolve_url(given)
    if url == "memory":
        raise SettingError("storage='memory' keeps nothing from one trial to the next: name a file or a server.")
    return storages.open_storage(url)
