import tracemalloc
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from adamtune.errors import DataError, ModelError, SettingError
from adamtune.recommending.describing import MOST_ROWS, of_rows, of_words
from adamtune.recommending.evidence import Evidence, Source
from adamtune.recommending.features import Features, of_model
from adamtune.tasks import networks, tables
from adamtune.tasks.data import prepare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
Y = np.arange(60) % 3


def dense(X, y):
    return keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(7, "relu"), keras.layers.Dense(3)])


class Watched:
    """Rows that are made when they are read, and remembers which were."""

    def __init__(self, *shape):
        self.shape, self.read = shape, []

    def __getitem__(self, places):
        self.read += list(places)
        rows = np.empty((len(places), *self.shape[1:]))
        rows.T[:] = np.asarray(places) % 3
        return rows


# -------------------------------------------------------------------------------------------------- what is looked at


@pytest.mark.parametrize("n", [3, MOST_ROWS, MOST_ROWS + 1, 10**9])
def test_no_more_rows_are_looked_at_however_many_there_are(n):
    rows, labels = Watched(n, 4), Watched(n)
    described = of_rows(rows, labels, train_share=1.0)
    assert described.features.n_rows == n
    for read in (rows.read, labels.read):
        assert len(read) == len(set(read)) == min(n, MOST_ROWS)
        assert (read[0], read[-1]) == (0, n - 1)
        assert np.ptp(np.diff(read)) <= 1  # evenly spread


def test_a_file_is_not_loaded(tmp_path):
    given = np.memmap(tmp_path / "rows", "float32", "w+", shape=(50_000, 100))
    given[:, 0] = np.arange(50_000) % 3
    tracemalloc.start()
    described = of_rows(given, np.arange(50_000) % 3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < given.nbytes / 2
    assert described == of_rows(np.array(given), np.arange(50_000) % 3)


def test_sparse_rows_are_not_made_dense():
    wide = scipy.sparse.random(MOST_ROWS, 5_000, 1e-4, "csr", "float32", random_state=0)
    tracemalloc.start()
    of_rows(wide, np.arange(MOST_ROWS) % 2)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MOST_ROWS * 5_000  # a quarter of what they would take


# ------------------------------------------------------------------------------------------------- what rows may be


@pytest.mark.parametrize(
    "given",
    [X.tolist(), scipy.sparse.csr_matrix(X), scipy.sparse.coo_array(X), pd.DataFrame(X), {"rows": X}],
    ids=["lists", "csr", "coo", "frame", "dict"],
)
def test_the_same_rows_are_the_same_task_in_whatever_holds_them(given):
    assert of_rows(given, Y) == of_rows(X, Y)


@pytest.mark.parametrize("labels", [Y, np.array(["no", "yes", "so"])[Y]], ids=["numbers", "text"])
@pytest.mark.parametrize(
    "hold",
    [np.ndarray.tolist, pd.Series, lambda labels: labels[:, None], lambda labels: pd.DataFrame({"label": labels})],
    ids=["list", "series", "column", "frame"],
)
def test_the_same_labels_are_the_same_task_in_whatever_holds_them(labels, hold):
    assert of_rows(X, hold(labels)).features == of_rows(X, labels).features


def test_a_frame_has_the_columns_that_the_tuner_makes_of_it():
    frame = pd.DataFrame(X).assign(text=np.array(["a", "b", "c"])[Y], gap=np.where(Y, np.nan, 1.0))
    frame["when"] = pd.date_range("2014-12-22", periods=len(frame))
    assert of_rows(frame, Y).features.n_inputs == tables.encoded(frame, None, "float32")[1].shape[1]


def test_several_inputs_are_put_side_by_side():
    both = of_rows({"table": X, "image": np.zeros((60, 2, 3))}, Y)
    assert both.features.n_inputs == 5 + 6


LABELS = {
    "text": np.array(["no", "yes"])[Y % 2],
    "objects": np.array(["no", "yes"], object)[Y % 2],
    "bools": Y % 2 == 0,
    "numbers": Y,
    "several": np.stack([Y == 0, Y > 0, Y > 1], axis=1).astype(int),
    "amounts": X[:, 0],
    "targets": X[:, :2],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_the_network_that_is_meant_is_the_one_that_the_tuner_takes(labels):
    data = prepare(X, labels)
    network = networks.default_network(data, np.arange(40))
    described = of_rows(X, labels)
    assert described.features == of_rows(X, labels, network).features
    assert described.features.regression == (data.kind == "regression")
    assert "no model was given" in described.assumed[0]


@pytest.mark.parametrize(
    ("shape", "labels", "kind"),
    [
        ((60, 5), Y, "table-classification"),
        ((60, 5), X[:, 0], "table-regression"),
        ((60, 4, 4, 1), Y, "image-classification"),
        ((60, 8, 2), Y, "sequence-classification"),
        ((60, 8, 2), X[:, 0], "forecast"),
    ],
)
def test_rows_say_what_people_call_the_task(shape, labels, kind):
    assert of_rows(np.zeros(shape), labels).kind == kind


@pytest.mark.parametrize(("n_labels", "kind"), [(3, "text-classification"), (50, "language-model")])
def test_layers_say_it_where_rows_do_not(n_labels, kind):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Embedding(9, 4), keras.layers.Flatten()])
    described = of_rows(np.ones((200, 5), int), np.arange(200) % n_labels, model, task="classification")
    assert described.kind == kind


# ------------------------------------------------------------------------------------------------------------- models


def test_a_network_is_the_same_however_it_comes():
    model = dense(X, Y)
    unbuilt = keras.Sequential([keras.layers.Dense(7, "relu"), keras.layers.Dense(3)])
    for each in (model, unbuilt):
        assert of_rows(X, Y, each) == of_rows(X, Y, dense)
    assert not unbuilt.built
    features = of_rows(X, Y, model).features
    assert replace(features, **of_model(model)) == features


NO_MODELS = {
    "number": 3,
    "name": "adam",
    "layer": keras.layers.Dense(3),
    "function of nothing": lambda X, y: None,
    "function that fails": lambda X, y: 1 / 0,
}


@pytest.mark.parametrize("model", NO_MODELS.values(), ids=NO_MODELS.keys())
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ModelError, match=r"expected a keras\.Model|failed with ZeroDivisionError"):
        of_rows(X, Y, model)


# -------------------------------------------------------------------------------------------------------- fingerprints


def changed(rows):
    other = rows.copy()
    other[7] += 1
    return other


def test_a_task_is_known_again_by_rows_network_and_budget():
    known = of_rows(X, Y)
    assert of_rows(X.copy(), Y.copy()) == known
    assert of_rows(X, Y, train_share=0.5).fingerprint == known.fingerprint  # how they are split is chance
    others = [
        of_rows(changed(X), Y),
        of_rows(X, changed(Y)),
        of_rows(X.reshape(60, 5, 1), Y),
        of_rows(X.astype("float32"), Y),
        of_rows(X, Y, dense),
        of_rows(X, Y, epochs=21),
        of_rows(X, Y, batch_size=33),
        of_rows(X, Y, task="regression"),
    ]
    fingerprints = {each.fingerprint for each in others} | {known.fingerprint}
    assert len(fingerprints) == 1 + len(others)
    assert {each.data == known.data for each in others[:4]} == {False}
    assert {each.data == known.data for each in others[4:]} == {True}


def test_a_name_that_is_longer_is_another_one():
    names = [np.array(["a", "bc"] * 30, object), np.array(["ab", "c"] * 30, object)]
    assert of_rows(X, names[0]).data != of_rows(X, names[1]).data


# ------------------------------------------------------------------------------------------------------- no task at all


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (X, None, "y is None"),
        (None, Y, "X is None"),
        (X, "labels.csv", "y is 'labels.csv'"),
        (X, 3.0, "y is a single value"),
        (X, Y[:-1], "X has 60, y has 59"),
        (X[:1], Y[:1], "expected two or more"),
        (X[:0], Y[:0], "expected two or more"),
        ({"a": X, "b": X[:3]}, Y, r"\[3, 60\] rows"),
        ({}, Y, "X"),
        (X, np.arange(60), "labels or amounts"),
        (X, np.array(["a", None] * 30, object), "y"),
        (np.zeros((60, 0)), Y, "X"),
    ],
    ids=[
        "no y",
        "no X",
        "text",
        "a number",
        "lengths",
        "one row",
        "no row",
        "parts",
        "no part",
        "unclear",
        "gaps",
        "empty",
    ],
)
def test_what_is_no_task_is_refused_with_what_is_expected(rows, labels, message):
    with pytest.raises(DataError, match=message):
        of_rows(rows, labels)


# ------------------------------------------------------------------------------------------------------------ in words

SEEN = Features(
    False, n_rows=800, n_inputs=10, n_outputs=2, batch_size=32, epochs=10, n_weights=5000, depth=3, width=64
)
EVIDENCE = Evidence(
    tuple(
        Source(f"task {epochs}", "table-classification", "tables", f"data {epochs}", replace(SEEN, epochs=epochs))
        for epochs in (5, 10, 40)
    ),
    (),
    np.zeros((3, 0)),
)


def test_what_is_not_said_is_as_usual_and_told():
    described = of_words(EVIDENCE, "table-classification")
    assert described.features == SEEN
    assert len(described.assumed) == 4
    assert described.fingerprint == described.data == ""


@given(st.dictionaries(st.sampled_from(["n_samples", "batch_size", "epochs", "n_weights"]), st.integers(1, 10**6)))
def test_what_is_said_holds(said):
    described = of_words(EVIDENCE, "table-classification", **said, n_features=7, n_classes=9)
    named = {"n_samples": "n_rows"}
    for name, value in said.items():
        assert getattr(described.features, named.get(name, name)) == value
    assert (described.features.n_inputs, described.features.n_outputs) == (7, 9)
    assert len(described.assumed) == 4 - len(said)


def test_numpy_numbers_are_whole_numbers():
    said = of_words(EVIDENCE, "table-classification", epochs=np.int64(7)).features.epochs
    assert (said, type(said)) == (7, int)


def test_a_kind_of_layer_is_usual_where_most_have_it():
    some = tuple(replace(each, features=replace(SEEN, dropped=n > 0)) for n, each in enumerate(EVIDENCE.sources))
    assert of_words(replace(EVIDENCE, sources=some), "table-classification").features.dropped
    assert not of_words(replace(EVIDENCE, sources=some[:2]), "table-classification").features.dropped


@pytest.mark.parametrize("name", ["n_samples", "batch_size", "epochs", "n_features", "n_classes", "n_weights"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10", float("nan")], ids=repr)
def test_numbers_that_count_nothing_are_refused(name, value):
    with pytest.raises(SettingError, match="expected a whole number of at least 1"):
        of_words(EVIDENCE, "table-classification", **{name: value})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("table-clasification", "Did you mean 'table-classification'"),
        ("auto", "or give X and y"),
        (None, "is unknown"),
        ("forecast", "no task of this kind"),
    ],
)
def test_a_kind_that_is_not_known_is_refused_with_those_that_are(task, message):
    with pytest.raises(SettingError, match=message):
        of_words(EVIDENCE, task)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("family", ["matrix", "array"])
def test_a_sparse_table_of_any_kind_is_the_table(kind, family):
    x = np.random.default_rng(0).random((20, 5))
    assert of_rows(getattr(scipy.sparse, f"{kind}_{family}")(x), Y[:20]) == of_rows(x, Y[:20])
