"""AdamTuner: the optimizer of a Keras model, tuned as a scikit-learn estimator.

`fit` is the whole story in order: check, make a task of the data and the model, open a study, search it in lanes,
confirm the best few under fresh chance, and train the winner on all rows. What cannot be done yet is refused before any
training.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import optuna
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from adamtune import experience, optimizers, plots, preparing, presenting, progress, saving, summary, workers
from adamtune.config import OptimizerConfig
from adamtune.engine.stream import Stream
from adamtune.errors import SettingError, StudyError, whole
from adamtune.fit_tasks import CallbackSupportMixin, told
from adamtune.settings import Settings, check
from adamtune.tasks import data as rows
from adamtune.tasks import networks, outputs, tables
from adamtune.tasks import task as tasks
from adamtune.tasks.inputs import Named
from adamtune.tuning import loop, records, recovery, refit, storage
from adamtune.tuning import study as studies
from adamtune.tuning.confirm import Confirmed, best, confirm, streams
from adamtune.tuning.estimate import estimate
from adamtune.tuning.run import Row, Run, baselines, default_label, open_study, streams_of

_COMPLETE = optuna.trial.TrialState.COMPLETE
# X, y, sample_weight, validation_data and groups, as `fit` was given them.
Given = tuple[Any, Any, Any, Any, Any]
_MODELS = ("model", "model_")  # what may be a Keras model


class AdamTuner(CallbackSupportMixin, BaseEstimator):
    """Tune the optimizer of a Keras model, then be that model, trained with the best config found.

    Parameters
    ----------
    model : None, keras.Model or callable, default=None
        None is a dense network that fits the task. A `keras.Model` is cloned: the clones have fresh weights, except
        those of frozen layers and what layers learned by `adapt`. A callable `model(X, y)` returns a compiled or
        uncompiled model; what it returns is taken as it is, so pretrained weights that it loads are where training
        starts. A compiled model gives its loss, and what its optimizer does besides its rule (clipping, averaging,
        gradient accumulation), which every trial then does too.
    optimizer : str or list of str, default="adam"
        Optimizer or optimizers to tune, see `adamtune.optimizers.names()`. With several, each trial chooses one.
        "all" begins with a few trials of every optimizer and goes on with the better ones.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" reads it off y.
    space : "auto", str or mapping, default="auto"
        What to search: "auto" frees more hypers the more trials there are; a name is a published space, see
        `adamtune.tuning.published.names()`; a mapping gives (low, high) pairs, Optuna distributions or fixed values by
        hyper, `"schedule"` a name or several to choose from, see `adamtune.tuning.space.space`.
    n_trials : int, default=64
        Trials in all, also on resume.
    timeout : float, optional
        Seconds after which the search stops; what is finished counts.
    epochs, batch_size : int, default=20, 32
        The budget of one trial.
    loss : str or keras.losses.Loss, optional
        Default: the compiled model's, else the one that fits the task.
    metric : str, keras.metrics.Metric, scikit-learn scorer or callable, optional
        What to judge by: a name of Keras or of `sklearn.metrics.get_scorer_names()`, such an object, a function
        `(y_true, y_pred)` of tensors or one `(estimator, X, y)`. No metric takes sample weights into account. Default:
        the validation loss, which does.
    direction : {"minimize", "maximize"}, optional
        Needed only for a metric whose direction is not known.
    patience : int, optional
        Epochs without a better value after which a trial ends early; it then counts as what it was at its best epoch,
        and the winner is trained for as many epochs. Default: every trial trains all epochs and counts as what it is
        at the end.
    class_weight : mapping or "balanced", optional
        Weights by label, in training only; not where a row may have several labels.
    validation_split : float, default=0.2
        Share of the rows that judge, stratified for labels; of the groups, where `fit` is given groups.
    cv : int, scikit-learn splitter or iterable of (train, valid), optional
        Folds instead of one split: each trial trains in all of them, one after the other, and its value is the mean. A
        trial that is pruned in one enters no other.
    n_seeds : int, default=1
        Initial weights, orders and masks under which each trial trains (each fold of it); its value is the mean.
    confirm : int, default=3
        How many of the best configs are run again under fresh chance to choose the winner; 0 takes the best trial.
    sampler : {"tpe", "random", "qmc", "gp"} or optuna.samplers.BaseSampler, default="tpe"
        "qmc" fills the space evenly, with which "tpe" and "gp" begin; "gp" needs PyTorch. An object is used as it is.
    pruner : {"asha", "hyperband", "median", "none"}, optuna.pruners.BasePruner or None, default="asha"
        Optuna deals trials to the brackets of Hyperband by the name of the study, which is another one each time.
    lanes : "auto" or int, default="auto"
        How many trials of an optimizer train at once.
    start_from : "shipped", "store", None or list of OptimizerConfig, default="shipped"
        Configs to try first, after the optimizer's defaults. "shipped": those of the space that were good on tasks like
        this one in the studies behind this version, five at most and a third of the trials; early trials are also drawn
        near to them. "store": the user's own studies in `storage` count too, which below an outer cross-validation
        would be leakage. None: the defaults alone.
    storage : str, optional
        Default: `$ADAMTUNE_STORAGE`, else `sqlite:///adamtune.db`. "memory" writes nothing; else a SQLAlchemy URL.
    study_name : str, optional
        Prefix of the study's name. A unique suffix is added unless `resume=True`.
    resume : bool, default=False
        Go on with the stored study of that name.
    refit : True, "train" or False, default=True
        True trains the winner on all rows; "train" replays the winning trial on its own rows; False keeps no model.
    callbacks : sequence of callable, default=()
        Each is called as `callback(study, trial)` after a trial has ended, as in Optuna. `study.stop()` in it lets the
        study end with the trials that train now.
    n_jobs : int, optional
        Processes that train trials of the study at once, each with lanes of its own; -1 is one a core. joblib starts
        them, and `joblib.parallel_config` chooses where, also on a Dask or Ray cluster. Needs a `storage` that all of
        them reach: on one machine a SQLite file will do, on several it is a server. With more than one process the
        trials depend on who is faster.
    random_state : int, RandomState or None, default=None
        Seed of everything: split, initial weights, order, masks, suggestions.
    verbose : int, default=1
        0 prints nothing. 1 shows an estimate before training, progress and, at the end, the best configs beside Keras'
        default Adam and beside Adam tuned over the learning rate alone with the same budget of epochs (which takes
        about as long again).

    Attributes
    ----------
    best_config_ : OptimizerConfig
        The winner; `best_config_.to_keras()` is what `model.compile` takes.
    best_score_ : float
        The winner's objective in its own direction: mean of the confirming passes, or the trial's value without them.
    best_spread_ : float
        Standard deviation of the winner over the confirming passes; NaN without them.
    best_score_source_ : str
        How the score was obtained, in a sentence.
    best_trial_ : optuna.trial.FrozenTrial
    study_ : optuna.Study
    trials_ : pandas.DataFrame of shape (n_trials, ...)
    plan_ : adamtune.engine.plan.Plan
        Strategy, lanes and device that were used.
    n_programs_ : int
        Training programs that the study used, compiled for it or for an earlier fit: one an optimizer, and on JAX
        another for the short batch at the end of an epoch where lanes run in a loop.
    model_ : keras.Model
        Trained with the winner (not with `refit=False`).
    history_ : dict of str to list of float
        The refit's losses per epoch.
    classes_ : ndarray of shape (n_classes,)
        Labels, for classification; the numbers of y's columns where a row may have several.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        When X has names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> tuner = AdamTunerClassifier(n_trials=4, epochs=2, storage="memory", random_state=0, verbose=0).fit(X, y)
    >>> tuner.best_config_.optimizer, len(tuner.trials_)
    ('adam', 4)
    """

    def __init__(
        self,
        model: Any = None,
        optimizer: Any = "adam",
        *,
        task: str = "auto",
        space: Any = "auto",
        n_trials: int = 64,
        timeout: float | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        loss: Any = None,
        metric: Any = None,
        direction: str | None = None,
        patience: int | None = None,
        class_weight: Any = None,
        validation_split: float = 0.2,
        cv: Any = None,
        n_seeds: int = 1,
        confirm: int = 3,
        sampler: Any = "tpe",
        pruner: Any = "asha",
        lanes: Any = "auto",
        start_from: Any = "shipped",
        storage: str | None = None,
        study_name: str | None = None,
        resume: bool = False,
        refit: Any = True,
        callbacks: Any = (),
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 1,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.task = task
        self.space = space
        self.n_trials = n_trials
        self.timeout = timeout
        self.epochs = epochs
        self.batch_size = batch_size
        self.loss = loss
        self.metric = metric
        self.direction = direction
        self.patience = patience
        self.class_weight = class_weight
        self.validation_split = validation_split
        self.cv = cv
        self.n_seeds = n_seeds
        self.confirm = confirm
        self.sampler = sampler
        self.pruner = pruner
        self.lanes = lanes
        self.start_from = start_from
        self.storage = storage
        self.study_name = study_name
        self.resume = resume
        self.refit = refit
        self.callbacks = callbacks
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    # What `adamtune tune` was given, for workers that are started by the name of the study.
    _origin: Mapping[str, Any] | None = None

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        validation_data: tuple | None = None,
        groups: Any = None,
    ) -> AdamTuner:
        """Search, confirm and train.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...), sparse matrix of shape (n_samples, n_features), or dict of these
            Finite numbers: a table, images, sequences, token ids. With `model=None` also a pandas frame with columns of
            text, categories or bools and with gaps: gaps among numbers are filled by the median, text becomes columns
            of 0 and 1, dates and what names rows are left out. Medians and categories are learned from all rows of X,
            also from those that judge, and used again by `predict`. A dict holds several inputs by the names that the
            model gives them. A sparse matrix is made dense by the batch, an `np.memmap` is read by the batch.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets. For a classifier columns of 0 and 1 (an array, a frame or a sparse matrix) are labels of
            which a row may have any number.
        sample_weight : array-like of shape (n_samples,), optional
        validation_data : (X, y) or (X, y, sample_weight), optional
            Rows that judge, instead of a split.
        groups : array-like of shape (n_samples,), optional
            Rows of one group train or judge together.

        Returns
        -------
        self

        Raises
        ------
        SettingError, ConfigError, DataError, ModelError, StorageError, StudyError
            Before any training where that can be known; all of them say what to write instead.
        KeyboardInterrupt
            On Ctrl-C, after everything finished is stored and `best_config_` (and what goes with it) is set.
        """
        return self._fit((X, y, sample_weight, validation_data, groups), None, self.n_trials)

    def join(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        validation_data: tuple | None = None,
        groups: Any = None,
    ) -> AdamTuner:
        """Train trials of a stored study beside whoever began it, until it has `n_trials` finished ones.

        Nothing is chosen, trained on all rows or learned by this estimator: whoever calls `fit` does that. Any number
        of processes on any number of machines may join, each with lanes of its own; together they finish exactly
        `n_trials`. One that dies loses what it was training, and another trains that again, once. This is one process,
        whatever `n_jobs` says.

        Parameters
        ----------
        X, y, sample_weight, validation_data, groups
            What `fit` was given: other rows are refused.

        Returns
        -------
        self

        Raises
        ------
        StudyError
            When there is no such study, or it is of another task.
        SettingError, ConfigError, DataError, ModelError, StorageError
            As for `fit`.
        """
        settings = check(self, _kind_of(self), is_split=validation_data is None)
        if not self.study_name:
            raise SettingError("join needs the study_name of a stored study.")
        given, began = (X, y, sample_weight, validation_data, groups), time.monotonic()
        with networks.lean(), _database(storage.resolve_url(self.storage), None) as database:
            study = studies.whole(studies.find(database, self.study_name))
            if study is None:
                raise StudyError(f"study {self.study_name!r} was never made to its end: begin it with fit.")
            if records.n_finished(study) < self.n_trials:
                run, *_ = self._prepare(settings, given, study, self._seed(study), self.n_trials)
                studies.check(study, run.task.direction, run.stamp)
                if records.get_note(study, "stop"):
                    raise StudyError(
                        f"study {self.study_name!r} was stopped, and nobody has taken it up again: do so with fit and "
                        "resume=True, or `adamtune tune ... --resume`. Then it takes others."
                    )
            if records.n_finished(study) < self.n_trials:  # still: what others have concluded meanwhile stays
                studies.take_back(study)
                recovery.recover(study, stopped=True)
                budget = loop.Budget(trials=self.n_trials, seconds=_left(self.timeout, began))
                with contextlib.closing(run.search(study, budget)) as events:
                    for event in events:
                        if isinstance(event, loop.TrialEnded):
                            self._call_back(study, event.number)
        return self

    def continue_fit(self, n_trials: int) -> AdamTuner:
        """Go on with the study that `fit` began, on the rows that it was given; then choose and train anew.

        Parameters
        ----------
        n_trials : int
            To be finished in addition to those that are.

        Returns
        -------
        self

        Raises
        ------
        StudyError
            When the rows are not here: they are never stored with an estimator.
        """
        given, study = self._known()
        return self._fit(given, study, records.n_finished(study) + whole("n_trials", n_trials, 1))

    def replay(self, trial: int | optuna.trial.FrozenTrial, pass_number: int = 0) -> tuple[Any, dict[str, list[float]]]:
        """Train a trial of the study over again: the same rows in the same order from the same weights.

        Parameters
        ----------
        trial : int or optuna.trial.FrozenTrial
            Its number, or itself. A pruned one is trained as far as it came; one with patience up to its best epoch.
        pass_number : int, default=0
            Which pass of it, where `cv` or `n_seeds` make several.

        Returns
        -------
        model : keras.Model
            Compiled, and as it was at the end of that training.
        history : dict of str to list of float
            "loss" and "val_loss" after each epoch, and the metric; the last of the objective is what was stored, up to
            rounding.

        Raises
        ------
        StudyError
            When the rows are not here, or there is no such trial or pass.
        """
        (X, y, sample_weight, validation_data, groups), study = self._known()
        number = trial.number if isinstance(trial, optuna.trial.FrozenTrial) else trial
        trials = study.get_trials(deepcopy=False)
        if not (isinstance(number, (int, np.integer)) and 0 <= number < len(trials)):
            raise StudyError(f"there is no trial {number!r} in study {study.study_name!r}, which has {len(trials)}.")
        stamp = records.read_stamp(study)
        with networks.lean():
            data = self._data(_kind_of(self), X, y, sample_weight, validation_data)
            task, model = preparing.make_task(self, X, y, groups, data, stamp.seed)
            if task.fingerprint(model) != stamp.fingerprint:
                raise StudyError(
                    f"the rows or the settings of this estimator have changed since study {study.study_name!r} was "
                    "made, so its trials cannot be trained as they were: set the parameters back, or fit anew."
                )
            return refit.replay(task, streams_of(task, stamp.seed, self.n_seeds), trials[number], pass_number)

    def _known(self) -> tuple[Given, optuna.Study]:
        """What `fit` was given, and the study that it made."""
        check_is_fitted(self, "trials_")
        if not hasattr(self, "_given"):
            raise StudyError(
                "this estimator was loaded, and neither rows nor the connection to the database are stored with it. "
                f"Write set_params(study_name={self.study_name_!r}, resume=True, n_trials=...) and fit(X, y)."
            )
        return self._given, self.study_

    def _fit(self, given: Given, known: optuna.Study | None, n_trials: int) -> AdamTuner:
        """Search until so many trials are finished, confirm and train; `known` is the study to go on with."""
        began = time.monotonic()
        X, y, sample_weight, validation_data, _ = given
        settings = check(self, _kind_of(self), is_split=validation_data is None)
        url = storage.resolve_url(self.storage)
        n_workers = workers.count(self.n_jobs, url)
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(networks.lean())
            weighted = {"metadata": {"sample_weight": sample_weight}} if sample_weight is not None else {}
            fit_tasks = cleanup.enter_context(told(self, self._n_phases(), X=X, y=y, **weighted))
            database = cleanup.enter_context(_database(url, known))
            stored = self._stored(database) if known is None else studies.find(database, known.study_name)
            seed = self._seed(stored) if known is None else records.read_stamp(known).seed
            run, model, known_before = self._prepare(settings, given, stored, seed, n_trials)
            self._remember(run, model, given)
            view = cleanup.enter_context(
                progress.open_view(self.verbose, run.task.objective, run.task.direction, fit_tasks)
            )
            study = open_study(run, database, self.study_name, stored, exact=self.resume)
            records.set_note(study, "loss", tasks.loss_code(run.task.loss))
            if self._origin:
                records.set_note(study, "origin", self._origin)
            known_before.write(study)
            self._announce(view, study, run, n_trials)
            self._search(view, study, run, n_trials, began, n_workers)
            experience.remember(study, run, known_before)
            chances, found = self._choose(view, study, run)
            self._refit(view, run)
            self._compare(view, study, run, chances, found, began)
            records.set_note(study, "seconds", time.monotonic() - began)
            presenting.present(study)
            if self.verbose:
                view.show(summary.render(summary.of_study(study)))
        return self

    def _prepare(
        self, settings: Settings, given: Given, stored: optuna.Study | None, seed: int, n_trials: int
    ) -> tuple[Run, Any, experience.Experience]:
        """What is to be trained, its model, and what was known of such tasks before."""
        X, y, sample_weight, validation_data, groups = given
        data = self._data(settings.kind, X, y, sample_weight, validation_data)
        task, model = preparing.make_task(self, X, y, groups, data, seed)
        settings = preparing.keeping(self, settings, model)
        known_before = experience.consult(settings, stored, task, model, (X, y), self.storage, n_trials, self.patience)
        return preparing.make_run(self, settings, stored, seed, task, model, known_before), model, known_before

    def _stored(self, database: Any) -> optuna.Study | None:
        """The study to go on with; None when there is none."""
        if not (self.resume and self.study_name):
            return None
        try:
            return studies.whole(studies.find(database, self.study_name))
        except StudyError:
            return None  # nothing to go on with: it begins under this very name

    def _seed(self, stored: optuna.Study | None) -> int:
        """The seed of everything: a stored study has its own."""
        given = self.random_state
        if given is None:
            if stored is not None:
                return records.read_stamp(stored).seed
            return int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(given, (int, np.integer)):
            if not 0 <= given < 2**32:
                raise SettingError(f"random_state={given}: expected a whole number from 0 to 2**32 - 1.")
            return int(given)
        return int(check_random_state(given).randint(2**31 - 1))

    def _data(self, kind: str, X: Any, y: Any, sample_weight: Any, validation_data: tuple | None) -> rows.Data:
        """The rows as a task takes them; learns the number of features, their names and what makes them numbers."""
        floatx = keras.config.floatx()
        encoder, numbers = None, X
        if self.model is None:
            encoder, numbers, validation_data = tables.encoded(X, validation_data, floatx)
        data = rows.prepare(
            numbers,
            y,
            sample_weight,
            kind=kind,
            class_weight=self.class_weight,
            validation_data=validation_data,
            floatx=floatx,
            scale_targets=self.model is None,
        )
        for known in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(known, None)
        if not isinstance(data.x, Named):  # several inputs have names of their own
            validate_data(self, X=X, skip_check_array=True)
        self._encoder = encoder
        for sentence in encoder.dropped if encoder and not self.verbose else ():
            warnings.warn(sentence, UserWarning, stacklevel=4)
        return data

    def _n_phases(self) -> int:
        """How many phases a fit has at most: search, confirm, refit, and two for the comparison."""
        return 1 + bool(self.confirm) + bool(self.refit) + 2 * bool(self.verbose and self.confirm)

    def _announce(self, view: Any, study: optuna.Study, run: Run, n_trials: int) -> None:
        """Say what is about to happen and what it will take."""
        split = run.streams[0].split
        passes = f", {len(run.streams)} passes" if len(run.streams) > 1 else ""
        view.say(f"Study {study.study_name} in {storage.redact(storage.resolve_url(self.storage))}")
        view.say(
            f"{run.task.name}: {split.n_train} rows train, {len(split.valid)} judge by {run.task.objective}{passes}; "
            f"{run.plan}"
        )
        for sentence in self._encoder.said if self._encoder else ():
            view.say(sentence)
        if run.space.options:
            view.say(f"Every trial has {', '.join(f'{name}={value}' for name, value in run.space.options.items())}")
        if self.verbose:
            view.say(estimate(run, n_trials, self.confirm))

    def _search(self, view: Any, study: optuna.Study, run: Run, n_trials: int, began: float, n_workers: int) -> None:
        """Run the study. However it ends, what is best so far is set."""
        view.begin("study", n_trials, done=records.n_finished(study))
        try:
            with contextlib.closing(self._events(study, run, n_trials, began, n_workers)) as events:
                for event in events:
                    stops = view.event(event)
                    if isinstance(event, loop.TrialEnded):
                        self._call_back(study, event.number)
                    if stops:
                        break
        finally:
            self.n_programs_, self.plan_ = run.programs.n_programs, run.plan
            self.study_, self.trials_ = study, records.table(study)
            for trial in records.ranked(study)[:1]:
                source = _source(run, trial, len(self.trials_))
                self._take(trial, run, records.value_of(trial), float("nan"), source)

    def _events(
        self, study: optuna.Study, run: Run, n_trials: int, began: float, n_workers: int
    ) -> Generator[loop.Event]:
        """The search: that of workers, then of what they have left."""
        if n_workers > 1:
            joining = preparing.worker(self, run, n_trials, _left(self.timeout, began))
            url = storage.resolve_url(self.storage)
            yield from workers.search(joining, self._given, study, url, n_workers)
            left = _left(self.timeout, began)
            if study._stop_flag or (left is not None and left <= 0):
                return
            recovery.recover(study, stopped=True)  # what workers have left that died
        yield from run.search(study, loop.Budget(trials=n_trials, seconds=_left(self.timeout, began)))

    def _call_back(self, study: optuna.Study, number: int) -> None:
        """Tell the callbacks of a trial that has ended; they may call `study.stop()`."""
        for callback in self.callbacks or ():
            with loop.may_be_stopped(study):
                callback(study, study.get_trials(deepcopy=False)[number])

    def _take(self, trial: optuna.trial.FrozenTrial, run: Run, score: float, spread: float, source: str) -> None:
        self.best_trial_ = trial
        self.best_config_ = records.config_of(trial, run.stamp)
        self.best_score_ = score
        self.best_spread_ = spread
        self.best_score_source_ = source

    def _choose(self, view: Any, study: optuna.Study, run: Run) -> tuple[list[Stream], list[Row]]:
        """Confirm the best few beside the defaults, take the winner and write it.

        Returns the chance of the confirming passes and what came out of them, for the comparison.
        """
        ranked = records.ranked(study)
        top = [trial for trial in ranked if trial.state == _COMPLETE][: self.confirm]
        if not ranked:
            raise StudyError(
                f"no trial of study {study.study_name!r} trained to a finite loss: all {len(self.trials_)} diverged or "
                "were cut off. Look at the data's scale, or search smaller learning rates: "
                "space={'learning_rate': (1e-6, 1e-3)}."
            )
        chances = streams(run.task, run.stamp.seed) if top else []
        found: list[Row] = []
        if top:
            view.begin("confirming", len(chances), unit="passes")
            configs = [records.config_of(trial) for trial in top]
            beside = [default for default in run.space.defaults() if default not in configs]
            confirmed: list[Confirmed] = []
            for done in confirm(run.task, run.programs, configs + beside, chances, self.patience):
                confirmed = done
                view.advance()
            winner = best(confirmed[: len(top)], run.task.direction)
            source = _confirmed_source(run, len(chances))
            self._take(top[winner], run, confirmed[winner].mean, confirmed[winner].spread, source)
            found = [(f"trial {t.number}", t.number, c) for t, c in zip(top, confirmed, strict=False)]
            found += [(default_label(c.config.rule), None, c) for c in confirmed[len(top) :]]
        records.write_comparison(study, [_line(row) for row in found], run.task.direction)
        records.write_winner(
            study, self.best_trial_.number, self.best_config_, self.best_score_, self.best_spread_, len(chances)
        )
        self._warn(study, run)
        return chances, found

    def _compare(
        self, view: Any, study: optuna.Study, run: Run, chances: Sequence[Stream], found: list[Row], began: float
    ) -> None:
        """Tune Adam over the learning rate alone with the same budget, for people to see beside the winner."""
        if not self.verbose or not chances:
            return
        left = _left(self.timeout, began)
        if left is not None and left <= 0:
            view.say("Nothing is left of the budget for the comparison with default Adam.")
            return
        with contextlib.closing(baselines(study, run, chances, self.confirm, left)) as events:
            for event in events:
                if isinstance(event, list):
                    records.write_comparison(study, [_line(row) for row in found + event], run.task.direction)
                elif view.event(event):
                    break

    def _warn(self, study: optuna.Study, run: Run) -> None:
        """Say, and store, what takes from the trust in the winner."""
        sentences = run.space.near_bounds(self.best_config_)
        if self.best_trial_.state != _COMPLETE:
            sentences.append("No trial reached the full number of epochs: the best is the one that came farthest.")
        if not math.isfinite(self.best_score_):
            sentences.append("Every config of the best few diverged in some confirming pass: look for smaller rates.")
        if not run.streams[0].split.drawn:
            sentences.append("The judging rows were given, so choosing on them makes the score optimistic.")
        records.set_note(study, "warnings", sentences)
        for sentence in [] if self.verbose else sentences:
            warnings.warn(sentence, UserWarning, stacklevel=4)

    def _refit(self, view: Any, run: Run) -> None:
        if not self.refit:
            return
        view.begin("training the winner", 1, unit="models")
        if self.refit == "train":
            trained = refit.replay(run.task, run.streams, self.best_trial_)
        else:
            epochs = self.epochs
            if self.patience is not None:
                counted = [records.counted(self.best_trial_, self.epochs, number) for number in range(len(run.streams))]
                epochs = max(1, round(sum(counted) / len(counted)))
            trained = refit.train_on_all(run.task, run.streams[0], self.best_config_, epochs)
            if not refit.is_finite(*trained):
                warnings.warn(
                    "The winner diverged when it was trained on all rows, so model_ is that of its trial, trained on "
                    "those that did not judge. Search smaller rates to be safe: space={'learning_rate': (1e-5, 1e-3)}.",
                    UserWarning,
                    stacklevel=4,
                )
                trained = refit.replay(run.task, run.streams, self.best_trial_)
        self.model_, self.history_ = trained
        view.advance()

    def _remember(self, run: Run, model: Any, given: Given) -> None:
        """Keep what predictions need to know, and what `fit` was given as it was; forget an earlier fit."""
        data = run.task.data
        self._given = given
        self.kind_ = data.kind
        self.plan_ = run.plan
        self._dtypes = data.x.dtypes
        self._meaning = outputs.Meaning.of(run.task, model)
        for gone in ("classes_", "model_", "history_", "study_name_"):
            self.__dict__.pop(gone, None)
        for gone in ("config", "trial", "score", "spread", "score_source"):
            self.__dict__.pop(f"best_{gone}_", None)
        if data.classes is not None:
            self.classes_ = data.classes

    def predict(self, X: Any) -> np.ndarray:
        """Labels, or numbers, for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Where a row may have several labels, 0 and 1 in the type of the y of `fit`.
        """
        said = self._outputs(X)
        return self._meaning.predictions(said)

    def _is_classifier(self) -> bool:
        if hasattr(self, "kind_"):
            return self.kind_ != "regression"
        return _kind_of(self) == "classification"

    @available_if(_is_classifier)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label for each row, in the order of `classes_`.

        A row adds up to 1, unless it may have several labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        said = self._outputs(X)
        return self._meaning.probabilities(said)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a classifier, R² of a regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        measure = r2_score if self._is_classifier() is False else accuracy_score
        return float(measure(y, self.predict(X), sample_weight=sample_weight))

    def plot(self, kind: str = "history", *, backend: str = "plotly") -> Any:
        """A figure of the study; `adamtune.plots` has the same of any stored one, with more to choose.

        Parameters
        ----------
        kind : {"history", "contour", "importance", "curves", "time_to_target"}
            Values in the order of trials; where two hypers are good; what mattered; the objective by epoch; how soon
            trials are as good as the default.
        backend : {"plotly", "matplotlib"}
            Both are in `adamtune[report]`.

        Returns
        -------
        plotly.graph_objects.Figure or matplotlib.figure.Figure

        Raises
        ------
        NotFittedError
            Before `fit`.
        SettingError
            For an unknown kind, or a backend that is not installed.
        StudyError
            When the study holds nothing to draw, or is not here: a pickle does not hold it.
        """
        check_is_fitted(self, ["study_", "study_name_"], all_or_any=any)
        if not hasattr(self, "study_"):
            raise StudyError(
                f"a pickled tuner does not hold its study {self.study_name_!r}. If it was stored, open it with "
                "study = optuna.load_study(study_name=tuner.study_name_, storage=...) and draw it with "
                f"adamtune.plots.draw(study, {kind!r}, backend={backend!r})."
            )
        return plots.draw(self.study_, kind, backend=backend)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator into one file of data, for `adamtune.load`; a file that is there is replaced.

        What is no data is not in it: of parameters that are functions or objects (a `model(X, y)`, a sampler) `fit`
        says after loading that they are missing, and passwords are masked. Of `study_` the name is kept, `study_name_`.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        StorageError
            When the file cannot be written, or what `fit` learned is no data.
        ModelError
            When Keras cannot save the model, or would not load it again.
        """
        saving.write(path, self, _SAVED)

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "best_config_")
        if not hasattr(self, "model_"):
            raise StudyError("there is no trained model: fit was called with refit=False or was interrupted.")
        floatx = keras.config.floatx()
        if self._encoder is not None:  # a frame has to have its columns before they can be read
            validate_data(self, X=X, skip_check_array=True, reset=False)
            X = self._encoder.transform(X, floatx)
        x = rows.check_inputs(X, floatx, self._dtypes)
        if self._encoder is None and not isinstance(x, Named):
            validate_data(self, X=X, skip_check_array=True, reset=False)
        return outputs.of_model(self.model_, x)

    @property
    def storage(self) -> Any:
        """As it was given; its password is not shown and not pickled."""
        return self.__dict__["storage"]

    @storage.setter
    def storage(self, given: Any) -> None:
        self.__dict__["storage"] = storage.Discreet.of(given)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_given", None)
        # A study holds a live connection and its URL; the table of trials and the name stay.
        study = state.pop("study_", None)
        if study is not None:
            state["study_name_"] = study.study_name
        # Keras' own way to pickle a model is to load whatever code the file names.
        return state | {
            name: networks.to_bytes(model) for name in _MODELS if isinstance(model := state.get(name), keras.Model)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        stored = {name: state[name] for name in _MODELS if isinstance(state.get(name), bytes)}
        if stored:
            optimizers.register()
        super().__setstate__(
            state | {name: networks.from_bytes(content, trains=name == "model") for name, content in stored.items()}
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.random_state is None
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = _kind_of(self) != "classification"
        kind = getattr(self, "kind_", _kind_of(self))
        # "auto" may turn out to be either, and says which once it has seen targets.
        if kind != "auto":
            tags.estimator_type = "regressor" if kind == "regression" else "classifier"
        if tags.estimator_type != "regressor":
            tags.classifier_tags = ClassifierTags(multi_label=True)
        if tags.estimator_type != "classifier":
            tags.regressor_tags = RegressorTags()
        return tags


class AdamTunerClassifier(ClassifierMixin, AdamTuner):
    """AdamTuner for labels: `task` is "classification" whatever y looks like. See `AdamTuner`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class AdamTunerRegressor(RegressorMixin, AdamTuner):
    """AdamTuner for numbers: `task` is "regression" whatever y looks like. See `AdamTuner`."""


_SAVED = (AdamTuner, AdamTunerClassifier, AdamTunerRegressor)


def load(path: str | os.PathLike[str]) -> AdamTuner:
    """The estimator that `save` wrote into a file. Its predictions are the same; no code from the file is run.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    AdamTuner, AdamTunerClassifier or AdamTunerRegressor

    Raises
    ------
    StorageError
        When there is no such file, or it is damaged, or foreign, or of a newer adamtune.
    ModelError
        When Keras does not know what the model is made of: a class or function of one's own, not imported yet.
    """
    return saving.read(path, _SAVED)


# ---------------------------------------------------------------------------------------------- parts of a fit


def _kind_of(tuner: AdamTuner) -> str:
    if isinstance(tuner, ClassifierMixin):
        return "classification"
    return "regression" if isinstance(tuner, RegressorMixin) else tuner.task


def _line(row: Row) -> tuple[str, int | None, OptimizerConfig, float, float]:
    label, number, confirmed = row
    return label, number, confirmed.config, confirmed.mean, confirmed.spread


def _source(run: Run, trial: optuna.trial.FrozenTrial, n_trials: int) -> str:
    """How a score that nothing confirms was obtained."""
    mean = f"mean {run.task.objective} over {len(run.streams)} passes" if len(run.streams) > 1 else run.task.objective
    how = "at its best epoch" if run.stamp.patience is not None else f"after {trial.last_step} epochs"
    return f"{mean} of trial {trial.number} {how}: the best of {n_trials}, and so optimistic"


def _confirmed_source(run: Run, n_passes: int) -> str:
    """How the score of a confirmed winner was obtained."""
    rows = "drawn anew" if run.streams[0].split.drawn else "the same as in the study, and so optimistic"
    return (
        f"mean {run.task.objective} of {n_passes} trainings beside the study, with weights and order of their own; "
        f"judging rows {rows}"
    )


@contextlib.contextmanager
def _database(url: str, known: optuna.Study | None) -> Iterator[Any]:
    """The storage at the URL, closed afterwards; that of a known study where only this process has it."""
    if known is not None and url == "memory":
        yield known._storage
        return
    with storage.opened(url) as database:
        yield database


def _left(timeout: float | None, began: float) -> float | None:
    """Seconds that are left of the timeout; None without one."""
    return None if timeout is None else timeout - (time.monotonic() - began)
