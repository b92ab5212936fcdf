"""Inputs: the rows of X where they lie, in memory or on disk, in one block or several.

A data set on disk may be larger than the memory, so nothing here reads or converts all of it unless it is asked to:
rows are converted when they are taken, checks read a chunk at a time, and rows given as `validation_data` stay a block
of their own behind those of X.

    x = inputs(np.load("images.npy", mmap_mode="r"), "X", "float32")
    batch = x.take(order[:32])
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamtune.errors import DataError

# Above this an array in memory is not converted as a whole, because a second copy of it might not fit.
LARGE = 2**28
# Read and converted at once: large enough that a disk reads at its full rate, small beside what Keras itself takes.
_CHUNK = 2**24
# A sample of this many bytes knows a mean or a variance better than any network needs.
_SAMPLE = 2**25


@dataclass(frozen=True, eq=False)
class Inputs:
    """Rows in blocks, numbered through from the first block to the last.

    Parameters
    ----------
    blocks : tuple of ndarray, each of shape (n_i, ...)
        As they came: `np.memmap`, or arrays in memory, of any numeric dtype.
    dtype : dtype
        What rows have when they are taken.
    """

    blocks: tuple[np.ndarray, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all rows together: (n, ...)."""
        return (len(self), *self.blocks[0].shape[1:])

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row as it is taken."""
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as they are taken, wherever they lie now."""
        return len(self) * self.row_nbytes

    @property
    def n_blocks(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def on_disk(self) -> bool:
        """Whether any block is a memory map."""
        return any(isinstance(block, np.memmap) for block in self.blocks)

    def take(self, index: Any) -> np.ndarray:
        """The rows of those numbers, in that order: a new array, contiguous, of `dtype`.

        Parameters
        ----------
        index : array-like of int, shape (k,)
            Row numbers from 0; one may come several times.

        Raises
        ------
        IndexError
            For a number below 0 or past the last row.
        """
        index = np.asarray(index, dtype=np.intp)
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"rows {index.min()} .. {index.max()} of {len(self)}: expected numbers from 0")
        if self.n_blocks == 1 and not self.on_disk:
            return np.take(self.blocks[0], index, axis=0).astype(self.dtype, copy=False)
        # A disk is read from front to back; the wanted order is made in memory.
        order = np.argsort(index, kind="stable")
        bounds = np.searchsorted(index[order], np.cumsum([0, *map(len, self.blocks)]))
        taken = np.empty((len(index), *self.shape[1:]), self.dtype)
        first = 0
        step = max(1, _CHUNK // self.row_nbytes)
        for block, begin, end in zip(self.blocks, bounds, bounds[1:], strict=False):
            for start in range(begin, end, step):
                places = order[start : min(start + step, end)]
                taken[places] = block[index[places] - first]
            first += len(block)
        return taken

    def array(self) -> np.ndarray:
        """All rows as one contiguous array of `dtype`; the block itself where it is one already."""
        if self.n_blocks == 1:
            return np.ascontiguousarray(self.blocks[0], self.dtype)
        whole = np.empty(self.shape, self.dtype)
        np.concatenate(self.blocks, out=whole, casting="unsafe")
        return whole

    def chunks(self) -> Iterator[np.ndarray]:
        """All rows in order, a few MB at a time, contiguous and of `dtype`."""
        for block in self.blocks:
            for chunk in _chunks(block):
                yield np.ascontiguousarray(chunk, self.dtype)

    def sample(self, index: np.ndarray) -> np.ndarray:
        """Rows evenly spread over those of `index`, as many as hold 32 MB; all of them where they hold less."""
        n = min(len(index), max(1, _SAMPLE // self.row_nbytes))
        return self.take(index[np.linspace(0, len(index) - 1, n).astype(np.intp)])

    def __getitem__(self, index: Any) -> np.ndarray:
        """Rows by a slice or by numbers, as of an array."""
        return self.take(np.arange(*index.indices(len(self))) if isinstance(index, slice) else index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, as numpy and Keras ask for them."""
        whole = self.array()
        return np.array(whole, dtype=dtype) if copy else np.asarray(whole, dtype=dtype)


def inputs(X: Any, name: str, floatx: str) -> Inputs:
    """Check what a user gave as rows; `name` is what messages call it.

    Floats and bools are taken as `floatx`, as are tables of whole numbers of more than a byte; images of whole numbers
    and tables of bytes keep their type.

    Raises
    ------
    DataError
        For what is no array of finite numbers with at least two axes.
    """
    if hasattr(X, "toarray"):
        raise DataError(
            f"{name} is a sparse matrix, expected a dense array: pass {name}.toarray(). "
            "Sparse data was passed, but dense data is required."
        )
    try:
        x = X if isinstance(X, np.memmap) else np.asarray(X)
    except ValueError as error:
        raise DataError(f"{name} cannot be made an array: {error}. Expected rows of equal shape.") from None
    if x.dtype.kind == "c":
        raise DataError(f"Complex data not supported: {name} has dtype {x.dtype}, expected real numbers.")
    if x.dtype.kind in "MmV":
        raise DataError(
            f"{name} has dtype {x.dtype}, expected numbers. Make numbers of times first, such as the hour, the weekday "
            "or the seconds since the first row."
        )
    if x.dtype.kind in "OSU":
        x = _from_objects(X, x, name, floatx)
    if x.ndim < 2:
        raise DataError(
            f"{name} has shape {x.shape}, expected 2D array or more: (n_samples, n_features) or images. "
            f"Reshape your data either using {name}.reshape(-1, 1) if it has a single feature "
            f"or {name}.reshape(1, -1) if it contains a single sample."
        )
    if x.shape[0] == 0 or 0 in x.shape[1:]:
        raise DataError(
            f"Found array with {x.shape[0]} sample(s) and {x.shape[1]} feature(s) (shape={x.shape}) in {name} "
            "while a minimum of 1 is required."
        )
    if x.dtype.kind == "f":
        _check_finite(x, name, floatx)
    amounts = x.dtype.kind in "bf" or (x.dtype.itemsize > 1 and x.ndim == 2)
    dtype = np.dtype(floatx) if amounts else x.dtype.newbyteorder("=")
    # Whole numbers wait too: they may be ids, and a network that embeds them wants them as they are.
    waits = isinstance(x, np.memmap) or x.nbytes > LARGE or x.dtype.kind in "iu"
    return Inputs((x if waits else np.ascontiguousarray(x, dtype),), dtype)


def stack(given: Inputs, more: Inputs, floatx: str) -> Inputs:
    """The rows of one behind those of the other; of `floatx` where their types differ."""
    dtype = given.dtype if given.dtype == more.dtype else np.dtype(floatx)
    return Inputs(given.blocks + more.blocks, dtype)


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // max(1, x.nbytes // len(x)))
    for start in range(0, len(x), step):
        yield np.asarray(x[start : start + step])


def _check_finite(x: np.ndarray, name: str, floatx: str) -> None:
    bad = 0
    with np.errstate(over="ignore"):  # what is too large is counted
        for chunk in _chunks(x):
            bad += chunk.size - int(np.count_nonzero(np.isfinite(chunk.astype(floatx, copy=False))))
    if bad:
        raise DataError(
            f"{name} holds {bad} value(s) that are NaN or infinity (or too large for {floatx}), expected finite "
            "numbers. Impute them first, for example with sklearn.impute.SimpleImputer in a Pipeline."
        )


def _from_objects(X: Any, x: np.ndarray, name: str, floatx: str) -> np.ndarray:
    import pandas

    if x.dtype.kind == "O":
        x = np.where(pandas.isna(x), np.nan, x)  # None and pandas.NA
    try:
        with np.errstate(over="ignore"):
            return x.astype(floatx)
    except (TypeError, ValueError) as error:
        text = ""
        if x.ndim == 2:
            names = getattr(X, "columns", range(x.shape[1]))
            columns = [str(column) for i, column in enumerate(names) if not _is_numeric(x[:, i])]
            text = f" Columns that are no numbers: {', '.join(columns)}."
        raise DataError(
            f"{name} holds values that are no numbers ({error}).{text} Encode text first, for example with "
            "sklearn.preprocessing.OneHotEncoder in a ColumnTransformer. argument must be a string or a number."
        ) from None


def _is_numeric(column: np.ndarray) -> bool:
    try:
        column.astype("float64")
    except (TypeError, ValueError):
        return False
    return True
