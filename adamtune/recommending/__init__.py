"""What to try first on a task, learned from earlier studies, without a single trial.

    recommend(X, y)                                              # a Portfolio, in milliseconds
    recommend(task="image-classification", n_samples=50_000, batch_size=128)

`describing` says what a task looks like, `store` what was tried on others, `evidence` how much each of them says of
this one, `portfolio` which list follows. The shipped store was made by `studies/defaults`, never by hand.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import SettingError, StorageError, whole
from adamtune.recommending import describing, portfolio, store
from adamtune.recommending.describing import Description
from adamtune.recommending.evidence import Evidence, Source
from adamtune.recommending.portfolio import Portfolio, Recommendation
from adamtune.recommending.pruner import CurvePruner
from adamtune.recommending.store import Entry
from adamtune.tuning import curves
from adamtune.tuning import storage as storages

__all__ = ["CurvePruner", "Portfolio", "Recommendation", "recommend", "shares"]

SHIPPED = Path(__file__).resolve().parent / "shipped.db"


def recommend(
    X: Any = None,
    y: Any = None,
    model: Any = None,
    k: int = 5,
    storage: str | None = None,
    *,
    task: str = "auto",
    optimizer: str | Sequence[str] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    epoch: str = "best",
    n_samples: int | None = None,
    n_features: int | None = None,
    n_classes: int | None = None,
    n_weights: int | None = None,
) -> Portfolio:
    """Configs worth trying on a task, before any trial of it.

    Parameters
    ----------
    X : array-like of shape (n, ...), frame, sparse matrix or dict of these, optional
    y : array-like of shape (n,) or (n, k), optional
        At most 2,000 rows of both are looked at.
    model : keras.Model or callable model(X, y), optional
        Default: the dense network that `AdamTuner` takes then. Without one no backend is imported.
    k : int
        How many.
    storage : str, optional
        Database whose own studies count too, those of `fit`. Default: `$ADAMTUNE_STORAGE`, else adamtune.db in this
        folder, if it is there; "memory" reads what is shipped alone.
    task : str
        With X and y "auto", "classification" or "regression". Without them the kind of task, such as
        "image-classification": one of `adamtune.recommending.describing.KINDS`.
    optimizer : str or sequence of str, optional
        Recommend these only.
    epochs, batch_size : int, optional
        Of the training that it is for; default: 20 and 32, those of `AdamTuner`, or what is usual for the kind.
    epoch : {"best", "last"}
        Whether the training keeps its best epoch, as `AdamTuner` does with patience and Keras with EarlyStopping, or
        ends with its last one.
    n_samples, n_features, n_classes, n_weights : int, optional
        Of a task without X and y: rows that train, numbers of a row, labels, weights that are trained.

    Returns
    -------
    Portfolio
        A sequence of `Recommendation`; `portfolio[0].config.to_keras()` is for `model.compile`.

    Raises
    ------
    SettingError, DataError, ModelError
        For what is out of range or no task.
    StorageError
        When the database cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 10))
    >>> found = recommend(X, X[:, 0] > 0, storage="memory")
    >>> len(found), found.description.kind
    (5, 'table-classification')
    """
    k = whole("k", k)
    words = {"n_samples": n_samples, "n_features": n_features, "n_classes": n_classes, "n_weights": n_weights}
    named = None if optimizer is None else [optimizer] if isinstance(optimizer, str) else list(optimizer)
    if named is not None and not named:
        raise SettingError(f"optimizer={optimizer!r}: expected a name, several, or None for any.")
    rules = None if named is None else [optimizers.get(name).name for name in named]
    if epoch not in ("best", "last"):
        raise SettingError(f"epoch={epoch!r}: expected 'best' or 'last'.")
    learned, spread = known(storage, epoch)
    if X is None:
        if y is not None:
            raise SettingError("X is missing beside y: expected rows; or describe the task in words, without both.")
        described = describing.of_words(learned, task, batch_size=batch_size, epochs=epochs, **words)
    else:
        if y is None:
            raise SettingError("y is missing beside X: expected labels or targets; or describe the task in words.")
        if said := [name for name, value in words.items() if value is not None]:
            raise SettingError(f"{said[0]} is given beside X, which says it already: leave {', '.join(said)} out.")
        if task not in ("auto", "classification", "regression"):
            raise SettingError(f"task={task!r} beside X: expected 'auto', 'classification' or 'regression'.")
        budget = {"epochs": epochs, "batch_size": batch_size}
        budget = {name: whole(name, value) for name, value in budget.items() if value is not None}
        described = describing.of_rows(X, y, model, task=task, **budget)  # type: ignore[arg-type]
    allowed = None if rules is None else [name in rules for name in learned.optimizers]
    found = portfolio.choose(learned, described, k, spread, allowed)
    if rules and found.method == "default":  # nobody studied these
        return portfolio.default_alone(described, "", OptimizerConfig(rules[0]))
    return found


def again(source: Source, k: int = 5, storage: str | None = None) -> Portfolio:
    """The configs worth trying on a task that has been studied: its own best ones, where it is in the store."""
    learned, spread = known(storage, "best")
    described = Description(source.kind, source.features, source.fingerprint, source.data)
    return portfolio.choose(learned, described, whole("k", k), spread)


def known(storage: str | None, epoch: str) -> tuple[Evidence, dict[str, list[float]]]:
    """What the shipped store teaches, and that of a database beside it; and how far predictions were off.

    Parameters
    ----------
    storage : str or None
        As for `recommend`.
    epoch : {"best", "last"}
    """
    learned = _shipped_evidence(epoch)
    if others := own(storage):
        learned = store.evidence([*shipped(), *others], epoch).tuned(learned.penalty, learned.sure)
    return learned, _said().get("spread", {}).get(epoch, {})


def own(storage: str | None) -> list[Entry]:
    """What the studies of a database have taught; nothing where there is none."""
    with storages.looked_at(storage) as engine:
        return [] if engine is None else store.read(engine)


def learn(entries: Sequence[Entry], storage: str | None) -> None:
    """Add entries to the store of a database, which is made where there is none.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    opened = storages.open_storage(storages.resolve_url(storage))
    try:
        engine = curves.database_of(opened)
        if engine is None:
            raise StorageError("storage='memory' keeps nothing: name a file or a server.")
        store.add(engine, entries)
    finally:
        storages.close(opened)


@functools.cache
def shipped() -> list[Entry]:
    """The store of the installed version; empty where none was installed."""
    with storages.looked_at(SHIPPED) as engine:
        return [] if engine is None else store.read(engine)


def shares() -> list[float]:
    """What `CurvePruner` needs to know of earlier curves, from the shipped store."""
    return list(_said()["shares"])


@functools.cache
def _said() -> dict[str, Any]:
    """What is said of the shipped store as a whole."""
    with storages.looked_at(SHIPPED) as engine:
        return {} if engine is None else store.facts(engine)


@functools.cache
def _shipped_evidence(epoch: str) -> Evidence:
    """What the shipped store teaches, as it was distilled."""
    with storages.looked_at(SHIPPED) as engine:
        found = None if engine is None else store.distilled(engine, epoch)
    return found or store.evidence(shipped(), epoch)
