"""The command line: `adamtune` and `python -m adamtune`.

Each verb is a function in the module for its kind; what it needs is imported inside of it, so that `--help` answers at
once and only what trains waits for a backend. Results go to standard output, errors and, beside `--json`, progress to
standard error. An error is a sentence or two with what was given, what was expected and what to write instead; a
traceback is a mistake of ours.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Annotated, Any

import typer
import typer.core

from adamtune.cli import about, advising, stored, training
from adamtune.errors import AdamTuneError

_INTERRUPTED, _TERMINATED = 130, 143  # what shells report for a program that SIGINT or SIGTERM ended


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a program as Ctrl-C does: what runs is told to have stopped."""


def _terminate(*_: Any) -> None:
    raise _Terminated


def _insist(ignored: Any) -> None:
    """Send a stop once more that Python could not hand on: callbacks of its garbage collector have nobody to tell."""
    if not isinstance(ignored.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return
    sent = signal.SIGTERM if isinstance(ignored.exc_value, _Terminated) else signal.SIGINT
    threading.Timer(0.05, os.kill, (os.getpid(), sent)).start()


class _Verbs(typer.core.TyperGroup):
    """Says an error of ours in its own words instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AdamTuneError as error:
            _fail(str(error))
        except KeyboardInterrupt as stop:
            raise typer.Exit(_TERMINATED if isinstance(stop, _Terminated) else _INTERRUPTED) from None
        except typer.BadParameter as error:
            _name_what_was_given(error)
            raise
        except Exception as error:
            if not _is_of_database(error):
                raise
            why = f"{error.__cause__ or error}".partition("\n")[0]  # below it stands the SQL
            _fail(f"the database failed: {why}")


def _fail(why: str) -> None:
    typer.echo(f"Error: {why}", err=True)
    raise typer.Exit(1) from None


def _name_what_was_given(error: typer.BadParameter) -> None:
    """Put the value into a message that leaves it out, as of a number that is none."""
    errors = getattr(error.__cause__, "errors", None)  # pydantic's, where it was the one to refuse
    wrong = errors() if errors else []
    given = repr(wrong[0].get("input")) if wrong else ""
    told = error.message.removeprefix("Value error, ")
    error.message = told if given in told else f"got {given}. {told}"


def _is_of_database(error: Exception) -> bool:
    optuna = sys.modules.get("optuna")  # when it is not loaded, it is not the cause
    return optuna is not None and isinstance(error, optuna.exceptions.StorageInternalError)


app = typer.Typer(
    cls=_Verbs,
    name="adamtune",
    help="Find the optimizer that trains a Keras model best, many configurations at once.",
    epilog="Exit codes: 0 all is well, 1 an error, 2 wrong usage, 130 interrupted, 143 terminated.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _verb in (
    training.demo,
    training.tune,
    training.worker,
    advising.recommend,
    stored.studies,
    stored.show,
    stored.export,
    stored.report,
    stored.dashboard,
    about.optimizers,
    about.doctor,
):
    app.command()(_verb)
app.add_typer(advising.store, name="store")


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


def main() -> None:
    """Run the command line; ends the process."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _insist
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "±" shows "?" there
    app(prog_name="adamtune")  # also for `python -m adamtune`: what completes it is named so
