"""What a study found, as figures: its history, a contour of two hypers, what mattered, the curves, and how soon.

Each function takes an `optuna.Study` that adamtune made, finished or not, and gives a figure of Plotly for screens or
of matplotlib for paper; both show the same numbers. Keras is not needed:

    study = optuna.load_study(study_name="digits/adam/20260101-120000-ab12", storage="sqlite:///adamtune.db")
    adamtune.plots.history(study).write_html("history.html")
    adamtune.plots.contour(study, backend="matplotlib").savefig("contour.pdf")

Trials that were pruned or diverged have symbols of their own. They are never mixed with the values of finished ones:
what is stored for a diverged trial is a penalty, and a pruned one was judged after fewer epochs. Where all of them
have to be compared, places in the ranking are, see `Seen.places`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna

from adamtune.errors import SettingError, did_you_mean
from adamtune.plots import _compare, _contour, _curves, _history, _importance, _time_to_target, drawing
from adamtune.plots.reading import read

__all__ = ["compare", "contour", "curves", "draw", "history", "importance", "time_to_target"]


def history(study: optuna.Study, *, backend: str = "plotly") -> Any:
    """The value of every trial in the order in which they were asked, and the best so far.

    Parameters
    ----------
    study : optuna.Study
    backend : {"plotly", "matplotlib"}

    Returns
    -------
    plotly.graph_objects.Figure or matplotlib.figure.Figure
        A diverged trial has no value and stands at the edge, as do outliers, which would press the rest flat.

    Raises
    ------
    StudyError
        When no trial has ended.
    """
    return drawing.draw(_history.make(read(study)), backend)


def contour(
    study: optuna.Study,
    x: str | None = None,
    y: str | None = None,
    *,
    optimizer: str | None = None,
    backend: str = "plotly",
) -> Any:
    """Where two hypers are good: every trial at its place, over a smooth surface of how trials fared around there.

    The axes have the scales on which was searched: log(learning_rate), log(1 - beta_1). The surface is the mean share
    of trials that did better, over whatever the other hypers were, with a Gaussian kernel as wide as Scott's rule says
    (1992, "Multivariate Density Estimation"); where nobody was near it is empty.

    Parameters
    ----------
    study : optuna.Study
    x, y : str, optional
        Searched hypers. Default: the learning rate and beta_1, else momentum; what was not searched, the next that was.
    optimizer : str, optional
        Where several are searched; default: that of the best trial.
    backend : {"plotly", "matplotlib"}

    Returns
    -------
    plotly.graph_objects.Figure or matplotlib.figure.Figure

    Raises
    ------
    SettingError
        When x, y or the optimizer is not searched.
    StudyError
        When no trial has ended, or there are no two hypers to draw.
    """
    return drawing.draw(_contour.make(read(study), x, y, optimizer), backend)


def importance(study: optuna.Study, *, optimizer: str | None = None, backend: str = "plotly") -> Any:
    """How much of how a trial fared is explained by each hyper alone.

    It is fANOVA (Hutter, Hoos & Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance",
    ICML) by Optuna, of places in the ranking, so that pruned and diverged trials count and one huge loss does not
    count for all; on the scales on which was searched. The bar is the median and the interval the middle 80 % over the
    trees of a forest, each of which is grown on its own draw of the trials: it says how much one should trust a bar.
    What the bars leave of 1 is due to hypers together.

    Parameters
    ----------
    study : optuna.Study
    optimizer : str, optional
        Where several are searched; default: that of the best trial.
    backend : {"plotly", "matplotlib"}

    Returns
    -------
    plotly.graph_objects.Figure or matplotlib.figure.Figure

    Raises
    ------
    SettingError
        When the optimizer is not searched.
    StudyError
        When fewer than 8 of its trials have ended, all fared alike, or no two hypers are searched.
    """
    return drawing.draw(_importance.make(read(study), optimizer), backend)


def curves(study: optuna.Study, *, backend: str = "plotly") -> Any:
    """The objective of trials epoch by epoch: the best few, the default, and the rest.

    Parameters
    ----------
    study : optuna.Study
    backend : {"plotly", "matplotlib"}

    Returns
    -------
    plotly.graph_objects.Figure or matplotlib.figure.Figure
        Of the rest, the median and the middle half at each epoch are those of the trials that still trained, and at
        most 100 curves are drawn themselves. With several passes a curve is the mean of those that were trained whole.

    Raises
    ------
    StudyError
        When no trial has ended, or no curves are stored.
    """
    return drawing.draw(_curves.make(study, read(study)), backend)


def time_to_target(study: optuna.Study, target: float | None = None, *, backend: str = "plotly") -> Any:
    """The share of trials that have become as good as a target, by epoch; the winner, the best and the default marked.

    A pruned trial might have reached the target later. The line counts it as one that never does, which is too few.
    The band above goes up to the estimate of Kaplan & Meier (1958, "Nonparametric Estimation from Incomplete
    Observations", JASA 53), as if those had gone on like the rest, which is too many: the truth lies in between.
    Trials that trained to their end, and those that diverged, never reach it.

    Parameters
    ----------
    study : optuna.Study
    target : float, optional
        A value of the objective. Default: what the default Adam came to, where it trained to its end; else the median
        of the finished trials.
    backend : {"plotly", "matplotlib"}

    Returns
    -------
    plotly.graph_objects.Figure or matplotlib.figure.Figure
        Percent from epoch 0 to the end of the longest training. Who never reached the target is marked where its
        training ended.

    Raises
    ------
    SettingError
        When the target is no finite number.
    StudyError
        When no trial has ended, no curves are stored, or no target is given and no trial has trained to its end.
    """
    return drawing.draw(_time_to_target.make(study, read(study), target), backend)


def compare(studies: Sequence[optuna.Study], *, backend: str = "plotly") -> Any:
    """The best so far of several studies, over the epochs that all their trials have trained.

    Parameters
    ----------
    studies : sequence of optuna.Study
        At most six, judged by the same objective.
    backend : {"plotly", "matplotlib"}

    Returns
    -------
    plotly.graph_objects.Figure or matplotlib.figure.Figure

    Raises
    ------
    StudyError
        When they are judged by different objectives, or no trial of one has ended.
    """
    return drawing.draw(_compare.make([read(study) for study in studies]), backend)


_KINDS: dict[str, Callable[..., Any]] = {
    "history": history,
    "contour": contour,
    "importance": importance,
    "curves": curves,
    "time_to_target": time_to_target,
}


def draw(study: optuna.Study, kind: str = "history", *, backend: str = "plotly") -> Any:
    """One of the figures by its name.

    Parameters
    ----------
    study : optuna.Study
    kind : {"history", "contour", "importance", "curves", "time_to_target"}
    backend : {"plotly", "matplotlib"}

    Raises
    ------
    SettingError
        For an unknown kind or backend.
    StudyError
        When the study holds nothing to draw.
    """
    if not isinstance(kind, str) or kind not in _KINDS:
        known = ", ".join(repr(name) for name in _KINDS)
        raise SettingError(f"kind={kind!r} is unknown.{did_you_mean(str(kind), _KINDS)} Expected one of: {known}.")
    return _KINDS[kind](study, backend=backend)
