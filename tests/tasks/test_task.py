import functools
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from adamtune.errors import ModelError, SettingError
from adamtune.tasks import judging
from adamtune.tasks import task as tasks
from adamtune.tasks.data import prepare
from adamtune.tasks.inputs import Inputs
from adamtune.tasks.splits import Split, folds, split
from adamtune.tasks.task import FunctionLoss, Task

X = np.random.default_rng(0).normal(size=(30, 4))
BINARY = prepare(X, np.arange(30) % 2)
THREE = prepare(X, np.array(["a", "b", "c"])[np.arange(30) % 3])
NUMBERS = prepare(X, X[:, 0])
TWO_NUMBERS = prepare(X, X[:, :2])
losses = keras.losses


def net(*last, loss=None):
    """A model that ends with these layers, compiled when a loss is given."""
    model = keras.Sequential([keras.Input((4,)), *last])
    if loss is not None:
        model.compile(loss=loss)
    return model


def squares(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def others(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


# --------------------------------------------------------------------------------------------------------- loss

CHOSEN = [
    (NUMBERS, net(layers.Dense(1)), losses.MeanSquaredError, False),
    (TWO_NUMBERS, net(layers.Dense(2)), losses.MeanSquaredError, False),
    (BINARY, net(layers.Dense(1)), losses.BinaryCrossentropy, True),
    (BINARY, net(layers.Dense(1, activation="sigmoid")), losses.BinaryCrossentropy, False),
    (BINARY, net(layers.Dense(1), layers.Activation("sigmoid")), losses.BinaryCrossentropy, False),
    (BINARY, net(layers.Dense(2)), losses.SparseCategoricalCrossentropy, True),
    (BINARY, net(layers.Dense(2, activation="softmax")), losses.SparseCategoricalCrossentropy, False),
    (THREE, net(layers.Dense(3)), losses.SparseCategoricalCrossentropy, True),
    (THREE, net(layers.Dense(3, activation="relu")), losses.SparseCategoricalCrossentropy, True),
    (THREE, net(layers.Dense(3, activation="softmax")), losses.SparseCategoricalCrossentropy, False),
    (THREE, net(layers.Dense(3), layers.Softmax()), losses.SparseCategoricalCrossentropy, False),
]


@pytest.mark.parametrize(("data", "model", "expected", "logits"), CHOSEN)
def test_the_loss_fits_an_uncompiled_model(data, model, expected, logits):
    loss = tasks.choose_loss(None, model, data)
    assert type(loss) is expected
    assert tasks.from_logits(loss) == logits


def test_a_softmax_inside_the_last_part_is_seen():
    head = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")])
    loss = tasks.choose_loss(None, net(layers.Dense(5), head), THREE)
    assert not tasks.from_logits(loss)


@pytest.mark.parametrize(
    ("data", "width", "given", "expected"),
    [
        (NUMBERS, 1, "mse", losses.MeanSquaredError),
        (NUMBERS, 1, "mae", losses.MeanAbsoluteError),
        (NUMBERS, 1, "MAE", losses.MeanAbsoluteError),
        (NUMBERS, 1, "huber", losses.Huber),
        (NUMBERS, 1, "log_cosh", losses.LogCosh),
        (NUMBERS, 1, "MeanSquaredLogarithmicError", losses.MeanSquaredLogarithmicError),
        (NUMBERS, 1, losses.mean_absolute_error, losses.MeanAbsoluteError),
        (NUMBERS, 1, losses.Poisson, losses.Poisson),
        (NUMBERS, 1, squares, FunctionLoss),
        (BINARY, 1, "binary_crossentropy", losses.BinaryCrossentropy),
        (BINARY, 1, "hinge", losses.Hinge),
        (BINARY, 1, squares, FunctionLoss),
        (BINARY, 2, "sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy),
        (BINARY, 2, "categorical_crossentropy", losses.CategoricalCrossentropy),
        (THREE, 3, "sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy),
        (THREE, 3, "categorical_crossentropy", losses.CategoricalCrossentropy),
        (THREE, 3, "categorical_focal_crossentropy", losses.CategoricalFocalCrossentropy),
        (THREE, 3, "categorical_hinge", losses.CategoricalHinge),
        (THREE, 3, "kl_divergence", losses.KLDivergence),
        (THREE, 3, squares, FunctionLoss),
    ],
)
def test_the_loss_that_is_given(data, width, given, expected):
    assert type(tasks.choose_loss(given, net(layers.Dense(width)), data)) is expected
    assert type(tasks.choose_loss(None, net(layers.Dense(width), loss=given), data)) is expected


def test_a_loss_object_is_taken_as_it_is():
    loss = losses.Huber(delta=3.0)
    assert tasks.choose_loss(loss, net(layers.Dense(1)), NUMBERS) is loss
    assert tasks.choose_loss(None, net(layers.Dense(1), loss=loss), NUMBERS) is loss
    assert tasks.choose_loss("mae", net(layers.Dense(1), loss=loss), NUMBERS).name == "mean_absolute_error"


def test_a_function_of_ones_own_is_not_taken_for_one_of_keras():
    def binary_crossentropy(y_true, y_pred):
        return squares(y_true, y_pred)

    loss = tasks.choose_loss(binary_crossentropy, net(layers.Dense(1)), BINARY)
    assert type(loss) is FunctionLoss
    assert loss.function is binary_crossentropy


@pytest.mark.parametrize(
    "function", [squares, lambda y_true, y_pred: squares(y_true, y_pred), functools.partial(squares)]
)
def test_a_function_is_the_loss_that_compile_makes_of_it(function):
    y_pred = np.array([[1.0], [3.0], [7.0]], dtype="float32")
    model = net(layers.Dense(1))
    y_true = np.array([1.0, 2.0, 3.0], dtype="float32")
    ours = tasks.choose_loss(function, model, NUMBERS)(y_true, y_pred)
    model.compile(loss=squares)
    model.layers[-1].set_weights([np.array([[1.0], [0], [0], [0]]), np.zeros(1)])
    theirs = model.evaluate(np.eye(4, dtype="float32")[[0, 0, 0]] * y_pred, y_true, verbose=0)
    assert float(ours) == pytest.approx(theirs) == pytest.approx(17 / 3)


MISFITS = [
    (NUMBERS, 2, None, r"output has 2 column\(s\), but y has 1 target\(s\)\. End the model with Dense\(1\)"),
    (TWO_NUMBERS, 1, "mae", r"output has 1 column\(s\), but y has 2 target\(s\)\. End the model with Dense\(2\)"),
    (THREE, 1, None, r"1 column\(s\), but y has 3 classes \(a, b, c\).*End the model with Dense\(3\)\.$"),
    (THREE, 2, None, r"2 column\(s\), but y has 3 classes .*End the model with Dense\(3\)"),
    (THREE, 4, "categorical_crossentropy", r"4 column\(s\).*'categorical_crossentropy'. End the model with Dense\(3\)"),
    (BINARY, 3, None, r"3 column\(s\), but y has 2 classes \(0, 1\).*Dense\(2\) \(or Dense\(1\) and a binary loss\)"),
    (
        BINARY,
        1,
        "sparse_categorical_crossentropy",
        r"1 column\(s\), but y has 2 classes.*End the model with Dense\(2\)",
    ),
    (BINARY, 2, "binary_crossentropy", "'binary_crossentropy' does not compare labels with 2 columns: write loss="),
    (THREE, 3, "binary_crossentropy", "does not compare labels with 3 columns.*'sparse_categorical_crossentropy'"),
    (THREE, 3, "mse", r"'mean_squared_error' does not compare.*SparseCategoricalCrossentropy\(from_logits=True\)"),
]


@pytest.mark.parametrize(("data", "width", "loss", "message"), MISFITS)
def test_an_output_that_does_not_fit(data, width, loss, message):
    with pytest.raises(ModelError, match=message):
        tasks.choose_loss(loss, net(layers.Dense(width)), data)


def test_many_classes_are_not_all_listed():
    data = prepare(np.zeros((20, 4)), np.arange(20) // 2)
    with pytest.raises(ModelError, match=r"y has 10 classes \(0, 1, 2, 3, 4, \.\.\.\)"):
        tasks.choose_loss(None, net(layers.Dense(3)), data)


@pytest.mark.parametrize("given", ["mes", {"out": "mse"}, ["mse", "mse"]])
def test_refused_losses(given):
    with pytest.raises(SettingError, match=r"is unknown to keras\.losses|expected one loss for one output"):
        tasks.choose_loss(given, net(layers.Dense(1)), NUMBERS)


def test_outputs_of_another_shape():
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(1)(inputs)])
    with pytest.raises(ModelError, match="several outputs are not there yet, expected one"):
        tasks.choose_loss(None, two, NUMBERS)
    image = net(layers.Reshape((2, 2)))
    with pytest.raises(ModelError, match=r"\(None, 2, 2\), expected \(None, n\).*Flatten or a pooling layer and Dense"):
        tasks.choose_loss(None, image, NUMBERS)


class Subclassed(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.dense = layers.Dense(width)

    def call(self, x):
        return self.dense(x)


def test_a_subclassed_model_has_a_width_too():
    model = Subclassed(3)
    with pytest.raises(ModelError, match="outputs of shape None"):
        tasks.output_width(model)
    model(THREE.x[:1])
    assert tasks.output_width(model) == 3
    assert type(tasks.choose_loss(None, model, THREE)) is losses.SparseCategoricalCrossentropy
    with pytest.raises(ModelError, match=r"End the model with Dense\(2\)"):
        tasks.choose_loss(None, model, BINARY)


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (losses.MeanSquaredError(), "keras.losses.MeanSquaredError()"),
        (losses.Huber(delta=3.0), "keras.losses.Huber(delta=3.0)"),
        (losses.BinaryCrossentropy(from_logits=True), "keras.losses.BinaryCrossentropy(from_logits=True)"),
        (
            losses.CategoricalCrossentropy(label_smoothing=0.1, name="mine"),
            "keras.losses.CategoricalCrossentropy(label_smoothing=0.1)",
        ),
        (FunctionLoss(squares), None),
    ],
)
def test_code_of_a_loss(loss, code):
    assert tasks.loss_code(loss) == code


def test_one_hot_losses_get_one_hot_rows():
    np.testing.assert_array_equal(tasks.encode_targets(THREE, losses.KLDivergence()), np.eye(3)[np.arange(30) % 3])
    for data, loss in ((THREE, losses.SparseCategoricalCrossentropy()), (NUMBERS, losses.MeanSquaredError())):
        assert tasks.encode_targets(data, loss) is data.y


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return squares(y_true, y_pred)


@pytest.mark.parametrize("activation", ["linear", "softmax", "sigmoid", "tanh", "hard_sigmoid"])
@pytest.mark.parametrize(
    ("loss", "width"), [(FunctionLoss(squares), 1), (OwnLoss(), 3), (losses.Hinge(), 1), (losses.KLDivergence(), 3)]
)
def test_where_the_loss_does_not_say_the_last_activation_does(loss, width, activation):
    logits = tasks.from_logits(loss, net(layers.Dense(width, activation=activation)))
    assert logits == (activation in ("linear", "tanh"))
    if width == 1:
        metric, _ = judging.choose_metric("accuracy", BINARY, loss, width, logits)
        assert metric._fn_kwargs["threshold"] == (0.0 if logits else 0.5)


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
def test_a_loss_that_says_is_believed(activation):
    model = net(layers.Dense(1, activation=activation))
    for said in (True, False):
        assert tasks.from_logits(losses.BinaryCrossentropy(from_logits=said), model) == said
    assert not tasks.from_logits(losses.MeanSquaredError(), model)  # outputs are compared with 0 and 1 as they are


# -------------------------------------------------------------------------------------------------- fingerprint


def functional(names=("x", "y"), width=6, activation="relu", dropout=0.1, dtype=None, trainable=True):
    inputs = keras.Input((4,), name=names[0])
    hidden = layers.Dense(width, activation=activation, name=names[1], dtype=dtype, trainable=trainable)(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Dropout(dropout)(hidden)))


def make(data=THREE, loss=None, metric="accuracy", validation_split=0.2, **others):
    loss = loss or losses.SparseCategoricalCrossentropy(from_logits=True)
    metric, objective = judging.choose_metric(metric, data, loss, 3)
    task = Task(
        "small",
        data,
        lambda seed: split(data, validation_split, seed),
        lambda seed: None,
        loss,
        metric,
        objective,
        "minimize",
        epochs=5,
        batch_size=8,
    )
    return replace(task, **others)


def with_x(x):
    return replace(THREE, x=Inputs((x,), x.dtype))


def changed_x():
    x = THREE.x.array().copy()
    x[7, 2] += 1e-3
    return with_x(x)


def changed_y():
    y = THREE.y.copy()
    y[7] = (y[7] + 1) % 3
    return replace(THREE, y=y)


OTHER_TASKS = {
    "one number of x": make(changed_x()),
    "one label": make(changed_y()),
    "type of x": make(with_x(THREE.x.array().astype("float64"))),
    "shape of x": make(with_x(THREE.x.array().reshape(30, 2, 2))),
    "sample weight": make(replace(THREE, weight=np.ones(30, "float32"))),
    "class weight": make(replace(THREE, class_weight=np.ones(3, "float32"))),
    "rows that judge": make(replace(THREE, n_given=25)),
    "split": make(validation_split=0.3),
    "folds": make(folds=lambda seed: folds(THREE, 5, seed=seed)),
    "other folds": make(folds=lambda seed: folds(THREE, 3, seed=seed)),
    "given folds": make(folds=lambda seed: [Split(np.arange(24), np.arange(24, 30), False)]),
    "other given folds": make(folds=lambda seed: [Split(np.arange(6, 30), np.arange(6), False)]),
    "loss": make(loss=losses.CategoricalCrossentropy(from_logits=True)),
    "setting of the loss": make(loss=losses.SparseCategoricalCrossentropy(from_logits=False)),
    "setting that Keras leaves out": make(loss=losses.Huber(delta=2.0)),
    "and another": make(loss=losses.Huber(delta=3.0)),
    "function as loss": make(loss=FunctionLoss(squares)),
    "another function": make(loss=FunctionLoss(others)),
    "metric": make(metric="mse"),
    "function as metric": make(metric=squares),
    "another function as metric": make(metric=others),
    "objective": make(metric=None),
    "direction": make(direction="maximize"),
    "epochs": make(epochs=6),
    "batch size": make(batch_size=9),
}
OTHER_MODELS = {
    "width": {"width": 7},
    "activation": {"activation": "tanh"},
    "function as activation": {"activation": keras.activations.gelu},
    "dropout": {"dropout": 0.2},
    "precision": {"dtype": "mixed_float16"},
    "frozen": {"trainable": False},
}


def test_equal_tasks_have_equal_fingerprints():
    fingerprint = make().fingerprint(functional())
    assert fingerprint == make().fingerprint(functional())  # Keras has counted the names of layers on
    assert fingerprint == make(prepare(X, THREE.classes[THREE.y])).fingerprint(functional(names=("a", "b")))
    assert fingerprint == make(loss=losses.SparseCategoricalCrossentropy(from_logits=True, name="mine")).fingerprint(
        functional()
    )
    assert len(fingerprint) == 24


def test_blocks_and_disks_change_no_fingerprint(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for x in (np.load(tmp_path / "x.npy", mmap_mode="r"), X.astype("float32")):
        assert make(prepare(x, THREE.classes[THREE.y])).fingerprint(functional()) == make().fingerprint(functional())
    blocks = replace(THREE, x=Inputs((THREE.x[:7], THREE.x[7:]), THREE.x.dtype))
    assert make(blocks).fingerprint(functional()) == make().fingerprint(functional())


def test_a_sample_stands_for_large_inputs(monkeypatch):
    monkeypatch.setattr(tasks, "LARGE", 1)
    model = functional()
    fingerprint = make().fingerprint(model)
    assert fingerprint == make().fingerprint(model) != make(changed_x()).fingerprint(model)
    assert fingerprint != make(with_x(THREE.x.array().reshape(30, 2, 2))).fingerprint(model)


def test_different_tasks_have_different_fingerprints():
    model = functional()
    found = {"none": make().fingerprint(model)}
    found |= {what: task.fingerprint(model) for what, task in OTHER_TASKS.items()}
    found |= {what: make().fingerprint(functional(**change)) for what, change in OTHER_MODELS.items()}
    found["sequential"] = make().fingerprint(keras.Sequential(model.layers))
    for what, fingerprint in found.items():
        same = [other for other, value in found.items() if value == fingerprint]
        assert same == [what]


def test_fingerprint_of_a_subclassed_model():
    first, second, wider = Subclassed(3), Subclassed(3), Subclassed(4)
    for model in (first, second, wider):
        model(THREE.x[:1])
    assert make().fingerprint(first) == make().fingerprint(second) != make().fingerprint(wider)


def test_nested_models_are_named_anew_each_time():
    def nested(units):
        inner = keras.Sequential([keras.Input((4,)), layers.Dense(units, activation="relu"), layers.Dense(5)])
        return net(inner, layers.Dense(3))

    assert make().fingerprint(nested(6)) == make().fingerprint(nested(6)) != make().fingerprint(nested(7))


def test_steps_per_epoch():
    assert [make().steps_per_epoch(n) for n in (1, 8, 9, 16)] == [1, 1, 2, 2]
