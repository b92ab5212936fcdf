import keras
import numpy as np
import pytest
from keras import layers
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from adamtune.errors import DataError, SettingError
from adamtune.tasks import judging
from adamtune.tasks import task as tasks
from adamtune.tasks.data import prepare
from adamtune.tasks.judging import Scorer, choose_direction, choose_metric
from adamtune.tasks.outputs import Meaning

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 4))
BINARY = prepare(X, np.array(["no", "yes"])[np.arange(30) % 2])
THREE = prepare(X, np.array(["a", "b", "c"])[np.arange(30) % 3])
SEVERAL = prepare(X, (X[:, :3] > 0).astype(int))
NUMBERS = prepare(X, X[:, 0])
TWO_NUMBERS = prepare(X, X[:, :2])
SCALED = prepare(X, 2000 + 30 * X[:, 0], scale_targets=True)
ROWS = np.arange(4, 24)
losses, metrics = keras.losses, keras.metrics


def net(width, activation=None):
    return keras.Sequential([keras.Input((4,)), layers.Dense(width, activation=activation)])


def others(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


def chosen(given, data, width=1, activation=None):
    """The metric, and its objective, for the loss that fits a model that ends like this."""
    model = net(width, activation)
    loss = tasks.choose_loss(None, model, data)
    return choose_metric(given, data, loss, width, tasks.from_logits(loss, model))


def outputs(width=1, activation=None):
    """What a poor network would say."""
    drawn = np.random.default_rng(1).normal(size=(len(ROWS), width)).astype("float32")
    return keras.ops.convert_to_numpy(keras.activations.get(activation)(drawn))


# ------------------------------------------------------------------------------------------------- means over rows


@pytest.mark.parametrize(
    ("given", "data", "loss", "width", "expected", "name", "objective"),
    [
        (None, NUMBERS, "mse", 1, None, None, "val_loss"),
        ("loss", NUMBERS, "mse", 1, None, None, "val_loss"),
        (None, BINARY, "binary_crossentropy", 1, "BinaryAccuracy", "accuracy", "val_loss"),
        (None, SEVERAL, "binary_crossentropy", 3, "BinaryAccuracy", "accuracy", "val_loss"),
        ("val_loss", THREE, "sparse_categorical_crossentropy", 3, "SparseCategoricalAccuracy", "accuracy", "val_loss"),
        ("accuracy", BINARY, "binary_crossentropy", 1, "BinaryAccuracy", "accuracy", "val_accuracy"),
        ("acc", THREE, "categorical_crossentropy", 3, "CategoricalAccuracy", "accuracy", "val_accuracy"),
        (
            "val_accuracy",
            THREE,
            "sparse_categorical_crossentropy",
            3,
            "SparseCategoricalAccuracy",
            "accuracy",
            "val_accuracy",
        ),
        ("mae", NUMBERS, "mse", 1, "MeanAbsoluteError", "mae", "val_mae"),
        ("val_mae", NUMBERS, "mse", 1, "MeanAbsoluteError", "mae", "val_mae"),
        (others, NUMBERS, "mse", 1, "MeanMetricWrapper", "others", "val_others"),
        (lambda y_true, y_pred: others(y_true, y_pred), NUMBERS, "mse", 1, "MeanMetricWrapper", "lambda", "val_lambda"),
        (metrics.MeanAbsoluteError, NUMBERS, "mse", 1, "MeanAbsoluteError", "mean_absolute_error", None),
    ],
)
def test_metric_and_objective(given, data, loss, width, expected, name, objective):
    loss = tasks.choose_loss(loss, net(width), data)
    metric, found = choose_metric(given, data, loss, width)
    assert found == (objective or f"val_{name}")
    assert (None if metric is None else type(metric).__name__, getattr(metric, "name", None)) == (expected, name)


def test_a_metric_object_keeps_its_name():
    given = metrics.MeanAbsolutePercentageError(name="share")
    assert choose_metric(given, NUMBERS, losses.MeanSquaredError(), 1) == (given, "val_share")


@pytest.mark.parametrize("logits", [False, True])
def test_accuracy_of_one_column_cuts_in_the_middle(logits):
    metric, _ = choose_metric("accuracy", BINARY, losses.BinaryCrossentropy(from_logits=logits), 1)
    middle = 0.0 if logits else 0.5
    metric.update_state([[0], [1], [1]], [[middle - 0.1], [middle + 0.1], [middle - 0.1]])
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_a_function_meets_one_target_a_row_as_a_column():
    """Targets (n,) beside outputs (n, 1) would be (n, n) differences."""
    metric, _ = chosen(others, NUMBERS)
    metric.update_state(np.array([1.0, 2.0]), np.array([[1.0], [2.5]]))
    assert float(metric.result()) == pytest.approx(0.25)


# --------------------------------------------------------------------------------------------------- metrics of Keras


class Widest(metrics.Metric):
    """The largest error, as somebody would write it."""

    def __init__(self, name="widest"):
        super().__init__(name=name)
        self.widest = self.add_variable((), "zeros", name="widest")

    def update_state(self, y_true, y_pred, sample_weight=None):
        assert y_true.shape == y_pred.shape
        self.widest.assign(keras.ops.maximum(self.widest, keras.ops.max(keras.ops.abs(y_true - y_pred))))

    def result(self):
        return self.widest

    def reset_state(self):
        self.widest.assign(0.0)


class Doubled(metrics.MeanMetricWrapper):
    """A mean over rows that a subclass has made something else of."""

    def result(self):
        return 2 * super().result()


def test_a_metric_of_ones_own_sees_what_the_loss_sees():
    said = outputs()
    widest, objective = chosen(Widest(), NUMBERS)
    assert (type(widest), objective, widest.direction) == (Scorer, "val_widest", None)
    assert widest(ROWS, said) == pytest.approx(np.abs(NUMBERS.y[ROWS] - said[:, 0]).max())
    assert widest(ROWS, said) == widest(ROWS, said), "nothing is left of the time before"
    doubled, _ = chosen(Doubled(others, name="doubled"), NUMBERS)
    assert doubled(ROWS, said) == pytest.approx(2 * np.abs(NUMBERS.y[ROWS] - said[:, 0]).mean(), rel=1e-5)


def roc(y, p):
    return sk.roc_auc_score(y, p[:, 1])


def iou(y, p):
    return sk.jaccard_score(y, p.argmax(1), average="macro")


def pearson(y, p):
    return np.corrcoef(y, p[:, 0])[0, 1]


# The metric, what it judges, the last activation, and the same from elsewhere, of labels and probabilities.
KERAS = [
    ("root_mean_squared_error", NUMBERS, 1, None, lambda y, p: np.sqrt(sk.mean_squared_error(y, p))),
    ("r2_score", NUMBERS, 1, None, sk.r2_score),
    (metrics.R2Score(), TWO_NUMBERS, 2, None, sk.r2_score),
    (metrics.PearsonCorrelation(), NUMBERS, 1, None, pearson),
    (metrics.PearsonCorrelation(axis=0), NUMBERS, 1, None, pearson),
    ("precision", BINARY, 1, None, lambda y, p: sk.precision_score(y, p[:, 1] > 0.5)),
    ("recall", BINARY, 2, "softmax", lambda y, p: sk.recall_score(y, p[:, 1] > 0.5)),
    ("recall", SEVERAL, 3, None, lambda y, p: sk.recall_score(y, p > 0.5, average="micro")),
    ("AUC", BINARY, 1, None, roc),
    ("AUC", BINARY, 1, "sigmoid", roc),
    (metrics.AUC(from_logits=True), BINARY, 1, None, roc),
    (metrics.AUC(from_logits=True), BINARY, 2, None, roc),
    ("auc", THREE, 3, "softmax", lambda y, p: sk.roc_auc_score(np.eye(3)[y].ravel(), p.ravel())),
    (metrics.F1Score("macro"), THREE, 3, None, lambda y, p: sk.f1_score(y, p.argmax(1), average="macro")),
    (metrics.F1Score("macro"), BINARY, 1, None, lambda y, p: sk.f1_score(y, p.argmax(1), average="macro")),
    (metrics.F1Score(threshold=0.5), BINARY, 1, "sigmoid", lambda y, p: sk.f1_score(y, p[:, 1] > 0.5)),
    (metrics.MeanIoU(3), THREE, 3, None, iou),
    (metrics.OneHotMeanIoU(3), THREE, 3, "softmax", iou),
    (metrics.BinaryIoU([1]), BINARY, 1, None, lambda y, p: sk.jaccard_score(y, p[:, 1] > 0.5)),
]


@pytest.mark.parametrize(("given", "data", "width", "activation", "expected"), KERAS)
def test_metrics_of_keras_that_are_no_mean_compare_what_they_are_made_for(given, data, width, activation, expected):
    """Columns of 0 and 1 with probabilities, whether the network returns these or raw scores."""
    scorer, objective = chosen(given, data, width, activation)
    said = outputs(width, activation)
    compared = said
    if data.kind != "regression":
        compared = Meaning(data.kind, data.classes, activation is None, None, "int64").probabilities(said)
    # 200 thresholds are no ranking, but come near one.
    rel = 0.03 if "auc" in objective.lower() else 1e-5
    assert scorer(ROWS, said) == pytest.approx(expected(data.y[ROWS], compared), rel=rel)
    direction = choose_direction(None, scorer, objective)
    assert direction == ("minimize" if given == "root_mean_squared_error" else "maximize")


def test_a_metric_is_called_the_same_however_many_there_were_before():
    """Keras counts: auc, auc_1, auc_2."""
    objectives = {chosen(metrics.AUC(num_thresholds=3), BINARY)[1] for _ in range(2)}
    assert objectives == {"val_auc"}
    assert chosen(metrics.AUC(name="area_1"), BINARY)[1] == "val_area_1"


def test_rows_are_taken_in_pieces_that_fit_the_memory(monkeypatch):
    scorer, _ = chosen("AUC", BINARY)
    whole = scorer(ROWS, outputs())
    monkeypatch.setattr(judging, "_AT_ONCE", 12)
    assert scorer(ROWS, outputs()) == pytest.approx(whole, rel=1e-6)


# ----------------------------------------------------------------------------------------------------- scikit-learn


class Fitted(BaseEstimator):
    """An estimator that says what a network said, written without any of ours."""

    def __init__(self, said, classes=None):
        self.said, self.classes_ = said, classes

    def predict(self, X):
        if self.classes_ is None:
            return self.said[:, 0] if self.said.shape[1] == 1 else self.said
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class FittedClassifier(ClassifierMixin, Fitted):
    def predict_proba(self, X):
        positive = 1 / (1 + np.exp(-self.said.astype("float64")))
        powers = np.exp(self.said.astype("float64"))
        return np.hstack([1 - positive, positive]) if self.said.shape[1] == 1 else powers / powers.sum(1, keepdims=True)


class FittedRegressor(RegressorMixin, Fitted):
    pass


@pytest.mark.parametrize(
    ("name", "data", "width"),
    [
        ("roc_auc", BINARY, 1),
        ("roc_auc", BINARY, 2),
        ("average_precision", prepare(X, np.arange(30) % 2), 1),
        ("neg_brier_score", prepare(X, np.arange(30) % 2), 2),
        ("neg_log_loss", THREE, 3),
        ("balanced_accuracy", THREE, 3),
        ("f1_macro", THREE, 3),
        ("f1_macro", BINARY, 1),
        ("roc_auc_ovr", THREE, 3),
        ("top_k_accuracy", THREE, 3),
        ("matthews_corrcoef", BINARY, 2),
        ("neg_mean_absolute_error", NUMBERS, 1),
        ("r2", TWO_NUMBERS, 2),
        ("explained_variance", NUMBERS, 1),
    ],
)
def test_scorers_of_scikit_learn_say_what_they_say_of_an_estimator(name, data, width):
    scorer, objective = chosen(name, data, width)
    scorer.check(data, [ROWS])
    said = outputs(width)
    fitted = FittedRegressor(said) if data.kind == "regression" else FittedClassifier(said, data.classes)
    y = data.y if data.classes is None else data.classes[data.y]
    assert scorer(ROWS, said) == pytest.approx(sk.get_scorer(name)(fitted, X[ROWS], y[ROWS]), rel=1e-5)
    assert (objective, choose_direction(None, scorer, objective)) == (f"val_{name}", "maximize")


def test_several_labels_a_row_are_scored_as_columns():
    said = outputs(3)
    scorer, _ = chosen("f1_micro", SEVERAL, 3)
    assert scorer(ROWS, said) == pytest.approx(sk.f1_score(SEVERAL.y[ROWS], said > 0, average="micro"))
    scorer, _ = chosen("roc_auc", SEVERAL, 3)
    assert scorer(ROWS, said) == pytest.approx(sk.roc_auc_score(SEVERAL.y[ROWS], said))


def test_scores_of_numbers_are_in_the_users_units():
    scorer, _ = chosen("neg_mean_absolute_error", SCALED)
    said = outputs()
    mean, deviation = SCALED.target_scale
    expected = np.abs(2000 + 30 * X[ROWS, 0] - (said[:, 0] * deviation + mean)).mean()
    assert expected > 10
    assert scorer(ROWS, said) == pytest.approx(-expected, rel=1e-5)


def twos(estimator, X, y):
    return float((estimator.predict(X) == y).mean() + X[0, 0])


def elsewhere(estimator, X, y):
    return estimator.predict(X[::2]).mean()


def test_scorers_of_ones_own():
    made, objective = chosen(sk.make_scorer(sk.fbeta_score, beta=2, pos_label="yes"), BINARY)
    assert objective == "val_fbeta_score"
    said = outputs()
    assert made(ROWS, said) == pytest.approx(sk.fbeta_score(BINARY.y[ROWS], said[:, 0] > 0, beta=2))
    called, objective = chosen(twos, BINARY)
    assert (objective, called.direction) == ("val_twos", "maximize")
    assert called(ROWS, said) == pytest.approx((BINARY.y[ROWS] == (said[:, 0] > 0)).mean() + X[ROWS[0], 0], rel=1e-6)
    margin, _ = chosen(sk.make_scorer(sk.hinge_loss, response_method="decision_function"), BINARY, 1, "sigmoid")
    half = outputs(1, "sigmoid")
    assert margin(ROWS, half) == pytest.approx(sk.hinge_loss(BINARY.y[ROWS], half[:, 0] - 0.5), rel=1e-6)
    with pytest.raises(SettingError, match="predicts other rows than its X"):
        chosen(elsewhere, NUMBERS)[0].check(NUMBERS, [ROWS])


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("given", "data", "message"),
    [
        ("accuracy", NUMBERS, "metric='accuracy' needs labels.*try 'mae' or None"),
        ("accurracy", BINARY, r"unknown to keras\.metrics\.get and to sklearn\.metrics\.get_scorer.*'accuracy'"),
        ("f1_makro", BINARY, "Did you mean 'f1_macro' or .*'f1_micro'"),
        ("f1_scor", BINARY, "Did you mean 'f1_score' or .*'f1_micro'"),
        ("val_", BINARY, "metric='' is unknown"),
        (3, BINARY, r"metric=3 is unknown to keras\.metrics\.get"),
        ("mean_io_u", THREE, "needs arguments.*num_classes.*Give the object"),
        ("mean", NUMBERS, "metric='mean' compares nothing"),
        ("AUC", NUMBERS, "metric='AUC' needs labels, but the task is regression"),
        (metrics.Sum(), NUMBERS, "compares nothing: expected a metric of targets and outputs"),
        (sk.f1_score, BINARY, r"expected sklearn\.metrics\.make_scorer\(f1_score, \.\.\.\), or a name"),
    ],
)
def test_what_is_no_metric(given, data, message):
    with pytest.raises(SettingError, match=message):
        chosen(given, data, 3 if data is THREE else 1)


@pytest.mark.parametrize(
    ("given", "data", "width", "message"),
    [
        ("f1_score", THREE, 3, r"'f1_score' gives 3 numbers, expected one.*F1Score\(average='macro'\).*'f1_macro'"),
        (metrics.Precision([0.1, 0.9]), BINARY, 1, "'precision' gives 2 numbers"),
        ("f1", NUMBERS, 1, r"metric='f1' cannot judge this task \(regression\): .*continuous"),
        ("roc_auc", NUMBERS, 1, "cannot judge this task"),
        ("roc_auc", THREE, 3, "multi_class must be in"),
        ("neg_mean_absolute_error", BINARY, 1, r"cannot judge this task \(binary\)"),
        ("f1", BINARY, 1, r"pos_label=1 is not a valid label.*make_scorer\(\.\.\., pos_label=\.\.\.\)"),
    ],
)
def test_what_cannot_judge_the_task_is_refused_before_training(given, data, width, message):
    scorer, _ = chosen(given, data, width)
    with pytest.raises(SettingError, match=message):
        scorer.check(data, [ROWS])


def test_rows_that_cannot_judge_are_refused_before_training():
    scorer, _ = chosen("roc_auc", BINARY)
    scorer.check(BINARY, [ROWS])
    with pytest.raises(
        DataError, match=r"cannot judge the 15 judging rows.*all of them have the label 'no'.*validation"
    ):
        scorer.check(BINARY, [ROWS, np.arange(0, 30, 2)])
    scorer, _ = chosen("r2", NUMBERS)
    with pytest.raises(DataError, match=r"cannot judge the 1 judging rows.*no value for their targets"):
        scorer.check(NUMBERS, [np.array([3])])


def test_a_metric_is_tried_on_outputs_that_are_nearly_right():
    """One that takes positive numbers alone would fail with those of an untrained network."""
    positive = prepare(X, np.abs(X[:, 0]) + 1)
    scorer, _ = chosen("neg_mean_squared_log_error", positive)
    scorer.check(positive, [ROWS])
    with pytest.warns(UserWarning, match=r"neg_mean_squared_log_error has no value for the outputs of a trial.*-1"):
        assert np.isnan(scorer(ROWS, np.full((len(ROWS), 1), -3.0)))
    scorer, _ = chosen("neg_mean_squared_log_error", NUMBERS)
    with pytest.raises(SettingError, match="cannot judge this task"):
        scorer.check(NUMBERS, [ROWS])


def test_outputs_that_are_no_numbers_have_no_score_and_need_no_warning(recwarn):
    scorer, _ = chosen("roc_auc", BINARY)
    assert np.isnan(scorer(ROWS, np.full((len(ROWS), 1), np.inf)))
    assert not recwarn.list


# ------------------------------------------------------------------------------------------------------- direction


@pytest.mark.parametrize(
    ("given", "metric", "expected"),
    [
        (None, None, "minimize"),
        (None, "accuracy", "maximize"),
        (None, "mae", "minimize"),
        (None, "cosine_similarity", "maximize"),
        (None, "r2", "maximize"),
        ("minimize", "r2", "minimize"),
        ("maximize", "mae", "maximize"),
        ("minimize", "accuracy", "minimize"),
        ("maximize", others, "maximize"),
        ("minimize", Widest(), "minimize"),
    ],
)
def test_direction(given, metric, expected):
    found, objective = chosen(metric, BINARY if metric == "accuracy" else NUMBERS)
    assert choose_direction(given, found, objective) == expected


@pytest.mark.parametrize("metric", [others, Widest(), "false_positives"])
def test_a_direction_that_only_the_user_knows(metric):
    found, objective = chosen(metric, BINARY if metric == "false_positives" else NUMBERS)
    with pytest.raises(SettingError, match=f"whether '{objective}' should fall or rise is not known: write direction="):
        choose_direction(None, found, objective)
    for given in ("up", "max", 1, ["minimize"]):
        with pytest.raises(SettingError, match="expected 'minimize', 'maximize' or None"):
            choose_direction(given, found, objective)


# -------------------------------------------------------------------------------------------------------- description


def test_equal_metrics_describe_themselves_alike_and_others_do_not():
    """By this a resumed study knows that it is judged as before."""
    given = [
        (metrics.R2Score(), metrics.R2Score(name="mine")),
        (metrics.R2Score(num_regressors=2), metrics.R2Score(num_regressors=2)),
        ("roc_auc", "roc_auc"),
        (sk.make_scorer(sk.fbeta_score, beta=2), sk.make_scorer(sk.fbeta_score, beta=2)),
        (sk.make_scorer(sk.fbeta_score, beta=3), sk.make_scorer(sk.fbeta_score, beta=3)),
        (twos, twos),
        (elsewhere, elsewhere),
    ]
    described = [[tasks._described(chosen(each, NUMBERS)[0]) for each in pair] for pair in given]
    assert all(one == other for one, other in described)
    assert len({str(one) for one, _ in described}) == len(given)
