"""Readers: what rows could be read from, but has to be read first, and the line that reads it.

They are known by the names of their classes, so that nothing is imported to recognise them.
"""

from __future__ import annotations

import os
from typing import Any

from adamtune.errors import DataError

# By package and class, or an ancestor of it: what people call it, and what lists its batches (x, y).
_BATCHES = {
    "tensorflow.DatasetV2": ("a tf.data.Dataset", "dataset.as_numpy_iterator()"),
    "torch.DataLoader": ("a torch DataLoader", "loader"),
    "torch.Dataset": ("a torch Dataset", "torch.utils.data.DataLoader(dataset, batch_size=1000)"),
    "keras.PyDataset": ("a keras PyDataset", "(dataset[i] for i in range(len(dataset)))"),
}
_TABLES = {".csv": "read_csv", ".tsv": "read_table", ".parquet": "read_parquet", ".xlsx": "read_excel"}


def refuse(X: Any, name: str) -> None:
    """Raise DataError for data sets that yield batches, for iterators and for paths; `name` is what it is called."""
    if isinstance(X, (str, bytes, os.PathLike)):
        path = os.fsdecode(X)
        raise DataError(f"{name} is the path {path!r}, expected an array: pass {_reading(path)}.")
    ancestors = (f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in type(X).__mro__)
    found = next((_BATCHES[each] for each in ancestors if each in _BATCHES), None)
    if found is None and hasattr(X, "__iter__") and not (hasattr(X, "__len__") or hasattr(X, "__array__")):
        found = f"an iterator ({type(X).__name__})", "itertools.islice(batches, n_batches)"
    if found:
        kind, batches = found
        raise DataError(
            f"{name} is {kind}, expected an array: each trial goes through the same rows in an order of its own. Read "
            f"its batches once: `X, y = map(np.concatenate, zip(*{batches}))`. Rows that do not fit the memory go "
            "into a file, batch by batch, `np.lib.format.open_memmap('X.npy', 'w+', 'float32', (n_rows, n_features))`, "
            "and stay there: `X = np.load('X.npy', mmap_mode='r')`."
        )


def _reading(path: str) -> str:
    """The expression that reads the rows of a file."""
    ending = os.path.splitext(path)[1].lower()
    if ending in _TABLES:
        return f"the numbers of pandas.{_TABLES[ending]}({path!r})"
    if ending == ".npy":
        return f"np.load({path!r}, mmap_mode='r'), whose rows stay on the disk"
    return "what is in it, such as np.memmap(path, dtype, shape=(n_rows, n_features)), whose rows stay on the disk"
