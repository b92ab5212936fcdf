"""Reading: what figures need of a stored study, trial by trial."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import optuna

from adamtune import summary
from adamtune.config import OptimizerConfig
from adamtune.errors import ConfigError, SettingError, StudyError, did_you_mean
from adamtune.plots import drawing
from adamtune.plots.drawing import Numbers, Points
from adamtune.tuning import records
from adamtune.tuning.parameter import Parameter
from adamtune.tuning.space import Part, Space

How = Literal["finished", "pruned", "diverged"]


@dataclass(frozen=True, eq=False)
class Ended:
    """A trial that has ended.

    Parameters
    ----------
    number : int
    how : {"finished", "pruned", "diverged"}
    value : float
        At the end, or where it was pruned; NaN where it diverged, because what is stored then is a penalty.
    epochs : int
        Trained, in all passes.
    config : OptimizerConfig or None
        None when what is stored is no valid config.
    params : dict
        Sampled numbers, by the names that Optuna has.
    """

    number: int
    how: How
    value: float
    epochs: int
    config: OptimizerConfig | None
    params: dict[str, Any]
    trial: optuna.trial.FrozenTrial

    @property
    def optimizer(self) -> str | None:
        """Name of its optimizer."""
        return self.config.optimizer if self.config else None

    @cached_property
    def shown(self) -> str:
        """Its config as people read it; several figures show it, and of 1,000 trials it takes half a second."""
        return repr(self.config)


@dataclass(frozen=True)
class Seen:
    """A study as figures see it: what it says, and its trials that have ended, by number."""

    summary: summary.Summary
    stamp: records.Stamp
    sign: float
    trials: tuple[Ended, ...]
    space: Space | None

    @property
    def objective(self) -> str:
        """What the trials are judged by, fit to be shown."""
        return summary.printable(self.summary.objective)

    @property
    def name(self) -> str:
        """The study's name, fit to be shown."""
        return f"study {summary.printable(self.summary.name)}"

    @property
    def axis(self) -> str:
        """What an axis of the objective says."""
        return f"{self.objective} ({'lower' if self.sign > 0 else 'higher'} is better)"

    @cached_property
    def ranked(self) -> list[Ended]:
        """The trials from best to worst, see `records.rank`; the diverged are left out."""
        of_number = {trial.number: trial for trial in self.trials}
        found = records.rank([trial.trial for trial in self.trials], self.summary.direction)
        return [of_number[trial.number] for trial in found]

    @cached_property
    def best(self) -> Ended | None:
        """The trial that won, else the best so far."""
        won = self.summary.winner.trial if self.summary.winner else None
        return next((trial for trial in self.ranked if trial.number == won), self.ranked[0] if self.ranked else None)

    @cached_property
    def defaults(self) -> dict[int, str]:
        """What the trials of the defaults are called, by number: those of the best trial's optimizer, and of Adam."""
        wanted = {"adam", self.best.optimizer if self.best else None}
        configs = [each for each in (self.space.defaults() if self.space else []) if each.optimizer in wanted]
        return {
            trial.number: f"default {trial.config.rule.class_name}"
            for trial in self.trials
            if trial.config is not None and trial.config in configs
        }

    def title(self, trial: Ended) -> str:
        """What the best trial is called."""
        return f"{'winner' if self.summary.winner else 'best'}: trial {trial.number}"

    def text(self, trial: Ended) -> str:
        """What there is to say about a trial."""
        value = "diverged" if trial.how == "diverged" else f"{self.objective} {summary.number(trial.value)}"
        lines = [f"trial {trial.number}, {trial.how}", f"{value} after {trial.epochs} epochs"]
        lines += [trial.shown] if trial.config else []
        return "\n".join(lines)

    def of(self, optimizer: str | None) -> tuple[str, list[Ended], Part]:
        """An optimizer, by default that of the best trial; its trials, and what is searched of it.

        Raises
        ------
        SettingError
            When it is not searched.
        StudyError
            When nothing of the study can be read.
        """
        if self.space is None:
            raise StudyError(f"{self.name} has a search space that this version of adamtune does not know.")
        known = list(self.space.parts)
        chosen = optimizer or (self.best.optimizer if self.best else None) or known[0]
        if chosen not in self.space.parts:
            raise SettingError(
                f"optimizer={chosen!r} is not searched by {self.name}.{did_you_mean(chosen, known)} "
                f"Expected one of: {', '.join(known)}."
            )
        trials = [trial for trial in self.trials if trial.optimizer == chosen]
        return chosen, trials, self.space.parts[chosen]

    def places(self, trials: Sequence[Ended]) -> Numbers:
        """The share of these trials, in percent, that did better than each; the diverged share the last place.

        A place can be compared where values cannot: between trials that were pruned at different epochs.
        """
        numbers = {trial.number for trial in trials}
        place = {number: at for at, number in enumerate(each.number for each in self.ranked if each.number in numbers)}
        last = (len(place) + len(trials) - 1) / 2
        return np.array([100 * place.get(each.number, last) / max(len(trials) - 1, 1) for each in trials])


def read(study: optuna.Study) -> Seen:
    """Read a study.

    Raises
    ------
    StudyError
        When adamtune did not make it, or none of its trials has ended.
    """
    stamp = records.read_stamp(study)
    trials = [_ended(trial) for trial in study.get_trials(deepcopy=False, states=records.FINISHED)]
    trials = [trial for trial in trials if trial.how == "diverged" or np.isfinite(trial.value)]
    if not trials:
        name = summary.printable(study.study_name)
        raise StudyError(f"no trial of study {name!r} has ended yet: there is nothing to draw.")
    space = None
    with contextlib.suppress(ConfigError):
        space = Space.from_json(stamp.space)
    return Seen(summary.of_study(study), stamp, records.sign(study.direction), tuple(trials), space)


def _ended(trial: optuna.trial.FrozenTrial) -> Ended:
    config = None
    with contextlib.suppress(ConfigError):
        config = records.config_of(trial)
    how: How = "finished" if trial.state == optuna.trial.TrialState.COMPLETE else "pruned"
    value = float("nan")
    if records.diverged(trial):
        how = "diverged"
    elif trial.value is not None or trial.last_step is not None:
        value = records.value_of(trial)
    epochs = trial.user_attrs.get("epochs", trial.last_step or 0)
    return Ended(trial.number, how, value, epochs, config, trial.params, trial)


@dataclass(frozen=True)
class Group:
    """Trials that share a symbol."""

    label: str
    symbol: drawing.Symbol
    colour: str
    size: float
    trials: Sequence[Ended]

    def points(self, seen: Seen, x: Numbers, y: Numbers) -> Points:
        """The trials at these places."""
        return Points(self.label, x, y, self.symbol, self.colour, _Texts(seen, self.trials), self.size)


class _Texts(Sequence[str]):
    """What there is to say about trials, said when it is asked for: a figure of thousands shows few of them."""

    def __init__(self, seen: Seen, trials: Sequence[Ended]) -> None:
        self._seen, self._trials = seen, trials

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._seen.text(trial) for trial in self._trials[index]]
        return self._seen.text(self._trials[index])

    def __len__(self) -> int:
        return len(self._trials)


def groups(seen: Seen, trials: Sequence[Ended], *, marked: bool = True) -> list[Group]:
    """Trials by how they ended; `marked`: and over them the defaults and the best once more."""
    found = [
        Group("pruned", "triangle-down", drawing.GREY, 7, [t for t in trials if t.how == "pruned"]),
        Group("diverged", "x", drawing.VERMILION, 8, [t for t in trials if t.how == "diverged"]),
        Group("finished", "circle", drawing.BLUE, 7, [t for t in trials if t.how == "finished"]),
    ]
    if marked:
        for trial in trials:
            if trial.number in seen.defaults:
                label = f"{seen.defaults[trial.number]}: trial {trial.number}"
                found.append(Group(label, "diamond", drawing.BLACK, 9, [trial]))
        found += [Group(seen.title(t), "star", drawing.ORANGE, 16, [t]) for t in trials if t is seen.best]
    return [group for group in found if group.trials]


def listed(parameters: Collection[Parameter]) -> str:
    """The hypers of parameters, for a sentence.

    >>> listed([])
    'nothing'
    """
    return ", ".join(parameter.hyper.name for parameter in parameters) or "nothing"
