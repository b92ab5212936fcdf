"""What adamtune is compared with: the loop of Optuna, KerasTuner, and two wrappers in scikit-learn's random search.

Every trial of theirs builds, compiles and fits a Keras model. All take Adam's numbers at random from the same ranges.
"""

import keras
import numpy as np
import optuna
from ledger import Commits, Ledger, Marks, database_kibibytes
from workloads import AMSGRAD, JUDGED_AT_ONCE, RANGES, about, prepared

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
# As adamtune's ASHA: one in three goes on after 1 and 3 epochs; Optuna judges after 9 of 10 too.
_ETA = 3


def adam(values):
    """Keras' Adam with these numbers."""
    return keras.optimizers.Adam(
        values["learning_rate"],
        beta_1=1 - values["one_minus_beta_1"],
        beta_2=1 - values["one_minus_beta_2"],
        epsilon=values["epsilon"],
        amsgrad=values["amsgrad"],
    )


def steps(rows, batch_size):
    """Steps of an epoch: as many in one call is the fastest that `model.fit` offers."""
    return -(-len(rows.x) // batch_size)


def compiled(network, values, steps_per_execution, loss=LOSS, jit_compile="auto"):
    model = network()
    model.compile(optimizer=adam(values), loss=loss, steps_per_execution=steps_per_execution, jit_compile=jit_compile)
    return model


def optuna_loop(
    workload,
    seed,
    trials,
    folder,
    quick=False,
    steps_per_execution="epoch",
    jit_compile="auto",
    clear_session=False,
    prune=False,
):
    """The loop everybody writes: Optuna asks, the objective builds, compiles, fits and evaluates a Keras model.

    Without pruning it judges once, at the end; with it after every epoch, as adamtune always does.
    """
    case, rows, epochs = prepared(workload, seed, quick)
    ledger, commits, trained = Ledger(), Commits(), 0
    ledger.watch_optuna()
    executed = steps(rows, case.batch_size) if steps_per_execution == "epoch" else steps_per_execution
    judged_at_once = min(JUDGED_AT_ONCE, len(rows.x_valid))
    judged = {"validation_data": (rows.x_valid, rows.y_valid), "validation_batch_size": judged_at_once}

    def build(values):
        if clear_session:
            keras.backend.clear_session()
        return compiled(case.network, values, executed, jit_compile=jit_compile)

    build = ledger.timed("building and compiling the model", build)
    fit = ledger.timed("fit (tracing it included)", keras.Model.fit)
    evaluate = ledger.timed("evaluate (tracing it included)", keras.Model.evaluate)

    class Report(keras.callbacks.Callback):
        def __init__(self, trial):
            super().__init__()
            self.trial = trial

        def on_epoch_end(self, epoch, logs=None):
            self.trial.report(logs["val_loss"], epoch + 1)
            self.model.stop_training = self.trial.should_prune()

    def objective(trial):
        nonlocal trained
        values = {name: trial.suggest_float(name, low, high, log=True) for name, (low, high) in RANGES.items()}
        model = build(values | {"amsgrad": trial.suggest_categorical("amsgrad", AMSGRAD)})
        extra = judged | {"callbacks": [Report(trial)]} if prune else {}
        history = fit(model, rows.x, rows.y, epochs=epochs, batch_size=case.batch_size, verbose=0, **extra).history
        trained += len(history["loss"])
        if len(history["loss"]) < epochs:
            raise optuna.TrialPruned
        if prune:
            return history["val_loss"][-1]
        loss = evaluate(model, rows.x_valid, rows.y_valid, batch_size=judged_at_once, verbose=0)
        return loss if np.isfinite(loss) else float("nan")

    keras.utils.set_random_seed(seed)
    marks = Marks()
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/study.db",
        sampler=optuna.samplers.RandomSampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_ETA)
        if prune
        else optuna.pruners.NopPruner(),
    )
    study.optimize(objective, n_trials=trials, callbacks=[marks])
    return {
        **about(workload, rows, epochs),
        "epochs_trained": trained,
        "commits": commits.number,
        "database_kibibytes": database_kibibytes(folder),
        "parts": ledger.seconds,
        **_course(marks, [trial.value for trial in study.get_trials(deepcopy=False)]),
    }


def kerastuner(workload, seed, trials, folder, quick=False):
    """KerasTuner's RandomSearch; it judges after every epoch and writes a checkpoint of the best."""
    import keras_tuner

    if keras.backend.backend() == "tensorflow":
        from tensorboard.plugins.hparams import api  # noqa: F401 (imported by the first trial otherwise)

    case, rows, epochs = prepared(workload, seed, quick)
    executed = steps(rows, case.batch_size)

    def build(hp):
        values = {name: hp.Float(name, low, high, sampling="log") for name, (low, high) in RANGES.items()}
        return compiled(case.network, values | {"amsgrad": hp.Choice("amsgrad", AMSGRAD)}, executed)

    keras.utils.set_random_seed(seed)
    marks = Marks()
    tuner = keras_tuner.RandomSearch(
        build, objective="val_loss", max_trials=trials, seed=seed, directory=folder, project_name="study"
    )
    end = tuner.on_trial_end
    tuner.on_trial_end = lambda trial: (end(trial), marks())
    tuner.search(
        rows.x,
        rows.y,
        epochs=epochs,
        batch_size=case.batch_size,
        validation_data=(rows.x_valid, rows.y_valid),
        validation_batch_size=min(JUDGED_AT_ONCE, len(rows.x_valid)),
        verbose=0,
    )
    values = [trial.score for trial in tuner.oracle.trials.values()]
    return about(workload, rows, epochs) | {"epochs_trained": trials * epochs} | _course(marks, values)


def scikeras(workload, seed, trials, folder, quick=False):
    """scikeras' KerasClassifier in scikit-learn's random search, judged by accuracy, as it comes."""
    from scikeras.wrappers import KerasClassifier
    from scipy.stats import loguniform

    case, rows, epochs = prepared(workload, seed, quick)
    executed = steps(rows, case.batch_size)

    def build(**values):
        return compiled(case.network, values, executed)

    classifier = KerasClassifier(
        model=build,
        epochs=epochs,
        batch_size=case.batch_size,
        predict__batch_size=min(JUDGED_AT_ONCE, len(rows.x_valid)),
        verbose=0,
        **{f"model__{name}": None for name in (*RANGES, "amsgrad")},
    )
    ranges = {f"model__{name}": loguniform(low, high) for name, (low, high) in RANGES.items()}
    ranges["model__amsgrad"] = AMSGRAD
    found = _random_search(classifier, ranges, rows, (rows.x, rows.x_valid), seed, trials)
    return about(workload, rows, epochs) | {"epochs_trained": trials * epochs} | found


def wrapper(workload, seed, trials, folder, quick=False):
    """keras.wrappers.SKLearnClassifier in scikit-learn's random search, judged by accuracy, as it comes.

    It takes tables only, so images and windows are handed over flat and get their shape back in the network; it makes
    columns of the labels; and it can search its `model_kwargs` only as a whole, so they are drawn before.
    """
    case, rows, epochs = prepared(workload, seed, quick)
    executed, shape = steps(rows, case.batch_size), rows.x.shape[1:]

    def network():
        if len(shape) == 1:
            return case.network()
        return keras.Sequential([keras.Input((np.prod(shape),)), keras.layers.Reshape(shape), case.network()])

    def build(X, y, **values):
        return compiled(network, values, executed, keras.losses.CategoricalCrossentropy(from_logits=True))

    random = np.random.default_rng(seed)
    drawn = [
        {name: float(np.exp(random.uniform(*np.log(bounds)))) for name, bounds in RANGES.items()}
        | {"amsgrad": bool(random.integers(2))}
        for _ in range(trials)
    ]
    classifier = keras.wrappers.SKLearnClassifier(build, model_kwargs=drawn[0])
    flat = [x.reshape(len(x), -1) for x in (rows.x, rows.x_valid)]
    # Its clones forget `fit_kwargs`, so they are given to `fit`.
    extra = {"epochs": epochs, "batch_size": case.batch_size, "verbose": 0}
    found = _random_search(classifier, {"model_kwargs": drawn}, rows, flat, seed, trials, **extra)
    return about(workload, rows, epochs) | {"epochs_trained": trials * epochs} | found


def _random_search(classifier, ranges, rows, inputs, seed, trials, **extra):
    """RandomizedSearchCV over one split, without a refit; `extra` is what the classifier's `fit` takes besides."""
    from sklearn.model_selection import PredefinedSplit, RandomizedSearchCV

    split = PredefinedSplit(np.repeat([-1, 0], [len(x) for x in inputs]))  # -1 trains, 0 judges
    both, labels = np.concatenate(inputs), np.concatenate([rows.y, rows.y_valid])
    search = RandomizedSearchCV(
        classifier, ranges, n_iter=trials, cv=split, refit=False, random_state=seed, error_score="raise"
    )
    keras.utils.set_random_seed(seed)
    marks = Marks()
    score = type(classifier).score
    type(classifier).score = lambda *args, **kwargs: (score(*args, **kwargs), marks())[0]
    search.fit(both, labels, **extra)
    return _course(marks, [None] * trials)


def _course(marks, values):
    """When each trial ended and what memory was held then, and what it was worth."""
    return {
        "seconds": marks.seconds[-1],
        "ended": marks.seconds,
        "values": values,
        "mebibytes": [marks.seconds, marks.mebibytes],
    }
