"""One compiled program, whatever the configs, refills and prunings."""

import optuna

from adamtune import optimizers
from adamtune.engine.tensorflow_lanes import TensorFlowLanes
from adamtune.tuning.loop import Budget, TrialEnded, search
from adamtune.tuning.pruning import Asha
from adamtune.tuning.space import space
from tests.engine import problems


def test_two_hundred_trials_share_one_program():
    task, stream = problems.make_task(n=100)
    rule = optimizers.get("adam")
    engine = TensorFlowLanes(task, task.build(stream.seed), rule, 8, stream)
    study = optuna.create_study()
    events = search(
        study,
        space(rule, "auto", 200),
        engine,
        Budget(trials=200),
        epochs=task.epochs,
        sampler="random",
        pruner=Asha(task.epochs, "minimize"),
        seed=0,
    )
    ended = [event for event in events if isinstance(event, TrialEnded)]
    assert len(ended) == 200
    states = {event.state for event in ended}
    assert {"complete", "pruned"} <= states
    # Refills happened while other trials ran: the ticks are fewer than those of 25 waves of 8 full trials.
    assert engine.clock < 25 * task.epochs
    assert engine.n_programs == 1
