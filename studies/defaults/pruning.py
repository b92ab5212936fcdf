"""How far behind later winners have been: the shares of `CurvePruner`, and what they cost beside ASHA's.

python studies/defaults/pruning.py

Sets of 64 candidates are pruned on the stored curves as a study would, all at once. What is lost is the regret of the
best that goes to the end, less that of the best of the 64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import entries
import numpy as np

from adamtune.recommending.pruner import PARTS

_SET, _SETS = 64, 50
_SURE = 0.95
# A config this near to the best one is as good: about what another seed changes.
_AS_GOOD = 0.01


@dataclass(frozen=True, eq=False)
class Course:
    """How all candidates went on a task: (candidates, epochs); 1 and more is no better than the untrained network."""

    family: str
    regret: np.ndarray


def courses() -> list[Course]:
    """Of every task of the table."""
    found = []
    for entry in entries.read():
        curves = np.array([each.curve for each in entry.evaluations], "float64")
        curves = np.where(np.isfinite(curves), curves, np.inf)
        best = curves[:, -1].min()
        if best < entry.untrained:
            regret = np.minimum((curves - best) / (entry.untrained - best), 1.0)
            found.append(Course(entry.source.family, regret))
    return found


def shares(known: Sequence[Course]) -> list[float]:
    """By part of the training, the share of a set that has to go on lest its winner be lost, in 95 % of sets."""
    needed = np.concatenate([_places(course.regret) for course in known])
    return [float(share) for share in np.quantile(needed, _SURE, axis=0)]


def _places(regret: np.ndarray) -> np.ndarray:
    """(sets, parts): where, as a share of its set, the first of those stood that ended as good as the best."""
    epochs, found = regret.shape[1], []
    at = [max(1, int(np.ceil(part * epochs))) - 1 for part in PARTS]
    for drawn in _sets(len(regret)):
        last = regret[drawn, -1]
        winners = last <= last.min() + _AS_GOOD
        ranks = [regret[drawn, epoch].argsort(kind="stable").argsort() for epoch in at]
        found.append([(rank[winners].min() + 1) / _SET for rank in ranks])
    return np.array(found)


def judged(known: Sequence[Course]) -> dict[str, tuple[float, float, float]]:
    """By way of pruning: mean regret lost, its 90 % quantile, and the share of epochs that were trained."""
    found = {}
    for eta in (2, 3, 4):
        found[f"ASHA, eta {eta}"] = _cost(known, lambda course, eta=eta: _halving(course.regret.shape[1], eta))
    families = {course.family for course in known}
    learned = {each: shares([course for course in known if course.family != each]) for each in families}
    found["learned, family left out"] = _cost(
        known, lambda course: _rungs(course.regret.shape[1], learned[course.family])
    )
    return found


Plan = list[tuple[int, float]]  # epochs, and the share of all that goes on


def _cost(known: Sequence[Course], plan: Callable[[Course], Plan]) -> tuple[float, float, float]:
    runs = [_run(course.regret, drawn, plan(course)) for course in known for drawn in _sets(len(course.regret))]
    lost, spent = np.transpose(runs)
    return float(lost.mean()), float(np.quantile(lost, 0.9)), float(spent.mean())


def _halving(epochs: int, eta: int) -> Plan:
    return [(eta**k, float(eta) ** -(k + 1)) for k in range(32) if 2 * eta**k <= epochs]


def _rungs(epochs: int, kept: Sequence[float]) -> Plan:
    rungs = [epoch for epoch in range(1, epochs) if epoch / epochs <= PARTS[-1]]
    shared = np.interp([rung / epochs for rung in rungs], PARTS, np.minimum.accumulate(kept))
    return list(zip(rungs, map(float, shared), strict=True))


def _run(regret: np.ndarray, drawn: np.ndarray, plan: Plan) -> tuple[float, float]:
    """Regret that is lost, and share of the epochs that are trained."""
    alive, spent, before = drawn, 0, 0
    for rung, share in plan:
        spent, before = spent + len(alive) * (rung - before), rung
        most = max(1, int(np.ceil(share * len(drawn))))
        alive = alive[np.argsort(regret[alive, rung - 1], kind="stable")[:most]]
    epochs = regret.shape[1]
    spent += len(alive) * (epochs - before)
    return float(regret[alive, -1].min() - regret[drawn, -1].min()), spent / (len(drawn) * epochs)


@functools.cache
def _sets(candidates: int) -> list[np.ndarray]:
    random = np.random.default_rng(20141222)
    return [random.choice(candidates, _SET, replace=False) for _ in range(_SETS)]


if __name__ == "__main__":
    for name, (lost, worst, spent) in judged(courses()).items():
        print(f"{name:28s} lost {lost:.4f} (9 of 10 below {worst:.4f}) for {spent:.0%} of the epochs")
