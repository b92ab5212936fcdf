"""One compiled program, whatever the configs, refills, prunings and passes."""

import pytest

from adamtune import engine as engines
from adamtune.config import OptimizerConfig
from adamtune.engine.plan import Plan
from adamtune.engine.program import Structure
from tests.engine import cases, equality, problems

STRATEGIES = ("stacked", "looped")
STAGES = Structure(frozenset({"weight_decay", "clipnorm", "clipvalue", "global_clipnorm"}))


def opened(strategy, streams, structure=STAGES):
    task, _ = problems.make_task(problems.noisy)
    return engines.Programs(task, Plan(strategy, 4, 4, "", "CPU"), streams, structure, task.build(streams[0].seed))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_schedules_clips_and_refills_compile_nothing(strategy):
    _, stream = problems.make_task(problems.noisy)
    programs = opened(strategy, [stream])
    engine = programs("adam")
    waves = (
        [cases.adam(), cases.adam(schedule="cosine"), cases.adam(decay=0.1), cases.adam(schedule="linear", warmup=0.1)],
        [
            cases.adam(clipnorm=1.0),
            cases.adam(clipvalue=0.1),
            cases.adam(global_clipnorm=1.0),
            cases.adam(amsgrad=True),
        ],
        [cases.adam(weight_decay=0.1)],
    )
    for wave in waves:
        engine.load(dict(enumerate(wave)))
        engine.tick()
        engine.free(list(range(len(wave))))
    assert programs.n_programs == equality.n_programs(strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_passes_share_one_program(strategy):
    streams = [problems.make_task(problems.noisy, seed=seed)[1] for seed in (7, 8, 9)]
    programs = opened(strategy, streams)
    seen = set()
    for number in range(3):
        engine = programs("sgd", number)
        engine.load({0: OptimizerConfig("sgd", learning_rate=0.1)})
        engine.tick()
        seen.add(engine.reports()[0].val_loss)
    assert len(seen) == 3
    assert programs.n_programs == equality.n_programs(strategy)


def test_each_rule_has_its_own_program():
    _, stream = problems.make_task(problems.noisy)
    programs = opened("stacked", [stream], Structure())
    for rule in ("adam", "sgd"):
        engine = programs(rule)
        assert engine is programs(rule)
        engine.load({0: OptimizerConfig(rule)})
        engine.tick()
    assert programs.n_programs == 2


def test_strategy_that_a_model_does_not_bear_is_given_up_with_the_reason():
    case = next(case for case in cases.LAYERS if case.name == "Conv2D, MaxPooling2D")
    task, stream = problems.make_task(case.model, case.kind)
    model = task.build(stream.seed)
    plan = engines.Programs(task, Plan("stacked", 2, 2, "", "CPU"), [stream], Structure(), model).settle("adam")
    try:
        equality.open_engine(task, stream, [cases.adam()] * 2)
    except equality.NotStackable as problem:
        assert (plan.strategy, plan.reason) == ("looped", str(problem))
    else:
        assert plan.strategy == "stacked"
