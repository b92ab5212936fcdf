"""What earlier versions left behind: databases, pickles and saved estimators, which this one has to understand."""

import json
import pathlib
import pickle
import shutil

import numpy as np
import optuna
import pytest

import adamtune
from adamtune import AdamTunerClassifier, summary
from adamtune.tuning import curves, records
from adamtune.tuning import study as studies
from adamtune.tuning.storage import existing
from tests import shell
from tests.small import SETTINGS, X, Y

ASSETS = pathlib.Path(__file__).parent / "assets"
VERSIONS = sorted(path.stem for path in ASSETS.glob("adamtune-*.db"))


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def database(version, tmp_path):
    """A copy of the version's database: to open one may change it."""
    shutil.copy(ASSETS / f"{version}.db", tmp_path / "old.db")
    return f"sqlite:///{tmp_path / 'old.db'}"


def test_there_are_old_files_and_this_version_has_its_own():
    assert f"adamtune-{adamtune.__version__}" in VERSIONS


def test_an_old_study_is_shown_with_all_that_it_holds(database):
    with existing(database) as storage:
        old, cut = (studies.find(storage, name) for name in ("old", "cut off"))
        trials = old.get_trials()
        assert len([trial for trial in trials if trial.state in records.FINISHED]) == 8
        assert {records.rule_of(trial) for trial in trials} == {"adam", "sgd"}
        assert all(curve.epochs == trials[number].user_attrs["epochs"] for number, curve in curves.read(old).items())
        assert set(curves.read(old)) == set(range(len(trials)))
        assert summary.of_study(old).state == "finished"
        assert summary.of_study(cut).state == "interrupted"
    shown = shell.run("show", "old", "--storage", database)
    assert shown.exit_code == 0 and "Winner: trial" in shown.stdout
    learned = json.loads(shell.run("store", "stats", "--storage", database, "--json").stdout)
    assert learned["own"]["tasks"] == 1 and learned["own"]["evaluations"] >= 3


@pytest.mark.parametrize("name", ["old", "cut off"])
def test_an_old_study_goes_on(database, name):
    several = {"optimizer": ["adam", "sgd"], "confirm": 2} if name == "old" else {"confirm": 2, "lanes": 4}
    given = SETTINGS | {"storage": database, "study_name": name, "resume": True, "n_trials": 10} | several
    with existing(database) as storage:
        before = [t for t in studies.find(storage, name).get_trials() if t.state in records.FINISHED]
    tuner = AdamTunerClassifier(**given).fit(X, Y)
    after = [trial for trial in tuner.study_.get_trials() if trial.state in records.FINISHED]
    assert len(after) == 10
    assert [trial for trial in after if trial.number in {old.number for old in before}] == before
    assert not tuner.study_.get_trials(states=(optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING))


@pytest.mark.parametrize("kind", ["pickle", "adamtune"])
def test_an_old_estimator_predicts_what_it_did(version, kind):
    file = ASSETS / f"{version}.{kind}"
    tuner = pickle.loads(file.read_bytes()) if kind == "pickle" else adamtune.load(file)
    expected = json.loads((ASSETS / f"{version}.json").read_text())
    np.testing.assert_allclose(tuner.predict_proba(X), expected, atol=1e-5)
    assert tuner.best_config_.optimizer in ("adam", "sgd")
    assert tuner.study_name_ == "old"
