"""The candidate matrix: the same configs for every task, in one fixed order, so that a list can be learned from them.

    python studies/defaults/candidates.py     # how many of each kind

Each has a source in words. The wide draws are random search itself: what it finds in n trials is computed from them.
"""

from __future__ import annotations

import collections
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import qmc

from adamtune import OptimizerConfig, presets

# Whose defaults are tried. Others of the catalogue are left out: a rule is a program of its own on every task.
RULES = (
    "adam",
    "nadamw",
    "adamw",
    "nadam",
    "adamax",
    "sgd",
    "rmsprop",
    "adagrad",
    "adadelta",
    "lion",
    "schedule_free_adamw",
)
N_WIDE, N_FAMILY = 160, 64
_SEED = 20141222  # the day of Adam's first version, arXiv 1412.6980

# The ordered list of Metz et al. 2020, arXiv 2002.11887, from google/learned_optimization, opt_list.json at a32186aa
# (Apache-2.0): the first 32 of the rows without an L2 term, six digits.
TASKSET = Path(__file__).resolve().parent / "taskset.csv"
# AlgoPerf's five points (Dahl et al. 2023, arXiv 2306.07179, tuned baseline), cosine to 0 after the warmup; two of them
# differ in label smoothing alone.
_ALGOPERF = (
    {"learning_rate": 1.308e-3, "beta_1": 0.9731, "beta_2": 0.99812, "weight_decay": 0.1638, "warmup": 0.10},
    {"learning_rate": 8.45e-4, "beta_1": 0.8896, "beta_2": 0.99785, "weight_decay": 0.0814, "warmup": 0.05},
    {"learning_rate": 4.96e-3, "beta_1": 0.8637, "beta_2": 0.6292, "weight_decay": 0.1147, "warmup": 0.02},
    {"learning_rate": 1.749e-3, "beta_1": 0.9327, "beta_2": 0.99552, "weight_decay": 0.0812, "warmup": 0.02},
)
# AlgoPerf's five points of Schedule-Free AdamW (version 0.5, external tuning).
_SCHEDULE_FREE = ((1e-3, 0.9955), (2e-3, 0.9955), (3e-3, 0.9955), (4e-3, 0.9955), (5e-3, 0.629))


@dataclass(frozen=True)
class Candidate:
    """A config, and why it is tried."""

    source: str
    config: OptimizerConfig


# A rate so small that nothing moves: its loss is that of the untrained model, on the rows that judge.
UNTRAINED = Candidate("untrained", OptimizerConfig("sgd", learning_rate=1e-12))


def candidates() -> list[Candidate]:
    """All of them, each config once, under the first source that has it."""
    once: dict[OptimizerConfig, Candidate] = {}
    for each in [*_defaults(), UNTRAINED, *_rates(), *_published(), *_family(), *_wide()]:
        once.setdefault(each.config, each)
    return list(once.values())


def _defaults() -> list[Candidate]:
    """What frameworks do when nobody says otherwise: ours, which are Keras 3's where Keras has the optimizer, first."""
    ours = [Candidate("default adamtune", OptimizerConfig(rule)) for rule in RULES]
    others = [Candidate(f"default {name}", presets.get(name)) for name in presets.names()]
    return ours + [each for each in others if each.config.optimizer in RULES]


def _rates() -> list[Candidate]:
    """Defaults but for the learning rate: two rates a decade."""
    grids = {
        ("adam",): (-5.0, 0.0),
        ("nadam", "adamax", "rmsprop", "adamw"): (-4.0, -1.0),
        ("lion",): (-5.0, -2.0),
        ("adagrad",): (-3.0, 0.0),
    }
    found = [
        Candidate(f"{rule}, rate alone", OptimizerConfig(rule, learning_rate=_rounded(10**exponent)))
        for rules, (low, high) in grids.items()
        for rule in rules
        for exponent in np.arange(low, high + 0.25, 0.5)
    ]
    momentum = {"SGD": 0.0, "SGD with Nesterov's momentum": 0.9}
    found += [
        Candidate(
            f"{name}, rate alone",
            OptimizerConfig("sgd", learning_rate=_rounded(10**exponent), momentum=value, nesterov=value > 0),
        )
        for name, value in momentum.items()
        for exponent in np.arange(-3.0, 0.25, 0.5)
    ]
    adam = [OptimizerConfig("adam", learning_rate=rate, schedule="cosine") for rate in (1e-3, 3e-3, 1e-2, 3e-2)]
    return found + [Candidate("adam, cosine to 0", config) for config in adam]


def _published() -> list[Candidate]:
    nadamw = [OptimizerConfig("nadamw", schedule="cosine", epsilon=1e-8, **point) for point in _ALGOPERF]
    free = [
        OptimizerConfig(
            "schedule_free_adamw", learning_rate=rate, beta_1=0.9, beta_2=beta_2, weight_decay=0.08, warmup=0.02
        )
        for rate, beta_2 in _SCHEDULE_FREE
    ]
    named = {"TaskSet's list": _taskset(), "AlgoPerf's NAdamW": nadamw, "AlgoPerf's Schedule-Free AdamW": free}
    return [Candidate(source, config) for source, configs in named.items() for config in configs]


def _taskset() -> list[OptimizerConfig]:
    """The first of TaskSet's list that have no L2 term, which its code subtracts; none of them looks ahead in it.

    Its epsilon is Keras'. Its decay is multiplied by the corrected rate, Keras' by the rate itself.
    """
    with TASKSET.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [
        OptimizerConfig(
            "adamw",
            learning_rate=row["learning_rate"],
            beta_1=1 - row["one_minus_beta_1"],
            beta_2=1 - row["one_minus_beta_2"],
            epsilon=row["epsilon"],
            weight_decay=row["weight_decay"],
            schedule="cosine",
            final=row["min_learning_rate_mult"],
            warmup=(warmup := min(row["warmup_fraction"], row["constant_fraction"])),
            hold=row["constant_fraction"] - warmup,
        )
        for row in rows
    ]


def _family() -> list[Candidate]:
    """The wide NAdamW family, evenly: TaskSet's ranges (Metz et al. 2020, arXiv 2002.11887), the epsilon up to 100."""
    found = []
    for point in qmc.Sobol(10, rng=np.random.default_rng(_SEED)).random(N_FAMILY):
        rate, beta_1, beta_2, epsilon, decay, final, warmup, ahead, kind, nothing = point
        hypers = {
            "learning_rate": _log(rate, -5, 0),
            "beta_1": 1 - _log(beta_1, -3, 0),
            "beta_2": 1 - _log(beta_2, -5, 0),
            "epsilon": _log(epsilon, -8, 2),
            "weight_decay": _log(decay, -5, -1) if nothing < 2 / 3 else 0.0,
            "nesterov": bool(ahead < 0.5),
        }
        schedule = ("constant", "linear", "cosine")[int(3 * kind)]
        if schedule != "constant":
            hypers |= {"final": _log(2 * final - 1, -5, 0) if final >= 0.5 else 0.0}
            hypers |= {"warmup": _log(2 * warmup - 1, -3, -1)} if warmup >= 0.5 else {}
        found.append(Candidate("NAdamW, wide", OptimizerConfig("nadamw", schedule=schedule, **hypers)))
    return found


def _wide() -> list[Candidate]:
    """Adam at random: each number log-uniform, as far as anyone has searched."""
    random = np.random.default_rng([_SEED, 1])
    return [
        Candidate(
            "Adam, random search",
            OptimizerConfig(
                "adam",
                learning_rate=_log(rate, -5, 0),
                beta_1=1 - _log(beta_1, np.log10(4e-3), 0),
                beta_2=1 - _log(beta_2, -5, np.log10(0.3)),
                epsilon=_log(epsilon, -9, 2),
            ),
        )
        for rate, beta_1, beta_2, epsilon in random.random((N_WIDE, 4))
    ]


def _log(share: float, low: float, high: float) -> float:
    """The number at that share of the way from 10**low to 10**high, on a log scale."""
    return _rounded(10 ** (low + float(share) * (high - low)))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


if __name__ == "__main__":
    kinds = collections.Counter(each.source.split("/")[0] for each in candidates())
    for source, count in kinds.items():
        print(f"{count:4d}  {source}")
    print(f"{len(candidates()):4d}  in all")
