"""AdamTuner: the optimizer of a Keras model, tuned as a scikit-learn estimator.

`fit` is the whole story in order: check, make a task of the data and the model, open a study, search it in lanes,
confirm the best few under fresh chance, and train the winner on all rows. What cannot be done yet is refused before any
training.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import optuna
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from adamtune import optimizers, progress, summary
from adamtune.config import OptimizerConfig
from adamtune.engine.program import Stream
from adamtune.errors import SettingError, StudyError
from adamtune.optimizers._rule import Rule
from adamtune.tasks import data as rows
from adamtune.tasks import networks
from adamtune.tasks import task as tasks
from adamtune.tasks.task import Task
from adamtune.tuning import loop, policies, records, refit, storage
from adamtune.tuning import study as studies
from adamtune.tuning.confirm import PASSES, Confirmed, best, confirm, streams
from adamtune.tuning.run import Row, Run, baselines, default_label, open_study, prepare
from adamtune.tuning.space import Space, space

_COMPLETE = optuna.trial.TrialState.COMPLETE
# Rows that go through the network at once in `predict`: always this many, so that a row's prediction cannot depend on
# how many neighbours it came with.
_PREDICTED_AT_ONCE = 256


class AdamTuner(BaseEstimator):
    """Tune the optimizer of a Keras model, then be that model, trained with the best config found.

    Parameters
    ----------
    model : None, keras.Model or callable, default=None
        None is a dense network that fits the task. A `keras.Model` is cloned with fresh weights. A callable
        `model(X, y)` returns a compiled or uncompiled model. Loss comes from a compiled model, else from the task.
    optimizer : str, default="adam"
        Name of the optimizer to tune, see `adamtune.optimizers.names()`.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" reads it off y.
    space : "auto" or mapping, default="auto"
        What to search: "auto" frees more hypers the more trials there are; a mapping gives (low, high) pairs, Optuna
        distributions or fixed values by hyper, see `adamtune.tuning.space.space`.
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
        Share of the rows that judge, stratified for labels.
    cv, n_seeds
        Not there yet.
    confirm : int, default=3
        How many of the best configs are run again under fresh chance to choose the winner; 0 takes the best trial.
    sampler : {"tpe", "random"}, default="tpe"
    pruner : {"asha", "none"} or None, default="asha"
    lanes : "auto" or int, default="auto"
        How many trials train at once.
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
        0 prints nothing. 1 shows progress and, at the end, the best configs beside Keras' default Adam and beside Adam
        tuned over the learning rate alone with the same budget of epochs (which takes about as long again).

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
    plan_ : adamtune.engine.lanes.Plan
        Strategy, lanes and device that were used.
    n_programs_ : int
        Training programs that were compiled for the study.
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
        groups
            Not there yet.

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
        settings = _check(self, groups)
        database = storage.open_storage(storage.resolve_url(self.storage))
        try:
            seed, stored = _seed(self, database)
            data = rows.prepare(
                X,
                y,
                sample_weight,
                kind=settings.kind,
                class_weight=self.class_weight,
                validation_data=validation_data,
                floatx=keras.config.floatx(),
                scale_targets=self.model is None,
            )
            validate_data(self, X=X, skip_check_array=True)
            task, model = _task(self, X, y, data, seed)
            run = _prepare(self, settings, task, model, seed, stored)
            self._remember(run)
            with progress.open_view(self.verbose, run.task.objective, run.task.direction) as view:
                name = self.study_name or f"{run.task.name}/{run.stamp.optimizer}"
                study = open_study(run, database, name, stored, exact=self.resume)
                if stored is None:
                    studies.enqueue(study, run.space, _starting(self.start_from, settings.rule))
                records.set_note(study, "loss", tasks.loss_code(run.task.loss))
                _announce(view, study, run, self.storage)
                trained = self._search(view, study, run, began)
                self._choose(view, study, run, began, trained)
                self._refit(view, run)
                records.set_note(study, "seconds", time.monotonic() - began)
                if self.verbose:
                    view.show(summary.render(summary.of_study(study)))
        finally:
            storage.close(database)
        return self

    def _search(self, view: Any, study: optuna.Study, run: Run, began: float) -> int:
        """Run the study; returns the epochs trained. However it ends, what is best so far is set."""
        finished = sum(trial.state in records.FINISHED for trial in study.get_trials(deepcopy=False))
        view.begin("study", self.n_trials, done=finished)
        budget = loop.Budget(trials=self.n_trials, seconds=_left(self.timeout, began))
        trained = 0
        try:
            with contextlib.closing(run.search(study, budget)) as events:
                for event in events:
                    view.event(event)
                    trained = event.epochs if isinstance(event, loop.Ticked) else trained
        finally:
            self.n_programs_ = run.engine.n_programs
            self.study_, self.trials_ = study, _table(study)
            for trial in records.ranked(study)[:1]:
                self._take(trial, run, records.value_of(trial), float("nan"))
        return trained

    def _take(self, trial: optuna.trial.FrozenTrial, run: Run, score: float, spread: float) -> None:
        self.best_trial_ = trial
        self.best_config_ = records.config_of(trial, run.stamp)
        self.best_score_ = score
        self.best_spread_ = spread

    def _choose(self, view: Any, study: optuna.Study, run: Run, began: float, trained: int) -> None:
        """Confirm the best few beside the defaults (and the other baselines where they are shown); take the winner."""
        ranked = records.ranked(study)
        top = [trial for trial in ranked if trial.state == _COMPLETE][: self.confirm]
        if not ranked:
            raise StudyError(
                f"no trial of study {study.study_name!r} trained to a finite loss: all {len(self.trials_)} diverged or "
                "were cut off. Look at the data's scale, or search smaller learning rates: "
                "space={'learning_rate': (1e-6, 1e-3)}."
            )
        if top:
            passes = streams(run.task, run.stamp.seed)
            view.begin("confirming", len(passes), unit="passes")
            configs = [records.config_of(trial) for trial in top]
            default = OptimizerConfig(run.stamp.optimizer)
            beside = [default] if default not in configs else []
            confirmed: list[Confirmed] = []
            for done in confirm(run.task, run.engine, configs + beside, passes):
                confirmed = done
                view.advance()
            winner = best(confirmed[: len(top)], run.task.direction)
            self._take(top[winner], run, confirmed[winner].mean, confirmed[winner].spread)
            compared: list[Row] = [(f"trial {t.number}", t.number, c) for t, c in zip(top, confirmed, strict=False)]
            compared += [(default_label(default.rule), None, c) for c in confirmed[len(top) :]]
            if self.verbose:
                compared += self._baselines(view, study, run, passes, trained, began)
            lines = [(label, number, c.config, c.mean, c.spread) for label, number, c in compared]
            records.write_comparison(study, lines, run.task.direction)
        n_passes = PASSES if top else 0
        records.write_winner(
            study, self.best_trial_.number, self.best_config_, self.best_score_, self.best_spread_, n_passes
        )
        self._warn(study, run)

    def _baselines(
        self, view: Any, study: optuna.Study, run: Run, passes: Sequence[Stream], trained: int, began: float
    ) -> list[Row]:
        left = _left(self.timeout, began)
        if not trained or (left is not None and left <= 0):
            view.say("Nothing is left of the budget for the comparison with default Adam.")
            return []
        found: list[Row] = []
        with contextlib.closing(baselines(study, run, passes, trained, left)) as events:
            for event in events:
                if isinstance(event, list):
                    found = event
                else:
                    view.event(event)
        return found

    def _warn(self, study: optuna.Study, run: Run) -> None:
        """Say, and store, what takes from the trust in the winner."""
        sentences = run.space.near_bounds(self.best_config_)
        if self.best_trial_.state != _COMPLETE:
            sentences.append("No trial reached the full number of epochs: the best is the one that came farthest.")
        if not run.stream.split.drawn:
            sentences.append("The judging rows were given, so choosing on them makes the score optimistic.")
        records.set_note(study, "warnings", sentences)
        for sentence in [] if self.verbose else sentences:
            warnings.warn(sentence, UserWarning, stacklevel=4)

    def _refit(self, view: Any, run: Run) -> None:
        if not self.refit:
            return
        view.begin("training the winner", 1, unit="models")
        if self.refit == "train":
            trained = refit.replay(run.task, run.stream, self.best_trial_, self.best_config_)
        else:
            trained = refit.train_on_all(run.task, run.stream, self.best_config_)
        self.model_, self.history_ = trained
        view.advance()

    def _remember(self, run: Run) -> None:
        """Keep what predictions need to know, and nothing that holds on to the data; forget an earlier fit."""
        data = run.task.data
        self.kind_ = data.kind
        self.plan_ = run.plan
        self.target_scale_ = data.target_scale
        self._from_logits = tasks.from_logits(run.task.loss)
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
        outputs = self._outputs(X)
        if self.kind_ != "regression":
            # The largest score is the likeliest label, whatever the loss makes of scores.
            scores = outputs if outputs.shape[1] > 1 else self._probabilities(outputs)
            return self.classes_[scores.argmax(axis=1)]
        offset, scale = self.target_scale_ or (0.0, 1.0)
        targets = outputs * scale + offset
        return targets[:, 0] if targets.shape[1] == 1 else targets

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
        return self._probabilities(self._outputs(X))

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
        x = rows.check_inputs(X, keras.config.floatx())
        validate_data(self, X=X, skip_check_array=True, reset=False)
        padding = [(0, -len(x) % _PREDICTED_AT_ONCE)] + [(0, 0)] * (x.ndim - 1)
        padded = np.pad(x, padding, mode="edge")
        return self.model_.predict(padded, batch_size=_PREDICTED_AT_ONCE, verbose=0)[: len(x)]

    def _probabilities(self, outputs: np.ndarray) -> np.ndarray:
        outputs = outputs.astype("float64")
        if outputs.shape[1] == 1:
            if self._from_logits:
                outputs = 0.5 * (1.0 + np.tanh(0.5 * outputs))
            return np.concatenate([1.0 - outputs, outputs], axis=1)
        if self._from_logits:
            outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return outputs / outputs.sum(axis=1, keepdims=True)

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


# ------------------------------------------------------------------------------------------------ checking


@dataclass(frozen=True)
class _Settings:
    """The constructor's arguments, checked."""

    kind: str
    rule: Rule
    space: Space
    sampler: str


_KINDS = {"auto", "classification", "regression"}


def _kind_of(tuner: AdamTuner) -> str:
    if isinstance(tuner, ClassifierMixin):
        return "classification"
    return "regression" if isinstance(tuner, RegressorMixin) else tuner.task


def _check(tuner: AdamTuner, groups: Any) -> _Settings:
    """Refuse what is out of range or not there yet, before any work."""
    kind = _kind_of(tuner)
    if tuner.task not in _KINDS or tuner.task not in ("auto", kind):
        raise SettingError(f"task={tuner.task!r}: expected 'auto'{'' if kind == 'auto' else f' or {kind!r}'}.")
    _whole("n_trials", tuner.n_trials, 1)
    _whole("epochs", tuner.epochs, 1)
    _whole("batch_size", tuner.batch_size, 1)
    _whole("confirm", tuner.confirm, 0)
    _whole("verbose", int(tuner.verbose), 0)
    if tuner.timeout is not None and not (isinstance(tuner.timeout, (int, float)) and tuner.timeout > 0):
        raise SettingError(f"timeout={tuner.timeout!r}: expected seconds > 0, or None for no limit.")
    if not (isinstance(tuner.validation_split, (int, float)) and 0 < tuner.validation_split < 1):
        raise SettingError(f"validation_split={tuner.validation_split!r}: expected a share between 0 and 1.")
    if tuner.refit not in (True, False, "train"):
        raise SettingError(f"refit={tuner.refit!r}: expected True, 'train' or False.")
    if tuner.resume and not tuner.study_name:
        raise SettingError("resume=True needs the study_name of the study to go on with.")
    if tuner.study_name is not None and not (isinstance(tuner.study_name, str) and tuner.study_name.strip()):
        raise SettingError(f"study_name={tuner.study_name!r}: expected a text.")
    absent = {
        "patience": tuner.patience is not None,
        "cv": tuner.cv is not None,
        "n_seeds": tuner.n_seeds != 1,
        "n_jobs": tuner.n_jobs not in (None, 1),
        "callbacks": bool(tuner.callbacks),
    }
    for name, given in absent.items():
        if given:
            raise SettingError(f"{name}={getattr(tuner, name)!r} is not there yet: leave {name} out.")
    if groups is not None:
        raise SettingError("groups is not there yet: pass validation_data with whole groups instead.")
    rule = _rule(tuner.optimizer)
    _starting(tuner.start_from, rule)
    policies.pruner_for(tuner.pruner, tuner.epochs, "minimize")  # refuses an unknown name
    return _Settings(kind, rule, space(rule, tuner.space, tuner.n_trials), policies.check_sampler(tuner.sampler))


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise SettingError(f"{name}={value!r}: expected a whole number of at least {least}.")


def _rule(optimizer: Any) -> Rule:
    if isinstance(optimizer, (list, tuple)):
        if len(optimizer) != 1:
            raise SettingError(f"optimizer={optimizer!r}: several optimizers in one study are not there yet; name one.")
        (optimizer,) = optimizer
    if optimizer == "all":
        raise SettingError("optimizer='all' is not there yet; name one of " + ", ".join(optimizers.names()) + ".")
    return optimizers.get(optimizer)


def _starting(start_from: Any, rule: Rule) -> list[OptimizerConfig]:
    """The configs to try first: the optimizer's defaults, then what was given."""
    default = OptimizerConfig(rule.name)
    if start_from is None or (isinstance(start_from, str) and start_from == "shipped"):
        return [default]
    if isinstance(start_from, str):
        raise SettingError(
            f"start_from={start_from!r} is not there yet: expected 'shipped', None or a list of configs."
        )
    given = list(start_from)
    for config in given:
        if not isinstance(config, OptimizerConfig) or config.optimizer != rule.name:
            raise SettingError(f"start_from holds {config!r}: expected OptimizerConfig({rule.name!r}, ...) only.")
    return [default, *given]


def _seed(tuner: AdamTuner, database: Any) -> tuple[int, optuna.Study | None]:
    """The study's seed, and the stored study when one is resumed: it has a seed of its own."""
    stored = None
    if tuner.resume and tuner.study_name:
        try:
            stored = studies.find(database, tuner.study_name)
        except StudyError:
            stored = None  # nothing to go on with: it begins under this very name
    if tuner.random_state is None:
        seed = np.random.SeedSequence().generate_state(1)[0] if stored is None else records.read_stamp(stored).seed
        return int(seed), stored
    if isinstance(tuner.random_state, (int, np.integer)):
        if not 0 <= tuner.random_state < 2**32:
            raise SettingError(f"random_state={tuner.random_state}: expected a whole number from 0 to 2**32 - 1.")
        return int(tuner.random_state), stored
    return int(check_random_state(tuner.random_state).randint(2**31 - 1)), stored


# ----------------------------------------------------------------------------------------------- preparing


def _task(tuner: AdamTuner, X: Any, y: Any, data: rows.Data, seed: int) -> tuple[Task, Any]:
    def split(own_seed: int) -> rows.Split:
        return rows.split(data, tuner.validation_split, own_seed)

    build = networks.builder(tuner.model, X, y, data, split(seed).train)
    model = build(seed)
    networks.check(model, data)
    loss = tasks.choose_loss(tuner.loss, model, data)
    metric, objective = tasks.choose_metric(tuner.metric, data, loss, tasks.output_width(model))
    direction = tasks.choose_direction(tuner.direction, metric, objective)
    epochs, batch_size = int(tuner.epochs), int(tuner.batch_size)
    # Study names are what people choose by in a dashboard: say what it is and how large.
    name = f"{data.kind}-{'x'.join(map(str, (data.n_given, *data.x.shape[1:])))}"
    task = Task(name, data, split, build, loss, metric, objective, direction, epochs, batch_size)
    return task, model


def _prepare(
    tuner: AdamTuner, settings: _Settings, task: Task, model: Any, seed: int, stored: optuna.Study | None
) -> Run:
    stamp = None if stored is None else records.read_stamp(stored)
    # The automatic space depends on n_trials; a resumed study keeps the one it was made with.
    searched = Space.from_json(stamp.space) if stamp and tuner.space == "auto" else settings.space
    return prepare(
        task,
        model,
        settings.rule,
        searched,
        seed=seed,
        sampler=settings.sampler,
        pruner=tuner.pruner or "none",
        lanes_asked=tuner.lanes,
        n_trials=tuner.n_trials,
        stored=stamp,
    )


def _announce(view: Any, study: optuna.Study, run: Run, url: str | None) -> None:
    train, valid = len(run.stream.split.train), len(run.stream.split.valid)
    view.say(f"Study {study.study_name} in {storage.redact(storage.resolve_url(url))}")
    view.say(f"{run.task.name}: {train} rows train, {valid} judge by {run.task.objective}; {run.plan}")


def _table(study: optuna.Study) -> Any:
    import pandas

    return pandas.DataFrame(
        [
            {
                "number": trial.number,
                "state": "diverged" if records.diverged(trial) else trial.state.name.lower(),
                "value": None if records.diverged(trial) else trial.value,
                **(dict(records.config_of(trial).values) if "config" in trial.user_attrs else {}),
                **{name: value for name, value in trial.user_attrs.items() if name not in ("config", "diverged")},
            }
            for trial in study.get_trials(deepcopy=False)
            if trial.state != optuna.trial.TrialState.WAITING
        ]
    )


def _left(timeout: float | None, began: float) -> float | None:
    """Seconds that are left of the timeout; None without one."""
    return None if timeout is None else timeout - (time.monotonic() - began)
