"""The verbs about adamtune itself: `optimizers` that it has, and the `doctor` for the machine it runs on."""

from __future__ import annotations

from typing import Annotated

import typer

from adamtune.cli import backend, completing, output
from adamtune.cli.options import Json, Storage


def optimizers(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One of them: equations, pitfalls.", autocompletion=completing.optimizers),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the optimizers there are, or show one."""
    from adamtune import catalogue
    from adamtune.optimizers import get, names

    rules = [get(each) for each in ([name] if name else names())]
    if as_json:
        found = [catalogue.facts(rule) for rule in rules]
        output.show_json(found[0] if name else found)
    else:
        output.show(catalogue.page(rules[0]) if name else catalogue.table())


def doctor(storage: Storage = None, as_json: Json = False) -> None:
    """Check this machine, and say how to mend what is wrong."""
    from adamtune import doctor as checks

    report = checks.examine(storage, backend.load)
    if as_json:
        output.show_json(report)
    else:
        output.show(checks.render(report))
        if not report["problems"]:
            typer.echo("Nothing is wrong.")
    if report["problems"]:
        raise typer.Exit(1)
