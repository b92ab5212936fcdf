"""Each example runs, and does what it says."""

import importlib.util
import pathlib

import numpy as np

from adamtune import OptimizerConfig, optimizers
from adamtune.testing.fits import in_catalogue

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quickstart_finds_a_good_classifier(capsys):
    tuner, X_test, y_test = load("quickstart").main(n_trials=16, epochs=5)
    assert tuner.score(X_test, y_test) > 0.93
    assert f"best config: {tuner.best_config_}" in capsys.readouterr().out


def test_own_model_beats_the_optimizers_defaults():
    accuracy, default_accuracy = load("own_model").main(n_trials=16, epochs=5)
    assert accuracy > 0.9
    assert accuracy > default_accuracy


def test_config_is_reused_by_other_models(capsys):
    config, stored, losses = load("reuse_config").main(n_trials=8, epochs=10)
    assert isinstance(stored, OptimizerConfig) and stored.optimizer == config.optimizer == "adam"
    assert OptimizerConfig.from_json(capsys.readouterr().out.splitlines()[0]) == config
    for history in losses:
        assert np.isfinite(history).all() and history[-1] < 0.8 * history[0]


def test_own_optimizer_is_tuned_beside_adam():
    example = load("own_optimizer")
    with in_catalogue(example.RULE):
        tuner, losses = example.main(n_trials=8, epochs=3)
    assert set(tuner.trials_["optimizer"]) == {"adam", "normalised"}
    assert tuner.n_programs_ == 2
    assert losses[-1] < 0.5 * losses[0]
    assert "normalised" not in optimizers.names()
