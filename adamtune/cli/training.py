"""The verbs that train: `demo`, `tune` and `worker`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamtune.cli import backend, output
from adamtune.cli.options import Json, Storage, Study, Table, names_of_optimizers, one_of
from adamtune.errors import DataError, StudyError

if TYPE_CHECKING:
    from adamtune.summary import Summary


# What `tune` writes of its options for `worker`, which takes nothing else from a database.
_SETTINGS = (
    "optimizer",
    "space",
    "cv",
    "n_seeds",
    "task",
    "n_trials",
    "epochs",
    "batch_size",
    "metric",
    "sampler",
    "pruner",
    "lanes",
)


def demo(storage: Storage = None, as_json: Json = False) -> None:
    """Tune Adam on scikit-learn's digits, in about a minute."""
    backend.load()
    import numpy as np

    from adamtune import summary
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
    with output.talk(as_json):
        tuner.fit(x, y)
    default = networks.seeded(seed, lambda: _digits_network(x, y))
    default.compile("adam", loss="sparse_categorical_crossentropy")
    networks.seeded(seed, lambda: default.fit(x, y, epochs=epochs, batch_size=tuner.batch_size, verbose=0))
    guessed = default.predict(table.x[unseen], verbose=0).argmax(axis=1)
    accuracy = {
        "tuned": float(tuner.score(table.x[unseen], table.y[unseen])),
        "default_adam": float((guessed == table.y[unseen]).mean()),
    }
    found = summary.of_study(tuner.study_)
    if as_json:
        output.show_json(found.to_dict() | {"held_out": {"rows": len(unseen), "accuracy": accuracy}})
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


def tune(
    ctx: typer.Context,
    file: Table,
    target: Annotated[str, typer.Option(metavar="COL", help="The column to predict.")],
    optimizer: Annotated[
        str, names_of_optimizers("Which optimizer to tune; several with commas between, or all.")
    ] = "adam",
    space: Annotated[str, typer.Option(metavar="NAME", help="auto, or a published space.")] = "auto",
    cv: Annotated[int | None, typer.Option(metavar="K", help="Judge each trial in K folds.")] = None,
    n_seeds: Annotated[int, typer.Option(metavar="N", help="Train each trial under N seeds.")] = 1,
    n_trials: Annotated[int, typer.Option(metavar="N", help="Trials in all, also with --resume.")] = 64,
    epochs: Annotated[int, typer.Option(metavar="N", help="Length of a trial.")] = 20,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Rows a step.")] = 32,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop the search after so long.")] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Judge by accuracy, mae, ...; else by loss.")
    ] = None,
    task: Annotated[str, one_of("auto", "classification", "regression", help="What the column is.")] = "auto",
    seed: Annotated[int | None, typer.Option(metavar="N", help="Makes the study repeatable.")] = None,
    study_name: Annotated[str | None, typer.Option(metavar="NAME", help="Else the name of the file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest study of that name.")] = False,
    pruner: Annotated[str, one_of("asha", "hyperband", "median", "none", help="Who ends poor trials.")] = "asha",
    sampler: Annotated[str, one_of("tpe", "random", "qmc", "gp", help="Who suggests the next trial.")] = "tpe",
    lanes: Annotated[str, typer.Option(metavar="N", help="Trials at once, or auto.")] = "auto",
    n_jobs: Annotated[int, typer.Option(metavar="N", help="Processes at once, each with lanes of its own.")] = 1,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Tune the optimizer of a dense network on a table."""
    from adamtune.optimizers import get
    from adamtune.tasks.tables import read_table

    names = optimizer.split(",")
    # Before the backend, which takes seconds: what is mistyped is told at once.
    table = read_table(file, target)
    for name in names if optimizer != "all" else []:
        get(name)
    backend.load()
    from adamtune import summary
    from adamtune.tuner import AdamTuner

    settings = {name: ctx.params[name] for name in _SETTINGS} | {
        "optimizer": names if len(names) > 1 else optimizer,
        "task": table.kind if task == "auto" else task,
        "lanes": int(lanes) if lanes.isdecimal() else lanes,
    }
    tuner = AdamTuner(
        **settings,
        timeout=timeout,
        n_jobs=n_jobs,
        storage=storage,
        study_name=study_name or table.name,
        resume=resume,
        refit=False,  # there is nobody to give the model to
        random_state=seed,
    )
    tuner._origin = {"file": str(file.resolve()), "target": target, "settings": settings}
    try:
        with output.talk(as_json):
            typer.echo("\n".join([f"{file.name}: {' x '.join(map(str, table.x.shape))} numbers.", *table.said]))
            tuner.fit(table.x, table.y)
    except KeyboardInterrupt:
        if hasattr(tuner, "study_"):
            found = summary.of_study(tuner.study_)
            typer.echo(err=as_json)
            if as_json:
                output.show_json(found.to_dict())
            else:
                output.show(summary.render(found))
            typer.echo(f"\nInterrupted. Go on with:\n  {_resuming(ctx, found.name)}", err=True)
        raise
    found = summary.of_study(tuner.study_)
    if as_json:
        output.show_json(found.to_dict() | {"table": table.said})
    else:
        _say_where(found, storage)


def worker(
    study: Study,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The table, where it lies elsewhere on this machine.")
    ] = None,
    lanes: Annotated[str, typer.Option(metavar="N", help="Trials at once; else as many as the study has.")] = "auto",
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Leave after so long.")] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Train trials of a study that `adamtune tune` has begun, beside it.

    Start it as often as you like, on as many machines as reach the database. Each leaves when the study has all of its
    trials. A study of a program of your own takes workers from that program: `AdamTuner(...).join(X, y)`.
    """
    from adamtune.tasks.tables import read_table
    from adamtune.tuning import records
    from adamtune.tuning import study as known
    from adamtune.tuning.storage import existing

    with existing(storage) as database:
        found = known.find(database, study)
        name, origin = found.study_name, records.get_note(found, "origin")
    if not isinstance(origin, dict):
        raise StudyError(
            f"study {name!r} was not made by `adamtune tune`, so its rows and its model are not known here. In the "
            f"program that made it write AdamTuner(..., study_name={name!r}).join(X, y) instead of fit, and start that."
        )
    file, settings = data or Path(str(origin.get("file"))), origin.get("settings")
    if not file.exists():
        raise DataError(f"{file} is not there. Name the table of study {name!r} on this machine with --data FILE.")
    table = read_table(file, str(origin.get("target")))
    backend.load()
    from adamtune.tuner import AdamTuner

    given = {key: settings[key] for key in _SETTINGS if key in settings} if isinstance(settings, dict) else {}
    if lanes != "auto":
        given["lanes"] = int(lanes) if lanes.isdecimal() else lanes
    tuner = AdamTuner(**given, timeout=timeout, storage=storage, study_name=name, verbose=0)
    trained: list[int] = []

    def say(study: Any, trial: Any) -> None:
        trained.append(trial.number)
        value = f"{trial.value:.4g}" if trial.value is not None else "-"
        typer.echo(f"trial {trial.number}  {trial.state.name.lower()}  {value}", err=as_json)

    tuner.callbacks = (say,)
    try:
        with output.talk(as_json):
            typer.echo(f"Working at study {name} until it has {tuner.n_trials} trials.", err=as_json)
            tuner.join(table.x, table.y)
    finally:
        if as_json:
            output.show_json({"study": name, "trained": trained})
        else:
            typer.echo(f"Trained {len(trained)} of {tuner.n_trials} trials.")


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
