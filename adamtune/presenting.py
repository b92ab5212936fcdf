"""Presenting: what a stored study shows in optuna-dashboard, written at the end of a fit.

A note with the best config and the lines to paste, a few figures, and `recommended.json` as an artifact. The dashboard
reads them from the study's system attributes; it need not be installed where a study is trained, because it runs
wherever people look. A later fit of the same study replaces all of it. What a study in memory would show, nobody could
look at: nothing is written.

    present(study)  # never raises: what cannot be written is left out with a warning
    artifacts_folder("sqlite:///runs.db")  # runs.artifacts, for who serves the artifacts
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import ArtifactMeta, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages._rdb import models  # private, as in `tuning.curves`

from adamtune import summary
from adamtune.errors import StudyError
from adamtune.plots import compact, reading
from adamtune.summary import Summary, number
from adamtune.tuning import bulk, curves, storage

# The dashboard has a history of its own.
_FIGURES = ("curves", "contour", "importance", "time_to_target")
# Characters of one. Whoever looks at any study reads the attributes of all studies.
_MOST = 50_000
_FILE = "recommended.json"
_OURS = "adamtune:recommended"  # the id of that artifact: another of the same name is somebody else's
_LINE = "*adamtune writes this note anew with every fit. What you write below this line stays.*"


def present(study: optuna.Study) -> None:
    """Write what optuna-dashboard shows of a study that has come to its end; nothing where it is in no database.

    What fails is left out with a warning: a fit is not lost because its figure is.
    """
    engine = curves.database_of(study._storage)
    if engine is None:
        return
    with _or_warns("what optuna-dashboard shows"):
        seen, folder = reading.read(study), artifacts_folder(engine.url.render_as_string(hide_password=False))
        if importlib.util.find_spec("plotly") is not None:
            for kind in _FIGURES:
                with _or_warns(f"the figure {kind!r}"):
                    _write_figure(study, seen, kind)
        with _or_warns("the note"):
            _write_note(study, seen.summary)
        if folder is not None:
            with _or_warns(_FILE):
                _write_recommended(study, seen.summary, folder)


def artifacts_folder(url: str) -> Path | None:
    """The folder that holds the artifacts of a database's studies; None where there is none.

    Parameters
    ----------
    url : str
        Whatever `adamtune.tuning.storage.resolve_url` takes.

    Returns
    -------
    Path or None
        Beside a SQLite file; for a server what `$ADAMTUNE_ARTIFACTS` names. It may not be there yet.

    Raises
    ------
    StorageError
        For what is no URL of a database.

    Examples
    --------
    >>> artifacts_folder("sqlite:///runs.db").name
    'runs.artifacts'
    """
    url = storage.resolve_url(url)
    if url == "memory":
        return None
    if file := storage.sqlite_file(url):
        return file.with_name(f"{file.stem}.artifacts")
    named = os.environ.get("ADAMTUNE_ARTIFACTS")
    return Path(named).expanduser() if named else None


def note(found: Summary, study_id: int) -> str:
    """What a study found as Markdown for optuna-dashboard.

    Texts of others, such as the study's name, stand in code spans: nothing in them is read as Markdown, no link either.

    Parameters
    ----------
    found : Summary
    study_id : int
        Optuna's number of the study, by which dashboards have its page.
    """
    objective, counts = _code(found.objective), found.counts
    better = "lower" if found.direction == "minimize" else "higher"
    batches = f" at batch size {found.batch_size}" if found.batch_size else ""
    ends = [f"{counts[how]} {how}" for how in ("complete", "pruned", "diverged", "failed") if counts[how]]
    took = f" in {found.seconds:.1f} s" if found.seconds is not None else ""
    parts = [
        f"## {_code(found.name)}",
        f"Task {_code(found.task)}, optimizer {_code(found.optimizer)}, judged by {objective} ({better} is better), "
        f"{found.epochs} epochs{batches}.",
        f"**{counts['finished']} trials{took}**: {', '.join(ends) or 'none has ended'}.",
        _outcome(found, objective),
    ]
    if found.config is not None:
        parts.append(_table(["hyper", "value", "default"], _hypers(found)))
    if found.comparison:
        rows = [
            [_code(each.label), _mean(each.mean, each.spread), summary.difference(each.gain, found.direction)]
            for each in found.comparison
        ]
        parts.append("The best again, with fresh weights and order, beside configs to compare them with:")
        parts.append(_table(["config", objective, "than default Adam"], rows))
    if found.warnings:
        parts.append(_block("text", "\n".join(map(summary.printable, found.warnings))))
    if found.code:
        parts.append(_block("python", found.code))
    parts.append(f"[adamtune page](/adamtune/study/{study_id})")
    return "\n\n".join(parts)


# --------------------------------------------------------------------------------------------- words of the note


def _outcome(found: Summary, objective: str) -> str:
    winner = found.winner
    if winner is None:
        return f"**Best so far: {number(found.value)}** ({objective}), not confirmed."
    score = f"**Winner: trial {winner.trial}**, {objective} {_mean(winner.score, winner.spread)}"
    if not winner.passes:
        return f"{score}. Not confirmed: the best of many trials is optimistic."
    score = f"{score} over {winner.passes} fresh passes"
    if found.gain is None:
        return f"{score}."
    difference = summary.difference(found.gain, found.direction)
    than = f"{difference} than" if difference else "as good as"
    keep = "" if found.gain > 0 else " The default does at least as well here."
    return f"{score}, {than} Keras' default Adam.{keep}"


def _hypers(found: Summary) -> list[list[str]]:
    config = found.config
    assert config is not None
    defaults = {hyper.name: hyper.default for hyper in config.rule.searchable}
    rows = [[_code("optimizer"), _code(config.optimizer), ""], [_code("schedule"), _code(config.schedule), ""]]
    values = config.hypers
    rows += [[_code(name), number(values[name]), number(defaults.get(name))] for name in summary.shown_hypers([config])]
    return rows + [[_code(name), _code(repr(value)), ""] for name, value in config.structure]


def _mean(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return "diverged"
    return number(mean) + summary.spread(spread)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    # In a cell a bar is escaped even inside a code span: GitHub Flavored Markdown 0.29, section 4.10.
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _code(text: str) -> str:
    """A text as a code span, which holds any text: CommonMark 0.31, section 6.1."""
    text = summary.printable(text) or " "
    fence = "`" * (1 + _longest_run(text))
    room = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{room}{text}{room}{fence}"


def _block(language: str, text: str) -> str:
    """Lines as a fenced code block: CommonMark 0.31, section 4.5."""
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


# ---------------------------------------------------------------------------------------------- rows of the study


def _write_note(study: optuna.Study, found: Summary) -> None:
    """Write the note, and below it what people have written themselves."""
    attrs = study._storage.get_study_system_attrs(study._study_id)
    prefix, version = "dashboard:note_str:", "dashboard:note_ver"
    before = "".join(attrs.get(f"{prefix}{at}", "") for at in range(len(attrs)))
    own = before.partition(_LINE)[2] if _LINE in before else before
    body = "\n\n".join([note(found, study._study_id), "---", _LINE, own.strip()]).strip()
    _replace(study, [prefix, version], _in_pieces(prefix, body) | {version: int(attrs.get(version, 0)) + 1})


def _write_figure(study: optuna.Study, seen: reading.Seen, kind: str) -> None:
    """Write a figure; take back an earlier one where the study holds too little for it now."""
    prefix = f"dashboard:plot_data:adamtune-{kind.replace('_', '-')}:"
    try:
        rows = _in_pieces(prefix, compact.text(study, seen, kind, _MOST))
    except StudyError:
        rows = {}
    _replace(study, [prefix], rows)


def _write_recommended(study: optuna.Study, found: Summary, folder: Path) -> None:
    """Write the artifact in the place of the one of an earlier fit.

    Optuna's `upload_artifact` writes the row before the file, and never takes one away: where the folder cannot be
    written to, the study would name a file that is not there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = FileSystemArtifactStore(folder)
    content = json.dumps(_recommended(found), indent=1, allow_nan=False).encode()
    old = study._storage.get_study_system_attrs(study._study_id).get(_OURS)
    new = ArtifactMeta(str(uuid.uuid4()), _FILE, "application/json", None)
    try:
        store.write(new.artifact_id, io.BytesIO(content))
        rows = {_OURS: new.artifact_id, f"artifacts:{new.artifact_id}": json.dumps(dataclasses.asdict(new))}
        _replace(study, [_OURS, *([f"artifacts:{old}"] if old else [])], rows)
    except Exception:
        with contextlib.suppress(ArtifactNotFound):
            store.remove(new.artifact_id)
        raise
    if old:
        with contextlib.suppress(ArtifactNotFound):
            store.remove(old)


def _recommended(found: Summary) -> dict[str, Any]:
    """The winner, the best few with their values, and the whole summary."""
    said = found.to_dict()
    return {name: said.pop(name) for name in ("winner", "best")} | {"summary": said}


def _in_pieces(prefix: str, text: str) -> dict[str, Any]:
    """A long text as optuna-dashboard keeps notes and figures, in rows that every database holds.

    The format is that of `split_body` in optuna_dashboard/_note.py and of `split_plot_data` in
    optuna_dashboard/_custom_plot_data.py, in its version 0.21. A note counts its versions in a row beside.
    """
    length = 2045
    return {f"{prefix}{at}": text[at * length : (at + 1) * length] for at in range(-(-len(text) // length))}


def _replace(study: optuna.Study, prefixes: Sequence[str], rows: Mapping[str, Any]) -> None:
    """Put rows in the place of all system attributes whose key begins so, in one transaction.

    Nobody reads one half of a figure. The rows of a note and four figures take 6 ms on SQLite, 90 ms one by one.
    """
    engine = curves.database_of(study._storage)
    assert engine is not None
    table, studies = models.StudySystemAttributeModel.__table__, models.StudyModel.__table__
    number = study._study_id

    def work(connection: Any) -> None:
        # Whoever holds the row of the study writes, as with the numbers of trials in `bulk`.
        connection.execute(studies.select().where(studies.c.study_id == number).with_for_update())
        for prefix in prefixes:
            ours = table.c.key.startswith(prefix, autoescape=True)
            connection.execute(table.delete().where(table.c.study_id == number, ours))
        if rows:
            given = [{"study_id": number, "key": key, "value_json": json.dumps(value)} for key, value in rows.items()]
            connection.execute(table.insert(), given)

    bulk.transact(engine, work)


@contextlib.contextmanager
def _or_warns(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        message = storage.redact(f"{what} could not be written for optuna-dashboard: {type(error).__name__}: {error}")
        warnings.warn(message, UserWarning, stacklevel=6)  # the line that called `fit`
