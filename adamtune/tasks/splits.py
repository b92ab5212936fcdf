"""Splits: which rows train and which judge, once or in folds, and in which passes a config meets them.

Folds of one study share one compiled program, so they are given equal sizes. Where the number of rows does not divide,
some folds have one row more to train on and others one more to judge: a training row is then left out of each epoch, in
turn, and a judging row is not judged at all. With k folds at most k - 1 rows of all are never judged.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adamtune.errors import DataError, SettingError

if TYPE_CHECKING:
    from adamtune.tasks.data import Data


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers that train and that judge.

    Parameters
    ----------
    train, valid : ndarray of int
    drawn : bool
        Whether chance chose them: then `confirm` may draw again.
    left_out : int
        How many of the training rows each epoch leaves out, see `order`.
    """

    train: np.ndarray
    valid: np.ndarray
    drawn: bool
    left_out: int = 0

    @property
    def n_train(self) -> int:
        """How many rows train in one epoch."""
        return len(self.train) - self.left_out

    def order(self, rng: np.random.Generator, tick: int) -> np.ndarray:
        """The training rows of that tick, shuffled; int32 of shape (n_train,).

        The rows that are left out go through `train` in turn: after `len(train)` ticks each was left out `left_out`
        times, and at any tick no row was left out twice more than another.
        """
        rows = self.train
        if self.left_out:
            rows = np.delete(rows, (tick * self.left_out + np.arange(self.left_out)) % len(rows))
        return rng.permutation(rows).astype(np.int32)


def split(data: Data, validation_split: float, seed: int, groups: Any = None) -> Split:
    """Choose the rows that judge: those of `validation_data`, else a random share of the rows, stratified for labels.

    Parameters
    ----------
    data : Data
    validation_split : float
        Share of the rows that judge; with groups, share of the groups.
    seed : int
    groups : array-like of shape (n_given,), optional
        Rows of one group are on one side. Labels are not stratified then, and splits of two seeds may differ in size.

    Raises
    ------
    DataError
        When either side would be empty.
    """
    given = np.arange(data.n_given)
    if data.n_given < len(data.x):
        if groups is not None:
            raise DataError(
                "groups and validation_data were given, but nothing is left to split: leave one of them out."
            )
        return Split(given, np.arange(data.n_given, len(data.x)), drawn=False)
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    if groups is not None:
        numbered = _groups(groups, data.n_given)
        _share(validation_split, numbered.max() + 1, "groups")
        splitter = GroupShuffleSplit(1, test_size=validation_split, random_state=seed)
        ((train, valid),) = splitter.split(given, groups=numbered)
        return Split(train, valid, drawn=True)
    n_valid = _share(validation_split, data.n_given, "rows")
    strata = None
    if data.one_label:
        counts = np.bincount(data.y)
        n_classes = len(counts)
        if counts.min() >= 2 and n_valid >= n_classes and data.n_given - n_valid >= n_classes:
            strata = data.y
    train, valid = train_test_split(given, test_size=n_valid, random_state=seed, stratify=strata)
    return Split(np.sort(train), np.sort(valid), drawn=True)


def folds(data: Data, cv: Any, groups: Any = None, seed: int = 0) -> list[Split]:
    """Splits in which rows take turns to judge.

    Parameters
    ----------
    data : Data
    cv : int, scikit-learn splitter or iterable of (train, valid)
        A number k of folds: every row judges once, labels are stratified, rows of one group stay together. A splitter
        is called as it is. Pairs are arrays of row numbers.
    groups : array-like of shape (n_given,), optional
    seed : int
        Shuffles the rows for a number of folds. What is given as a splitter or as pairs is not shuffled.

    Returns
    -------
    list of Split
        For a number of folds without groups, of equal sizes and `drawn`. Given folds, and folds of groups, whose sizes
        differ by more than one row keep their sizes. A splitter that shuffles without a `random_state` of its own gives
        others at each call, but is not `drawn`: call it once a study.

    Raises
    ------
    SettingError
        For a cv that is none of these, holds row numbers there are not, or has a row on both sides.
    DataError
        For too few rows or groups, groups of another length, or rows that `validation_data` judges already.
    """
    if data.n_given < len(data.x):
        raise SettingError("cv and validation_data were given, but only one can say which rows judge: leave one out.")
    n = data.n_given
    numbered = None if groups is None else _groups(groups, n)
    drawn = False
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        pairs = _k_folds(data, int(cv), numbered, seed)
        drawn = numbered is None
    elif hasattr(cv, "split") and hasattr(cv, "get_n_splits"):
        pairs = _of_splitter(data, cv, numbered)
    elif isinstance(cv, Iterable) and not isinstance(cv, (str, bytes, dict)):
        if groups is not None:
            raise SettingError("groups has no effect, because cv says row by row who judges: leave it out.")
        pairs = list(cv)
    else:
        raise SettingError(
            f"cv={cv!r}: expected a number of folds such as cv=5, a scikit-learn splitter such as "
            "KFold(5, shuffle=True, random_state=0), or pairs (train, valid) of row numbers."
        )
    if not pairs:
        raise SettingError("cv holds no folds (an iterator may have been used up): expected pairs (train, valid).")
    return _equal([Split(*_rows(pair, number, n), drawn=drawn) for number, pair in enumerate(pairs)])


def folds_of(data: Data, cv: Any, groups: Any = None) -> Callable[[int], list[Split]]:
    """`folds` as a function of the seed; a splitter or pairs are read once, here, and are the same for every seed."""
    if isinstance(cv, (int, np.integer)):
        return lambda seed: folds(data, cv, groups, seed)
    given = folds(data, cv, groups)
    return lambda seed: given


def passes(seed: int, folds_of: Callable[[int], list[Split]], n_seeds: int = 1) -> list[tuple[int, Split]]:
    """The passes in which a config is judged: each of the folds, under each of the seeds.

    Parameters
    ----------
    seed : int
        The study's: of the first pass, and of the folds in all of them.
    folds_of : callable
        `folds_of(seed) -> list[Split]`.
    n_seeds : int
        Seeds of initial weights, order and masks.

    Returns
    -------
    list of (int, Split), n_seeds times the number of folds
        All folds of the first seed, then those of the next: a config that is pruned early has met all rows first.

    Examples
    --------
    >>> halves = [Split(np.array([0]), np.array([1]), True), Split(np.array([1]), np.array([0]), True)]
    >>> [(seed, fold.train.tolist()) for seed, fold in passes(7, lambda seed: halves, n_seeds=2)]
    [(7, [0]), (7, [1]), (1009178997, [0]), (1009178997, [1])]
    """
    # The 2 tells these seeds from those of confirming passes, which are derived with a 1.
    extra = np.random.SeedSequence([seed, 2]).generate_state(n_seeds - 1)
    found = folds_of(seed)
    return [(own, fold) for own in (seed, *map(int, extra)) for fold in found]


def _groups(groups: Any, n: int) -> np.ndarray:
    """Groups as numbers from 0."""
    import pandas

    given = np.asarray(groups)
    if given.shape != (n,):
        raise DataError(f"groups has shape {given.shape}, expected ({n},): one group a row.")
    numbered, _ = pandas.factorize(given)
    missing = int((numbered < 0).sum())
    if missing:
        raise DataError(f"groups holds {missing} missing value(s), expected a group for every row.")
    return numbered


def _share(validation_split: float, n: int, what: str) -> int:
    n_valid = int(np.ceil(validation_split * n))
    if n == 1 and what == "rows":
        raise DataError("one sample cannot train and judge: expected more rows, or validation_data to judge by.")
    if not 0 < n_valid < n:
        raise DataError(
            f"validation_split={validation_split} of {n} {what} leaves {n - n_valid} to train and "
            f"{n_valid} to judge: expected at least one of each. Give more {what} or another validation_split."
        )
    return n_valid


def _k_folds(data: Data, k: int, groups: np.ndarray | None, seed: int) -> list[Any]:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if k < 2:
        raise SettingError(f"cv={k}: expected at least 2 folds, or cv=None for one split by validation_split.")
    n, what = (data.n_given, "rows") if groups is None else (int(groups.max()) + 1, "groups")
    if n < k:
        raise DataError(
            f"cv={k} folds of {n} {what}: expected at least one of the {what} a fold. Write cv={max(2, n)}."
        )
    # No label need be in every fold, but one with too few rows for all folds at once cannot be spread.
    spread = data.one_label and int(np.bincount(data.y).max()) >= k
    kinds = (KFold, StratifiedKFold) if groups is None else (GroupKFold, StratifiedGroupKFold)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(kinds[spread](k, shuffle=True, random_state=seed).split(np.zeros(data.n_given), data.y, groups))


def _of_splitter(data: Data, splitter: Any, groups: np.ndarray | None) -> list[Any]:
    try:
        # Splitters count the rows of X and read y and groups; the rows themselves may lie on a disk.
        return list(splitter.split(np.zeros(data.n_given), data.y, groups))
    except ValueError as error:
        raise DataError(f"cv={splitter!r} cannot split {data.n_given} rows: {error}") from None


def _rows(pair: Any, number: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a fold as sorted row numbers."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise SettingError(
            f"cv's fold {number} is a {type(pair).__name__}: expected a pair (train, valid) of row numbers."
        )
    sides = []
    for side, given in zip(("train", "valid"), pair, strict=True):
        rows = np.asarray(given)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
            raise SettingError(
                f"cv's fold {number} has {side} rows of shape {rows.shape} and dtype {rows.dtype}: expected a list of "
                "at least one row number (for a mask, pass np.flatnonzero(mask))."
            )
        if rows.min() < 0 or rows.max() >= n:
            raise SettingError(
                f"cv's fold {number} has {side} rows from {rows.min()} to {rows.max()}: expected row numbers from 0 to "
                f"{n - 1}, because X has {n} rows."
            )
        sides.append(np.sort(rows).astype(np.intp))
    train, valid = sides
    both = np.intersect1d(train, valid)
    if len(both):
        raise SettingError(
            f"cv's fold {number} trains and judges with {len(both)} same row(s), such as {both[0]}: expected rows on "
            "one side only."
        )
    return train, valid


def _equal(given: list[Split]) -> list[Split]:
    """The folds with as many rows in each, where they differ by no more than one on either side."""
    n_train, n_valid = (min(map(len, side)) for side in ([s.train for s in given], [s.valid for s in given]))
    if any(len(s.train) > n_train + 1 or len(s.valid) > n_valid + 1 for s in given):
        return given
    return [Split(s.train, s.valid[:n_valid], s.drawn, len(s.train) - n_train) for s in given]
