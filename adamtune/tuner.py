"""AdamTuner: the optimizer of a Keras model, tuned as a scikit-learn estimator.

`fit` is the whole story in order: check, make a task of the data and the model, open a study, search it in lanes,
confirm the best few under fresh chance, and train the winner on all rows. What cannot be done yet is refused before any
training.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import optuna
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from adamtune import optimizers, preparing, progress, summary
from adamtune.config import OptimizerConfig
from adamtune.engine.stream import Stream
from adamtune.errors import SettingError, StudyError
from adamtune.settings import check
from adamtune.tasks import data as rows
from adamtune.tasks import networks, outputs
from adamtune.tasks import task as tasks
from adamtune.tuning import loop, records, refit, storage
from adamtune.tuning import study as studies
from adamtune.tuning.confirm import Confirmed, best, confirm, streams
from adamtune.tuning.estimate import estimate
from adamtune.tuning.run import Row, Run, baselines, default_label, open_study

_COMPLETE = optuna.trial.TrialState.COMPLETE


class AdamTuner(BaseEstimator):
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
    metric : str or keras.metrics.Metric, optional
        What to judge by. Default: the validation loss.
    direction : {"minimize", "maximize"}, optional
        Needed only for a metric whose direction is not known.
    patience : int, optional
        Not there yet.
    class_weight : mapping or "balanced", optional
        Weights by label, in training only.
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
    start_from : "shipped", None or list of OptimizerConfig, default="shipped"
        Configs to try first, after the optimizer's defaults.
    storage : str, optional
        Default: `$ADAMTUNE_STORAGE`, else `sqlite:///adamtune.db`. "memory" writes nothing; else a SQLAlchemy URL.
    study_name : str, optional
        Prefix of the study's name. A unique suffix is added unless `resume=True`.
    resume : bool, default=False
        Go on with the stored study of that name.
    refit : True, "train" or False, default=True
        True trains the winner on all rows; "train" replays the winning trial on its own rows; False keeps no model.
    callbacks, n_jobs
        Not there yet.
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
        Labels, for classification.
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

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: tuple | None = None,
        groups: Any = None,
    ) -> AdamTuner:
        """Search, confirm and train.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Finite numbers: a table, images.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets.
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
        began = time.monotonic()
        settings = check(self, _kind_of(self))
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(networks.lean())
            database = storage.open_storage(storage.resolve_url(self.storage))
            cleanup.callback(storage.close, database)
            stored = self._stored(database)
            seed = self._seed(stored)
            data = self._data(settings.kind, X, y, sample_weight, validation_data)
            task, model = preparing.make_task(self, X, y, groups, data, seed)
            run = preparing.make_run(self, settings, stored, seed, task, model)
            self._remember(run, model)
            view = cleanup.enter_context(progress.open_view(self.verbose, run.task.objective, run.task.direction))
            study = open_study(run, database, self.study_name, stored, exact=self.resume)
            records.set_note(study, "loss", tasks.loss_code(run.task.loss))
            self._announce(view, study, run)
            self._search(view, study, run, began)
            chances, found = self._choose(view, study, run)
            self._refit(view, run)
            self._compare(view, study, run, chances, found, began)
            records.set_note(study, "seconds", time.monotonic() - began)
            if self.verbose:
                view.show(summary.render(summary.of_study(study)))
        return self

    def _stored(self, database: Any) -> optuna.Study | None:
        """The study to go on with; None when there is none."""
        if not (self.resume and self.study_name):
            return None
        try:
            return studies.find(database, self.study_name)
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
        """The rows as a task takes them; learns the number of features and their names."""
        data = rows.prepare(
            X,
            y,
            sample_weight,
            kind=kind,
            class_weight=self.class_weight,
            validation_data=validation_data,
            floatx=keras.config.floatx(),
            scale_targets=self.model is None,
        )
        validate_data(self, X=X, skip_check_array=True)
        return data

    def _announce(self, view: Any, study: optuna.Study, run: Run) -> None:
        """Say what is about to happen and what it will take."""
        split = run.streams[0].split
        passes = f", {len(run.streams)} passes" if len(run.streams) > 1 else ""
        view.say(f"Study {study.study_name} in {storage.redact(storage.resolve_url(self.storage))}")
        view.say(
            f"{run.task.name}: {split.n_train} rows train, {len(split.valid)} judge by {run.task.objective}{passes}; "
            f"{run.plan}"
        )
        if run.space.options:
            view.say(f"Every trial has {', '.join(f'{name}={value}' for name, value in run.space.options.items())}")
        if self.verbose:
            view.say(estimate(run, self.n_trials, self.confirm))

    def _search(self, view: Any, study: optuna.Study, run: Run, began: float) -> None:
        """Run the study. However it ends, what is best so far is set."""
        finished = sum(trial.state in records.FINISHED for trial in study.get_trials(deepcopy=False))
        view.begin("study", self.n_trials, done=finished)
        budget = loop.Budget(trials=self.n_trials, seconds=_left(self.timeout, began))
        try:
            with contextlib.closing(run.search(study, budget)) as events:
                for event in events:
                    view.event(event)
        finally:
            self.n_programs_, self.plan_ = run.programs.n_programs, run.plan
            self.study_, self.trials_ = study, records.table(study)
            for trial in records.ranked(study)[:1]:
                self._take(trial, run, records.value_of(trial), float("nan"))

    def _take(self, trial: optuna.trial.FrozenTrial, run: Run, score: float, spread: float) -> None:
        self.best_trial_ = trial
        self.best_config_ = records.config_of(trial, run.stamp)
        self.best_score_ = score
        self.best_spread_ = spread

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
            for done in confirm(run.task, run.programs, configs + beside, chances):
                confirmed = done
                view.advance()
            winner = best(confirmed[: len(top)], run.task.direction)
            self._take(top[winner], run, confirmed[winner].mean, confirmed[winner].spread)
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
                else:
                    view.event(event)

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
            trained = refit.replay(run.task, run.streams[0], self.best_trial_, self.best_config_)
        else:
            trained = refit.train_on_all(run.task, run.streams[0], self.best_config_)
        self.model_, self.history_ = trained
        view.advance()

    def _remember(self, run: Run, model: Any) -> None:
        """Keep what predictions need to know, and nothing that holds on to the data; forget an earlier fit."""
        data = run.task.data
        self.kind_ = data.kind
        self.plan_ = run.plan
        self._dtype = data.x.dtype.name
        self._meaning = outputs.Meaning.of(run.task, model)
        for gone in ("classes_", "model_", "history_", "best_config_", "best_trial_", "best_score_", "best_spread_"):
            self.__dict__.pop(gone, None)
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
        """
        return self._meaning.predictions(self._outputs(X))

    def _is_classifier(self) -> bool:
        if hasattr(self, "kind_"):
            return self.kind_ != "regression"
        return _kind_of(self) == "classification"

    @available_if(_is_classifier)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label for each row, in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._meaning.probabilities(self._outputs(X))

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

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "best_config_")
        if not hasattr(self, "model_"):
            raise StudyError("there is no trained model: fit was called with refit=False or was interrupted.")
        x = rows.check_inputs(X, keras.config.floatx(), self._dtype)
        validate_data(self, X=X, skip_check_array=True, reset=False)
        return outputs.of_model(self.model_, x)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return super(AdamTuner, self._without_password()).__repr__(N_CHAR_MAX)

    def _html_repr(self) -> str:
        return super(AdamTuner, self._without_password())._html_repr()

    def _without_password(self) -> AdamTuner:
        """The same estimator as it may be shown."""
        shown = object.__new__(type(self))
        shown.__dict__.update(self.__dict__)
        if isinstance(self.storage, str):
            shown.storage = storage.redact(self.storage)
        return shown

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super(AdamTuner, self._without_password()).__getstate__())
        # A study holds a live connection and its URL; the table of trials and the name stay.
        study = state.pop("study_", None)
        if study is not None:
            state["study_name_"] = study.study_name
        if "model_" in state:
            state["model_"] = networks.to_bytes(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state.get("model_"), bytes):
            optimizers.register()
            state = state | {"model_": networks.from_bytes(state["model_"])}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.random_state is None
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = _kind_of(self) != "classification"
        return tags


class AdamTunerClassifier(ClassifierMixin, AdamTuner):
    """AdamTuner for labels: `task` is "classification" whatever y looks like. See `AdamTuner`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = False
        return tags


class AdamTunerRegressor(RegressorMixin, AdamTuner):
    """AdamTuner for numbers: `task` is "regression" whatever y looks like. See `AdamTuner`."""


# ----------------------------------------------------------------------------------------------- preparing


def _kind_of(tuner: AdamTuner) -> str:
    if isinstance(tuner, ClassifierMixin):
        return "classification"
    return "regression" if isinstance(tuner, RegressorMixin) else tuner.task


def _line(row: Row) -> tuple[str, int | None, OptimizerConfig, float, float]:
    label, number, confirmed = row
    return label, number, confirmed.config, confirmed.mean, confirmed.spread


def _left(timeout: float | None, began: float) -> float | None:
    """Seconds that are left of the timeout; None without one."""
    return None if timeout is None else timeout - (time.monotonic() - began)
