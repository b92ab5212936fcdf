"""Experience: what a fit takes from the Store, and what it leaves there for the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from adamtune import recommending
from adamtune.config import OptimizerConfig
from adamtune.recommending import describing, portfolio, store
from adamtune.recommending.describing import Description
from adamtune.recommending.evidence import Evidence, Source
from adamtune.recommending.portfolio import Portfolio
from adamtune.recommending.store import Entry, Evaluation, Recommended
from adamtune.settings import Settings
from adamtune.tasks.task import Task
from adamtune.tuning import curves, records
from adamtune.tuning.curves import Curve
from adamtune.tuning.prior import NOTHING, Prior
from adamtune.tuning.run import Run
from adamtune.tuning.space import Space

# How many configs are tried first, and of how many trials each is one: five do most of what a list can, see
# `studies/defaults`.
_LISTED, _OF_TRIALS = 5, 3
# How many configs the prior is made of.
_PRIOR_OF = 16
# Of a study, so many evaluations are kept: the best half of them, and others evenly spread over the rest.
_KEPT = 64
_NOTE = "experience"


@dataclass(frozen=True)
class Experience:
    """What was known before a study.

    Parameters
    ----------
    description : Description or None
        The task, as the Store knows tasks; None where it is not asked and not told.
    portfolio : Portfolio or None
        What is tried first.
    prior : Prior
        Near to what trials are drawn.
    """

    description: Description | None = None
    portfolio: Portfolio | None = None
    prior: Prior = NOTHING

    @property
    def configs(self) -> list[OptimizerConfig]:
        """What is tried first, after the defaults."""
        return [] if self.portfolio is None else [config.found_with(None) for config in self.portfolio.configs]

    def write(self, study: optuna.Study) -> None:
        """Write into a new study what it starts from: the store that is read today is another one tomorrow."""
        if self.portfolio is not None:
            likely = [config.to_dict() for config in self.prior.configs]
            records.set_note(study, _NOTE, {"likely": likely, "n_sources": self.portfolio.n_sources})


def consult(
    settings: Settings,
    stored: optuna.Study | None,
    task: Task,
    model: Any,
    rows: tuple[Any, Any],
    storage: str | None,
    n_trials: int,
    patience: int | None,
) -> Experience:
    """What is known of a task before its study; of a stored study, what was known when it was made.

    Parameters
    ----------
    rows : (X, y)
        As the user gave them.
    """
    kind = "regression" if task.data.kind == "regression" else "classification"
    split = task.split(0) if task.folds is None else task.folds(0)[0]
    share = split.n_train / task.data.n_given
    described = describing.of_rows(
        *rows, model, task=kind, epochs=task.epochs, batch_size=task.batch_size, train_share=share
    )
    if stored is not None:
        said = records.get_note(stored, _NOTE) or {}
        return Experience(described, None, Prior(tuple(map(OptimizerConfig.from_dict, said.get("likely", ())))))
    if settings.learns_from is None:
        return Experience(described)
    source = storage if settings.learns_from == "store" else "memory"
    learned, spread = recommending.known(source, "last" if patience is None else "best")
    return start(learned, described, settings.space, n_trials, spread)


def start(
    learned: Evidence, described: Description, space: Space, n_trials: int, spread: Mapping[str, Sequence[float]]
) -> Experience:
    """What a study of so many trials in that space starts from, where `learned` is what is known."""
    allowed = [
        name in space.parts and space.holds(learned.configs[index]) for index, name in enumerate(learned.optimizers)
    ]
    k = min(_LISTED, n_trials // _OF_TRIALS)
    if not any(allowed) or k < 1:
        return Experience(described)
    listed = portfolio.choose(learned, described, k, spread, allowed)
    return Experience(described, listed, Prior(portfolio.likely(learned, described, _PRIOR_OF, allowed)))


def remember(study: optuna.Study, run: Run, known: Experience) -> None:
    """Append a study to the Store beside it: what its trials came to, and what became of the list it started from.

    A study that is in no database is not remembered.
    """
    engine = curves.database_of(study._storage)
    if engine is None or known.description is None:
        return
    drawn = curves.read(study)
    trials = {trial.number: trial for trial in records.ranked(study) if trial.number in drawn}
    full = [number for number, trial in trials.items() if trial.state == optuna.trial.TrialState.COMPLETE]
    if not full:
        return
    described = known.description
    source = Source(
        study.study_name.rpartition("/")[0] or study.study_name,
        described.kind,
        described.kind,
        described.data,
        described.features,
        described.fingerprint,
    )
    epochs = run.task.epochs
    evaluations = tuple(_evaluation(trials[number], drawn[number], epochs) for number in _spread(full))
    store.add(engine, [Entry(source, _untrained(drawn.values()), evaluations, study.study_name)])
    if known.portfolio is not None:
        numbers = {records.config_of(trial): trial.number for trial in reversed(trials.values())}
        listed = [_outcome(place, each, numbers, drawn) for place, each in enumerate(known.portfolio, 1)]
        store.set_recommended(engine, described.fingerprint, study.study_name, listed)


def _spread(ranked: Sequence[int]) -> list[int]:
    """The best, and others evenly spread over the rest."""
    half = _KEPT // 2
    rest = np.array(ranked[half:], int)
    places = np.unique(np.linspace(0, max(len(rest) - 1, 0), min(half, len(rest))).astype(int))
    return [*ranked[:half], *map(int, rest[places])]


def _evaluation(trial: optuna.trial.FrozenTrial, curve: Curve, epochs: int) -> Evaluation:
    passes = np.array_split(curve.val_loss, max(1, -(-curve.epochs // epochs)))
    last = float(np.mean([each[-1] for each in passes]))
    best = float(np.mean([np.min(each) for each in passes]))
    return Evaluation(records.config_of(trial), last, best, len(passes), "study", trial.number)


def _untrained(drawn: Any) -> float:
    """About the loss of the untrained network: the middle of what trials began with."""
    return float(np.nanmedian([curve.val_loss[0] for curve in drawn]))


def _outcome(place: int, each: Any, numbers: dict[OptimizerConfig, int], drawn: dict[int, Curve]) -> Recommended:
    bare = each.config.found_with(None)
    number = numbers.get(bare)
    loss = None if number is None else float(drawn[number].val_loss[-1])
    low, high = each.interval
    return Recommended(place, bare, each.gain, low, high, number, loss)
