import optuna
import pytest

from adamtune.config import OptimizerConfig
from adamtune.engine.stream import Report
from adamtune.errors import LaneStatus, StudyError
from adamtune.tuning import records

STAMP = records.Stamp(
    **dict.fromkeys(
        ("fingerprint", "task", "optimizer", "space", "objective", "strategy", "device", "backend", "sampler"), "?"
    ),
    **dict.fromkeys(("epochs", "batch_size", "steps", "seed", "lanes"), 1),
    pruner="asha",
    version="0",
    passes=3,
)


def test_stamp_comes_back():
    study = optuna.create_study()
    records.write_stamp(study, STAMP)
    assert records.read_stamp(study) == STAMP


@pytest.mark.parametrize(("field", "value"), [("task", None), ("passes", "3"), ("epochs", [1]), ("device", 1.5)])
def test_a_damaged_stamp_is_refused(field, value):
    study = optuna.create_study()
    records.write_stamp(study, STAMP)
    study.set_user_attr(f"adamtune:{field}", value)
    with pytest.raises(StudyError, match=f"damaged: expected {field} as"):
        records.read_stamp(study)


def test_stamp_from_before_there_were_passes_has_one():
    study = optuna.create_study()
    for name, value in vars(STAMP).items():
        if name != "passes":
            study.set_user_attr(f"adamtune:{name}", value)
    assert records.read_stamp(study).passes == 1


def test_study_of_somebody_else_is_refused():
    with pytest.raises(StudyError, match="not made by this version"):
        records.read_stamp(optuna.create_study())


def add(study, rule, starts, epochs, values=()):
    trial = study.ask()
    records.asked(trial, OptimizerConfig(rule))
    for number, tick in enumerate(starts):
        records.started(trial, 0, tick, number)
    for step, value in values:
        trial.report(value, step)
    if epochs:
        records.ended(trial, Report(0, epochs, 1.0, LaneStatus.RUNNING, 1.0, 1.0, None), None, epochs)
    return trial


def test_clock_goes_on_after_the_last_tick_of_the_same_program():
    study = optuna.create_study()
    add(study, "adam", [0, 0], 18)
    add(study, "adam", [9, 12], 13)  # cut off after four epochs of its second pass
    add(study, "sgd", [30], 2)
    add(study, "sgd", [40], 0, [(1, 1.0), (4, 1.0)])  # its process was killed: only its reports are known
    add(study, "adam", [], 0)  # never had a lane
    assert records.last_tick(study, "adam", 0, 9) == 18
    assert records.last_tick(study, "adam", 1, 9) == 16
    assert records.last_tick(study, "sgd", 0, 9) == 44
    assert records.last_tick(study, "sgd", 1, 9) == records.last_tick(study, "nadam", 0, 9) == 0
    assert records.last_tick(study) == 44


@pytest.mark.parametrize(("direction", "order"), [("minimize", [1, 0, 3, 2]), ("maximize", [0, 1, 2, 3])])
def test_full_trials_rank_before_pruned_ones_and_those_by_how_far_they_came(direction, order):
    study = optuna.create_study(direction=direction)
    for values, state in [
        ([3.0, 2.0], "COMPLETE"),
        ([2.0, 1.0], "COMPLETE"),
        ([0.5], "PRUNED"),
        ([0.4], "PRUNED"),
        ([9.0], "FAIL"),
    ]:
        trial = study.ask()
        for step, value in enumerate(values, 1):
            trial.report(value, step)
        records.asked(trial, OptimizerConfig("adam"))
        told = values[-1] if state == "COMPLETE" else None
        study.tell(trial, told, state=getattr(optuna.trial.TrialState, state))
    ranked = [trial.number for trial in records.ranked(study) if trial.number != 4]
    assert ranked == order
    assert records.rank(study.get_trials()[:2], direction)[0].number == order[0]


def test_only_two_directions_have_a_sign():
    assert [records.sign(each) for each in ("minimize", optuna.study.StudyDirection.MAXIMIZE)] == [1.0, -1.0]
    with pytest.raises(KeyError):
        records.sign("sideways")
