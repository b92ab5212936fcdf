"""A study that starts from what is known, beside one that starts from nothing; and beside one that starts from lies.

    python studies/defaults/warm.py           # writes warm.json, of which report.py makes a table

The study is adamtune's own loop, with its sampler, its design, its prior and Optuna's storage in memory. What it trains
is not a network but the corpus: a trial's value is what the smooth surface of `adamtune.recommending.surface` says of
its config on a task, so that hundreds of studies take minutes. Nothing is pruned. What is started from is learned
without the task's data set, or without its family.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import judging
import numpy as np
import optuna

from adamtune import OptimizerConfig, experience, optimizers
from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus
from adamtune.recommending import portfolio, surface
from adamtune.recommending.evidence import Evidence
from adamtune.tuning import loop, records
from adamtune.tuning import study as studies
from adamtune.tuning.prior import NOTHING, Prior
from adamtune.tuning.space import space

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "warm.json"
N_TRIALS, LANES, SEEDS = 30, 4, 3
# Random search's box: what a study from nothing searches, and a warm one too.
BOX = {
    "learning_rate": (1e-5, 1.0),
    "one_minus_beta_1": (4e-3, 1.0),
    "one_minus_beta_2": (1e-5, 0.3),
    "epsilon": (1e-9, 1e2),
}


class Surface:
    """A task as the loop sees one: lanes that are done after an epoch, whose value is read off the corpus."""

    n_lanes = LANES

    def __init__(self, value: Callable[[Sequence[OptimizerConfig]], np.ndarray]) -> None:
        self._value = value
        self._seated: dict[int, OptimizerConfig] = {}
        self.clock = 0

    def load(self, configs: dict[int, OptimizerConfig]) -> None:
        self._seated |= configs

    def tick(self) -> None:
        self.clock += 1

    def reports(self) -> list[Report]:
        values = self._value(list(self._seated.values()))[0]
        return [
            Report(lane, 1, float(value), LaneStatus.RUNNING, float(value), float(value), None)
            for lane, value in zip(self._seated, values, strict=True)
        ]

    def free(self, lanes: Sequence[int]) -> None:
        for lane in lanes:
            del self._seated[lane]

    def initial_loss(self) -> float:
        return 1.0


def regrets(engine: Surface, starting: Sequence[OptimizerConfig], prior: Prior, seed: int) -> list[float]:
    """The least value after each trial."""
    searched = space(optimizers.get("adam"), BOX, N_TRIALS)
    study = optuna.create_study()
    studies.enqueue(study, searched, starting)
    events = loop.search(
        study,
        searched,
        lambda rule, number: engine,
        loop.Budget(trials=N_TRIALS),
        epochs=1,
        at_once=LANES,
        sampler="tpe",
        prior=prior,
        pruner=None,
        seed=seed,
    )
    for _ in events:
        pass
    values = [trial.value for trial in study.get_trials(deepcopy=False, states=records.FINISHED)]
    return [float(value) for value in np.minimum.accumulate(values)]


def started(learned: Evidence, described: portfolio.Description) -> tuple[list[OptimizerConfig], Prior]:
    """The default and what a study with this experience starts from, and its prior."""
    begun = experience.start(learned, described, space(optimizers.get("adam"), BOX, N_TRIALS), N_TRIALS, {})
    return list(dict.fromkeys([portfolio.DEFAULT, *begun.configs])), begun.prior


def poisoned(learned: Evidence, how: str, seed: int) -> Evidence:
    """The same with its configs mixed up, or with the worst tenth of them alone, said to be the best."""
    random = np.random.default_rng(seed)
    if how == "permuted":
        regret = np.array([row[random.permutation(len(row))] for row in learned.regret])
        return Evidence(learned.sources, learned.configs, regret, learned.penalty, learned.sure)
    worst = np.argsort(learned.regret.mean(axis=0))[-len(learned.configs) // 10 :]
    configs = tuple(learned.configs[i] for i in worst)
    return Evidence(learned.sources, configs, 1 - learned.regret[:, worst], learned.penalty, learned.sure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("adamtune").setLevel(logging.ERROR)
    corpus = judging.read()
    way = judging.shipped(corpus)
    found: dict[str, list[list[list[float]]]] = {}
    surfaces = [surface.fitted(corpus.evidence.configs, row[None]) for row in corpus.regret]
    for by in judging.SPLITS:
        for judged, known in judging.left_out(corpus, by):
            learned = way(corpus.evidence.without(~known))
            for task in map(int, np.flatnonzero(judged)):
                described = corpus.described(task)
                ways = {f"warm, {judging.SPLITS[by]}": started(learned, described)}
                if by == "data_set":
                    ways["from nothing"] = [portfolio.DEFAULT], NOTHING
                    for how in ("permuted", "worst tenth"):
                        ways[f"poisoned, {how}"] = started(poisoned(learned, how, task), described)
                for name, (starting, prior) in ways.items():
                    rows = [regrets(Surface(surfaces[task]), starting, prior, seed) for seed in range(options.seeds)]
                    found.setdefault(name, [[] for _ in corpus.regret])[task] = rows
    # The surface may lie below the best that was measured: the best known is what any way found on it.
    best = np.min([np.array(rows)[:, :, -1].min(axis=1) for rows in found.values()], axis=0)[:, None, None]
    plain = {name: np.round((np.array(rows) - best) / (1 - best), 5).tolist() for name, rows in found.items()}
    RESULTS.write_text(json.dumps({"tasks": list(map(str, corpus.of("name"))), "ways": plain}), encoding="utf-8")
    for name, rows in plain.items():
        mean = np.array(rows).mean(axis=(0, 1))
        print(f"{name:28s}", *(f"{n}: {mean[n - 1]:.4f}" for n in (1, 5, 10, 30)))


if __name__ == "__main__":
    main()
