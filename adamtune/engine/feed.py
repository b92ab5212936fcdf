"""Feed: how rows reach a program: all of them once where they fit the device, else block by block.

A block is a gathered piece of the epoch's order, as many whole batches as fit. All blocks of an epoch have one length,
so they share one compiled program; how much of the last one counts is data. While the device trains on a block, the
next one is read, from memory or from disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from adamtune.engine.program import JUDGED_AT_ONCE, Backend, Rows
from adamtune.tasks.task import Task, targets

# What a program takes at a time: rows, an order of them, and how many whole and short batches of it count.
Batches = tuple[Rows, Any, Any]
_ONE = np.array([1, 0], np.int32)


class Feed:
    """The rows of a task, for any number of programs.

    Parameters
    ----------
    task : Task
    backend : Backend
    at_once : int or None
        How many rows may lie on the device together; None places all of them there, once.
    singly : bool
        Whether one call of a program takes one batch, for backends that are bad at loops.
    """

    def __init__(self, task: Task, backend: Backend, at_once: int | None = None, singly: bool = False) -> None:
        self._task, self._backend, self._at_once, self._singly = task, backend, at_once, singly
        self._targets = targets(task)
        self._resident = None if at_once is not None else self._placed(None)

    def training(self, order: np.ndarray) -> Iterator[Batches]:
        """The rows of an epoch in that order, in batches of the task's size."""
        return self._batches(order, self._task.batch_size, self._singly)

    def judging(self, rows: np.ndarray) -> Iterator[Batches]:
        """The rows that judge; batch by batch where what a network says of each of them is wanted."""
        singly = self._singly or self._task.scorer is not None
        return self._batches(rows, min(JUDGED_AT_ONCE, len(rows)), singly)

    def _batches(self, order: np.ndarray, size: int, singly: bool) -> Iterator[Batches]:
        for rows, index, counts in self._blocks(order, size):
            if not singly:
                yield rows, index, counts
                continue
            ends = [*(size * np.arange(1, counts[0] + 1)), *([counts[0] * size + len(order) % size] * counts[1])]
            for start, end in zip([0, *ends], ends, strict=False):
                yield rows, index[start:end], _ONE

    def _blocks(self, order: np.ndarray, size: int) -> Iterator[Batches]:
        pieces = blocks(order, size, self._at_once)
        if self._resident is not None:
            yield (self._resident, *pieces[0])
            return
        place = np.arange(len(pieces[0][0]), dtype=np.int32)
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._placed, pieces[0][0])
            for number, (_, counts) in enumerate(pieces):
                rows = coming.result()
                if number + 1 < len(pieces):
                    coming = reader.submit(self._placed, pieces[number + 1][0])
                yield rows, place, counts

    def _placed(self, index: np.ndarray | None) -> Rows:
        """Rows on the device: those of the index, or all of them."""
        x = self._task.data.x

        def part(array: np.ndarray | None) -> Any:
            return None if array is None else self._backend.place(array if index is None else array[index])

        inputs = x.array() if index is None else x.take(index)
        return Rows(keras.tree.map_structure(self._backend.place, inputs), *(part(each) for each in self._targets))


def first(batches: Iterator[Batches], n: int) -> Batches:
    """The first piece, of which only `n` whole batches count (or the short one, when there is no other)."""
    rows, index, (full, short) = next(batches)
    return rows, index, np.array([min(n, full), 0 if full else short], np.int32)


def blocks(order: np.ndarray, size: int, at_once: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """The order in pieces of one length, each with its number of whole batches and of short ones (0 or 1).

    A piece that holds less is filled up with rows that do not count.

    >>> [(index.tolist(), counts.tolist()) for index, counts in blocks(np.arange(7), 2, 4)]
    [([0, 1, 2, 3, 0], [2, 0]), ([4, 5, 6, 4, 4], [1, 1])]
    """
    n_full, rest = divmod(len(order), size)
    if at_once is None or len(order) <= max(at_once, size):
        return [(order.astype(np.int32), np.array([n_full, int(rest > 0)], np.int32))]
    most = max(1, at_once // size)
    pieces = []
    for start in range(0, n_full, most):
        full = min(most, n_full - start)
        short = int(rest > 0 and start + full == n_full)
        index = order[start * size : (start + full) * size + short * rest]
        filled = np.full(most * size + rest, index[0], np.int32)
        filled[: len(index)] = index
        pieces.append((filled, np.array([full, short], np.int32)))
    return pieces
