"""What is written into a study and read back: keys, units, types, in one place.

Trial attributes are flat numbers, because those can be sorted and plotted by people's dashboards, and one JSON text:

    config       JSON of OptimizerConfig
    start_tick   tick of its program at which the trial's first epoch ran (with the study's seed it can be replayed)
    start_tick_1, start_tick_2, ...       the same for its second, third, ... pass, each in a program of its own
    lane         seat in the program, of its last pass
    epochs       epochs trained, all passes together; an intermediate value stands at the same count
    pass_0, pass_1, ...                   value at the end of each pass; only where there is more than one
    best_epoch, best_epoch_1, ...         epoch of each pass whose value counts; only where trials have patience
    train_loss, val_loss, val_<metric>    after the last epoch, of the last pass alone
    diverged     1 when loss, score or a weight became NaN or infinite; the value is then a penalty, see `penalty`
    stopped      why a failed trial was cut off: "interrupted", "timeout", or "lost" with its process or an error

A trial that is tried in place of one that was cut off says so in the system attribute `adamtune:retry`: `of`, the
number of that trial; `draw`, see `draw`; `lined_up`, whether its config was given and not drawn; and how often its
config was `lost`.

Study attributes start with "adamtune:". Nothing is ever unpickled or imported from them; configs are validated field by
field by `OptimizerConfig.from_json`.
"""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from adamtune.config import Found, OptimizerConfig
from adamtune.errors import ConfigError, LaneStatus, StudyError

if TYPE_CHECKING:  # the engine loads a backend, and who only reads a study should not wait for that
    from adamtune.engine.stream import Report

SCHEMA = 1
PREFIX = "adamtune:"
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
RETRY = PREFIX + "retry"
STOPPED, LOST, STOPS = "stopped", "lost", ("interrupted", "timeout")
# optuna-dashboard draws every reported step of every trial: more than this makes its pages slow.
_MOST_STEPS = 25


@dataclass(frozen=True)
class Stamp:
    """What a study is, written once when it is created; `fingerprint` decides whether it may be resumed."""

    fingerprint: str
    task: str
    optimizer: str
    space: str
    objective: str
    epochs: int
    batch_size: int
    steps: int
    seed: int
    lanes: int
    strategy: str
    device: str
    backend: str
    sampler: str
    pruner: str
    version: str
    passes: int = 1
    patience: int | None = None
    schema: int = SCHEMA


def sign(direction: str | optuna.study.StudyDirection) -> float:
    """1 where smaller is better, -1 where larger is: times a value it is what to minimise.

    >>> sign("minimize"), sign("maximize"), sign(optuna.study.StudyDirection.MAXIMIZE)
    (1.0, -1.0, -1.0)
    """
    name = direction if isinstance(direction, str) else direction.name.lower()
    return {"minimize": 1.0, "maximize": -1.0}[name]


def write_stamp(study: optuna.Study, stamp: Stamp) -> None:
    """Store the stamp as study attributes."""
    for name, value in vars(stamp).items():
        study.set_user_attr(PREFIX + name, value)


def is_stamped(study: optuna.Study) -> bool:
    """Whether a stamp was written to its end: the schema is its last field."""
    return PREFIX + "schema" in study.user_attrs


def read_stamp(study: optuna.Study) -> Stamp:
    """The stamp of a study that adamtune made.

    Raises
    ------
    StudyError
        When the study was made by something else or by a newer schema.
    """
    attrs = study.user_attrs
    schema = attrs.get(PREFIX + "schema")
    fields = Stamp.__dataclass_fields__
    missing = [name for name, f in fields.items() if f.default is MISSING and PREFIX + name not in attrs]
    if schema != SCHEMA or missing:
        raise StudyError(
            f"study {study.study_name!r} was not made by this version of adamtune (schema {schema!r}, expected "
            f"{SCHEMA}). Choose another study_name."
        )
    given = {name: attrs[PREFIX + name] for name in fields if PREFIX + name in attrs}
    for name, value in given.items():
        kind = str(fields[name].type)  # "str", "int" or "int | None"
        if type(value).__name__ not in kind and not (value is None and "None" in kind):
            raise StudyError(f"study {study.study_name!r} is damaged: expected {name} as {kind}, found {value!r:.100}.")
    return Stamp(**given)


def set_note(study: optuna.Study, name: str, value: Any) -> None:
    """Store a study attribute as JSON; NaN and infinity become null, which every reader of JSON takes."""
    study.set_user_attr(PREFIX + name, json.dumps(_plain(value)))


def get_note(study: optuna.Study, name: str) -> Any:
    """What `set_note` stored, or None."""
    text = study.user_attrs.get(PREFIX + name)
    return json.loads(text) if isinstance(text, str) else None


def write_comparison(
    study: optuna.Study, rows: Sequence[tuple[str, int | None, OptimizerConfig, float, float]], direction: str
) -> None:
    """Store rows of (label, trial number or None, config, mean, spread), best first."""
    order = sorted(rows, key=lambda row: sign(direction) * row[3] if np.isfinite(row[3]) else np.inf)
    names = ("label", "trial", "config", "mean", "spread")
    set_note(study, "comparison", [dict(zip(names, (*r[:2], r[2].to_dict(), *r[3:]), strict=True)) for r in order])


def write_winner(
    study: optuna.Study, number: int, config: OptimizerConfig, score: float, spread: float, passes: int
) -> None:
    """Store which config won, its score and spread, and in how many confirming passes (0: in none)."""
    winner = {"trial": number, "config": config.to_dict(), "score": score, "spread": spread, "passes": passes}
    set_note(study, "winner", winner)


def halved(study: optuna.Study, lanes: int, n_trials: int) -> None:
    """Store that the memory holds so many lanes and no more, after so many trials; a resumed study begins with them."""
    study.set_user_attr(PREFIX + "lanes", lanes)
    set_note(study, "out_of_memory", [*(get_note(study, "out_of_memory") or []), {"lanes": lanes, "trials": n_trials}])


def unique_name(prefix: str) -> str:
    """A study name that no other study has: the prefix, the UTC time and four random digits."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return f"{prefix}/{now}-{secrets.token_hex(2)}"


def report_steps(epochs: int, rungs: Sequence[int]) -> set[int]:
    """Epochs at which a trial reports to SQL: all of them, or the rungs and an even spread when they are many."""
    if epochs <= _MOST_STEPS:
        return set(range(1, epochs + 1))
    spread = np.linspace(1, epochs, max(2, _MOST_STEPS - len(rungs)))
    return {round(step) for step in spread} | set(rungs) | {epochs}


def asked(trial: optuna.Trial, config: OptimizerConfig) -> None:
    """Write what is known as soon as a trial is asked, before it has a lane."""
    trial.set_user_attr("config", config.to_json())


def started(trial: optuna.Trial, lane: int, tick: int, pass_number: int = 0) -> None:
    """Write what is known when a trial takes a lane."""
    trial.set_user_attr("lane", lane)
    trial.set_user_attr(_of_pass("start_tick", pass_number), tick)


def best_epoch(trial: optuna.Trial, epoch: int, pass_number: int = 0) -> None:
    """Write which epoch of a pass counts."""
    trial.set_user_attr(_of_pass("best_epoch", pass_number), epoch)


def start_tick(trial: optuna.trial.FrozenTrial, pass_number: int = 0) -> int:
    """The tick at which a trial began a pass; raises StudyError when it never did."""
    tick = trial.user_attrs.get(_of_pass("start_tick", pass_number))
    if tick is None:
        raise StudyError(
            f"trial {trial.number} never began pass {pass_number}: its state is {trial.state.name.lower()}."
        )
    return int(tick)


def counted(trial: optuna.trial.FrozenTrial, epochs: int, pass_number: int = 0) -> int:
    """How many epochs of a pass count: up to the best one, else all that it trained; `epochs` are those of one pass."""
    best = trial.user_attrs.get(_of_pass("best_epoch", pass_number))
    trained = trial.user_attrs.get("epochs", 0) - pass_number * epochs
    return best if best is not None else min(max(trained, 0), epochs)


def passed(trial: optuna.Trial, pass_number: int, value: float) -> None:
    """Write the value of one of several passes at its end."""
    trial.set_user_attr(f"pass_{pass_number}", value)


def ended(trial: optuna.Trial, report: Report, metric: str | None, epochs: int | None = None) -> None:
    """Write what is known when a trial leaves its lane; must come before `tell`.

    Parameters
    ----------
    epochs : int, optional
        Trained in all passes; default: those of the report, which counts its own pass alone.
    """
    numbers = {"train_loss": report.train_loss, "val_loss": report.val_loss}
    if metric and report.metric is not None:
        numbers[f"val_{metric}"] = report.metric
    trained(trial, report.epoch if epochs is None else epochs, report.status is LaneStatus.DIVERGED, numbers)


def trained(trial: optuna.Trial, epochs: int, diverged: bool, numbers: Mapping[str, float]) -> None:
    """Write how far a trial came, and its last numbers by name: those that are finite."""
    trial.set_user_attr("epochs", epochs)
    trial.set_user_attr("diverged", int(diverged))
    for name, value in numbers.items():
        if np.isfinite(value):
            trial.set_user_attr(name, value)


def draw(number: int, retries: Mapping[int, Mapping[str, Any]]) -> int:
    """How many points were drawn, or given, before that of a trial: what a seed is made of.

    In an undisturbed study it is the trial's number. A trial that is tried in place of another draws nothing, and has
    the draw of that one.

    Parameters
    ----------
    retries : mapping
        The attribute `RETRY` of the trials that have one, by number.

    >>> draw(6, {5: {"of": 3, "draw": 3}}), draw(5, {5: {"of": 3, "draw": 3}})
    (5, 3)
    """
    if number in retries:
        return int(retries[number]["draw"])
    return number - sum(other < number for other in retries)


def retries(trials: Iterable[optuna.trial.FrozenTrial]) -> dict[int, dict[str, Any]]:
    """What is said of the trials that are tried in place of others, by number."""
    return {trial.number: retry for trial in trials if (retry := retry_in(trial.system_attrs.get(RETRY)))}


def retry_in(value: Any) -> dict[str, Any] | None:
    """A value of the attribute `RETRY`; None for what is none."""
    whole = isinstance(value, dict) and all(type(value.get(name)) is int for name in ("of", "draw", "lost"))
    return value if whole else None


def is_lined_up(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether the config of a trial was given, and not drawn."""
    retry = retry_in(trial.system_attrs.get(RETRY))
    return bool(retry.get("lined_up")) if retry else "fixed_params" in trial.system_attrs


def config_of(trial: optuna.trial.FrozenTrial, stamp: Stamp | None = None) -> OptimizerConfig:
    """The config a stored trial trained with; with a stamp it carries the training it was found with, if that is known.

    Raises
    ------
    ConfigError
        When what is stored is no valid config.
    """
    text = trial.user_attrs.get("config")
    if not isinstance(text, str):
        raise ConfigError(f"trial {trial.number} has no stored config.")
    config = OptimizerConfig.from_json(text)
    if stamp is None or not stamp.steps:
        return config
    return config.found_with(Found(stamp.epochs, stamp.batch_size, stamp.steps))


def diverged(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether the trial ended with NaN or infinity."""
    return trial.user_attrs.get("diverged") == 1


def rule_of(trial: optuna.trial.FrozenTrial) -> str | None:
    """Name of the optimizer a stored trial trains with; None when it has no config yet."""
    return OptimizerConfig.from_json(text).optimizer if (text := trial.user_attrs.get("config")) else None


def ranked(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials from best to worst: those of the full budget by value, then the others by how far they came.

    Values at different budgets are not comparable, so a pruned trial never stands before a finished one. Diverged ones
    and those without a report are left out.
    """
    return rank(study.get_trials(deepcopy=False), study.direction)


def rank(
    trials: Sequence[optuna.trial.FrozenTrial], direction: str | optuna.study.StudyDirection
) -> list[optuna.trial.FrozenTrial]:
    """What `ranked` does, for some of a study's trials."""

    def key(trial: optuna.trial.FrozenTrial) -> tuple[bool, int, float]:
        short = trial.state != optuna.trial.TrialState.COMPLETE
        return short, -(trial.last_step or 0) if short else 0, sign(direction) * value_of(trial)

    usable = [
        trial
        for trial in trials
        if not diverged(trial)
        and "config" in trial.user_attrs
        and (trial.state == optuna.trial.TrialState.COMPLETE or trial.last_step is not None)
    ]
    return sorted(usable, key=key)


def table(study: optuna.Study) -> Any:
    """The trials that began as a pandas.DataFrame: state, value, optimizer, hypers, and what was written of each."""
    import pandas

    rows = [
        {
            "number": trial.number,
            "state": "diverged" if diverged(trial) else trial.state.name.lower(),
            "value": None if diverged(trial) else trial.value,
            "optimizer": rule_of(trial),
            **(dict(config_of(trial).values) if "config" in trial.user_attrs else {}),
            **{name: value for name, value in trial.user_attrs.items() if name not in ("config", "diverged")},
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state != optuna.trial.TrialState.WAITING
    ]
    # Not in pyarrow where that is installed: a pickle would ask for it on every machine.
    with pandas.option_context("mode.string_storage", "python"):
        return pandas.DataFrame(rows)


def n_finished(study: optuna.Study) -> int:
    """Trials that have finished: complete, pruned and diverged ones."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def spent(study: optuna.Study) -> int:
    """Epochs that the trials of a study have trained, all runs together."""
    return sum(trial.user_attrs.get("epochs", 0) for trial in study.get_trials(deepcopy=False))


def value_of(trial: optuna.trial.FrozenTrial) -> float:
    """The trial's value, or its last report when it did not come to an end."""
    if trial.value is not None:
        return trial.value
    assert trial.last_step is not None
    return trial.intermediate_values[trial.last_step]


def last_tick(study: optuna.Study, rule: str | None = None, pass_number: int = 0, epochs: int | None = None) -> int:
    """The first tick of a program that no trial has seen which counts: where its clock goes on in a resumed study.

    Parameters
    ----------
    rule : str, optional
        The optimizer whose program it is; default: whichever came furthest, for a study of one.
    pass_number : int
        The program's pass, from 0.
    epochs : int, optional
        Epochs of one pass; needed only where there are several passes.
    """
    ends, key = [0], _of_pass("start_tick", pass_number)
    for trial in study.get_trials(deepcopy=False):
        if trial.state == optuna.trial.TrialState.FAIL:  # nothing counts of what it saw, and it is tried again
            continue
        if key in trial.user_attrs and (rule is None or rule_of(trial) == rule):
            trained = max(trial.user_attrs.get("epochs", 0), trial.last_step or 0)
            own = trained if epochs is None else min(max(trained - pass_number * epochs, 0), epochs)
            ends.append(trial.user_attrs[key] + own)
    return max(ends)


def _of_pass(key: str, pass_number: int) -> str:
    return f"{key}_{pass_number}" if pass_number else key


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
