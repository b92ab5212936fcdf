"""The verbs that use what earlier studies taught: `recommend`, and `store`, which counts and carries it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamtune.cli import output
from adamtune.cli.options import Json, Storage, names_of_optimizers, one_of

if TYPE_CHECKING:
    from adamtune.recommending.store import Entry


def recommend(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A .csv or .tsv file, may be gzipped, or a .parquet file; or say --task."),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COL", help="The column of FILE to predict.")] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Without FILE, such as image-classification or table-regression."),
    ] = None,
    n_samples: Annotated[int | None, typer.Option(metavar="N", help="Rows that train.")] = None,
    n_features: Annotated[int | None, typer.Option(metavar="N", help="Numbers of a row.")] = None,
    n_classes: Annotated[int | None, typer.Option(metavar="N", help="Labels.")] = None,
    n_weights: Annotated[int | None, typer.Option(metavar="N", help="Weights of the model that are trained.")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Length of the training.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Rows a step.")] = None,
    optimizer: Annotated[str | None, names_of_optimizers("These only; several with commas between.")] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many configs.")] = 5,
    epoch: Annotated[str, one_of("best", "last", help="Which epoch of a training counts.")] = "best",
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Say which optimizer to try first, without any training."""
    from adamtune import advice
    from adamtune.recommending import recommend as ask

    shared: dict[str, Any] = {"k": k, "storage": storage, "epochs": epochs, "batch_size": batch_size, "epoch": epoch}
    shared["optimizer"] = optimizer.split(",") if optimizer else None
    if file is None:
        if task is None:
            raise typer.BadParameter("give FILE with --target, or --task KIND.")
        shared |= {"n_samples": n_samples, "n_features": n_features, "n_classes": n_classes, "n_weights": n_weights}
        found = ask(task=task, **shared)
    else:
        if target is None:
            raise typer.BadParameter("say which column of FILE to predict: --target COL.")
        from adamtune.tasks.tables import read_table

        table = read_table(file, target)
        found = ask(table.x, table.y, task=task or table.kind, **shared)
    if as_json:
        output.show_json(found.to_dict())
    else:
        output.show(advice.render(found))


store = typer.Typer(help="What the stored studies have taught: count it, carry it.", no_args_is_help=True)


@store.command("stats")
def store_stats(storage: Storage = None, as_json: Json = False) -> None:
    """Count what the installed version and your own studies know."""
    from adamtune import advice, recommending

    parts: dict[str, Sequence[Entry]] = {"shipped": recommending.shipped(), "own": recommending.own(storage)}
    if as_json:
        output.show_json({name: advice.stats(entries) for name, entries in parts.items()})
    else:
        output.show(advice.render_stats(parts))


@store.command("export")
def store_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .json or .json.gz file; is overwritten.")],
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Write what your studies taught into a file, without rows of data."""
    from adamtune import recommending
    from adamtune.recommending import exchange

    entries = recommending.own(storage)
    exchange.export(entries, file)
    if as_json:
        output.show_json({"tasks": len(entries), "file": str(file)})
    else:
        typer.echo(f"{len(entries)} tasks in {file}")


@store.command("import")
def store_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote.")],
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Add what is in a file; a task that is there already is updated."""
    from adamtune import recommending
    from adamtune.recommending import exchange

    entries = exchange.read_file(file)
    recommending.learn(entries, storage)
    if as_json:
        output.show_json({"tasks": len(entries), "file": str(file)})
    else:
        typer.echo(f"{len(entries)} tasks from {file}")
