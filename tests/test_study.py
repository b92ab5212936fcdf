"""Studies through the estimator: several optimizers, schedules, samplers, pruners, spaces, options of the model."""

from collections import Counter

import keras
import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler

from adamtune import OptimizerConfig, optimizers
from adamtune.engine.lanes import LaneEngine
from adamtune.errors import ConfigError, SettingError
from adamtune.optimizers import schedules
from adamtune.tuning import records
from tests.small import Interrupted, X, Y, network, stamp, trials, tuned, watch_runs

THREE = ["adam", "nadam", "sgd"]
FAST = {"learning_rate": (1e-3, 1e-1)}


def configs(tuner):
    return [records.config_of(trial) for trial in trials(tuner)]


# ------------------------------------------------------------------------------------------------- optimizers


@pytest.fixture(scope="module")
def several():
    """A study of three optimizers that goes on past the design, and what TPE drew one by one in it."""
    alone = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TPESampler, "sample_independent", lambda *given: alone.append(given))
        tuner = tuned(optimizer=THREE, n_trials=20, epochs=3, confirm=2, space="auto")
    return tuner, alone


def test_each_optimizer_compiles_one_program(several):
    tuner, _ = several
    assert {config.optimizer for config in configs(tuner)} == set(THREE)
    assert tuner.n_programs_ == 3
    assert stamp(tuner).optimizer == "adam+nadam+sgd"


def test_table_names_the_optimizer_of_each_trial(several):
    tuner, _ = several
    assert list(tuner.trials_["optimizer"]) == [config.optimizer for config in configs(tuner)]
    assert tuner.trials_["learning_rate"].notna().all()
    assert tuner.trials_["momentum"].notna().equals(tuner.trials_["optimizer"] == "sgd")


def test_winner_is_a_config_of_the_best_trials_optimizer(several):
    tuner, _ = several
    assert tuner.best_config_.optimizer == tuner.best_trial_.params["optimizer"]
    assert type(tuner.best_config_.to_keras()).__name__ == tuner.best_config_.rule.class_name


def test_defaults_of_every_optimizer_come_first_and_are_compared(several):
    tuner, _ = several
    assert configs(tuner)[:3] == [OptimizerConfig(name) for name in THREE]
    labels = [row["label"] for row in records.get_note(tuner.study_, "comparison")]
    assert len(set(labels)) == len(labels) >= 3


def test_parameters_of_a_trial_are_sampled_together(several):
    tuner, alone = several
    assert not alone
    for trial in trials(tuner):
        assert {name.partition(".")[0] for name in trial.params} == {"optimizer", trial.params["optimizer"]}
        assert len(trial.params) > 1


def test_all_goes_on_with_the_better_half_of_a_wave(monkeypatch, tmp_path):
    five = ["adam", "adamw", "nadam", "rmsprop", "sgd"]
    monkeypatch.setattr(optimizers, "names", lambda: five)
    settings = {"optimizer": "all", "epochs": 1, "space": FAST, "storage": f"sqlite:///{tmp_path / 'test.db'}"}
    tuner = tuned(**settings, study_name="mine", n_trials=26)
    wave = [trial for trial in trials(tuner) if "optimizer" not in trial.params]
    after = trials(tuner)[len(wave) :]
    # Half of 26 is enough for two of each; the 16 left are enough for two that stay.
    assert Counter(records.rule_of(trial) for trial in wave) == dict.fromkeys(five, 2) and len(after) == 16
    assert [records.config_of(trial) for trial in wave[:5]] == [OptimizerConfig(name) for name in five]
    best = {name: min(t.value for t in wave if records.rule_of(t) == name) for name in five}
    (choices,) = {trial.distributions["optimizer"].choices for trial in after}
    assert set(choices) == set(sorted(five, key=best.get)[:2])
    assert tuner.n_programs_ == len(five)
    # With 30 trials from the beginning there would be three of each, and one that stays.
    longer = trials(tuned(**settings, study_name="mine", n_trials=30, resume=True))[26:]
    assert [trial.distributions["optimizer"].choices for trial in longer] == [choices] * 4


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (["adam", "adagard"], ConfigError, "Did you mean 'adagrad'"),
        (["adam", "sgd", "adam"], SettingError, "names one twice"),
        ([], SettingError, r"optimizer=\[\].*a list of names or 'all'"),
        (["adam", 3], ConfigError, "3"),
    ],
)
def test_no_list_of_optimizers(given, error, text, monkeypatch):
    monkeypatch.setattr(LaneEngine, "tick", lambda engine: pytest.fail("a tick was trained"))
    with pytest.raises(error, match=text):
        tuned(optimizer=given)


# -------------------------------------------------------------------------------------------------- schedules


def test_schedules_are_a_choice_within_one_program():
    tuner = tuned(space={"schedule": ["constant", "cosine", "linear"], **FAST}, n_trials=12, refit=True)
    assert tuner.n_programs_ == 1
    found = {config.schedule for config in configs(tuner)}
    assert found == {"constant", "cosine", "linear"} == {trial.params["schedule"] for trial in trials(tuner)}
    # Other schedules are other trainings: no two trials of one start share a value.
    assert len({trial.value for trial in trials(tuner, "complete")}) == len(trials(tuner, "complete"))


def test_schedule_stretches_to_the_training_it_is_used_for():
    tuner = tuned(space={"schedule": "cosine", **FAST}, n_trials=3, refit=True, epochs=3)
    found, rows = tuner.best_config_.found, {"study": 48, "refit": 61}  # a fifth of 61 rows judges
    steps = {name: 3 * -(-n // 16) for name, n in rows.items()}
    assert found.steps == steps["study"] < steps["refit"]
    for optimizer, horizon in [
        (tuner.best_config_.to_keras(), steps["study"]),
        (tuner.model_.optimizer, steps["refit"]),
    ]:
        rate = optimizer._learning_rate
        assert abs(float(rate(horizon))) < 1e-9 < float(rate(horizon - 1))
    assert int(tuner.model_.optimizer.iterations) == steps["refit"]


# -------------------------------------------------------------------------------------------------- policies


def no_tpe(*given):
    pytest.fail("TPE was asked")


def test_random_and_qmc_sample_without_learning(monkeypatch):
    monkeypatch.setattr(TPESampler, "sample_relative", no_tpe)
    monkeypatch.setattr(TPESampler, "sample_independent", no_tpe)
    drawn = {name: tuned(sampler=name, n_trials=16, space=FAST) for name in ("random", "qmc")}
    for name, tuner in drawn.items():
        assert stamp(tuner).sampler == name
        assert tuner.trials_["learning_rate"].is_unique
    # Even: of the 15 points behind the default, a stretch of an eighth of the range (on its scale) has one or two.
    rates = np.log10(drawn["qmc"].trials_["learning_rate"][1:])
    counts, _ = np.histogram(rates, bins=8, range=(-3, -1))
    assert counts.min() >= 1 and counts.max() <= 2


class Rising(optuna.samplers.RandomSampler):
    """Suggests 0.01, 0.02, 0.03, ..."""

    drawn = 0

    def sample_independent(self, study, trial, param_name, param_distribution):
        self.drawn += 1
        return self.drawn / 100


def test_sampler_object_is_asked_for_every_trial_but_the_defaults():
    tuner = tuned(sampler=Rising(), n_trials=5, space=FAST)
    assert stamp(tuner).sampler == "Rising"
    assert list(tuner.trials_["learning_rate"]) == [0.001, 0.01, 0.02, 0.03, 0.04]


def test_grid_is_tried_once_and_ends_the_study():
    tuner = tuned(
        sampler=optuna.samplers.GridSampler({"learning_rate": [0.01, 0.02, 0.04]}), n_trials=9, space=FAST, lanes=1
    )
    assert sorted(tuner.trials_["learning_rate"]) == [0.001, 0.01, 0.02, 0.04]


class Odd(optuna.pruners.BasePruner):
    """Ends every second trial at its first report."""

    def prune(self, study, trial):
        return trial.number % 2 == 1


def test_pruner_object_decides_trial_by_trial():
    tuner = tuned(pruner=Odd(), n_trials=6)
    assert stamp(tuner).pruner == "Odd"
    assert list(tuner.trials_["state"]) == ["complete", "pruned"] * 3
    assert list(tuner.trials_["epochs"]) == [2, 1] * 3


def test_no_pruner_trains_every_trial_to_the_end():
    tuner = tuned(pruner=None, n_trials=9, epochs=3)
    assert set(tuner.trials_["state"]) == {"complete"} and set(tuner.trials_["epochs"]) == {3}


@pytest.mark.parametrize("pruner", ["median", "hyperband", "asha"])
def test_pruners_by_name_end_some_trials(pruner):
    # Hyperband deals trials out by the study's name, so the name is given.
    settings = {"study_name": "same", "resume": True, "lanes": 4, "sampler": "random"}
    tuner = tuned(pruner=pruner, n_trials=20, epochs=9, space={"learning_rate": (1e-5, 1e-1)}, **settings)
    assert stamp(tuner).pruner == pruner
    assert {"complete", "pruned"} == set(tuner.trials_["state"])
    assert all(trial.user_attrs["epochs"] == trial.last_step < 9 for trial in trials(tuner, "pruned"))


# ---------------------------------------------------------------------------------------------------- spaces


def test_published_spaces_by_name_and_by_optimizer():
    tuner = tuned(space="sivaprasad-adam", n_trials=4)
    searched = {"learning_rate", "one_minus_beta_1", "one_minus_beta_2", "epsilon"}
    assert set().union(*(trial.params for trial in trials(tuner))) == searched
    tuner = tuned(optimizer=["adam", "sgd"], space={"adam": "seed", "sgd": "sivaprasad-sgdm"}, n_trials=6)
    names = set().union(*(trial.params for trial in trials(tuner)))
    assert {"adam.beta_2", "sgd.momentum"} <= names or {"adam.beta_2", "sgd.momentum"} & names


def test_published_space_that_fits_no_optimizer_says_which_do():
    with pytest.raises(
        SettingError, match=r"'playbook' was made for adam and nadam and nadamw, not for sgd.*sivaprasad-sgdm"
    ):
        tuned(optimizer="sgd", space="playbook")
    with pytest.raises(SettingError, match="not for sgd"):
        tuned(optimizer=["adam", "sgd"], space="taskset-adam1p")
    with pytest.raises(SettingError, match="Did you mean 'playbook'"):
        tuned(space="playbok")


def test_clipping_is_searched_and_averages_are_kept_in_every_trial():
    tuner = tuned(space={**FAST, "clipnorm": (0.01, 1.0), "use_ema": True, "ema_momentum": 0.9}, n_trials=5)
    assert tuner.n_programs_ == 1 and tuner.plan_.strategy == "stacked"
    for config in [*configs(tuner), tuner.best_config_]:
        assert config.options == {"use_ema": True, "ema_momentum": 0.9}
    assert 0.01 <= min(c.clipnorm for c in configs(tuner)[1:]) < max(c.clipnorm for c in configs(tuner)[1:]) <= 1.0
    made = tuner.best_config_.to_keras()
    assert made.use_ema and made.ema_momentum == 0.9


# --------------------------------------------------------------------------------- options of the user's model


def clipped(X, y):
    model = network(X, y)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(clipnorm=1e-3, use_ema=True, ema_momentum=0.5), loss=loss)
    return model


@pytest.mark.parametrize("model", [clipped, clipped(X, Y)], ids=["function", "model"])
def test_what_the_models_optimizer_does_besides_its_rule_is_kept(model):
    tuner = tuned(model=model, optimizer=["adam", "sgd"], n_trials=3, refit=True)
    for config in [*configs(tuner), tuner.best_config_]:
        assert (config.clipnorm, config.options) == (1e-3, {"use_ema": True, "ema_momentum": 0.5})
    for optimizer in (tuner.best_config_.to_keras(), tuner.model_.optimizer):
        assert (optimizer.clipnorm, optimizer.use_ema, optimizer.ema_momentum) == (1e-3, True, 0.5)


def test_space_goes_before_what_the_model_was_compiled_with():
    tuner = tuned(model=clipped, space={**FAST, "clipvalue": 0.5, "use_ema": False}, n_trials=3)
    for config in configs(tuner)[1:]:
        assert config.clipvalue == 0.5 and "clipnorm" not in config.hypers and not config.options.get("use_ema")


# --------------------------------------------------------------------------------------------- said beforehand


def test_estimate_is_said_before_training(capsys, monkeypatch):
    runs = watch_runs(monkeypatch)
    Interrupted(monkeypatch, LaneEngine, "tick")
    with pytest.raises(KeyboardInterrupt):
        tuned(optimizer=["adam", "sgd"], verbose=1, n_trials=8, epochs=6, confirm=3)
    said = " ".join(capsys.readouterr().out.split())
    assert "Estimate: 8 trials of up to 6 epochs (about 2 with pruning)" in said
    assert "of training" in said and "MB for lanes" in said
    assert f"{runs[0].plan.lanes} lanes on " in said


def test_estimate_says_why_lanes_go_one_after_the_other(capsys, monkeypatch):
    def images(X, y):
        layers = keras.layers
        return keras.Sequential(
            [keras.Input(X.shape[1:]), layers.Conv2D(2, 3, name="see"), layers.Flatten(), layers.Dense(3)]
        )

    Interrupted(monkeypatch, LaneEngine, "tick")
    with pytest.raises(KeyboardInterrupt):
        tuned(X=np.tile(X[:, :, None, None], (1, 1, 4, 1)), model=images, verbose=1, lanes=2)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 lanes in a loop on " in said and "the layer 'see' is a convolution" in said


def test_estimate_without_lanes_promises_no_time(capsys, monkeypatch):
    class Own(keras.Sequential):
        def train_step(self, *given):
            raise KeyboardInterrupt

    def own(X, y):
        return Own(network(X, y).layers)

    with pytest.raises(KeyboardInterrupt):
        tuned(model=own, verbose=1)
    said = " ".join(capsys.readouterr().out.split())
    assert "one trial at a time on " in said and "the model has its own train_step" in said
    assert "the time is known after the first of them" in said


def test_schedules_that_are_searched_are_those_there_are():
    with pytest.raises(ConfigError, match=f"(?s)cosin.*{schedules.names()[1]}"):
        tuned(space={"schedule": ["cosin"], **FAST})
