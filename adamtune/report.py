"""A report: one study in one file that needs nothing else.

    write(study, Path("report.html"))     # figures and all, opens without a network
    text(study, "md")                     # Markdown for a pull request or a notebook
    text(study, "json")                   # data for another program

The page is the dashboard's own, with the style, the script and Plotly inside.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import optuna

from adamtune import pages, summary
from adamtune.errors import SettingError, did_you_mean
from adamtune.pages import study as study_page
from adamtune.plots import drawing
from adamtune.tuning import curves, records

FORMATS = ("html", "md", "json")
_OF_SUFFIX = {".htm": "html", ".html": "html", ".md": "md", ".markdown": "md", ".json": "json"}


def write(study: optuna.Study, file: str | os.PathLike[str], format: str | None = None) -> Path:
    """Write the report of a study.

    Parameters
    ----------
    study : optuna.Study
        One that adamtune made, finished or not.
    file : path
        Is overwritten. Its folder has to be there. A new one may be read by its owner only.
    format : {"html", "md", "json"}, optional
        Default: what the file's name ends in, else "html".

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SettingError
        For an unknown format, or when Plotly is not installed.
    StudyError
        When adamtune did not make the study.
    OSError
        When the file cannot be written.
    """
    path = Path(file)
    content = text(study, format or _OF_SUFFIX.get(path.suffix.lower(), "html"))
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as written:
        written.write(content)
    return path


def text(study: optuna.Study, format: str) -> str:
    """The report of a study as a text: HTML, Markdown or JSON.

    Raises
    ------
    SettingError, StudyError
        As `write`.
    """
    if format not in FORMATS:
        near, known = did_you_mean(str(format), FORMATS), ", ".join(repr(name) for name in FORMATS)
        raise SettingError(f"format={format!r} is unknown.{near} Expected one of: {known}.")
    if format == "json":
        return json.dumps(as_dict(study), indent=2, allow_nan=False) + "\n"
    return _html(study) if format == "html" else _markdown(study)


def as_dict(study: optuna.Study) -> dict[str, Any]:
    """The report as plain data: the summary, how was searched, where was pruned, and each trial with its curve.

    Numbers that are NaN or infinite are None.
    """
    page = study_page.view(study)
    drawn = curves.read(study)
    trials = [
        {
            "trial": trial.number,
            "state": "diverged" if records.diverged(trial) else trial.state.name.lower(),
            "value": None if records.diverged(trial) else trial.value,
            "config": json.loads(trial.user_attrs["config"]) if "config" in trial.user_attrs else None,
            "epochs": trial.user_attrs.get("epochs"),
            "curve": drawn[trial.number].val_loss.astype(float).tolist() if trial.number in drawn else None,
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state != optuna.trial.TrialState.WAITING
    ]
    return summary.plain(
        {
            "summary": page.summary,
            "state": page.summary.state,
            "verdict": page.verdict,
            "settings": dict(page.settings),
            "pruned_at": list(page.rungs),
            "trials": trials,
        }
    )


def _html(study: optuna.Study) -> str:
    page = study_page.view(study)
    return pages.render(
        "report.html",
        page=page,
        figures=study_page.figures(study),
        style=(pages.STATIC / "style.css").read_text(encoding="utf-8"),
        script=(pages.STATIC / "app.js").read_text(encoding="utf-8"),
        plotly=drawing.plotly_script(),
        made=datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        version=importlib.metadata.version("adamtune"),
    )


def _markdown(study: optuna.Study) -> str:
    page = study_page.view(study)
    found = page.summary
    parts = [f"# Study {_literal(page.title)}", _literal(page.verdict)]
    parts += [f"> {_literal(summary.printable(each))}" for each in found.warnings]
    if found.code:
        parts.append(f"```python\n{found.code}\n```")
    if page.compared:
        parts += ["## The best again, beside the default"]
        parts.append(_table(["config", summary.printable(found.objective), "difference"], page.compared))
    if found.best:
        parts += ["## Best trials of the search", _table(*page.best)]
    if page.rungs:
        names = ["after epochs", "came so far", "pruned", "median of those that went on", "of the pruned"]
        rows = [
            [str(each.epochs), str(each.came), str(each.pruned), summary.number(each.kept), summary.number(each.cut)]
            for each in page.rungs
        ]
        parts += ["## What was pruned", _table(names, rows)]
    if page.diverged:
        rows = [[str(each.trial), str(each.epochs), each.config] for each in page.diverged]
        parts += ["## What diverged", _table(["trial", "in epoch", "config"], rows)]
    parts += ["## How was searched", _table(["", ""], page.settings)]
    return "\n\n".join(parts) + "\n"


def _table(names: Any, rows: Any) -> str:
    lines = [list(names), ["---"] * len(names), *rows]
    return "\n".join(
        "| " + " | ".join(cell if line is lines[1] else _literal(cell) for cell in line) + " |" for line in lines
    )


def _literal(text: str) -> str:
    """The text as Markdown that shows it: what comes from a database is no markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    for letter in "\\`*_[]|#":
        text = text.replace(letter, "\\" + letter)
    return text
