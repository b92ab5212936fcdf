import numpy as np
import optuna
import pytest

from adamtune import AdamTunerClassifier
from adamtune.recommending import CurvePruner, shares
from adamtune.recommending.pruner import PARTS
from adamtune.tuning import policies

SHARES = [0.5, 0.5, 0.4, 0.3, 0.2, 0.2, 0.1, 0.1]


def test_rungs_end_where_shares_do():
    assert CurvePruner(20, "minimize", SHARES).rungs == list(range(1, 16))


def test_a_rung_of_a_later_pass_is_a_whole_number_of_passes():
    assert all(rung <= 5 or rung % 5 == 0 for rung in CurvePruner(5, "minimize", SHARES, passes=3).rungs)


def test_what_is_kept_of_all_is_what_the_shares_say():
    pruner = CurvePruner(20, "minimize", SHARES)
    kept = np.cumprod([pruner.share(rung) for rung in pruner.rungs])
    np.testing.assert_allclose(kept, np.interp(np.array(pruner.rungs) / 20, PARTS, SHARES))


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0), ("maximize", 9)])
def test_the_best_go_on(direction, best):
    pruner = CurvePruner(20, direction, SHARES)
    stays = pruner.judge(1, [float(value) for value in range(10)])
    assert stays[best] and sum(stays) == 5


def test_nan_never_goes_on():
    assert CurvePruner(20, "minimize", SHARES).judge(1, [np.nan, 1.0]) == [False, True]


def test_a_second_study_begins_with_a_pruner_that_has_seen_nothing():
    given = CurvePruner(20, "minimize", SHARES)
    given.judge(1, [0.0] * 10)
    used = policies.pruner_for(given, 20, "minimize")
    assert used is not given and used.judge(1, [1.0, 2.0]) == [True, False]


def test_shipped_shares_are_shares():
    found = shares()
    assert len(found) == len(PARTS) and all(0 < share <= 1 for share in found)


def test_a_study_is_pruned_by_it():
    x = np.random.default_rng(0).normal(size=(80, 4))
    pruner = CurvePruner(6, "minimize", SHARES)
    settings = {"n_trials": 12, "epochs": 6, "storage": "memory", "refit": False, "confirm": 0, "verbose": 0}
    tuner = AdamTunerClassifier(pruner=pruner, random_state=0, **settings).fit(x, x[:, 0] > 0)
    states = [trial.state for trial in tuner.study_.get_trials(deepcopy=False)]
    assert optuna.trial.TrialState.PRUNED in states and optuna.trial.TrialState.COMPLETE in states
