import ast
import dataclasses
import io
import json

import optuna
import pytest
from rich.console import Console

from adamtune import summary
from adamtune.config import OptimizerConfig
from adamtune.errors import StudyError
from adamtune.tuning import records
from tests import stamps

STAMP = dataclasses.replace(stamps.STAMP, device="CPU (2 cores)")
ADAM = OptimizerConfig("adam")
CONFIGS = [OptimizerConfig("adam", learning_rate=rate, beta_2=0.99) for rate in (0.1, 0.01, 0.003, 0.0012345678)]


def new_study(direction="minimize", name="demo/1", **changes):
    study = optuna.create_study(study_name=name, direction=direction)
    records.write_stamp(study, dataclasses.replace(STAMP, **changes))
    return study


def add(study, config, value=None, epochs=10, state="complete"):
    trial = study.ask()
    trial.set_user_attr("config", config if isinstance(config, str) else config.to_json())
    trial.set_user_attr("epochs", epochs)
    if state == "running":
        return
    if state in ("pruned", "failed"):
        if value is not None:
            trial.report(value, epochs)
        study.tell(trial, state=getattr(optuna.trial.TrialState, {"pruned": "PRUNED", "failed": "FAIL"}[state]))
        return
    trial.set_user_attr("diverged", int(state == "diverged"))
    study.tell(trial, value)


@pytest.fixture
def study():
    """A finished search: trial 2 is the best of it, trial 1 the winner of the confirming passes."""
    study = new_study()
    for config, value in zip(CONFIGS, (0.5, 0.3, 0.2, 0.4), strict=True):
        add(study, config, value)
    add(study, ADAM, 0.05, epochs=3, state="pruned")
    add(study, ADAM, 9.0, state="diverged")
    add(study, ADAM, state="failed")
    add(study, ADAM, state="running")
    return study


def confirm(study, direction="minimize", means=(0.25, 0.35, 0.31), loss="keras.losses.MeanSquaredError()"):
    rows = [
        ("trial 1", 1, CONFIGS[1], means[0], 0.01),
        ("trial 2", 2, CONFIGS[2], means[1], 0.02),
        ("Keras' default Adam", None, ADAM, means[2], 0.03),
    ]
    records.write_comparison(study, rows, direction)
    records.write_winner(study, 1, CONFIGS[1], means[0], 0.01, passes=3)
    records.set_note(study, "loss", loss)
    records.set_note(study, "seconds", 12.3)
    records.set_note(study, "warnings", ["learning_rate is near its bound."])
    return study


def text_of(found, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(summary.render(found))
    return console.file.getvalue()


def test_counts_tell_apart_how_trials_ended(study):
    assert summary.of_study(study).counts == {
        "finished": 6,
        "complete": 4,
        "pruned": 1,
        "diverged": 1,
        "failed": 1,
        "running": 1,
    }


def test_the_best_are_ranked_and_a_pruned_trial_comes_after_the_finished(study):
    best = summary.of_study(study).best
    assert [(each.trial, each.value, each.epochs) for each in best] == [
        (2, 0.2, 10),
        (1, 0.3, 10),
        (3, 0.4, 10),
        (0, 0.5, 10),
        (4, 0.05, 3),
    ]
    assert best[0].config.learning_rate == 0.003
    assert best[0].config.found.epochs == 10


def test_no_more_than_five_are_shown():
    study = new_study()
    for n in range(7):
        add(study, ADAM, float(n))
    assert [each.trial for each in summary.of_study(study).best] == [0, 1, 2, 3, 4]


def test_a_finished_study_has_a_winner_a_comparison_and_what_it_noted(study):
    found = summary.of_study(confirm(study))
    assert (found.winner.trial, found.winner.score, found.winner.spread, found.winner.passes) == (1, 0.25, 0.01, 3)
    assert found.config == found.winner.config == CONFIGS[1]
    assert [each.label for each in found.comparison] == ["trial 1", "Keras' default Adam", "trial 2"]
    assert (found.seconds, found.warnings) == (12.3, ("learning_rate is near its bound.",))
    assert (found.name, found.task, found.lanes, found.created is not None) == ("demo/1", "binary-100x4", 8, True)


@pytest.mark.parametrize("direction, sign", [("minimize", 1), ("maximize", -1)])
def test_the_gain_is_that_over_default_adam_and_positive_when_better(study, direction, sign):
    other = new_study(direction)
    confirm(other, direction, means=(0.25, 0.5, 0.4))
    gains = {each.label: each.gain for each in summary.of_study(other).comparison}
    assert gains["trial 1"] == pytest.approx(sign * 0.375)
    assert gains["trial 2"] == pytest.approx(sign * -0.25)
    assert gains["Keras' default Adam"] == 0


def test_a_config_that_diverged_has_no_gain(study):
    found = summary.of_study(confirm(study, means=(0.25, float("nan"), 0.31)))
    last = found.comparison[-1]
    assert (last.label, last.mean, last.gain) == ("trial 2", None, None)
    assert "diverged" in text_of(found)


def test_a_study_that_was_cut_off_falls_back_to_its_best_and_says_so(study):
    found = summary.of_study(study)
    assert found.winner is None
    assert found.config == found.best[0].config
    assert "Best so far: trial 2, val_loss 0.2 after 10 epochs. Not confirmed" in text_of(found, 200)


def test_a_study_without_a_single_good_trial_is_no_error():
    study = new_study()
    add(study, ADAM, 9.0, state="diverged")
    found = summary.of_study(study)
    assert (found.best, found.config, found.code) == ((), None, "")
    assert "No trial has trained to a finite loss." in text_of(found)


def test_to_dict_is_json_without_nan(study):
    confirm(study, means=(0.25, float("nan"), 0.31))
    data = json.loads(json.dumps(summary.of_study(study).to_dict(), allow_nan=False))
    assert data["winner"]["config"]["hypers"]["learning_rate"] == 0.01
    assert data["best"][0]["trial"] == 2
    assert data["comparison"][2]["mean"] is None
    assert set(data) == {field.name for field in dataclasses.fields(summary.Summary)}


def test_another_programs_study_is_refused():
    with pytest.raises(StudyError, match="was not made by"):
        summary.of_study(optuna.create_study(study_name="theirs"))


# ------------------------------------------------------------------------------------- what is stored is data


def test_a_trial_with_a_damaged_config_is_left_out_and_named(study):
    add(study, '{"schema": 1, "optimizer": "adma"}', 0.01)
    found = summary.of_study(study)
    assert [each.trial for each in found.best][:2] == [2, 1]
    assert any("trial 8 is left out" in each and "adma" in each for each in found.warnings)


@pytest.mark.parametrize("note", ["winner", "comparison"])
@pytest.mark.parametrize("stored", [{"trial": 1}, [1], "text", [{"label": "x"}]])
def test_a_damaged_note_is_named_and_the_rest_is_shown(study, note, stored):
    confirm(study)
    records.set_note(study, note, stored)
    found = summary.of_study(study)
    assert any(f"the stored {note} is not valid" in each for each in found.warnings)
    assert found.best[0].trial == 2


def test_a_note_that_is_no_json_is_as_if_it_were_not_there(study):
    confirm(study)
    study.set_user_attr("adamtune:winner", "{")
    assert summary.of_study(study).winner is None


@pytest.mark.parametrize(
    "loss",
    [
        "__import__('os').system('true')",
        "keras.losses.Huber(delta=__import__('os'))",
        "keras.losses.Huber(1.0)",
        "keras.losses.Huber(1 2)",
        "keras.saving.load_model(filepath='model.keras')",
        "'a' + 'b'",
        "12",
        3,
    ],
)
def test_a_loss_that_is_not_plain_keras_does_not_get_into_the_code(study, loss):
    code = summary.of_study(confirm(study, loss=loss)).code
    assert "optimizer = keras.optimizers.Adam(" in code
    assert "compile" not in code


def test_control_codes_of_a_name_do_not_reach_the_terminal():
    study = new_study(name="demo\x1b[31m/1", task="a\x07b", objective="val\x1b_x")
    add(study, ADAM, 1.0)
    confirm(study)
    shown = text_of(summary.of_study(study))
    assert "demo?[31m/1" in shown
    assert not {"\x1b", "\x07"} & set(shown)


# ------------------------------------------------------------------------------------------------------- code

CODED = {
    "adam": OptimizerConfig("adam", learning_rate=0.0031234567890123, beta_1=0.95123456789, amsgrad=True),
    "schedule": OptimizerConfig("adam", learning_rate=0.01, decay=1.23456789e-4),
    "ours": OptimizerConfig("adam", beta_2=0.5, beta_1=1 - 1e-7),
    "sgd": OptimizerConfig("sgd", learning_rate=0.123456789012, momentum=0.87654321, nesterov=True),
}


@pytest.mark.parametrize("loss", ["keras.losses.BinaryCrossentropy(from_logits=True, reduction='sum')", "'mse'", None])
@pytest.mark.parametrize("config", CODED.values(), ids=CODED)
def test_the_code_runs_as_it_is_and_makes_the_same_optimizer(config, loss):
    import keras

    code = summary.code(config, loss)
    names = {"model": keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])}
    exec(code, names)
    made = names["model"].optimizer if loss else names["optimizer"]
    assert type(made) is type(config.to_keras())
    assert made.get_config() | {"name": ""} == config.to_keras().get_config() | {"name": ""}


@pytest.mark.parametrize("config", CODED.values(), ids=CODED)
def test_the_code_fits_80_columns_and_has_the_exact_values(config):
    code = summary.code(config, "keras.losses.SparseCategoricalCrossentropy(from_logits=True)")
    assert max(map(len, code.splitlines())) < 80
    numbers = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    # A convention that Keras' class cannot leave is no argument of it.
    conventions = [hyper.name for hyper in config.rule.hypers if hyper.scale == "flag" and hyper.tier == 4]
    assert {value for name, value in config.hypers.items() if name not in conventions} <= numbers


# ----------------------------------------------------------------------------------------------------- shown


@pytest.mark.parametrize("epochs, columns", [(10, "0.99999  0.9991  1.235e-10"), (9, "9      0.001235 0.99999 0.9991")])
def test_it_reads_in_80_columns_without_colour(epochs, columns):
    study = new_study()
    values = {"epsilon": 1.23456e-10, "amsgrad": True, "decay": 1.23456e-5, "beta_1": 0.99999, "beta_2": 0.9991234}
    config = OptimizerConfig("adam", learning_rate=0.00123456, **values)
    add(study, config, 0.123456, epochs, "complete" if epochs == 10 else "pruned")
    add(study, CONFIGS[0], 0.2)
    shown = text_of(summary.of_study(confirm(study)))
    assert max(map(len, shown.splitlines())) <= 80
    assert columns in shown
    assert "\x1b" not in shown
    assert "…" not in shown
    assert "Note: learning_rate is near its bound." in shown


def test_the_verdict_has_the_gain_over_default_adam(study):
    shown = text_of(summary.of_study(confirm(study)), 200)
    assert "Winner: trial 1, val_loss 0.25 ± 0.01 over 3 fresh passes, 19.4 % lower than Keras' default Adam." in shown
    assert "at least as well" not in shown


def test_the_verdict_says_so_when_the_default_is_better(study):
    shown = text_of(summary.of_study(confirm(study, means=(0.25, 0.35, 0.2))), 200)
    assert "25.0 % higher than Keras' default Adam. The default does at least as well here." in shown


def test_an_unconfirmed_winner_is_called_optimistic(study):
    records.write_winner(study, 2, CONFIGS[2], 0.2, float("nan"), passes=0)
    assert "Not confirmed: the best of many trials is optimistic." in text_of(summary.of_study(study), 200)
