"""Doctor: whether this machine has what adamtune needs, and how to mend what it has not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adamtune.errors import StorageError

if TYPE_CHECKING:
    from rich.console import RenderableType


def examine(storage: str | None, load_backend: Callable[[], None]) -> dict[str, Any]:
    """Versions, training and storage as data, and the problems found, each with its fix.

    Parameters
    ----------
    storage : str or None
        As `AdamTuner` takes it.
    load_backend : callable
        Imports Keras; what it raises is a problem that is reported.
    """
    problems: list[dict[str, str]] = []
    return {
        "versions": _versions(problems),
        "training": _training(problems, load_backend),
        "storage": _stored(storage, problems),
        "problems": problems,
    }


def _versions(problems: list[dict[str, str]]) -> dict[str, str]:
    """Versions of everything adamtune needs; what is missing or does not fit is a problem."""
    import importlib.metadata
    import platform

    from packaging.requirements import Requirement

    versions = {"python": platform.python_version(), "adamtune": importlib.metadata.version("adamtune")}
    for text in importlib.metadata.requires("adamtune") or []:
        needed = Requirement(text)
        extra = needed.marker is not None
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            if not extra:
                _problem(problems, f"{needed.name} is not installed", f"pip install '{needed}'")
            continue
        if not extra:
            versions[needed.name] = version
            if not needed.specifier.contains(version, prereleases=True):
                _problem(problems, f"{needed.name} {version} does not fit", f"pip install '{needed}'")
        elif needed.name == "jax":
            versions["jax"] = version
    return versions


def _training(problems: list[dict[str, str]], load_backend: Callable[[], None]) -> dict[str, str]:
    """Backend and device, and how they would train the trials of `adamtune demo`."""
    try:
        load_backend()
        import keras

        from adamtune.engine import plan as plans
    except Exception as error:  # a backend fails to load in many ways
        wanted = os.environ.get("KERAS_BACKEND", "tensorflow")
        fix = "pip install tensorflow" if wanted == "tensorflow" else "set KERAS_BACKEND=tensorflow"
        _problem(problems, f"Keras cannot load its backend {wanted!r}: {error}", fix)
        return {"backend": wanted}
    backend, device = keras.backend.backend(), plans.device()
    if device.startswith("CPU") and shutil.which("nvidia-smi"):
        fix = f"pip install 'adamtune[{'jax-cuda' if backend == 'jax' else 'cuda'}]'"
        _problem(problems, f"there is an NVIDIA driver, but {backend} sees no GPU", fix)
    plan = _plan()
    if plan.reason:
        _problem(problems, f"trials run one at a time: {plan.reason}", "set KERAS_BACKEND=tensorflow")
    return {"backend": backend, "device": device, "plan": f"{plan}, for 64 trials on digits"}


def _plan() -> Any:
    from adamtune import optimizers
    from adamtune.engine import plan
    from adamtune.tasks import data, networks, splits, tables
    from adamtune.tasks.task import Task

    table = tables.digits()
    rows = data.prepare(table.x, table.y, kind="classification")
    split = splits.split(rows, 0.2, 0)
    model = networks.default_network(rows, split.train)
    task = Task(table.name, rows, lambda _: split, lambda _: model, None, None, "val_loss", "minimize", 10, 32)
    return plan.plan(task, model, [optimizers.get("adam")], "auto", 64, learns=True)


def _stored(given: str | None, problems: list[dict[str, str]]) -> dict[str, Any]:
    """Whether the database answers, and what is in it."""
    from adamtune.tuning import storage
    from adamtune.tuning import study as studies

    try:
        url = storage.resolve_url(given)
        found: dict[str, Any] = {"url": storage.redact(url)}
        file = storage.sqlite_file(url)
        if file and not file.exists():
            if not os.access(file.parent, os.W_OK):
                _problem(problems, f"no database can be made in {str(file.parent)!r}", "name another with --storage")
            return found | {"studies": 0, "note": "not there yet: the first study makes it"}
        with storage.existing(given) as database:
            backend: Any = getattr(database, "_backend", database)
            return found | {"schema": backend.get_current_version(), "studies": len(studies.names(database))}
    except StorageError as error:
        _problem(problems, str(error), "")
        return {"url": storage.redact(given or os.environ.get("ADAMTUNE_STORAGE", ""))}


def _problem(problems: list[dict[str, str]], what: str, fix: str) -> None:
    problems.append({"problem": what, "fix": fix})


def render(report: dict[str, Any]) -> RenderableType:
    """The report as a table of names and texts."""
    from rich.table import Table
    from rich.text import Text

    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    names = {"studies": "studies: ", "schema": "schema "}
    storage = ", ".join(f"{names.get(name, '')}{value}" for name, value in report["storage"].items())
    lines = [("versions", versions), *report["training"].items(), ("storage", storage)]
    for problem in report["problems"]:
        lines.append(("problem", problem["problem"]))
        lines += [("  fix", problem["fix"])] if problem["fix"] else []
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in lines:
        table.add_row(Text(name, style="bold"), Text(text))
    return table
