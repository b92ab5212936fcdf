"""What a stored study says, as data and as text.

Everything is read from the study, nothing from the run that made it: the end of `fit` and `adamtune show` print the
same. A study that was cut off before its best trials were confirmed says so and shows the best so far. What is stored
is somebody's data: configs are checked field by field, and a loss that is not plain Keras does not get into the code
to paste.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError
from adamtune.tuning import records

_BEST = 5
# Code fits the smallest usual terminal, so that it can be copied from there without broken lines.
_WIDTH = 79
# A study from which nothing has come for so many times its longest trial, and for so long, runs no more. The least is
# what confirming takes, in which no trial begins or ends; the other for studies of which no trial has ended.
_PATIENCE, _LEAST, _LONG = 5, datetime.timedelta(minutes=5), datetime.timedelta(hours=12)
_LOSS = re.compile(r"keras\.losses\.[A-Z]\w*")
_State = optuna.trial.TrialState


@dataclass(frozen=True)
class Ranked:
    """One of the best trials; `value` was reached in `epochs`, and is comparable only among the same epochs."""

    trial: int
    config: OptimizerConfig
    value: float
    epochs: int


@dataclass(frozen=True)
class Winner:
    """The config that was chosen, with its mean and spread over the confirming passes (0: it was not confirmed)."""

    trial: int
    config: OptimizerConfig
    score: float | None
    spread: float | None
    passes: int


@dataclass(frozen=True)
class Compared:
    """A config's confirmed values; `gain` is the share by which it is better than Keras' default Adam."""

    label: str
    trial: int | None
    config: OptimizerConfig
    mean: float | None
    spread: float | None
    gain: float | None


@dataclass(frozen=True)
class Summary:
    """What a study says.

    Parameters
    ----------
    name, optimizer, task, objective, direction : str
    state : {"finished", "running", "interrupted"}
        A study of a process that was killed counts as running until nothing has come from it for a while.
    created : str or None
        When its first trial began, ISO 8601 in local time.
    seconds : float or None
        How long `fit` took; None while it has not come to its end.
    device, strategy, sampler, pruner : str
    lanes, epochs, batch_size : int
    counts : dict of str to int
        "finished" is the sum of "complete", "pruned" and "diverged"; also "failed" and "running".
    best : tuple of Ranked
        The best trials of the search, best first.
    winner : Winner or None
        None when the study was cut off before it was chosen.
    comparison : tuple of Compared
        Best first.
    warnings : tuple of str
    loss : str or None
        A Python expression, as `code` takes it.
    code : str
        Lines of Python that use the winner, or else the best trial; "" when there is none.
    """

    name: str
    optimizer: str
    task: str
    objective: str
    direction: str
    state: str
    created: str | None
    seconds: float | None
    device: str
    lanes: int
    strategy: str
    sampler: str
    pruner: str
    epochs: int
    batch_size: int
    counts: dict[str, int]
    best: tuple[Ranked, ...]
    winner: Winner | None
    comparison: tuple[Compared, ...]
    warnings: tuple[str, ...]
    loss: str | None
    code: str

    @property
    def config(self) -> OptimizerConfig | None:
        """The winner's config, else that of the best trial so far."""
        if self.winner is not None:
            return self.winner.config
        return self.best[0].config if self.best else None

    @property
    def value(self) -> float | None:
        """The winner's score, else that of the best trial so far."""
        return self.winner.score if self.winner else self.best[0].value if self.best else None

    @property
    def default(self) -> float | None:
        """The score of Keras' default Adam in the confirming passes; None where it was not compared."""
        return next((row.mean for row in self.comparison if _is_default(row.config)), None)

    @property
    def gain(self) -> float | None:
        """The share by which the winner is better than the default; None where they were not compared."""
        won = self.winner.trial if self.winner else None
        return next((row.gain for row in self.comparison if row.trial == won), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def of_study(study: optuna.Study) -> Summary:
    """Read a study.

    Raises
    ------
    StudyError
        When adamtune did not make it.
    """
    stamp = records.read_stamp(study)
    trials = study.get_trials(deepcopy=False)
    began = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    warnings = [str(each) for each in _note(study, "warnings", [])]
    best = _best(study, stamp, warnings)
    winner = _winner(_note(study, "winner"), warnings)
    comparison = _comparison(_note(study, "comparison", []), study.direction.name.lower(), warnings)
    config = winner.config if winner else best[0].config if best else None
    seconds = _note(study, "seconds")
    loss = _note(study, "loss")
    return Summary(
        name=study.study_name,
        optimizer=stamp.optimizer,
        task=stamp.task,
        objective=stamp.objective,
        direction=study.direction.name.lower(),
        state=_state(trials, winner is not None, stamp.strategy == "own_loop"),
        created=min(began).isoformat(timespec="seconds") if began else None,
        seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
        device=stamp.device,
        lanes=stamp.lanes,
        strategy=stamp.strategy,
        sampler=stamp.sampler,
        pruner=stamp.pruner,
        epochs=stamp.epochs,
        batch_size=stamp.batch_size,
        counts=_counts(trials),
        best=best,
        winner=winner,
        comparison=comparison,
        warnings=tuple(warnings),
        loss=_plain_loss(loss),
        code=code(config, loss) if config else "",
    )


def code(config: OptimizerConfig, loss: object = None, framework: str = "keras") -> str:
    """Lines of Python that use a config, with its exact values; they run as they are where there is a `model`.

    Parameters
    ----------
    loss : str, optional
        A Python expression; what is not a plain Keras loss is left out, and then only the optimizer is made.
    framework : {"keras", "torch", "optax"}
        As for `OptimizerConfig.to_code`, which also says what is raised; the last two have no loss.

    Examples
    --------
    >>> print(code(OptimizerConfig("sgd", learning_rate=0.1), "'mse'"))
    import keras
    <BLANKLINE>
    model.compile(
        optimizer=keras.optimizers.SGD(
            learning_rate=0.1,
            momentum=0.0,
            nesterov=False,
        ),
        loss='mse',
    )
    """
    optimizer = config.to_code(framework=framework)
    if framework == "keras" and (plain_loss := _plain_loss(loss)):
        line = f"model.compile(optimizer={optimizer}, loss={plain_loss})"
        laid_out = _lay_out(ast.parse(line, mode="eval").body)
    else:
        line = f"optimizer = {optimizer}"
        laid_out = _lay_out(ast.parse(optimizer, mode="eval").body, before="optimizer = ")
    modules = ("adamtune.optimizers", "keras", "optax", "torch")
    imports = [f"import {module}" for module in modules if re.search(rf"\b{re.escape(module)}\.", line)]
    return "\n".join([*imports, "", *laid_out])


def render(summary: Summary) -> RenderableType:
    """A summary for people: reads well in 80 columns and without colour."""
    parts: list[RenderableType] = [_head(summary)]
    if summary.best:
        parts += ["", _best_table(summary)]
    if summary.comparison:
        parts += ["", _comparison_table(summary)]
    parts += ["", Text(printable(verdict(summary)), style="bold")]
    parts += [Text(f"Note: {printable(each)}", style="yellow") for each in summary.warnings]
    if summary.code:
        parts += ["", Text(summary.code)]
    return Group(*parts)


def number(value: float | bool | None) -> str:
    """A number for a table: four significant digits, more only where a number below one would look like one.

    >>> number(0.00312345), number(0.99999), number(True), number(None)
    ('0.003123', '0.99999', 'yes', '-')
    """
    if value is None or isinstance(value, bool):
        return "-" if value is None else "yes" if value else "no"
    text = f"{value:.4g}"
    if text == "1" and 0 < value < 1:
        text = f"{value:.{1 - math.floor(math.log10(1 - value))}g}"
    return text


def spread(value: float | None) -> str:
    """What stands behind a mean: its spread, or nothing.

    >>> spread(0.00412), spread(None)
    (' ± 0.0041', '')
    """
    return f" ± {value:.2g}" if value is not None else ""


def shown(config: OptimizerConfig) -> str:
    """A config in a cell of a table: what it was found with is left out.

    >>> shown(OptimizerConfig("adam", learning_rate=0.01))
    "('adam', learning_rate=0.01)"
    """
    return repr(config.found_with(None)).removeprefix("OptimizerConfig")


def printable(text: str) -> str:
    """The text with "?" for control codes: a name in a database must not steer the terminal that shows it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


# ------------------------------------------------------------------------------------------------- reading


def _note(study: optuna.Study, name: str, absent: Any = None) -> Any:
    try:
        found = records.get_note(study, name)
    except json.JSONDecodeError:
        found = None
    return absent if found is None else found


def _counts(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, int]:
    diverged = sum(t.state in records.FINISHED and records.diverged(t) for t in trials)
    by_state = {state: sum(t.state is state for t in trials) for state in _State}
    complete, pruned = by_state[_State.COMPLETE] - diverged, by_state[_State.PRUNED]
    return {
        "finished": complete + pruned + diverged,
        "complete": complete,
        "pruned": pruned,
        "diverged": diverged,
        "failed": by_state[_State.FAIL],
        "running": by_state[_State.RUNNING],
    }


def _state(trials: Sequence[optuna.trial.FrozenTrial], is_chosen: bool, own_loop: bool) -> str:
    """What became of a study; a process that is killed writes nothing of it, so its silence has to tell."""
    begun = [trial for trial in trials if trial.datetime_start is not None]
    if is_chosen:
        return "finished"
    if not begun:
        return "interrupted"
    if not any(trial.state is _State.RUNNING for trial in begun):
        if max(begun, key=lambda trial: trial.number).state is _State.FAIL:
            return "interrupted"
        if own_loop:  # nobody chooses a winner there
            return "finished"
    signs = [time for trial in begun for time in (trial.datetime_start, trial.datetime_complete) if time]
    longest = max((trial.duration for trial in begun if trial.duration), default=_LONG)
    silence = datetime.datetime.now() - max(signs)
    return "running" if silence < max(_PATIENCE * longest, _LEAST) else "interrupted"


def _best(study: optuna.Study, stamp: records.Stamp, warnings: list[str]) -> tuple[Ranked, ...]:
    found: list[Ranked] = []
    for trial in records.ranked(study):
        try:
            config = records.config_of(trial, stamp)
        except ConfigError as error:
            warnings.append(f"trial {trial.number} is left out, its stored config is not valid: {error}")
            continue
        epochs = trial.user_attrs.get("epochs", trial.last_step or 0)
        found.append(Ranked(trial.number, config, records.value_of(trial), epochs))
        if len(found) == _BEST:
            break
    return tuple(found)


def _winner(note: Any, warnings: list[str]) -> Winner | None:
    if note is None:
        return None
    try:
        return Winner(
            int(note["trial"]),
            OptimizerConfig.from_dict(note["config"]),
            _float(note["score"]),
            _float(note["spread"]),
            int(note["passes"]),
        )
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        warnings.append(f"the stored winner is not valid: {error}")
        return None


def _comparison(note: Any, direction: str, warnings: list[str]) -> tuple[Compared, ...]:
    try:
        rows = [
            Compared(
                str(row["label"]),
                None if row["trial"] is None else int(row["trial"]),
                OptimizerConfig.from_dict(row["config"]),
                _float(row["mean"]),
                _float(row["spread"]),
                None,
            )
            for row in note
        ]
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        warnings.append(f"the stored comparison is not valid: {error}")
        return ()
    base = next((row.mean for row in rows if _is_default(row.config)), None)
    if not base:
        return tuple(rows)
    return tuple(
        dataclasses.replace(
            row, gain=None if row.mean is None else records.sign(direction) * (base - row.mean) / abs(base)
        )
        for row in rows
    )


def _is_default(config: OptimizerConfig) -> bool:
    return config.optimizer == "adam" and config.values == OptimizerConfig("adam").values


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def plain(value: Any) -> Any:
    """The value as data that JSON can hold: configs and dataclasses as dictionaries, NaN and infinity as None."""
    if isinstance(value, OptimizerConfig):
        return value.to_dict()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    return value


def _plain_loss(loss: object) -> str | None:
    """A loss by name, or a class of `keras.losses` called with literals, without comments; None for any other."""
    if not isinstance(loss, str):
        return None
    try:
        node = ast.parse(loss, mode="eval").body
        if not isinstance(node, ast.Call):
            return ast.unparse(node) if isinstance(ast.literal_eval(node), str) else None
        for keyword in node.keywords:
            ast.literal_eval(keyword.value)
        named = not node.args and _LOSS.fullmatch(ast.unparse(node.func))
        return ast.unparse(node) if named else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # as of `ast.literal_eval`
        return None


def laid_out(line: str) -> str:
    """A call, written as one line of Python, in lines that fit a terminal."""
    return "\n".join(_lay_out(ast.parse(line, mode="eval").body))


def _lay_out(node: ast.expr, before: str = "", after: str = "", indent: int = 0) -> list[str]:
    """A call, or a list, in lines that fit: whole, or one argument a line."""
    start = " " * indent + before
    whole = start + ast.unparse(node) + after
    if len(whole) <= _WIDTH or not isinstance(node, (ast.Call, ast.List)):
        return [whole]
    if isinstance(node, ast.List):
        parts, opening, end = node.elts, "[", "]"
    else:
        parts, opening, end = node.args, f"{ast.unparse(node.func)}(", ")"
    lines = [start + opening]
    for part in parts:
        lines += _lay_out(part, "", ",", indent + 4)
    for keyword in node.keywords if isinstance(node, ast.Call) else []:
        lines += _lay_out(keyword.value, f"{keyword.arg}=", ",", indent + 4)
    return [*lines, " " * indent + end + after]


# ------------------------------------------------------------------------------------------------- showing


def _head(summary: Summary) -> Text:
    counts = summary.counts
    ends = [f"{counts[how]} {how}" for how in ("complete", "pruned", "diverged", "failed", "running") if counts[how]]
    how = {
        "one_by_one": "one trial at a time",
        "looped": f"{summary.lanes} lanes in a loop",
        "own_loop": "in loops of one's own",
    }
    lanes = how.get(summary.strategy, f"{summary.lanes} lanes")
    batches = f" at batch size {summary.batch_size}" if summary.batch_size else ""  # a loop of one's own may have none
    device = f" on {summary.device}" if summary.device else ""
    took = f" in {summary.seconds:.0f} s" if summary.seconds is not None else ""
    lines = [
        f"{summary.task}; {summary.optimizer} by {summary.objective} ({summary.direction})",
        f"{counts['finished']} trials{took}: {', '.join(ends) or 'none has ended'}",
        f"{summary.epochs} epochs{batches}, sampler {summary.sampler}, pruner {summary.pruner}, {lanes}{device}",
    ]
    began = f", began {summary.created[:16].replace('T', ' ')}" if summary.created else ""
    text = Text(f"Study {printable(summary.name)}", style="bold")
    text.append(f" ({summary.state}{began})", style="not bold")
    for line in lines:
        text.append(f"\n{printable(line)}", style="not bold")
    return text


def _best_table(summary: Summary) -> RenderableType:
    short = any(each.epochs != summary.epochs for each in summary.best)
    configs = [each.config for each in summary.best]
    hypers = shown_hypers(configs)
    choices = ["optimizer"] if len({config.optimizer for config in configs}) > 1 else []
    # Of these two the decay tells which it is.
    choices += ["schedule"] if {config.schedule for config in configs} - {"constant", "inverse_time"} else []
    columns = ["trial", printable(summary.objective), *(["epochs"] if short else []), *choices, *hypers]
    table = _table(gap=1 if len(columns) < 9 else 0)
    for name in columns:
        table.add_column(Text(name), justify="right")
    for each in summary.best:
        values = each.config.hypers
        cells = [str(each.trial), number(each.value), *([str(each.epochs)] if short else [])]
        cells += [str(getattr(each.config, name)) for name in choices]
        table.add_row(*cells, *[number(values.get(name)) for name in hypers])
    return Group(Text("Best trials of the search", style="italic"), table)


def shown_hypers(configs: Sequence[OptimizerConfig]) -> list[str]:
    """The learning rate and every hyper that is not at its default in all of them."""
    shown: dict[str, None] = {"learning_rate": None}
    for config in configs:
        defaults = OptimizerConfig(config.optimizer).hypers
        shown |= {name: None for name, value in config.hypers.items() if value != defaults.get(name)}
    order = [name for config in configs for name in config.hypers]
    return sorted(shown, key=order.index)


def _comparison_table(summary: Summary) -> RenderableType:
    passes = f"{summary.winner.passes} " if summary.winner and summary.winner.passes else ""
    title = Text(f"The best again in {passes}fresh passes, and the difference to default Adam", style="italic")
    table = _table(gap=0)
    table.add_column("config")
    table.add_column(Text(printable(summary.objective)), justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    for row in summary.comparison:
        mean = "diverged" if row.mean is None else number(row.mean)
        table.add_row(Text(printable(row.label)), mean + spread(row.spread), difference(row.gain, summary.direction))
    return Group(title, table)


def difference(gain: float | None, direction: str) -> str:
    """A gain in words that hold in either direction: lower, or higher.

    >>> difference(0.231, "minimize"), difference(-0.012, "maximize"), difference(0.0, "minimize")
    ('23.1 % lower', '1.2 % lower', '')
    """
    if gain is None or abs(gain) < 0.0005:
        return ""
    lower = (gain > 0) == (direction == "minimize")
    return f"{100 * abs(gain):.1f} % {'lower' if lower else 'higher'}"


def _table(gap: int) -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0))


def verdict(summary: Summary) -> str:
    """What came of the study, in a sentence or two."""
    if summary.winner is None:
        if not summary.best:
            return "No trial has trained to a finite loss."
        best = summary.best[0]
        why = {
            "finished": "the best of many trials is optimistic",
            "running": "the study is still running",
            "interrupted": "the study was interrupted",
        }[summary.state]
        return (
            f"Best so far: trial {best.trial}, {summary.objective} {number(best.value)} after {best.epochs} epochs. "
            f"Not confirmed: {why}."
        )
    winner = summary.winner
    score = f"{summary.objective} {number(winner.score)}"
    if not winner.passes:
        return f"Winner: trial {winner.trial}, {score}. Not confirmed: the best of many trials is optimistic."
    gain = summary.gain
    than = f", {difference(gain, summary.direction)} than Keras' default Adam" if gain else ""
    keep = " The default does at least as well here." if gain is not None and gain < 0 else ""
    return (
        f"Winner: trial {winner.trial}, {score}{spread(winner.spread)} over {winner.passes} fresh passes{than}.{keep}"
    )
