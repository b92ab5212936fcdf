"""The Store: what all studies have taught, in tables of our own beside Optuna's in the same database.

    entries = read(engine)            # tasks, their features, and what every config came to
    add(engine, entries)              # upserts: a task is known by its fingerprint, a config by its numbers

The tables stand in `schema`. Rows of data are never stored, only counts and a hash. `VERSION` is written when the
tables are made; a store of a newer version is refused, and nothing is unpickled from any.

Losses are validation losses, the mean over the passes of a trial: `last` after its last epoch, `best` at the best
epoch of each pass. None stands for a training that diverged.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import json
import math
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import sqlalchemy
from numpy.typing import NDArray

from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, StorageError, StudyError
from adamtune.recommending import schema
from adamtune.recommending.evidence import Evidence, Source
from adamtune.recommending.features import Features
from adamtune.tuning import bulk

VERSION = 1
_FLOAT = np.dtype("<f2")  # curves are for their shape: three digits are enough


@dataclass(frozen=True)
class Evaluation:
    """What a config came to on a task."""

    config: OptimizerConfig
    last: float | None
    best: float | None
    passes: int = 1
    source: str = ""
    trial_number: int | None = None
    curve: NDArray[np.floating] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Entry:
    """A task of the store, and all that was tried on it.

    Parameters
    ----------
    untrained : float
        The loss of the untrained network.
    study_name : str, optional
        The study that it was learned from, in the same database.
    """

    source: Source
    untrained: float
    evaluations: tuple[Evaluation, ...]
    study_name: str | None = None


@dataclass(frozen=True)
class Recommended:
    """One config of a list that was recommended, as the store keeps it; `loss` once it was tried."""

    place: int
    config: OptimizerConfig
    gain: float
    low: float
    high: float
    trial_number: int | None = None
    loss: float | None = None


def exists(engine: sqlalchemy.Engine) -> bool:
    """Whether there is a store in this database.

    Raises
    ------
    StorageError
        When there is one of a newer version.
    """
    if not sqlalchemy.inspect(engine).has_table(schema.facts.name):
        return False
    found = facts(engine).get("version", VERSION)
    if found > VERSION:
        raise StorageError(
            f"the store in this database has version {found}, and this adamtune reads up to {VERSION}: install a newer "
            "one with `pip install -U adamtune`."
        )
    return True


def facts(engine: sqlalchemy.Engine) -> dict[str, Any]:
    """What is said of the store as a whole, by name: its version, what was calibrated on it."""
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.select(schema.facts.c.name, schema.facts.c.value)).all()
    return {name: json.loads(value) for name, value in rows}


def set_facts(engine: sqlalchemy.Engine, said: Mapping[str, Any]) -> None:
    """Say something of the store as a whole; what was said under that name before is gone."""
    _make(engine)
    _say(engine, said)


def add(engine: sqlalchemy.Engine, entries: Iterable[Entry]) -> None:
    """Write tasks with all that was tried on them; what is there of a task and config is overwritten.

    Raises
    ------
    StorageError
        When the database refuses: of the entry that was being written nothing is stored.
    """
    exists(engine)  # a newer store is not written to
    try:
        _make(engine)
        for entry in entries:
            if not math.isfinite(entry.untrained):  # nothing can be compared with it, and SQL has no such number
                continue
            bulk.transact(engine, functools.partial(_add, entry, engine.name))
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StorageError("the store could not be written to the database.") from error


def read(engine: sqlalchemy.Engine, with_curves: bool = False) -> list[Entry]:
    """All tasks of a store, in the order in which they came; none where there is no store.

    Raises
    ------
    StorageError
        For a store of a newer version.
    StudyError
        For a row that is damaged.
    """
    if not exists(engine):
        return []
    with engine.connect() as connection:
        tasks = _tasks(connection)
        configs = connection.execute(
            sqlalchemy.select(schema.configs.c.config_id, schema.configs.c.source, schema.configs.c.config)
        ).all()
        columns = [
            schema.evaluations.c[name] for name in ("task_id", "config_id", "passes", "last", "best", "trial_number")
        ]
        rows = connection.execute(sqlalchemy.select(*columns).order_by(*columns[:2])).all()
        drawn = {}
        if with_curves:
            found = connection.execute(sqlalchemy.select(schema.curves)).all()
            drawn = {(row.task_id, row.config_id): _unpack(row.losses, row.epochs) for row in found}
    known = {number: (source, _config(text)) for number, source, text in configs}
    by_task: dict[int, list[Evaluation]] = {row.task_id: [] for row, _ in tasks}
    for task, number, passes, last, best, trial in rows:
        source, config = known[number]
        by_task[task].append(Evaluation(config, last, best, passes, source, trial, drawn.get((task, number))))
    return [Entry(source, row.untrained, tuple(by_task[row.task_id]), row.study_name) for row, source in tasks]


def recommended(engine: sqlalchemy.Engine, study_name: str | None = None) -> list[Recommended]:
    """The lists that were recommended to studies, or to one of them, and what came of it."""
    if not exists(engine):
        return []
    query = (
        sqlalchemy.select(schema.recommendations, schema.outcomes.c.trial_number, schema.outcomes.c.loss)
        .join(schema.outcomes, isouter=True)
        .order_by(schema.recommendations.c.recommendation_id)
    )
    if study_name is not None:
        query = query.where(schema.recommendations.c.study_name == study_name)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [
        Recommended(
            row.place, OptimizerConfig.from_json(row.config), row.gain, row.low, row.high, row.trial_number, row.loss
        )
        for row in rows
    ]


def set_recommended(
    engine: sqlalchemy.Engine, fingerprint: str, study_name: str, listed: Sequence[Recommended]
) -> None:
    """Write what was recommended to a study, and what came of it; an earlier list of that study is replaced."""
    _make(engine)

    def write(connection: sqlalchemy.Connection) -> None:
        old = sqlalchemy.select(schema.recommendations.c.recommendation_id).where(
            schema.recommendations.c.study_name == study_name
        )
        numbers = connection.scalars(old).all()
        for table in (schema.outcomes, schema.recommendations):
            connection.execute(table.delete().where(table.c.recommendation_id.in_(numbers)))
        for each in listed:
            row = {"fingerprint": fingerprint, "study_name": study_name, "place": each.place, "made": _now()}
            row |= {"config": each.config.to_json(), "gain": each.gain, "low": each.low, "high": each.high}
            number = connection.execute(schema.recommendations.insert().values(row)).inserted_primary_key[0]  # type: ignore[index]
            if each.trial_number is not None:
                outcome = {"recommendation_id": number, "trial_number": each.trial_number, "loss": each.loss}
                connection.execute(schema.outcomes.insert().values(outcome))

    bulk.transact(engine, write)


def evidence(entries: Sequence[Entry], epoch: str = "best") -> Evidence:
    """What the entries teach.

    Parameters
    ----------
    entries : sequence of Entry
        Those on which nothing was better than the untrained network, or whose loss is not finite, are left out.
    epoch : {"best", "last"}
        Which epoch's loss a config is judged by.
    """
    column: dict[OptimizerConfig, int] = {}
    for entry in entries:
        for each in entry.evaluations:
            column.setdefault(each.config, len(column))
    sources, rows = [], []
    for entry in entries:
        where = [column[each.config] for each in entry.evaluations]
        said = [each.best if epoch == "best" else each.last for each in entry.evaluations]
        losses = np.array([np.inf if value is None else value for value in said], "float64")
        best = losses.min(initial=np.inf)
        if not (best < entry.untrained and math.isfinite(entry.untrained)):
            continue
        row = np.full(len(column), np.nan)
        row[where] = np.clip((losses - best) / (entry.untrained - best), 0.0, 1.0)
        sources.append(entry.source)
        rows.append(row)
    return Evidence(tuple(sources), tuple(column), np.array(rows).reshape(len(rows), len(column)))


class Texts(Sequence[OptimizerConfig]):
    """Configs that are read from their JSON when somebody looks at them: hundreds take as long as all else here."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._known: dict[int, OptimizerConfig] = {}
        self.optimizers = [json.loads(text)["optimizer"] for text in texts]

    @overload
    def __getitem__(self, index: int) -> OptimizerConfig: ...
    @overload
    def __getitem__(self, index: slice) -> list[OptimizerConfig]: ...
    def __getitem__(self, index: int | slice) -> OptimizerConfig | list[OptimizerConfig]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index not in self._known:
            self._known[index] = OptimizerConfig.from_json(self._texts[index])
        return self._known[index]

    def __len__(self) -> int:
        return len(self._texts)


def distil(engine: sqlalchemy.Engine, learned: Mapping[str, Evidence]) -> None:
    """Write what a whole store teaches, ready to use; whatever is added to it later is not in that.

    Parameters
    ----------
    learned : mapping of str to Evidence
        By epoch, made from all entries of this very store.
    """
    arrays = {epoch: _packed(each.believed) for epoch, each in learned.items()}
    names = {epoch: [source.fingerprint for source in each.sources] for epoch, each in learned.items()}
    (configs,) = {tuple(digest(config) for config in each.configs) for each in learned.values()}
    numbers = {epoch: [each.penalty, each.sure] for epoch, each in learned.items()}
    said = {"believed": arrays, "sources": names, "configs": configs, "numbers": numbers}
    set_facts(engine, {"distilled": said})


def distilled(engine: sqlalchemy.Engine, epoch: str) -> Evidence | None:
    """What `distil` wrote: evidence whose regrets are those that are believed. None where nothing is written."""
    said = facts(engine).get("distilled")
    if said is None:
        return None
    with engine.connect() as connection:
        known = {row.fingerprint: source for row, source in _tasks(connection)}
        texts = dict(connection.execute(sqlalchemy.select(schema.configs.c.digest, schema.configs.c.config)).all())
    sources = tuple(known[name] for name in said["sources"][epoch])
    configs = Texts([texts[key] for key in said["configs"]])
    believed = _unpacked(said["believed"][epoch], (len(sources), len(configs)))
    found = Evidence(sources, configs, believed, *said["numbers"][epoch])
    found.__dict__["believed"] = believed  # what it would be computed from is not read
    return found


def _packed(array: NDArray[np.float64]) -> str:
    return base64.b64encode(zlib.compress(array.astype(_FLOAT).tobytes(), 9)).decode()


def _unpacked(text: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    plain = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(plain, _FLOAT).reshape(shape).astype(np.float64)


def _tasks(connection: sqlalchemy.Connection) -> list[tuple[Any, Source]]:
    """The rows of tasks in the order in which they came, each with what it says of its source."""
    rows = connection.execute(sqlalchemy.select(schema.tasks).order_by(schema.tasks.c.task_id)).all()
    features: dict[int, dict[str, float]] = {row.task_id: {} for row in rows}
    for task, name, value in connection.execute(sqlalchemy.select(schema.features)):
        features[task][name] = value
    return [
        (
            row,
            Source(
                row.name, row.kind, row.family, row.data, Features.from_dict(features[row.task_id]), row.fingerprint
            ),
        )
        for row in rows
    ]


def digest(config: OptimizerConfig) -> str:
    """What a config is known by: its numbers to six digits, wherever it was found."""
    data = config.to_dict()
    numbers = {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in config.values}
    text = json.dumps([data["optimizer"], data["schedule"], numbers, data.get("options", {})], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _make(engine: sqlalchemy.Engine) -> None:
    if set(schema.metadata.tables) <= set(sqlalchemy.inspect(engine).get_table_names()):
        return
    for wait in (*[0.05] * 20, None):
        try:
            schema.metadata.create_all(engine)
            break
        except sqlalchemy.exc.DBAPIError:  # most often another worker makes them in this moment
            if wait is None:
                raise
            time.sleep(wait)
    _say(engine, {"version": VERSION})


def _say(engine: sqlalchemy.Engine, said: Mapping[str, Any]) -> None:
    rows = [{"name": name, "value": json.dumps(value)} for name, value in said.items()]
    bulk.transact(engine, lambda connection: connection.execute(bulk.upsert(engine.name, schema.facts, ["name"]), rows))


def _add(entry: Entry, dialect: str, connection: sqlalchemy.Connection) -> None:
    source = entry.source
    row = {name: getattr(source, name) for name in ("fingerprint", "name", "kind", "family", "data")}
    row |= {"untrained": bulk.number(entry.untrained), "study_name": entry.study_name, "made": _now()}
    connection.execute(bulk.upsert(dialect, schema.tasks, ["fingerprint"]), [row])
    task = connection.scalar(
        sqlalchemy.select(schema.tasks.c.task_id).where(schema.tasks.c.fingerprint == source.fingerprint)
    )
    features = [{"task_id": task, "name": name, "value": value} for name, value in source.features.to_dict().items()]
    connection.execute(bulk.upsert(dialect, schema.features, ["task_id", "name"]), features)
    once = {digest(each.config): each for each in entry.evaluations}
    if not once:
        return
    stored = sqlalchemy.select(schema.configs.c.digest, schema.configs.c.config_id).where(
        schema.configs.c.digest.in_(once)
    )
    known = {key for key, _ in connection.execute(stored)}
    fresh = [
        {"digest": key, "source": each.source, "config": each.config.found_with(None).to_json()}
        for key, each in once.items()
        if key not in known
    ]
    if fresh:
        connection.execute(bulk.upsert(dialect, schema.configs, ["digest"]), fresh)
    # With a lock, because MySQL would answer from before others came.
    number = dict(connection.execute(stored.with_for_update(read=True)).all())
    rows = [
        {
            "task_id": task,
            "config_id": number[key],
            "passes": each.passes,
            "last": _finite(each.last),
            "best": _finite(each.best),
            "trial_number": each.trial_number,
        }
        for key, each in once.items()
    ]
    connection.execute(bulk.upsert(dialect, schema.evaluations, ["task_id", "config_id"]), rows)
    drawn = [
        {"task_id": task, "config_id": number[key], "epochs": len(each.curve), "losses": _pack(each.curve)}
        for key, each in once.items()
        if each.curve is not None
    ]
    if drawn:
        connection.execute(bulk.upsert(dialect, schema.curves, ["task_id", "config_id"]), drawn)


def _config(text: str) -> OptimizerConfig:
    try:
        return OptimizerConfig.from_json(text)
    except ConfigError as error:
        raise StudyError(f"a config of the store is damaged: {error}") from None


def _finite(value: float | None) -> float | None:
    return bulk.number(value) if value is not None and math.isfinite(value) else None


def _pack(curve: NDArray[np.floating]) -> bytes:
    with np.errstate(over="ignore"):
        return zlib.compress(np.asarray(curve).astype(_FLOAT).tobytes(), 9)


def _unpack(content: bytes, epochs: int) -> NDArray[np.float32]:
    unzip = zlib.decompressobj()
    try:
        # A byte more than is right and no further: a row may claim little and unfold to much.
        plain = unzip.decompress(content, max(epochs, 0) * _FLOAT.itemsize + 1)
    except zlib.error:
        plain = b""
    if not unzip.eof or len(plain) != epochs * _FLOAT.itemsize:
        raise StudyError(f"a curve of the store is damaged: expected {epochs} epochs.")
    return np.frombuffer(plain, _FLOAT).astype(np.float32)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)
