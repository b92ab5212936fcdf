"""What is written into a study and read back: keys, units, types, in one place.

Trial attributes are flat numbers, because those can be sorted and plotted by people's dashboards, and one JSON text:

    config       JSON of OptimizerConfig
    start_tick   tick of the study at which the trial's first epoch ran (with the study's seed it can be replayed)
    lane         seat in the program
    epochs       epochs trained
    train_loss, val_loss, val_<metric>    after the last epoch
    diverged     1 when the loss became NaN or infinite; the value is then a penalty, see `penalty`
    stopped      why a failed trial was cut off: "interrupted" or "timeout"

Study attributes start with "adamtune:". Nothing is ever unpickled or imported from them; configs are validated field by
field by `OptimizerConfig.from_json`.
"""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from adamtune.config import Found, OptimizerConfig
from adamtune.errors import ConfigError, LaneStatus, StudyError

if TYPE_CHECKING:  # the engine loads a backend, and who only reads a study should not wait for that
    from adamtune.engine.program import Report

SCHEMA = 1
_PREFIX = "adamtune:"
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
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
    schema: int = SCHEMA


def write_stamp(study: optuna.Study, stamp: Stamp) -> None:
    """Store the stamp as study attributes."""
    for name, value in vars(stamp).items():
        study.set_user_attr(_PREFIX + name, value)


def read_stamp(study: optuna.Study) -> Stamp:
    """The stamp of a study that adamtune made.

    Raises
    ------
    StudyError
        When the study was made by something else or by a newer schema.
    """
    attrs = study.user_attrs
    schema = attrs.get(_PREFIX + "schema")
    fields = Stamp.__dataclass_fields__
    if schema != SCHEMA or any(_PREFIX + name not in attrs for name in fields):
        raise StudyError(
            f"study {study.study_name!r} was not made by this version of adamtune (schema {schema!r}, expected "
            f"{SCHEMA}). Choose another study_name."
        )
    return Stamp(**{name: attrs[_PREFIX + name] for name in fields})


def set_note(study: optuna.Study, name: str, value: Any) -> None:
    """Store a study attribute as JSON; NaN and infinity become null, which every reader of JSON takes."""
    study.set_user_attr(_PREFIX + name, json.dumps(_plain(value)))


def get_note(study: optuna.Study, name: str) -> Any:
    """What `set_note` stored, or None."""
    text = study.user_attrs.get(_PREFIX + name)
    return json.loads(text) if isinstance(text, str) else None


def write_comparison(
    study: optuna.Study, rows: Sequence[tuple[str, int | None, OptimizerConfig, float, float]], direction: str
) -> None:
    """Store rows of (label, trial number or None, config, mean, spread), best first."""
    sign = 1.0 if direction == "minimize" else -1.0
    order = sorted(rows, key=lambda row: sign * row[3] if np.isfinite(row[3]) else np.inf)
    names = ("label", "trial", "config", "mean", "spread")
    set_note(study, "comparison", [dict(zip(names, (*r[:2], r[2].to_dict(), *r[3:]), strict=True)) for r in order])


def write_winner(
    study: optuna.Study, number: int, config: OptimizerConfig, score: float, spread: float, passes: int
) -> None:
    """Store which config won, its score and spread, and in how many confirming passes (0: in none)."""
    winner = {"trial": number, "config": config.to_dict(), "score": score, "spread": spread, "passes": passes}
    set_note(study, "winner", winner)


def unique_name(prefix: str) -> str:
    """A study name that no other study has: the prefix, the UTC time and four random digits."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return f"{prefix}/{now}-{secrets.token_hex(2)}"


def report_steps(epochs: int, rungs: list[int]) -> set[int]:
    """Epochs at which a trial reports to SQL: all of them, or the rungs and an even spread when they are many."""
    if epochs <= _MOST_STEPS:
        return set(range(1, epochs + 1))
    spread = np.linspace(1, epochs, max(2, _MOST_STEPS - len(rungs)))
    return {round(step) for step in spread} | set(rungs) | {epochs}


def started(trial: optuna.Trial, config: OptimizerConfig, lane: int, tick: int) -> None:
    """Write what is known when a trial takes its lane."""
    trial.set_user_attr("config", config.to_json())
    trial.set_user_attr("lane", lane)
    trial.set_user_attr("start_tick", tick)


def ended(trial: optuna.Trial, report: Report, metric: str | None) -> None:
    """Write what is known when a trial leaves its lane; must come before `tell`."""
    trial.set_user_attr("epochs", report.epoch)
    trial.set_user_attr("diverged", int(report.status is LaneStatus.DIVERGED))
    numbers = {"train_loss": report.train_loss, "val_loss": report.val_loss}
    if metric and report.metric is not None:
        numbers[f"val_{metric}"] = report.metric
    for name, value in numbers.items():
        if np.isfinite(value):
            trial.set_user_attr(name, value)


def config_of(trial: optuna.trial.FrozenTrial, stamp: Stamp | None = None) -> OptimizerConfig:
    """The config a stored trial trained with; with a stamp it carries the training it was found with.

    Raises
    ------
    ConfigError
        When what is stored is no valid config.
    """
    text = trial.user_attrs.get("config")
    if not isinstance(text, str):
        raise ConfigError(f"trial {trial.number} has no stored config.")
    config = OptimizerConfig.from_json(text)
    if stamp is None:
        return config
    found = Found(stamp.epochs, stamp.batch_size, stamp.steps)
    return OptimizerConfig(config.optimizer, schedule=config.schedule, found=found, **config.hypers)


def diverged(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether the trial ended with NaN or infinity."""
    return trial.user_attrs.get("diverged") == 1


def ranked(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials from best to worst: those of the full budget by value, then the others by how far they came.

    Values at different budgets are not comparable, so a pruned trial never stands before a finished one. Diverged ones
    and those without a report are left out.
    """
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0

    def key(trial: optuna.trial.FrozenTrial) -> tuple[bool, int, float]:
        short = trial.state != optuna.trial.TrialState.COMPLETE
        return short, -(trial.last_step or 0) if short else 0, sign * value_of(trial)

    trials = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if not diverged(trial)
        and "config" in trial.user_attrs
        and (trial.state == optuna.trial.TrialState.COMPLETE or trial.last_step is not None)
    ]
    return sorted(trials, key=key)


def value_of(trial: optuna.trial.FrozenTrial) -> float:
    """The trial's value, or its last report when it did not come to an end."""
    if trial.value is not None:
        return trial.value
    assert trial.last_step is not None
    return trial.intermediate_values[trial.last_step]


def last_tick(study: optuna.Study) -> int:
    """The first tick no stored trial has seen: where a resumed study's clock goes on."""
    ends = [
        trial.user_attrs["start_tick"] + max(trial.user_attrs.get("epochs", 0), trial.last_step or 0)
        for trial in study.get_trials(deepcopy=False)
        if "start_tick" in trial.user_attrs
    ]
    return max(ends, default=0)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
