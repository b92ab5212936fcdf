"""Studies of any size in seconds: adamtune's own loop, sampler, pruner and storage, over lanes that train nothing."""

import math
from dataclasses import replace

import numpy as np
import optuna

from adamtune import OptimizerConfig, optimizers
from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus
from adamtune.tuning import loop, policies, records
from adamtune.tuning import study as studies
from adamtune.tuning.space import space
from tests.stamps import STAMP
from tests.tuning.fakes import FakeEngine

EPOCHS = 25
_SPACE = {"learning_rate": (1e-5, 1.0), "beta_1": (0.5, 0.99), "beta_2": (0.9, 0.9999), "epsilon": (1e-9, 1e-3)}


class Valley(FakeEngine):
    """A loss that is least at a learning rate of 0.003 for the default momentum, falls with age and has some noise."""

    def _report(self, lane, config, age):
        far = math.log10(config.learning_rate / 0.003) + 0.5 * math.log10((1 - config.beta_1) / 0.1)
        noise = np.random.default_rng([int(1e15 * config.learning_rate), age]).normal(scale=0.01)
        loss = (0.05 + 0.2 * far**2 + 0.01 * abs(math.log10(config.epsilon) + 7)) * (1 + 3 / age) + noise
        if config.learning_rate > 0.5:
            return Report(lane, age, math.nan, LaneStatus.DIVERGED, math.nan, math.nan, None)
        loss = max(loss, 1e-3)
        return Report(lane, age, loss, LaneStatus.RUNNING, 0.9 * loss, loss, None)


def stamp(searched, **said):
    given = {"task": "classification-1797x64", "epochs": EPOCHS, "steps": 1000, "lanes": 64, "sampler": "random"}
    return replace(STAMP, **given | {"fingerprint": "f" * 16, "space": searched.to_json()} | said)


def events(storage, n_trials, name="valley/adam", seed=0, exact=False, pruner="asha", **said):
    """A new study, and what happens in it, one event at a time."""
    searched = space(optimizers.get("adam"), _SPACE, n_trials)
    study = studies.create(storage, name, "minimize", stamp(searched, seed=seed, pruner=pruner, **said), exact)
    studies.enqueue(study, searched, searched.defaults())
    engine = Valley(64)
    return study, loop.search(
        study,
        searched,
        lambda rule, number: engine,
        loop.Budget(trials=n_trials),
        epochs=EPOCHS,
        at_once=64,
        sampler="random",
        pruner=policies.pruner_for(pruner, EPOCHS, "minimize", 1),
        seed=seed,
    )


def made(storage, n_trials, concluded=True, **named):
    """A study with that many trials, and with a winner and a comparison like those of `fit`."""
    study, happening = events(storage, n_trials, **named)
    for _ in happening:
        pass
    if concluded:
        conclude(study)
    return study


def conclude(study):
    best = records.ranked(study)[0]
    config, default = records.config_of(best, records.read_stamp(study)), OptimizerConfig("adam")
    records.write_winner(study, best.number, config, best.value * 1.05, 0.004, 3)
    rows = [("winner", best.number, config, best.value * 1.05, 0.004)]
    rows.append(("Keras' default Adam", 0, default, best.value * 1.4, 0.006))
    records.write_comparison(study, rows, "minimize")
    records.set_note(study, "loss", "'sparse_categorical_crossentropy'")
    records.set_note(study, "seconds", 12.5)


def plain(storage, name="somebody else's"):
    """A study that plain Optuna made."""
    study = optuna.create_study(storage=storage, study_name=name)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    return study
