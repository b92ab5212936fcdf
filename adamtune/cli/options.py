"""The options and arguments that several verbs share, so that they are called and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from adamtune.cli import completing

Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Database of the studies. Default: $ADAMTUNE_STORAGE, else sqlite:///adamtune.db",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Its name, or what its name begins with: the newest.",
        autocompletion=completing.studies,
    ),
]
Table = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .tsv file, may be gzipped, or a .parquet file.")]


def one_of(*names: str, help: str) -> Any:
    """An option that takes one of these names, and shows and completes them."""
    return typer.Option(metavar="|".join(names), help=help, autocompletion=completing.among(*names))


def names_of_optimizers(help: str) -> Any:
    """An option that takes names of optimizers."""
    return typer.Option(metavar="NAMES", help=help, autocompletion=completing.optimizers)
