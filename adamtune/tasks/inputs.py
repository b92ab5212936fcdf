"""Inputs: the rows of X where they lie, in memory or on disk, in one block or several.

A data set on disk may be larger than the memory, so nothing here reads or converts all of it unless it is asked to:
rows are converted when they are taken, checks read a chunk at a time, rows of a sparse matrix are made dense when they
are taken, and rows given as `validation_data` stay a block of their own behind those of X.

    x = inputs(np.load("images.npy", mmap_mode="r"), "X", "float32")
    batch = x.take(order[:32])

Several inputs of a model come by name, and so do their rows:

    x = inputs({"image": images, "table": table}, "X", "float32")
    batch = x.take(order[:32])["image"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamtune.errors import DataError, DataTypeError
from adamtune.tasks.readers import refuse

# Above this an array in memory is not converted as a whole, because a second copy of it might not fit.
LARGE = 2**28
# Read and converted at once: large enough that a disk reads at its full rate, small beside what Keras itself takes.
_CHUNK = 2**24
# A sample of this many bytes knows a mean or a variance better than any network needs.
_SAMPLE = 2**25


class Sparse:
    """A matrix of scipy as a block of `Inputs`: what is read of it comes out dense.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array or csr_matrix of shape (n, n_features)
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape, self.ndim, self.dtype = matrix.shape, matrix.ndim, matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, dense."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        """Rows by a slice or by numbers."""
        return self.matrix[index].toarray()


Block = np.ndarray | Sparse


@dataclass(frozen=True, eq=False)
class Inputs:
    """Rows in blocks, numbered through from the first block to the last.

    Parameters
    ----------
    blocks : tuple of ndarray or Sparse, each of shape (n_i, ...)
        As they came: `np.memmap`, or in memory, of any numeric dtype.
    dtype : dtype
        What rows have when they are taken.
    """

    blocks: tuple[Block, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def parts(self) -> dict[str, Inputs]:
        """These inputs as those of a single name, which is empty; see `Named`."""
        return {"": self}

    @property
    def dtypes(self) -> dict[str, str]:
        """By name the type of rows as they are taken."""
        return {"": self.dtype.name}

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.blocks[0].shape[1:]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all rows together: (n, ...)."""
        return (len(self), *self.row_shape)

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row as it is taken."""
        return int(np.prod(self.row_shape)) * self.dtype.itemsize

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
        only = self.blocks[0]
        if self.n_blocks == 1 and isinstance(only, np.ndarray) and not self.on_disk:
            return np.take(only, index, axis=0).astype(self.dtype, copy=False)
        # A disk is read from front to back; the wanted order is made in memory.
        order = np.argsort(index, kind="stable")
        bounds = np.searchsorted(index[order], np.cumsum([0, *map(len, self.blocks)]))
        taken = np.empty((len(index), *self.row_shape), self.dtype)
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
        only = self.blocks[0]
        if self.n_blocks == 1 and isinstance(only, np.ndarray):
            return np.ascontiguousarray(only, self.dtype)
        whole, start = np.empty(self.shape, self.dtype), 0
        for chunk in self.chunks():
            whole[start : start + len(chunk)] = chunk
            start += len(chunk)
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
        return self.take(_numbers(index, len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, as numpy and Keras ask for them."""
        whole = self.array()
        return np.array(whole, dtype=dtype) if copy else np.asarray(whole, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Named:
    """Several inputs of the same rows, by name: what `Inputs` does, with a dict of arrays in place of an array.

    Parameters
    ----------
    parts : dict of str to Inputs
        All of one length.
    """

    parts: dict[str, Inputs]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    @property
    def dtypes(self) -> dict[str, str]:
        """By name the type of rows as they are taken."""
        return {name: part.dtype.name for name, part in self.parts.items()}

    @property
    def row_shape(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row of each."""
        return {name: part.row_shape for name, part in self.parts.items()}

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row as it is taken."""
        return sum(part.row_nbytes for part in self.parts.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as they are taken, wherever they lie now."""
        return len(self) * self.row_nbytes

    @property
    def on_disk(self) -> bool:
        """Whether any block of any input is a memory map."""
        return any(part.on_disk for part in self.parts.values())

    def take(self, index: Any) -> dict[str, np.ndarray]:
        """The rows of those numbers, see `Inputs.take`."""
        return {name: part.take(index) for name, part in self.parts.items()}

    def array(self) -> dict[str, np.ndarray]:
        """All rows, see `Inputs.array`."""
        return {name: part.array() for name, part in self.parts.items()}

    def __getitem__(self, index: Any) -> dict[str, np.ndarray]:
        """Rows by a slice or by numbers."""
        return self.take(_numbers(index, len(self)))


def of_parts(parts: Mapping[str, Inputs]) -> Inputs | Named:
    """The inputs that have these `parts`; names are sorted, so that the order they came in makes no difference."""
    return parts[""] if "" in parts else Named({name: parts[name] for name in sorted(parts)})


def inputs(X: Any, name: str, floatx: str) -> Inputs | Named:
    """Check what a user gave as rows; `name` is what messages call it.

    Floats and bools are taken as `floatx`, as are tables of whole numbers of more than a byte; images of whole numbers
    and tables of bytes keep their type. A dict holds inputs by name.

    Raises
    ------
    DataError
        For what is no array of finite numbers with at least two axes, nor a scipy sparse matrix, nor a dict of these.
    """
    is_sparse = hasattr(X, "tocsr")  # and of one kind, a dict of its entries
    return _named(X, name, floatx) if isinstance(X, dict) and not is_sparse else _inputs(X, name, floatx)


def _named(X: dict, name: str, floatx: str) -> Named:
    unfit = [key for key in X if not isinstance(key, str) or not key]
    if unfit or not X:
        raise DataError(
            f"{name} is a dict with keys {list(X)}, expected the names of the model's inputs: "
            "{'image': images, 'table': table}."
        )
    for key, value in X.items():
        if isinstance(value, dict):
            raise DataError(f"{name}[{key!r}] is a dict in a dict, expected an array: names have one level.")
    parts = {key: _inputs(value, f"{name}[{key!r}]", floatx) for key, value in X.items()}
    lengths = {key: len(part) for key, part in parts.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"Found input variables with inconsistent numbers of samples: {name} has {_listed(lengths)}.")
    return Named({key: parts[key] for key in sorted(parts)})


def _listed(numbers: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {number}" for key, number in numbers.items())


def _inputs(X: Any, name: str, floatx: str) -> Inputs:
    refuse(X, name)
    try:
        x = X if isinstance(X, np.memmap) else Sparse(X.tocsr()) if hasattr(X, "tocsr") else np.asarray(X)
    except ValueError as error:
        raise DataError(f"{name} cannot be made an array: {error}. Expected rows of equal shape.") from None
    if x.dtype.kind == "c":
        raise DataError(f"Complex data not supported: {name} has dtype {x.dtype}, expected real numbers.")
    if x.dtype.kind in "MmV":
        raise DataError(
            f"{name} has dtype {x.dtype}, expected numbers. Make numbers of times first, such as the hour, the weekday "
            "or the seconds since the first row."
        )
    if x.dtype.kind in "OSU" and not isinstance(x, Sparse):
        x = _from_objects(X, x, name, floatx)
    if x.ndim < 2:
        raise DataError(
            f"{name} has shape {x.shape}, expected 2D array or more: (n_samples, n_features) or images. "
            f"Reshape your data either using {name}.reshape(-1, 1) if it has a single feature "
            f"or {name}.reshape(1, -1) if it contains a single sample."
        )
    if x.shape[0] == 0 or 0 in x.shape[1:]:
        raise DataError(
            f"Found array with {x.shape[0]} sample(s) and {x.shape[1]} feature(s) (shape={x.shape}) while a minimum of "
            f"1 is required. It is {name}."
        )
    if x.dtype.kind == "f":
        _check_finite(x.matrix.data if isinstance(x, Sparse) else x, name, floatx)
    amounts = x.dtype.kind in "bf" or (x.dtype.itemsize > 1 and x.ndim == 2)
    dtype = np.dtype(floatx) if amounts else x.dtype.newbyteorder("=")
    # Whole numbers wait too: they may be ids, and a network that embeds them wants them as they are.
    waits = isinstance(x, (np.memmap, Sparse)) or x.nbytes > LARGE or x.dtype.kind in "iu"
    return Inputs((x if waits else np.ascontiguousarray(x, dtype),), dtype)


def stack(given: Inputs | Named, more: Inputs | Named, floatx: str) -> Inputs | Named:
    """The rows of one behind those of the other, which has the same names; of `floatx` where their types differ."""
    return of_parts({name: _stack(part, more.parts[name], floatx) for name, part in given.parts.items()})


def _stack(given: Inputs, more: Inputs, floatx: str) -> Inputs:
    dtype = given.dtype if given.dtype == more.dtype else np.dtype(floatx)
    return Inputs(given.blocks + more.blocks, dtype)


def _numbers(index: Any, n: int) -> Any:
    return np.arange(*index.indices(n)) if isinstance(index, slice) else index


def _chunks(x: Block) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // max(1, x.nbytes // max(1, len(x))))
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
        kind = DataTypeError if isinstance(error, TypeError) else DataError
        raise kind(
            f"{name} holds values that are no numbers ({error}).{text} Encode text first, for example with "
            "sklearn.preprocessing.OneHotEncoder in a ColumnTransformer. argument must be a string or a number."
        ) from None


def _is_numeric(column: np.ndarray) -> bool:
    try:
        column.astype("float64")
    except (TypeError, ValueError):
        return False
    return True
