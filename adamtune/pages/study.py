"""A study, as its page and its report show it."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from adamtune import summary
from adamtune.errors import ConfigError, StudyError
from adamtune.plots import compact, reading
from adamtune.plots.reading import Seen
from adamtune.summary import Summary, number
from adamtune.tuning import records

_DIVERGED = 8
# Characters of a figure: with so many, a page of 4,000 trials is read and drawn within two seconds.
_MOST = 150_000
_State = optuna.trial.TrialState


@dataclass(frozen=True)
class Rung:
    """Where trials were pruned: after so many epochs, of those that came so far, so many, with these values."""

    epochs: int
    came: int
    pruned: int
    kept: float | None
    cut: float | None


@dataclass(frozen=True)
class Lost:
    """A trial whose loss became NaN or infinite."""

    trial: int
    epochs: int
    config: str


@dataclass(frozen=True)
class StudyPage:
    """What is shown of a study.

    Parameters
    ----------
    summary : Summary
    rungs : tuple of Rung
        Only those at which a trial was pruned.
    diverged : tuple of Lost
        The first few.
    settings : tuple of (str, str)
        How was searched, for people.
    """

    summary: Summary
    rungs: tuple[Rung, ...]
    diverged: tuple[Lost, ...]
    settings: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The study's name, fit to be shown."""
        return summary.printable(self.summary.name)

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence or two."""
        return summary.verdict(self.summary)

    @property
    def best(self) -> tuple[list[str], list[list[str]]]:
        """The best trials of the search: names of columns, and rows of cells."""
        found = self.summary.best
        configs = [each.config for each in found]
        hypers = summary.shown_hypers(configs)
        choices = [name for name in ("optimizer", "schedule") if len({getattr(each, name) for each in configs}) > 1]
        columns = ["trial", summary.printable(self.summary.objective), "epochs", *choices, *hypers]
        rows = [
            [str(each.trial), number(each.value), str(each.epochs)]
            + [str(getattr(each.config, name)) for name in choices]
            + [number(each.config.hypers.get(name)) for name in hypers]
            for each in found
        ]
        return columns, rows

    @property
    def compared(self) -> list[tuple[str, str, str]]:
        """The best again, beside the default: label, mean with spread, and difference."""
        return [
            (
                summary.printable(row.label),
                "diverged" if row.mean is None else number(row.mean) + summary.spread(row.spread),
                summary.difference(row.gain, self.summary.direction),
            )
            for row in self.summary.comparison
        ]

    @property
    def cards(self) -> list[tuple[str, str, str]]:
        """What one wants to know first: label, value, and a line below it."""
        found, counts = self.summary, self.summary.counts
        confirmed = found.winner is not None and bool(found.winner.passes)
        below = (
            f"mean of {found.winner.passes} fresh passes{summary.spread(found.winner.spread)}"
            if found.winner and confirmed
            else "best so far, not confirmed"
        )
        cards = [(summary.printable(found.objective), number(found.value), below)]
        if found.gain is not None:
            gained = summary.difference(found.gain, found.direction) or "the same"
            cards.append(("beside default Adam", gained, "in the same fresh passes"))
        ended = ", ".join(f"{counts[how]} {how}" for how in ("complete", "pruned", "diverged", "failed") if counts[how])
        cards.append(("trials", f"{counts['finished']:,}", ended or "none has ended"))
        if found.seconds is not None:
            cards.append(("time", long_time(found.seconds), found.device))
        elif counts["running"]:
            cards.append(("running", str(counts["running"]), "trials at this moment"))
        return cards

    @property
    def config(self) -> str:
        """The config as JSON, "" when there is none."""
        found = self.summary.config
        return "" if found is None else found.to_json()


def view(study: optuna.Study) -> StudyPage:
    """Read a study for its page.

    Raises
    ------
    StudyError
        When adamtune did not make it.
    """
    stamp = records.read_stamp(study)
    trials = study.get_trials(deepcopy=False, states=records.FINISHED)
    lost = [trial for trial in trials if records.diverged(trial)]
    diverged = tuple(
        Lost(trial.number, trial.user_attrs.get("epochs", trial.last_step or 0), _config(trial))
        for trial in lost[:_DIVERGED]
    )
    settings = [
        ("task", stamp.task),
        ("optimizer", stamp.optimizer),
        ("judged by", f"{stamp.objective} ({study.direction.name.lower()})"),
        ("epochs of a trial", str(stamp.epochs) + (f", {stamp.passes} passes" if stamp.passes > 1 else "")),
        ("batch size", str(stamp.batch_size) if stamp.batch_size else "-"),
        ("sampler", stamp.sampler),
        ("pruner", stamp.pruner),
        ("trials at once", f"{stamp.lanes} ({stamp.strategy})"),
        ("seed", str(stamp.seed)),
        ("device", f"{stamp.device} by {stamp.backend}" if stamp.device else stamp.backend),
        ("adamtune", stamp.version),
    ]
    if stamp.patience is not None:
        settings.insert(4, ("patience", f"{stamp.patience} epochs"))
    shown = tuple((name, summary.printable(str(value))) for name, value in settings)
    return StudyPage(summary.of_study(study), _rungs(trials), diverged, shown)


def figures(study: optuna.Study) -> list[tuple[str, str]]:
    """The figures that a study has enough for: name, and JSON of Plotly.

    Raises
    ------
    SettingError
        When Plotly is not installed.
    """
    if (read := seen(study)) is None:
        return []
    drawn = [(kind, figure(study, read, kind)) for kind in compact.KINDS]
    return [(kind, text) for kind, text in drawn if text is not None]


def seen(study: optuna.Study) -> Seen | None:
    """What figures are made of; None as long as no trial has ended."""
    try:
        return reading.read(study)
    except StudyError:
        return None


def figure(study: optuna.Study, seen: Seen, kind: str) -> str | None:
    """A figure as JSON of Plotly; None where the study does not hold enough for it."""
    try:
        return compact.text(study, seen, kind, _MOST)
    except StudyError:
        return None


def _rungs(trials: Sequence[optuna.trial.FrozenTrial]) -> tuple[Rung, ...]:
    """Where trials were pruned, and what those had that went on."""
    pruned = [trial for trial in trials if trial.state == _State.PRUNED and not records.diverged(trial)]
    at = collections.Counter(trial.last_step for trial in pruned if trial.last_step is not None)
    found = []
    for epochs in sorted(at):
        came = [trial.intermediate_values[epochs] for trial in trials if epochs in trial.intermediate_values]
        cut = [trial.intermediate_values[epochs] for trial in pruned if trial.last_step == epochs]
        kept = [
            trial.intermediate_values[epochs]
            for trial in trials
            if epochs in trial.intermediate_values and (trial.last_step or 0) > epochs
        ]
        found.append(Rung(epochs, len(came), at[epochs], _median(kept), _median(cut)))
    return tuple(found)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _config(trial: optuna.trial.FrozenTrial) -> str:
    try:
        return summary.shown(records.config_of(trial))
    except ConfigError:
        return "what is stored is no valid config"


def long_time(seconds: float) -> str:
    """A time as people say it.

    >>> long_time(8.3), long_time(75), long_time(7300)
    ('8.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
