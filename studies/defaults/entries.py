"""The table as entries of a store: what every candidate came to on every task."""

from __future__ import annotations

import numpy as np
import table
from candidates import UNTRAINED, candidates

from adamtune.recommending.evidence import Source
from adamtune.recommending.features import Features
from adamtune.recommending.store import Entry, Evaluation


def read(seed: int | None = None) -> list[Entry]:
    """All tasks of the table, by the mean over seeds or by one of them."""
    about, arrays = table.read()
    seeds = slice(None) if seed is None else slice(seed, seed + 1)
    return [_entry(task, arrays[task["name"]][:, seeds]) for task in about]


def _entry(task: dict, curves: np.ndarray) -> Entry:
    """curves are (candidates, seeds, epochs)."""
    tried = candidates()
    source = Source(
        task["name"],
        task["called"],
        task["family"],
        task["data_set"],
        Features.from_dict(task["features"]),
        f"corpus/{task['name']}",
    )
    best = np.fmin.reduce(curves, axis=2).mean(axis=1)
    last, mean = curves[:, :, -1].mean(axis=1), curves.mean(axis=1)
    untrained = float(last[tried.index(UNTRAINED)])
    return Entry(
        source,
        untrained,
        tuple(
            Evaluation(each.config, _known(last[i]), _known(best[i]), curves.shape[1], each.source, curve=mean[i])
            for i, each in enumerate(tried)
        ),
    )


def _known(loss: np.floating) -> float | None:
    return float(loss) if np.isfinite(loss) else None
