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
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from adamtune.errors import AdamTuneError, StudyError

if TYPE_CHECKING:
    import optuna
    from rich.console import RenderableType

    from adamtune.summary import Summary

_INTERRUPTED = 130  # what shells report for a program that SIGINT ended
# Wide enough that nothing is folded where lines are for other programs.
_PIPE_WIDTH = 200


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
    optimizer: Annotated[
        str, typer.Option(metavar="NAMES", help="Which optimizer to tune; several with commas between, or all.")
    ] = "adam",
    space: Annotated[str, typer.Option(metavar="NAME", help="auto, or a published space.")] = "auto",
    cv: Annotated[int | None, typer.Option(metavar="K", help="Judge each trial in K folds.")] = None,
    n_seeds: Annotated[int, typer.Option(metavar="N", help="Train each trial under N seeds.")] = 1,
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
    pruner: Annotated[str, typer.Option(metavar="NAME", help="asha, hyperband, median or none.")] = "asha",
    sampler: Annotated[str, typer.Option(metavar="NAME", help="tpe, random, qmc or gp.")] = "tpe",
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
        optimizer=optimizer.split(",") if "," in optimizer else optimizer,
        space=space,
        cv=cv,
        n_seeds=n_seeds,
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
    from adamtune.tuning import study as stored

    with _opened(storage) as database:
        found, others = [], 0
        for name in stored.names(database):
            try:
                found.append(_summary(stored.find(database, name)))
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
    from adamtune.tuning import study as stored

    with _opened(storage) as database:
        return _summary(stored.find(database, name))


def _opened(storage: str | None) -> contextlib.AbstractContextManager[optuna.storages.BaseStorage]:
    from adamtune.tuning.storage import existing

    return existing(storage)


@app.command("optimizers")
def show_optimizers(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them: equations, pitfalls.")] = None,
    as_json: _Json = False,
) -> None:
    """List the optimizers there are, or show one."""
    from adamtune import catalogue, optimizers

    rules = [optimizers.get(each) for each in ([name] if name else optimizers.names())]
    if as_json:
        found = [catalogue.facts(rule) for rule in rules]
        _print_json(found[0] if name else found)
    else:
        _print(catalogue.page(rules[0]) if name else catalogue.table())


@app.command()
def doctor(storage: _Storage = None, as_json: _Json = False) -> None:
    """Check what adamtune needs on this machine, and say how to mend what is wrong."""
    from adamtune import doctor as checks

    report = checks.examine(storage, _load_backend)
    if as_json:
        _print_json(report)
    else:
        _print(checks.render(report))
        if not report["problems"]:
            typer.echo("Nothing is wrong.")
    if report["problems"]:
        raise typer.Exit(1)


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
