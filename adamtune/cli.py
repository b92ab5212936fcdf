"""The command line: `adamtune` and `python -m adamtune`.

Each verb is a function below; what it needs is imported inside of it, so that `--help` answers at once and only what
trains waits for a backend. Results go to standard output, as tables or with `--json` as data; errors and, beside
`--json`, progress go to standard error. Exit codes: 0 all is well, 1 an error, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from adamtune.errors import AdamTuneError, StorageError, StudyError, did_you_mean

if TYPE_CHECKING:
    import optuna
    from rich.console import RenderableType

    from adamtune.summary import Summary

_INTERRUPTED = 130  # what shells report for a program that SIGINT ended
# Wide enough that nothing is folded where lines are for other programs.
_PIPE_WIDTH = 200
# What the name of a study that was run beside another adds to its name, see `tuning.run.baselines`.
_BESIDE = "/learning-rate-alone"


class _Verbs(typer.core.TyperGroup):
    """Says an error of ours in its own words instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AdamTuneError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except Exception as error:
            if not _is_of_database(error):
                raise
            why = f"{error.__cause__ or error}".partition("\n")[0]  # below it stands the SQL
            typer.echo(f"error: the database failed: {why}", err=True)
            raise typer.Exit(1) from None


def _is_of_database(error: Exception) -> bool:
    optuna = sys.modules.get("optuna")  # when it is not loaded, it is not the cause
    return optuna is not None and isinstance(error, optuna.exceptions.StorageInternalError)


app = typer.Typer(
    cls=_Verbs,
    name="adamtune",
    help="Find the optimizer that trains a Keras model best, many configurations at once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Database of the studies. Default: $ADAMTUNE_STORAGE, else sqlite:///adamtune.db",
        show_default=False,
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Study = Annotated[str, typer.Argument(metavar="STUDY", help="Its name, or what its name begins with: the newest.")]


def main() -> None:
    """Run the command line; ends the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "±" shows "?" there
    app()


def _version(wanted: bool) -> None:
    if wanted:
        import adamtune

        typer.echo(f"adamtune {adamtune.__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


# ------------------------------------------------------------------------------------------------- training


@app.command()
def demo(storage: _Storage = None, as_json: _Json = False) -> None:
    """Tune Adam on scikit-learn's digits and compare it with the default, in under a minute."""
    _load_backend()
    import numpy as np

    from adamtune.tasks import networks, tables
    from adamtune.tuner import AdamTunerClassifier

    seed, epochs = 0, 10
    table = tables.digits()
    order = np.random.default_rng(seed).permutation(len(table.y))
    seen, unseen = np.split(order, [3 * len(order) // 4])
    x, y = table.x[seen], table.y[seen]
    tuner = AdamTunerClassifier(
        _digits_network, n_trials=64, epochs=epochs, storage=storage, study_name="demo", random_state=seed
    )
    with _talk(as_json):
        tuner.fit(x, y)
    default = networks.seeded(seed, lambda: _digits_network(x, y))
    default.compile("adam", loss="sparse_categorical_crossentropy")
    networks.seeded(seed, lambda: default.fit(x, y, epochs=epochs, batch_size=tuner.batch_size, verbose=0))
    guessed = default.predict(table.x[unseen], verbose=0).argmax(axis=1)
    accuracy = {
        "tuned": float(tuner.score(table.x[unseen], table.y[unseen])),
        "default_adam": float((guessed == table.y[unseen]).mean()),
    }
    found = _summary(tuner.study_)
    if as_json:
        _print_json(found.to_dict() | {"held_out": {"rows": len(unseen), "accuracy": accuracy}})
        return
    typer.echo(
        f"\nAccuracy on {len(unseen)} unseen rows, after {epochs} epochs on the same {len(seen)} rows:\n"
        f"  tuned                {accuracy['tuned']:.4f}\n"
        f"  Keras' default Adam  {accuracy['default_adam']:.4f}"
    )
    _say_where(found, storage)


def _digits_network(X: Any, y: Any) -> Any:
    import keras

    return keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


@app.command()
def tune(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .tsv file, may be gzipped.")],
    target: Annotated[str, typer.Option(metavar="COL", help="The column to predict.")],
    optimizer: Annotated[str, typer.Option(metavar="NAME", help="Which optimizer to tune.")] = "adam",
    n_trials: Annotated[int, typer.Option(help="Trials in all, also with --resume.")] = 64,
    epochs: Annotated[int, typer.Option(help="Length of a trial.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 32,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop the search after so long.")] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Judge by accuracy, mae, ...; else by loss.")
    ] = None,
    task: Annotated[str, typer.Option(metavar="KIND", help="auto, classification or regression.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Makes the study repeatable.")] = None,
    study_name: Annotated[str | None, typer.Option(metavar="NAME", help="Else the name of the file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest study of that name.")] = False,
    pruner: Annotated[str, typer.Option(metavar="NAME", help="asha or none.")] = "asha",
    sampler: Annotated[str, typer.Option(metavar="NAME", help="tpe or random.")] = "tpe",
    lanes: Annotated[str, typer.Option(metavar="N", help="Trials at once, or auto.")] = "auto",
    storage: _Storage = None,
    as_json: _Json = False,
) -> None:
    """Tune the optimizer of a dense network on a table."""
    from adamtune.tasks.tables import read_table

    table = read_table(file, target)  # before the backend: a mistyped column is told at once
    _load_backend()
    from adamtune.tuner import AdamTuner

    tuner = AdamTuner(
        optimizer=optimizer,
        task=table.kind if task == "auto" else task,
        n_trials=n_trials,
        timeout=timeout,
        epochs=epochs,
        batch_size=batch_size,
        metric=metric,
        sampler=sampler,
        pruner=pruner,
        lanes=int(lanes) if lanes.isdecimal() else lanes,
        storage=storage,
        study_name=study_name or table.name,
        resume=resume,
        refit=False,  # there is nobody to give the model to
        random_state=seed,
    )
    try:
        with _talk(as_json):
            typer.echo("\n".join([f"{file.name}: {' x '.join(map(str, table.x.shape))} numbers.", *table.said]))
            tuner.fit(table.x, table.y)
    except KeyboardInterrupt:
        if hasattr(tuner, "study_"):
            found = _summary(tuner.study_)
            typer.echo(err=as_json)
            _show(found, as_json)
            typer.echo(f"\nInterrupted. Go on with:\n  {_resuming(ctx, found.name)}", err=True)
        raise
    found = _summary(tuner.study_)
    if as_json:
        _print_json(found.to_dict() | {"table": table.said})
    else:
        _say_where(found, storage)


def _resuming(ctx: typer.Context, name: str) -> str:
    """The command line that goes on with a study: what was given, its name, and --resume."""
    from adamtune.tuning.storage import redact

    words = ["adamtune", "tune", str(ctx.params["file"])]
    for parameter in ctx.command.params:
        value = ctx.params.get(str(parameter.name))
        if parameter.name in ("file", "study_name", "resume") or value == parameter.default:
            continue
        words += [parameter.opts[0]] if value is True else [parameter.opts[0], redact(value)]
    return shlex.join([*words, "--study-name", name, "--resume"])


def _say_where(found: Summary, storage: str | None) -> None:
    from adamtune.tuning.storage import redact, resolve_url

    url = resolve_url(storage)
    if url != "memory":
        again = ["adamtune", "show", found.name, *(["--storage", redact(storage)] if storage else [])]
        typer.echo(f"\nStored in {redact(url)}. Look at it again with:\n  {shlex.join(again)}")


# -------------------------------------------------------------------------------------------------- looking


@app.command()
def studies(
    storage: _Storage = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many; JSON has all.")] = 20,
    as_json: _Json = False,
) -> None:
    """List the stored studies, newest last."""
    with _opened(storage) as database:
        found, others = [], 0
        for name in _names(database):
            try:
                found.append(_summary(_load(database, name)))
            except StudyError:
                others += 1
    if as_json:
        _print_json([each.to_dict() for each in found])
        return
    _print_studies(found[-limit:])
    if len(found) > limit:
        typer.echo(f"{len(found) - limit} older ones: --limit {len(found)}")
    if others:
        typer.echo(f"{others} more that this version of adamtune did not make")


def _print_studies(found: list[Summary]) -> None:
    from rich.table import Table
    from rich.text import Text

    from adamtune.summary import number, printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("study", overflow="fold")
    table.add_column("trials", justify="right")
    table.add_column("best", justify="right", no_wrap=True)
    table.add_column("confirmed")
    for each in found:
        score = each.winner.score if each.winner else each.best[0].value if each.best else None
        best = Text(printable(f"{each.objective} {number(score)}"))
        confirmed = bool(each.winner and each.winner.passes)
        table.add_row(Text(printable(each.name)), str(each.counts["finished"]), best, number(confirmed))
    _print(table)


def _names(database: optuna.storages.BaseStorage) -> list[str]:
    """Names of the studies, oldest first, without those that were run beside another to compare it."""
    stored = sorted(database.get_all_studies(), key=lambda study: study._study_id)
    names = [study.study_name for study in stored]
    return [name for name in names if name.partition(_BESIDE)[0] not in names or _BESIDE not in name]


def _load(database: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    import optuna

    return optuna.load_study(study_name=name, storage=database)


@app.command()
def show(study: _Study, storage: _Storage = None, as_json: _Json = False) -> None:
    """Show what a study found, and the lines of code that use it."""
    _show(_found(study, storage), as_json)


class _Format(enum.StrEnum):
    keras = "keras"
    json = "json"


@app.command()
def export(
    study: _Study,
    to: Annotated[_Format, typer.Option(help="Lines of Python, or the config as JSON.")],
    storage: _Storage = None,
) -> None:
    """Print the best config of a study, for another program."""
    found = _found(study, storage)
    if found.config is None:
        raise StudyError(f"study {found.name!r} has no trial that trained to a finite loss: nothing to export.")
    typer.echo(found.code if to is _Format.keras else found.config.to_json())


def _found(name: str, storage: str | None) -> Summary:
    """The study of that name, or the newest whose name begins with it and a slash."""
    with _opened(storage) as database:
        try:
            return _summary(_load(database, name))
        except KeyError:
            names = _names(database)
        for each in reversed(names):
            if each.startswith(f"{name}/"):
                return _summary(_load(database, each))
    shown = ", ".join(repr(each) for each in names[-5:]) or "none"
    beginnings = [each.rpartition("/")[0] for each in names]
    near = did_you_mean(name, names + beginnings)
    raise StudyError(f"there is no study {name!r}.{near} The newest of {len(names)} stored: {shown}.")


@contextlib.contextmanager
def _opened(given: str | None) -> Iterator[optuna.storages.BaseStorage]:
    """A database that is there already: looking makes no new file."""
    from adamtune.tuning import storage

    url = storage.resolve_url(given)
    shown = f"storage={storage.redact(url)!r}"
    if url == "memory":
        raise StorageError(f"{shown} keeps nothing after a program has ended: name a file or a server.")
    file = _sqlite_file(url)
    if file and not file.exists():
        raise StorageError(
            f"{shown} does not exist. The first study makes it, try `adamtune demo`; or name another with --storage."
        )
    database = storage.open_storage(url)
    try:
        yield database
    finally:
        storage.close(database)


def _sqlite_file(url: str) -> Path | None:
    path = url.partition(":///")[2].partition("?")[0]
    return Path(path) if url.startswith("sqlite") and path and not path.startswith("file:") else None


# --------------------------------------------------------------------------------------------------- doctor


@app.command()
def doctor(storage: _Storage = None, as_json: _Json = False) -> None:
    """Check what adamtune needs on this machine, and say how to mend what is wrong."""
    problems: list[dict[str, str]] = []
    report: dict[str, Any] = {
        "versions": _versions(problems),
        "training": _training(problems),
        "storage": _stored(storage, problems),
        "problems": problems,
    }
    if as_json:
        _print_json(report)
    else:
        _print_report(report)
    if problems:
        raise typer.Exit(1)


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


def _training(problems: list[dict[str, str]]) -> dict[str, str]:
    """Backend and device, and how they would train the trials of `adamtune demo`."""
    try:
        _load_backend()
        import keras

        from adamtune import engine
    except Exception as error:  # a backend fails to load in many ways
        wanted = os.environ.get("KERAS_BACKEND", "tensorflow")
        fix = "pip install tensorflow" if wanted == "tensorflow" else "set KERAS_BACKEND=tensorflow"
        _problem(problems, f"Keras cannot load its backend {wanted!r}: {error}", fix)
        return {"backend": wanted}
    backend, device = keras.backend.backend(), engine.device()
    if device.startswith("CPU") and shutil.which("nvidia-smi"):
        fix = f"pip install 'adamtune[{'jax-cuda' if backend == 'jax' else 'cuda'}]'"
        _problem(problems, f"there is an NVIDIA driver, but {backend} sees no GPU", fix)
    plan = _plan(device)
    if plan.reason:
        _problem(problems, f"trials run one at a time: {plan.reason}", "set KERAS_BACKEND=tensorflow")
    return {"backend": backend, "device": device, "plan": f"{plan}, for 64 trials of `adamtune demo`"}


def _plan(device: str) -> Any:
    from adamtune import optimizers
    from adamtune.engine import lanes
    from adamtune.tasks import data, tables
    from adamtune.tasks.task import Task

    table = tables.digits()
    rows = data.prepare(table.x, table.y, kind="classification")
    model = _digits_network(table.x, table.y)
    task = Task(
        name=table.name,
        data=rows,
        split=lambda seed: data.split(rows, 0.2, seed),
        build=lambda seed: model,
        loss=None,
        metric=None,
        objective="val_loss",
        direction="minimize",
        epochs=10,
        batch_size=32,
    )
    return lanes.plan(task, model, optimizers.get("adam"), "auto", 64, True, device)


def _stored(given: str | None, problems: list[dict[str, str]]) -> dict[str, Any]:
    """Whether the database answers, and what is in it."""
    from adamtune.tuning import storage

    try:
        url = storage.resolve_url(given)
        found: dict[str, Any] = {"url": storage.redact(url)}
        file = _sqlite_file(url)
        if file and not file.exists():
            if not os.access(file.parent, os.W_OK):
                _problem(problems, f"no database can be made in {str(file.parent)!r}", "name another with --storage")
            return found | {"studies": 0, "note": "not there yet: the first study makes it"}
        with _opened(given) as database:
            backend: Any = getattr(database, "_backend", database)
            return found | {"schema": backend.get_current_version(), "studies": len(_names(database))}
    except StorageError as error:
        _problem(problems, str(error), "")
        return {"url": storage.redact(given or os.environ.get("ADAMTUNE_STORAGE", ""))}


def _problem(problems: list[dict[str, str]], what: str, fix: str) -> None:
    problems.append({"problem": what, "fix": fix})


def _print_report(report: dict[str, Any]) -> None:
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
    _print(table)
    if not report["problems"]:
        typer.echo("Nothing is wrong.")


# -------------------------------------------------------------------------------------------- what verbs share


def _summary(study: optuna.Study) -> Summary:
    from adamtune import summary

    return summary.of_study(study)


def _show(found: Summary, as_json: bool) -> None:
    from adamtune.summary import render

    if as_json:
        _print_json(found.to_dict())
    else:
        _print(render(found))


def _print(what: RenderableType) -> None:
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(what)
        return
    if "COLUMNS" not in os.environ:
        console.width = _PIPE_WIDTH
    with console.capture() as captured:
        console.print(what)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2))


def _talk(as_json: bool) -> contextlib.AbstractContextManager[Any]:
    """Where progress goes: standard output is left to the JSON."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


# Lines that TensorFlow writes before it has read how much it should: information, and a warning about itself.
_CHATTER = r"I\d{4} |WARNING: All log messages before absl"
_FILTER = f"""
import re, sys
for line in sys.stdin.buffer:
    if not re.match(b{_CHATTER!r}, line):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""


def _load_backend() -> None:
    """Import Keras without TensorFlow's chatter on the terminal; whoever sets TF_CPP_MIN_LOG_LEVEL gets it all.

    Whatever else is written passes, also when the import ends the process: the filter is a process of its own.
    """
    if "keras" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # what goes wrong is raised; at 2 a machine without a GPU is an error
    sys.stderr.flush()
    stderr = os.dup(2)
    reader, writer = os.pipe()
    passing = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER], stdin=reader, stdout=stderr, stderr=stderr, start_new_session=True
    )
    os.close(reader)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        import keras

        keras.ops.zeros(())  # the first array wakes the device, which has its own chatter
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)  # closes the pipe, and so ends the filter
        os.close(stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):
            passing.wait(timeout=5)
