"""Spaces that others have searched, by name, with their numbers.

Each is what `space` takes as a mapping, for the optimizers it was made for. What Optuna or adamtune has no word for is
said beside it, so that nobody takes a space for more than it is. Left out are those whose numbers would mean another
thing here: TaskSet's adam6p and adam8p multiply a linear and an exponential fall, and penalise weights in the loss;
AlgoPerf's Adafactor has a momentum, a constant beta_2 and rates that are not shares of a weight's own size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from adamtune import optimizers
from adamtune.errors import SettingError
from adamtune.optimizers._rule import Rule

Wanted = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A space from the literature.

    Parameters
    ----------
    source : str
        Where its numbers stand, and what of it is left out.
    rules : tuple of str
        Names of the optimizers it was made for.
    wanted : callable
        `wanted(rule, n_trials)`: the mapping that `space` takes.
    """

    source: str
    rules: tuple[str, ...]
    wanted: Callable[[Rule, int], Wanted]


def names(rule: Rule | None = None) -> list[str]:
    """The published spaces, or those that fit an optimizer."""
    known = optimizers.names()
    fitting = [rule.name] if rule else known
    return [name for name, each in _ALL.items() if any(one in fitting and one in known for one in each.rules)]


def source(name: str) -> str:
    """Where a published space comes from, in one line."""
    return _ALL[name].source


def get(name: str, rule: Rule, n_trials: int) -> Wanted:
    """The published space of that name as a mapping.

    Raises
    ------
    SettingError
        When it was made for other optimizers; says which spaces fit this one.
    """
    if rule.name not in _ALL[name].rules:
        fitting = ", ".join(repr(each) for each in names(rule)) or "none"
        raise SettingError(
            f"space={name!r} was made for {' and '.join(_ALL[name].rules)}, not for {rule.name}. "
            f"Published spaces for {rule.name}: {fitting}. Write one of them, 'auto' or a mapping."
        )
    return _ALL[name].wanted(rule, n_trials)


def _always(**wanted: Any) -> Callable[[Rule, int], Wanted]:
    return lambda rule, n_trials: wanted


def _log_normal(mu: float, sigma: float) -> FloatDistribution:
    # Optuna has no log-normal distribution; this covers the middle 95 % of it, evenly.
    return FloatDistribution(10 ** (mu - 2 * sigma), 10 ** (mu + 2 * sigma), log=True)


def _playbook(rule: Rule, n_trials: int) -> Wanted:
    # Below 10 trials the learning rate; to 25 also beta_1; then also epsilon; "substantially more" also beta_2.
    # It gives no bounds, so the catalogue's are used. 60 is our reading of "substantially more than 25".
    # Its NAdam is what is called nadamw here, but for the decay of the weights.
    least = {"learning_rate": 0, "beta_1": 10, "epsilon": 25, "beta_2": 60}
    hypers = [rule.hyper(name) for name, trials in least.items() if n_trials >= trials]
    fixed = {"weight_decay": 0.0} if rule.name == "nadamw" else {}
    return fixed | {hyper.carried_name: (hyper.low, hyper.high) for hyper in hypers}


_SIVAPRASAD = "Sivaprasad et al. 2020, arXiv 1910.11758; its log-normal rates as their middle 95 %, evenly"
_TASKSET = "Metz et al. 2020 (TaskSet), arXiv 2002.11887"
_SCHMIDT = "Schmidt, Schneider & Hennig 2021, arXiv 2007.01547: read off the extremes of the published runs"
_ALGOPERF = "Dahl et al. 2023 (AlgoPerf), arXiv 2306.07179"

_ALL: dict[str, Published] = {
    "playbook": Published(
        "Godbole et al. 2023, Deep Learning Tuning Playbook: which hypers for which budget; bounds are adamtune's",
        ("adam", "nadam", "nadamw"),
        _playbook,
    ),
    "seed": Published(
        "the articles on Keras' Adam that adamtune started from: beta_1 in tenths, beta_2 in hundredths",
        ("adam",),
        _always(
            learning_rate=(1e-5, 0.3),
            beta_1=FloatDistribution(0.5, 0.9, step=0.1),
            beta_2=FloatDistribution(0.90, 0.99, step=0.01),
        ),
    ),
    "taskset-adam1p": Published(
        f"{_TASKSET}, adam1p",
        ("adam",),
        _always(learning_rate=(1e-8, 1e1)),
    ),
    "taskset-adam4p": Published(
        f"{_TASKSET}, adam4p",
        ("adam",),
        _always(
            learning_rate=(1e-8, 1e1),
            one_minus_beta_1=(1e-4, 1.0),
            one_minus_beta_2=(1e-6, 1.0),
            epsilon=(1e-10, 1e3),
        ),
    ),
    "taskset-adagrad": Published(
        f"{_TASKSET}, adagrad",
        ("adagrad",),
        # TensorFlow's Adagrad has no epsilon.
        _always(learning_rate=(1e-8, 1e1), initial_accumulator_value=(1e-10, 1e3), epsilon=0.0),
    ),
    "taskset-nadamw": Published(
        f"{_TASKSET}, nadamw; without its L2 term; its constant rate is counted from the end of the warmup; no warmup "
        "and a fall to 0, half of its draws each, are the lower bounds; its epsilon stands before the bias correction; "
        "its code draws the look ahead but never uses it",
        ("nadamw",),
        _always(
            learning_rate=(1e-5, 1.0),
            one_minus_beta_1=(1e-3, 1.0),
            one_minus_beta_2=(1e-5, 1.0),
            epsilon=(1e-8, 1e4),
            nesterov=(False, True),
            weight_decay=(1e-5, 1e-1),
            schedule="cosine",
            warmup=(1e-5, 1e-1),
            hold=FloatDistribution(1e-5, 1.0),
            final=(1e-5, 1.0),
        ),
    ),
    "sivaprasad-adagrad": Published(
        f"{_SIVAPRASAD}: Adagrad", ("adagrad",), _always(learning_rate=_log_normal(-2.005, 1.204))
    ),
    "sivaprasad-adam": Published(
        f"{_SIVAPRASAD}: Adam, all hypers",
        ("adam",),
        _always(
            learning_rate=_log_normal(-2.697, 1.421),
            one_minus_beta_1=(1e-5, 1e-1),
            one_minus_beta_2=(1e-5, 1e-1),
            epsilon=(1e-8, 1.0),
        ),
    ),
    "sivaprasad-adam-lr": Published(
        f"{_SIVAPRASAD}: Adam, learning rate alone", ("adam",), _always(learning_rate=_log_normal(-3.021, 1.271))
    ),
    "sivaprasad-adam-lr-eps": Published(
        f"{_SIVAPRASAD}: Adam, learning rate and epsilon",
        ("adam",),
        _always(learning_rate=_log_normal(-3.021, 1.271), epsilon=(1e-10, 1e10)),
    ),
    "sivaprasad-adamw": Published(
        f"{_SIVAPRASAD}: AdamW, learning rate and weight decay",
        ("adamw",),
        _always(learning_rate=_log_normal(-3.021, 1.271), weight_decay=(1e-5, 1e-1)),
    ),
    "sivaprasad-sgd": Published(
        f"{_SIVAPRASAD}: SGD without momentum", ("sgd",), _always(learning_rate=_log_normal(-2.096, 1.312))
    ),
    "sivaprasad-sgdm": Published(
        f"{_SIVAPRASAD}: SGD with momentum; the momentum to 0.999 instead of 1, which never forgets",
        ("sgd",),
        _always(learning_rate=_log_normal(-2.379, 1.413), momentum=FloatDistribution(0.0, 0.999)),
    ),
    "sivaprasad-sgdm-fixed": Published(
        f"{_SIVAPRASAD}: SGD with a momentum of 0.9",
        ("sgd",),
        _always(learning_rate=_log_normal(-2.342, 1.553), momentum=0.9),
    ),
    "sivaprasad-sgdm-wd": Published(
        f"{_SIVAPRASAD}: SGD with momentum and weight decay; the momentum to 0.999 instead of 1; its decay is a term "
        "of the gradient, which the momentum sees, here it is decoupled",
        ("sgd",),
        _always(
            learning_rate=_log_normal(-2.438, 1.204),
            momentum=FloatDistribution(0.0, 0.999),
            weight_decay=(1e-5, 1e-1),
        ),
    ),
    "schmidt-adam": Published(
        _SCHMIDT,
        ("adam",),
        _always(
            learning_rate=(1e-4, 1.0),
            beta_1=FloatDistribution(0.5, 0.999, log=True),
            beta_2=FloatDistribution(0.8, 0.999, log=True),
        ),
    ),
    "schmidt-amsbound": Published(
        f"{_SCHMIDT}; AdaBound is searched as its AMSBound",
        ("amsbound", "adabound"),
        _always(
            learning_rate=(1e-4, 1.0),
            beta_1=FloatDistribution(0.5, 0.999, log=True),
            beta_2=FloatDistribution(0.8, 0.999, log=True),
            final_lr=(1e-3, 0.5),
            gamma=(1e-4, 1e-1),
        ),
    ),
    "algoperf-adamw": Published(
        f"{_ALGOPERF}: AdamW; without label smoothing and dropout, which are not the optimizer's",
        ("adamw",),
        _always(
            learning_rate=(1e-4, 1e-2),
            one_minus_beta_1=(2e-2, 0.5),
            beta_2=0.999,
            weight_decay=(5e-3, 1.0),
            schedule="cosine",
            warmup=0.05,
        ),
    ),
    "algoperf-nadamw": Published(
        f"{_ALGOPERF}: NAdamW; without label smoothing and dropout, which are not the optimizer's",
        ("nadamw",),
        _always(
            learning_rate=(1e-4, 1e-2),
            one_minus_beta_1=(4e-3, 0.1),
            beta_2=0.999,
            epsilon=1e-8,
            weight_decay=(5e-3, 1.0),
            schedule="cosine",
            warmup=0.05,
        ),
    ),
    "algoperf-lamb": Published(
        f"{_ALGOPERF}: LAMB; without label smoothing and dropout, which are not the optimizer's",
        ("lamb",),
        _always(
            learning_rate=(1e-4, 1e-2),
            one_minus_beta_1=(5e-2, 0.3),
            beta_2=0.999,
            epsilon=1e-8,
            weight_decay=(1e-3, 1.0),
            schedule="cosine",
            warmup=0.05,
        ),
    ),
    "algoperf-nesterov": Published(
        f"{_ALGOPERF}: Nesterov; without its L2 term, and the fall takes all of the training instead of 9/10",
        ("sgd",),
        _always(
            learning_rate=(2e-2, 5.0),
            one_minus_momentum=(5e-3, 0.3),
            nesterov=True,
            schedule="linear",
            final=CategoricalDistribution([1e-3, 1e-2]),
        ),
    ),
    "algoperf-momentum": Published(
        f"{_ALGOPERF}: momentum; without its L2 term, and the fall takes all of the training instead of 9/10",
        ("sgd",),
        _always(
            learning_rate=(2e-2, 5.0),
            one_minus_momentum=(5e-3, 0.3),
            nesterov=False,
            schedule="linear",
            final=CategoricalDistribution([1e-3, 1e-2]),
        ),
    ),
}
