"""Two studies side by side, or the optimizers of one: what they found, and how soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from adamtune import plots, summary
from adamtune.errors import ConfigError, StudyError
from adamtune.pages.study import StudyPage, view
from adamtune.summary import number
from adamtune.tuning import records


@dataclass(frozen=True)
class Side:
    """One of two studies."""

    study_id: int
    page: StudyPage


def sides(studies: Sequence[tuple[int, optuna.Study]]) -> list[Side]:
    """What is shown of each."""
    return [Side(study_id, view(study)) for study_id, study in studies]


def rows(both: Sequence[Side]) -> list[tuple[str, list[str], bool]]:
    """What can be set side by side: its name, a cell a study, and whether they differ."""
    table: list[tuple[str, list[str]]] = [
        ("best", [number(each.page.summary.value) for each in both]),
        ("default Adam", [number(each.page.summary.default) for each in both]),
        ("difference", [_difference(each.page) for each in both]),
        ("trials", [str(each.page.summary.counts["finished"]) for each in both]),
    ]
    names = list(dict.fromkeys(name for each in both for name, _ in each.page.settings))
    table += [(name, [dict(each.page.settings).get(name, "-") for each in both]) for name in names]
    configs = [each.page.summary.config for each in both]
    hypers = summary.shown_hypers([config for config in configs if config is not None])
    table += [(name, [number(config.hypers.get(name)) if config else "-" for config in configs]) for name in hypers]
    return [(name, cells, len(set(cells)) > 1) for name, cells in table]


def _difference(page: StudyPage) -> str:
    return summary.difference(page.summary.gain, page.summary.direction) or "-"


def comparable(both: Sequence[Side]) -> bool:
    """Whether their values mean the same: the same objective of tasks of the same name."""
    told = {(each.page.summary.task, each.page.summary.objective, each.page.summary.direction) for each in both}
    return len(told) == 1


def by_optimizer(study: optuna.Study) -> list[tuple[str, str, str, str]]:
    """The optimizers of a study, best first: name, best value, trials of the full budget, all that ended."""
    ended: dict[str, int] = {}
    for trial in study.get_trials(deepcopy=False, states=records.FINISHED):
        if rule := _rule_of(trial):
            ended[rule] = ended.get(rule, 0) + 1
    best: dict[str, optuna.trial.FrozenTrial] = {}
    full: dict[str, int] = {}
    for trial in records.ranked(study):
        if rule := _rule_of(trial):
            best.setdefault(rule, trial)
            full[rule] = full.get(rule, 0) + (trial.state == optuna.trial.TrialState.COMPLETE)
    found = [(rule, number(records.value_of(trial)), str(full[rule]), str(ended[rule])) for rule, trial in best.items()]
    return found + [(rule, "diverged", "0", str(count)) for rule, count in ended.items() if rule not in best]


def _rule_of(trial: optuna.trial.FrozenTrial) -> str | None:
    try:
        return records.rule_of(trial)
    except ConfigError:
        return None


def figure(studies: Sequence[optuna.Study]) -> str | None:
    """The best so far of each over the epochs that were trained, as JSON of Plotly."""
    try:
        return str(plots.compare(studies).to_json())
    except StudyError:
        return None
