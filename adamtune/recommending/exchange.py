"""A store as a file, to carry what was learned from one place to another: JSON, compressed where the name ends in .gz.

    export(entries, "lab.json.gz")        # no rows of data are in it, only counts, hashes and losses
    store.add(engine, read_file("lab.json.gz"))

A file is data and nothing else. Every field is checked before anything is written.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, StorageError, short
from adamtune.recommending import schema
from adamtune.recommending.evidence import Source
from adamtune.recommending.features import Features
from adamtune.recommending.store import Entry, Evaluation

_SCHEMA = "adamtune_store"
_VERSION = 1
_MOST_BYTES = 2**30  # that a compressed file may unfold to
_TEXTS = ("name", "kind", "family", "data", "fingerprint")


def export(entries: Sequence[Entry], path: str | os.PathLike[str]) -> None:
    """Write entries into a file, a new one for its owner only; one that is there is replaced.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    text = json.dumps({_SCHEMA: _VERSION, "tasks": [_plain(entry) for entry in entries]}).encode()
    file = Path(path)
    try:
        with open(file, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as written:
            written.write(gzip.compress(text) if file.suffix == ".gz" else text)
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}.") from error


def read_file(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a file that `export` wrote.

    Raises
    ------
    StorageError
        When it cannot be read, or holds anything else; says where.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            unzip = zlib.decompressobj(wbits=31)
            content = unzip.decompress(content, _MOST_BYTES)
            if unzip.unconsumed_tail:
                raise StorageError(f"{file} unfolds to more than {_MOST_BYTES >> 20} MiB, which no store does.")
        data = json.loads(content)
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError, zlib.error) as error:
        raise StorageError(f"{file} is no file of `adamtune store export`: {error}.") from None
    if not isinstance(data, dict) or type(data.get(_SCHEMA)) is not int or not isinstance(data.get("tasks"), list):
        raise StorageError(f"{file} is no file of `adamtune store export`: expected {_SCHEMA!r} and 'tasks' in it.")
    if data[_SCHEMA] > _VERSION:
        raise StorageError(f"{file} has version {data[_SCHEMA]}, and this adamtune reads up to {_VERSION}.")
    entries = []
    for number, each in enumerate(data["tasks"]):
        try:
            entries.append(_entry(each))
        except (KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
            why = f"the field {short(error.args[0])} is missing" if isinstance(error, KeyError) else str(error)
            raise StorageError(
                f"{file}: task {number} is damaged: {why.removesuffix('.')}. Nothing was taken from the file."
            ) from None
    return entries


def _plain(entry: Entry) -> dict[str, Any]:
    source = entry.source
    return {
        **{name: getattr(source, name) for name in _TEXTS},
        "untrained": entry.untrained,
        "study_name": entry.study_name,
        "features": source.features.to_dict(),
        "evaluations": [
            {
                "config": each.config.found_with(None).to_dict(),
                "last": each.last,
                "best": each.best,
                "passes": each.passes,
                "source": each.source,
            }
            for each in entry.evaluations
        ],
    }


def _entry(data: Any) -> Entry:
    if not isinstance(data, Mapping):
        raise TypeError(f"expected a mapping, got {type(data).__name__}")
    texts = {name: _text(data[name], schema.tasks.c[name]) for name in _TEXTS}
    source = Source(**texts, features=_features(data["features"]))
    study, evaluations = data.get("study_name"), data["evaluations"]
    if not isinstance(evaluations, list):
        raise TypeError(f"evaluations={short(evaluations)}, expected a list")
    return Entry(
        source,
        _number(data["untrained"], "untrained"),
        tuple(_evaluation(each) for each in evaluations),
        None if study is None else _text(study, schema.tasks.c.study_name),
    )


def _features(data: Any) -> Features:
    known = {field.name for field in fields(Features)}
    if not isinstance(data, Mapping) or set(data) != known:
        raise ValueError(f"features are {short(data)}, expected numbers for {', '.join(sorted(known))}")
    features = Features.from_dict({name: _number(value, name) for name, value in data.items()})
    for name in ("n_rows", "batch_size", "epochs"):
        if not 1 <= getattr(features, name) < 2**31:
            raise ValueError(f"{name}={short(data[name])}, expected a whole number of at least 1, below 2**31")
    return features


def _evaluation(data: Any) -> Evaluation:
    if not isinstance(data, Mapping):
        raise TypeError(f"an evaluation is a {type(data).__name__}, expected a mapping")
    passes = data["passes"]
    if type(passes) is not int or not 1 <= passes < 2**31:
        raise ValueError(f"passes={short(passes)}, expected a whole number of at least 1, below 2**31")
    last, best = (None if data[name] is None else _number(data[name], name) for name in ("last", "best"))
    source = _text(data["source"], schema.configs.c.source)
    return Evaluation(OptimizerConfig.from_dict(data["config"]), last, best, passes, source)


def _text(value: Any, column: Any) -> str:
    """A text that every database takes for that column of the store."""
    most = column.type.length
    # What databases refuse: half of a pair of UTF-16, and on some of them NUL.
    if not isinstance(value, str) or len(value) > most or re.search("[\0\ud800-\udfff]", value):
        raise TypeError(f"{column.name}={short(value)}, expected a text of at most {most} characters")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}={short(value)}, expected a finite number")
    return float(value)
