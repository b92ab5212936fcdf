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


def test_text_columns_tell_more_than_numbers_alone():
    accuracy, numbers, usual = load("text_columns").main(n_rows=600, n_trials=12, epochs=8)
    assert accuracy > numbers > usual


def test_images_are_told_apart_better_than_with_default_adam():
    accuracy, default_accuracy = load("images").main(n_trials=8, epochs=3)
    assert accuracy > max(0.9, default_accuracy)


def test_forecast_beats_the_naive_ones():
    ours, naive = load("forecast").main(days=1100, n_trials=16, epochs=12)
    assert ours < 0.9 * min(naive.values())


def test_network_that_sees_pairs_of_words_beats_counting_them():
    accuracy, counting = load("tokens").main(n_rows=1500, n_trials=8, epochs=8)
    assert accuracy > counting + 0.05


def test_tuning_in_each_fold_explains_held_out_rows():
    scores, linear = load("cross_validation").main(folds=3, n_trials=12, epochs=10)
    assert len(scores) == 3 and min(scores) > 0.2
    assert scores.mean() > linear.mean() - 0.1


def test_own_loops_share_their_trials_with_a_study(tmp_path, capsys):
    best = load("own_loop").main(f"sqlite:///{tmp_path / 'own.db'}", n_trials=3, epochs=3)
    assert best["moons"].value < 0.6  # guessing is 0.69
    assert best["moons-by-hand"].value > 0.8
    assert capsys.readouterr().out.count("<trial ") == 6
