"""The verbs that look at what is stored: `studies`, `show`, `export`, `report` and `dashboard`."""

from __future__ import annotations

import contextlib
import enum
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamtune.cli import output
from adamtune.cli.options import Json, Storage, Study
from adamtune.errors import AdamTuneError, ConfigError, StorageError, StudyError

if TYPE_CHECKING:
    import optuna

    from adamtune.config import OptimizerConfig
    from adamtune.summary import Summary


def studies(
    storage: Storage = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The newest so many; JSON has all.")] = 20,
    as_json: Json = False,
) -> None:
    """List the stored studies, newest last."""
    from adamtune import summary
    from adamtune.cli import listing
    from adamtune.tuning import records
    from adamtune.tuning import study as known

    with _opened(storage) as database:
        ours = [study for name in known.names(database) if records.is_stamped(study := known.find(database, name))]
        found: list[Summary] = []
        others = len(known.names(database)) - len(ours)
        for study in ours if as_json else ours[-limit:]:
            try:
                found.append(summary.of_study(study))
            except StudyError:
                others += 1
    if as_json:
        output.show_json([each.to_dict() for each in found])
        return
    output.show(listing.cards(found) if output.is_terminal() else listing.rows(found))
    # Beside the table, for whom it goes into another program.
    if not found:
        typer.echo("No study yet: `adamtune demo` makes one.", err=True)
    if len(ours) > limit:
        typer.echo(f"{len(ours) - limit} older ones: --limit {len(ours)}", err=True)
    if others:
        typer.echo(f"{others} more that this version of adamtune did not make", err=True)


def show(study: Study, storage: Storage = None, as_json: Json = False) -> None:
    """Show what a study found, and the lines of code that use it."""
    from adamtune import summary

    found = _found(study, storage)
    if as_json:
        output.show_json(found.to_dict())
    else:
        output.show(summary.render(found))


class _To(enum.StrEnum):
    keras = "keras"
    torch = "torch"
    optax = "optax"
    json = "json"


def export(
    study: Study,
    to: Annotated[_To, typer.Option(help="Lines of Python for a framework, or the config as JSON.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value than the study's; several times."),
    ] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Print the best config of a study as code that runs."""
    from adamtune import summary

    found = _found(study, storage)
    if found.config is None:
        raise StudyError(f"study {found.name!r} has no trial that trained to a finite loss: nothing to export.")
    config = _changed(found.config, changes or [])
    try:
        text = config.to_json() if to is _To.json else summary.code(config, found.loss, to.value)
    except ConfigError as error:
        # "Write NAME=VALUE" is Python; where no value helps, Keras does.
        here = "--to keras" if "to_keras()" in str(error) else "--set NAME=VALUE"
        raise ConfigError(f"{error} On this command line: {here}.") from None
    if as_json:
        code = None if to is _To.json else text
        output.show_json({"study": found.name, "to": to.value, "config": config.to_dict(), "code": code})
        return
    if changes and to is not _To.json:
        typer.echo(f"# Not as study {found.name} trained it: {', '.join(changes)}")
    typer.echo(text)


def _changed(config: OptimizerConfig, changes: list[str]) -> OptimizerConfig:
    """The config with other values; another schedule leaves the numbers of the old one behind."""
    from adamtune.config import OptimizerConfig
    from adamtune.optimizers import schedules

    given: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {change!r}: expected NAME=VALUE, such as --set epsilon=0.")
        given[name.strip()] = _value(value.strip())
    if fixed := given.keys() & {"optimizer", "found"}:
        raise ConfigError(
            f"--set {min(fixed)}=...: expected a hyper, a schedule or an option; the rest is the study's."
        )
    schedule = given.pop("schedule", config.schedule)
    moving = {hyper.name for hyper in schedules.HYPERS} if schedule != config.schedule else set()
    kept = {name: value for name, value in config.hypers.items() if name not in moving} | config.options
    return OptimizerConfig(config.optimizer, schedule=schedule, found=config.found, **kept | given)


def _value(text: str) -> Any:
    """A value as Python or JSON writes it; what is neither is a text.

    >>> _value("True"), _value("1e-3"), _value("none"), _value("'cosine'"), _value("cosine")
    (True, 0.001, None, 'cosine', 'cosine')
    """
    if text.lower() == "none":
        return None
    try:
        return json.loads(text.lower())
    except (ValueError, RecursionError):
        return text.strip("'\"")


class _Format(enum.StrEnum):
    html = "html"
    md = "md"
    json = "json"


def report(
    study: Study,
    file: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Default: STUDY.html for html, else standard output."),
    ] = None,
    format: Annotated[_Format | None, typer.Option(help="Default: what FILE ends in, else html.")] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Write a page about a study that opens anywhere, or Markdown."""
    from adamtune.tuning import study as known

    if as_json and file is None and format is None:
        format = _Format.json
    wanted = format.value if format else None
    with _needing("report"), _opened(storage) as database:
        from adamtune import report as reports

        found = known.find(database, study)
        if file is None and wanted in ("md", "json"):
            text = reports.text(found, wanted)
            if as_json and wanted == "md":
                output.show_json({"study": found.study_name, "format": wanted, "text": text})
            else:
                typer.echo(text.removesuffix("\n"))
            return
        file = file or Path(f"{found.study_name.replace('/', '-')}.html")
        try:
            reports.write(found, file, wanted)
        except OSError as error:
            raise StorageError(
                f"{file} cannot be written: {error.strerror or error}. Name another file with -o."
            ) from None
    if as_json:
        output.show_json({"study": found.study_name, "file": str(file)})
    else:
        typer.echo(f"Written: {file}")


def dashboard(
    storage: Storage = None,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Where to listen; beyond this machine the printed token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 8080,
    writable: Annotated[
        bool, typer.Option("--writable", help="Let studies be changed and deleted from there.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Serve the studies to a browser, until Ctrl-C."""
    # Ctrl-C is how a server is ended, so it is no error, as for optuna-dashboard.
    with _needing("dashboard"), contextlib.suppress(KeyboardInterrupt):
        from adamtune import dashboard as pages

        try:
            pages.serve(storage, host=host, port=port, writable=writable, open_browser=not no_browser)
        except OSError as error:
            why = f"{host}:{port} cannot be served: {error.strerror or error}. Choose others with --host and --port."
            raise StorageError(why) from None


@contextlib.contextmanager
def _needing(extra: str) -> Iterator[None]:
    """Say how to install what an optional verb needs and does not find."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "adamtune":
            raise
        raise AdamTuneError(f"{missing!r} is not installed: run `pip install 'adamtune[{extra}]'`.") from None


def _found(name: str, storage: str | None) -> Summary:
    """The study of that name, or the newest whose name begins with it and a slash."""
    from adamtune import summary
    from adamtune.tuning import study as known

    with _opened(storage) as database:
        return summary.of_study(known.find(database, name))


def _opened(storage: str | None) -> contextlib.AbstractContextManager[optuna.storages.BaseStorage]:
    from adamtune.tuning.storage import existing

    return existing(storage)
