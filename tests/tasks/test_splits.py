import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import model_selection

from adamtune.errors import DataError, SettingError
from adamtune.tasks.data import prepare
from adamtune.tasks.splits import Split, folds, folds_of, passes, split


def labelled(n, n_classes=2):
    return prepare(np.zeros((n, 1)), np.arange(n) % n_classes, kind="classification")


def numbers(n):
    return prepare(np.zeros((n, 1)), np.linspace(0.0, 0.5, n), kind="regression")


# -------------------------------------------------------------------------------------------------------- split


@given(
    n=st.integers(2, 200),
    share=st.floats(0.01, 0.99),
    n_classes=st.integers(2, 5),
    labelled=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_split_uses_every_row_once(n, share, n_classes, labelled, seed):
    labels = np.arange(n) % n_classes
    data = prepare(np.zeros((n, 1)), labels if labelled else labels / 7, kind="auto" if labelled else "regression")
    n_valid = math.ceil(share * n)
    if n_valid == n:
        with pytest.raises(DataError, match="expected at least one of each"):
            split(data, share, seed)
        return
    chosen = split(data, share, seed)
    assert chosen.drawn
    assert len(chosen.valid) == n_valid
    assert sorted([*chosen.train, *chosen.valid]) == list(range(n))
    for rows in chosen.train, chosen.valid:
        assert (np.diff(rows) > 0).all()
    again = split(data, share, seed)
    np.testing.assert_array_equal(again.valid, chosen.valid)


def test_another_seed_splits_otherwise():
    data = prepare(np.zeros((100, 1)), np.arange(100) % 2)
    assert split(data, 0.2, 0).valid.tolist() != split(data, 0.2, 1).valid.tolist()


@pytest.mark.parametrize("seed_of_split", range(5))
def test_labels_are_split_in_proportion(seed_of_split):
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    chosen = split(prepare(np.zeros((100, 1)), labels), 0.2, seed_of_split)
    assert np.bincount(labels[chosen.valid]).tolist() == [12, 6, 2]


def test_a_label_of_one_row_is_split_anyhow():
    data = prepare(np.zeros((10, 1)), [0] * 9 + [1])
    assert len(split(data, 0.2, 0).valid) == 2
    many = prepare(np.zeros((20, 1)), np.arange(20) // 2)
    assert len(split(many, 0.1, 0).valid) == 2  # fewer rows than labels


@pytest.mark.parametrize(("n", "share"), [(2, 0.9), (3, 1.0), (3, 0.0)])
def test_a_split_with_an_empty_side(n, share):
    data = prepare(np.zeros((n, 1)), np.linspace(0, 0.5, n), kind="regression")
    with pytest.raises(DataError, match=rf"validation_split={share} of {n} rows leaves.*another validation_split"):
        split(data, share, 0)


def test_one_row_is_not_split():
    with pytest.raises(DataError, match="one sample cannot train and judge"):
        split(prepare(np.zeros((1, 1)), [0.5], kind="regression"), 0.5, 0)


# ------------------------------------------------------------------------------------------------------ groups


@given(n=st.integers(4, 100), n_groups=st.integers(2, 9), share=st.floats(0.1, 0.5), seed=st.integers(0, 2**31))
def test_a_group_is_on_one_side(n, n_groups, share, seed):
    groups = np.random.default_rng(seed).permutation(np.arange(n) % min(n, n_groups))
    chosen = split(numbers(n), share, seed, groups=np.array(list("abcdefghi"))[groups])
    assert chosen.drawn
    assert sorted([*chosen.train, *chosen.valid]) == list(range(n))
    assert not set(groups[chosen.train]) & set(groups[chosen.valid])
    np.testing.assert_array_equal(split(numbers(n), share, seed, groups=groups.tolist()).valid, chosen.valid)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"] * 12, "validation_split=0.2 of 1 groups leaves 0 to train and 1 to judge.*Give more groups"),
        (["a", "b"] * 5, r"groups has shape \(10,\), expected \(12,\): one group a row"),
        ([["a", "b"]] * 12, r"groups has shape \(12, 2\)"),
        (["a", None, "b"] * 4, "groups holds 4 missing value"),
        ([1.0, math.nan, 2.0] * 4, "groups holds 4 missing value"),
    ],
)
def test_refused_groups(groups, message):
    with pytest.raises(DataError, match=message):
        split(labelled(12), 0.2, 0, groups)
    if "validation_split" not in message:
        with pytest.raises(DataError, match=message):
            folds(labelled(12), 2, groups)


def test_given_rows_need_no_groups_and_no_folds():
    data = prepare(np.zeros((12, 1)), np.arange(12) % 2, validation_data=(np.zeros((3, 1)), [0, 1, 0]))
    with pytest.raises(DataError, match=r"groups and validation_data were given.*leave one of them out"):
        split(data, 0.2, 0, groups=np.arange(12))
    with pytest.raises(SettingError, match=r"cv and validation_data were given.*leave one out"):
        folds(data, 3)


# ------------------------------------------------------------------------------------------------------- folds


@given(n=st.integers(2, 120), k=st.integers(2, 10), n_classes=st.integers(0, 5), seed=st.integers(0, 2**31))
def test_folds_of_a_number_have_equal_sizes(n, k, n_classes, seed):
    n_classes = min(n_classes, n)
    data = labelled(n, n_classes) if n_classes > 1 else numbers(n)
    if n < k:
        with pytest.raises(DataError, match=rf"cv={k} folds of {n} rows.*Write cv={n}"):
            folds(data, k, seed=seed)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = folds(data, k, seed=seed)
    assert len(found) == k
    assert all(fold.drawn for fold in found)
    assert {(fold.n_train, len(fold.valid)) for fold in found} == {(n - math.ceil(n / k), n // k)}
    judged = np.concatenate([fold.valid for fold in found])
    assert len(set(judged)) == len(judged) == n - n % k
    for fold in found:
        assert not set(fold.train) & set(fold.valid)
        assert len(fold.train) + len(fold.valid) in (n, n - 1)
    again = folds(data, k, seed=seed)
    assert [fold.valid.tolist() for fold in again] == [fold.valid.tolist() for fold in found]


def test_another_seed_folds_otherwise():
    valid = [[fold.valid.tolist() for fold in folds(labelled(30), 3, seed=seed)] for seed in range(2)]
    assert valid[0] != valid[1]


def test_labels_are_folded_in_proportion():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    for fold in folds(prepare(np.zeros((100, 1)), labels), 5, seed=1):
        assert np.bincount(labels[fold.valid]).tolist() == [12, 6, 2]


@pytest.mark.parametrize("data", [labelled(60, 3), numbers(60)], ids=["labels", "numbers"])
def test_folds_keep_groups_together(data):
    groups = pd.Series(np.random.default_rng(3).integers(0, 8, 60)).map("group {}".format)
    found = folds(data, 4, groups, seed=0)
    assert sorted(np.concatenate([fold.valid for fold in found])) == list(range(60))
    for fold in found:
        assert not fold.drawn
        assert fold.left_out == 0
        assert not set(groups[fold.train]) & set(groups[fold.valid])
    with pytest.raises(DataError, match="cv=9 folds of 8 groups"):
        folds(data, 9, groups)


SPLITTERS = [
    model_selection.KFold(4),
    model_selection.StratifiedKFold(4, shuffle=True, random_state=0),
    model_selection.ShuffleSplit(3, test_size=5, random_state=1),
    model_selection.RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    model_selection.GroupKFold(4),
    model_selection.LeavePGroupsOut(1),
    model_selection.PredefinedSplit(np.arange(24) % 3),
    model_selection.TimeSeriesSplit(3),
]


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
@pytest.mark.parametrize("as_pairs", [False, True])
@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: type(splitter).__name__)
def test_a_splitter_is_called_as_it_is(splitter, as_pairs):
    data, groups = labelled(24), np.arange(24) // 4
    expected = list(splitter.split(np.zeros(24), data.y, groups))
    found = folds(data, iter(expected)) if as_pairs else folds(data, splitter, groups)
    for fold, (train, valid) in zip(found, expected, strict=True):
        assert fold.train.tolist() == sorted(train)
        assert fold.valid.tolist() == sorted(valid)
        assert (fold.drawn, fold.left_out) == (False, 0)


def test_pairs_of_rows_leave_nothing_for_groups_to_say():
    with pytest.raises(SettingError, match="groups has no effect, because cv says row by row"):
        folds(labelled(24), [([0, 1], [2])], np.arange(24))


def test_given_folds_are_made_equal_only_where_a_row_is_too_many():
    data = numbers(11)
    near = folds(data, model_selection.KFold(3))
    assert [(len(fold.train), fold.n_train, len(fold.valid)) for fold in near] == [(7, 7, 3), (7, 7, 3), (8, 7, 3)]
    far = folds(data, model_selection.TimeSeriesSplit(3))
    assert [(fold.n_train, len(fold.valid)) for fold in far] == [(5, 2), (7, 2), (9, 2)]


def test_given_folds_are_read_once():
    pairs = ((train, valid) for train, valid in model_selection.KFold(3).split(np.zeros(9)))
    of = folds_of(numbers(9), pairs)
    assert [fold.valid.tolist() for fold in of(0)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert of(0) is of(1)
    unseeded = folds_of(labelled(40), model_selection.KFold(2, shuffle=True))
    assert unseeded(0) is unseeded(1)
    assert not unseeded(0)[0].drawn
    drawn = folds_of(labelled(40), 2)
    assert drawn(0)[0].valid.tolist() != drawn(1)[0].valid.tolist()


@pytest.mark.parametrize(
    ("cv", "error", "message"),
    [
        (1, SettingError, "cv=1: expected at least 2 folds"),
        (True, SettingError, "cv=True: expected a number of folds such as cv=5"),
        (2.5, SettingError, "cv=2.5: expected a number of folds"),
        ("5", SettingError, "cv='5': expected a number of folds"),
        ({0: 1}, SettingError, r"cv=\{0: 1\}: expected a number"),
        ([], SettingError, "cv holds no folds"),
        ([3], SettingError, r"cv's fold 0 is a int: expected a pair \(train, valid\)"),
        ([([0, 1], [2]), ([0], [1], [2])], SettingError, "cv's fold 1 is a tuple: expected a pair"),
        ([([0, 1], [])], SettingError, r"fold 0 has valid rows of shape \(0,\)"),
        ([([0.0, 1.0], [2])], SettingError, "fold 0 has train rows of shape .* and dtype float64"),
        ([(np.ones(12, bool), [2])], SettingError, r"dtype bool: .*np.flatnonzero\(mask\)"),
        ([([0, 12], [2])], SettingError, "train rows from 0 to 12: expected row numbers from 0 to 11"),
        ([([0, -1], [2])], SettingError, "train rows from -1 to 0"),
        ([([0, 1, 2], [2, 1])], SettingError, r"trains and judges with 2 same row\(s\), such as 1"),
        (model_selection.KFold(13), DataError, "cv=KFold.* cannot split 12 rows"),
        (model_selection.GroupKFold(3), DataError, "cv=GroupKFold.*groups"),
    ],
    ids=str,
)
def test_refused_folds(cv, error, message):
    with pytest.raises(error, match=message):
        folds(labelled(12), cv)


# ------------------------------------------------------------------------------------------- order of an epoch


@given(n=st.integers(2, 30), left_out=st.integers(0, 3), seed=st.integers(0, 100))
def test_rows_are_left_out_in_turn(n, left_out, seed):
    left_out = min(left_out, n - 1)
    chosen = Split(np.arange(n) * 3, np.array([1]), True, left_out)
    met = np.zeros(3 * n, int)
    for tick in range(n):
        order = chosen.order(np.random.default_rng([seed, tick]), tick)
        assert order.dtype == np.int32
        assert len(order) == len(set(order)) == chosen.n_train
        np.testing.assert_array_equal(order, chosen.order(np.random.default_rng([seed, tick]), tick))
        met[order] += 1
        so_far = met[chosen.train]
        assert so_far.max() - so_far.min() <= 1
    assert (met[chosen.train] == n - left_out).all()
    assert met.sum() == n * chosen.n_train


def test_without_a_row_too_many_the_order_is_a_permutation():
    chosen = Split(np.array([4, 2, 9]), np.array([1]), True)
    expected = np.random.default_rng(5).permutation(chosen.train)
    np.testing.assert_array_equal(chosen.order(np.random.default_rng(5), 3), expected)


# ------------------------------------------------------------------------------------------------------ passes


def test_passes_are_folds_of_each_seed():
    def of(seed):
        return folds(labelled(30), 3, seed=seed)

    found = passes(11, of, n_seeds=3)
    seeds = [seed for seed, _ in found]
    assert len(found) == 9
    assert seeds[:3] == [11] * 3
    assert seeds[0::3] == seeds[1::3] == seeds[2::3]
    assert len(set(seeds)) == 3
    for number, (_, fold) in enumerate(found):
        assert fold.valid.tolist() == of(11)[number % 3].valid.tolist()
    assert [seed for seed, _ in passes(11, of, n_seeds=2)] == seeds[:6]  # more seeds leave the first ones as they are
    assert all(type(seed) is int for seed in seeds)


def test_one_pass_is_the_split_of_the_study():
    data = labelled(30)
    ((seed, chosen),) = passes(11, lambda seed: [split(data, 0.2, seed)])
    assert seed == 11
    np.testing.assert_array_equal(chosen.valid, split(data, 0.2, 11).valid)
