"""Several processes on one study: `join`, `n_jobs` and `adamtune worker`."""

import contextlib
import functools
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import optuna
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold
from sqlalchemy import make_url

from adamtune import AdamTuner, AdamTunerClassifier, workers
from adamtune.engine.lanes import LaneEngine
from adamtune.errors import SettingError, StudyError
from adamtune.tuning import records, sharing
from adamtune.tuning import study as studies
from adamtune.tuning.storage import close, open_storage
from tests import shell
from tests.small import SETTINGS

X, Y = load_iris(return_X_y=True)
FINISHED = records.FINISHED


def tuner(url, **given):
    return AdamTunerClassifier(
        **SETTINGS | {"storage": url, "study_name": "shared", "n_trials": 4, "epochs": 2, "verbose": 0} | given
    )


def stored(url):
    storage = open_storage(url)
    study = studies.find(storage, "shared")
    trials, notes = study.get_trials(), dict(study.user_attrs)
    close(storage)
    return trials, notes


def n_finished(url):
    return sum(trial.state in FINISHED for trial in stored(url)[0])


def test_who_joins_trains_what_is_missing_and_concludes_nothing(url):
    tuner(url, random_state=0, resume=True).fit(X, Y)
    trials, notes = stored(url)
    told = []
    joined = tuner(url, random_state=0, n_trials=6, callbacks=(lambda study, trial: told.append(trial.number),))
    assert joined.join(X, Y) is joined
    assert n_finished(url) == 6 and sorted(told) == [4, 5]
    assert stored(url)[0][:4] == trials
    with pytest.raises(NotFittedError):
        joined.predict(X)
    # There is nothing left to do, and what was concluded stays.
    tuner(url, random_state=0, resume=True, n_trials=6).fit(X, Y)
    notes = stored(url)[1]
    tuner(url, random_state=0, n_trials=6).join(X, Y)
    assert stored(url)[1] == notes


def test_who_joins_has_the_rows_and_the_name_of_a_study(url):
    tuner(url, random_state=0, resume=True).fit(X, Y)
    with pytest.raises(StudyError, match="made for another task"):
        tuner(url, n_trials=6).join(X[::2], Y[::2])
    with pytest.raises(StudyError, match=r"there is no study 'sharde'.*shared"):
        tuner(url, study_name="sharde").join(X, Y)
    with pytest.raises(SettingError, match="join needs the study_name"):
        tuner(url, study_name=None).join(X, Y)
    assert n_finished(url) == 4


def test_two_who_search_at_once_finish_exactly_what_was_asked_for(database_url):
    """Two threads of one process, each with a storage of its own; what they train does not use Keras."""
    from tests.tuning import dying

    study = dying.opened(open_storage(database_url))
    found, errors = {}, []

    def work(name):
        storage = open_storage(database_url)
        try:
            own = optuna.load_study(study_name="study", storage=storage)
            found[name] = [event for event in dying.searching(own, 4, 40) if hasattr(event, "number")]
        except BaseException as error:
            errors.append(error)
        close(storage)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    trials = study.get_trials()
    assert sum(trial.state in FINISHED for trial in trials) == len(trials) == 40
    assert sorted(event.number for events in found.values() for event in events) == list(range(40))
    configs = [records.config_of(trial) for trial in trials]
    assert len(set(configs)) == 40
    close(study._storage)


def network(X, y):
    import keras

    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])


def test_processes_of_joblib_finish_exactly_what_was_asked_for(url):
    told = []
    cv = StratifiedKFold(2, shuffle=True)  # draws other folds each time it is asked
    fitted = tuner(
        url,
        model=lambda X, y: network(X, y),
        n_jobs=2,
        n_trials=10,
        lanes=2,
        cv=cv,
        refit=True,
        callbacks=(lambda study, trial: told.append(trial.number),),
    ).fit(X, Y)
    trials, notes = stored(url)
    assert len(fitted.trials_) == n_finished(url) == 10
    assert sorted(told) == list(range(10))
    assert len({records.config_of(trial) for trial in trials}) == 10
    assert fitted.predict(X).shape == (150,)
    assert notes["adamtune:stop"] == "null"


def tells_how_it_was_started(file, X, y):
    with open(file, "ab") as lines:
        for process in (os.getpid(), os.getppid()):
            lines.write(Path(f"/proc/{process}/cmdline").read_bytes() + b"\n")
    return network(X, y)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems list their processes elsewhere")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # trusts whoever comes, with any password
def test_no_list_of_processes_shows_the_password_of_workers(database_url, tmp_path):
    url = make_url(database_url).set(password="s3cret").render_as_string(hide_password=False)
    file = tmp_path / "commands"
    tuner(url, model=functools.partial(tells_how_it_was_started, file), n_jobs=2, n_trials=2, epochs=1).fit(X, Y)
    commands = set(file.read_bytes().splitlines())
    assert "s3cret" in url and n_finished(url) == 2
    assert b"loky" in b"".join(commands)
    assert b"s3cret" not in b"".join(commands)


@contextlib.contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@contextlib.contextmanager
def ray():
    ray = pytest.importorskip("ray", reason="ray is in no extra for developers, because it is large")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            yield
    finally:
        ray.shutdown()


@pytest.mark.filterwarnings("default")  # of other packages, about themselves
@pytest.mark.parametrize("cluster", [dask, ray])
def test_a_cluster_finishes_exactly_what_was_asked_for(cluster, url):
    with cluster():
        fitted = tuner(url, model=lambda X, y: network(X, y), n_jobs=2, n_trials=10, lanes=2, refit=True).fit(X, Y)
    trials = stored(url)[0]
    assert len(fitted.trials_) == n_finished(url) == len(trials) == 10
    assert len({records.config_of(trial) for trial in trials}) == 10
    assert fitted.predict(X).shape == (150,)


def mortal(X, y):
    if os.environ.get("LOKY_PARENT") or joblib.parallel.mp.current_process().name != "MainProcess":
        os._exit(1)
    return network(X, y)


def mortal_later(url, X, y):
    """The network; a worker that makes it dies once two trials of the study have finished."""

    def die():
        while n_finished(url) < 2:
            time.sleep(0.01)
        os._exit(1)

    if os.environ.get("LOKY_PARENT") or joblib.parallel.mp.current_process().name != "MainProcess":
        threading.Thread(target=die, daemon=True).start()
    return network(X, y)


def test_what_workers_leave_that_die_is_trained_here(url, monkeypatch):
    monkeypatch.setattr(sharing, "_LOOK", 0.1)
    monkeypatch.setattr(sharing, "_RECOVER", 0.2)
    n_trials = 24
    with pytest.warns(UserWarning, match="A worker ended before the study did.*the rest is trained here"):
        fitted = tuner(url, model=functools.partial(mortal_later, url), n_jobs=2, n_trials=n_trials, lanes=1).fit(X, Y)
    trials, _ = stored(url)
    lost = [trial for trial in trials if trial.state not in FINISHED]
    assert {trial.state.name for trial in lost} == {"FAIL"}
    assert {trial.user_attrs["stopped"] for trial in lost} == {"lost"}
    assert len(fitted.trials_) - len(lost) == n_finished(url) == n_trials
    assert len({records.config_of(trial) for trial in trials if trial.state in FINISHED}) == n_trials


def test_workers_that_all_die_are_told_of(url):
    with pytest.raises(RuntimeError, match="A worker process managed by the executor was unexpectedly terminated"):
        tuner(url, model=mortal, n_jobs=2).fit(X, Y)
    assert n_finished(url) == 0
    tuner(url, model=mortal, resume=True).fit(X, Y)  # here, where it lives
    assert n_finished(url) == 4


@pytest.mark.parametrize(
    ("n_jobs", "url", "told"),
    [
        (0, "sqlite:///x.db", "n_jobs=0: expected a number of processes"),
        ("2", "sqlite:///x.db", "n_jobs='2': expected"),
        (2, "memory", "n_jobs=2 with storage='memory': workers share a study through its database"),
    ],
)
def test_workers_that_cannot_work_together_are_refused(n_jobs, url, told):
    with pytest.raises(SettingError, match=told):
        workers.count(n_jobs, url)


def test_how_many_workers_is_what_joblib_says():
    assert workers.count(None, "sqlite:///x.db") == workers.count(1, "memory") == workers.count(None, "memory") == 1
    assert workers.count(-1, "sqlite:///x.db") == joblib.cpu_count()
    with joblib.parallel_config("loky", n_jobs=3):
        assert workers.count(None, "sqlite:///x.db") == 3 and workers.count(None, "memory") == 1
    with joblib.parallel_config("threading", n_jobs=2), pytest.raises(SettingError, match="belongs to one thread"):
        workers.count(None, "sqlite:///x.db")


def test_a_url_on_its_way_is_whole_and_not_shown():
    sealed = workers.Sealed("postgresql://ada:s3cret@host/studies")
    assert "s3cret" not in f"{sealed} {sealed!r}"
    assert pickle.loads(pickle.dumps(sealed)).url == "postgresql://ada:s3cret@host/studies"


@pytest.fixture
def tuned(tmp_path, url):
    """A table, and a study of it that was cut off after two of four trials."""
    table = tmp_path / "points.csv"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)).round(3)
    lines = ["a,b,y", *(f"{a},{b},{int(a + b > 0)}" for a, b in x)]
    table.write_text("\n".join(lines))
    words = ["--target", "y", "--n-trials", 2, "--epochs", 1, "--seed", 0, "--study-name", "shared", "--storage", url]
    assert shell.run("tune", table, *words).exit_code == 0
    want(url, n_trials=4)
    return table


def want(url, **settings):
    """Let workers that the command line starts have other settings."""
    storage = open_storage(url)
    study = studies.find(storage, "shared")
    origin = records.get_note(study, "origin")
    origin["settings"] |= settings
    records.set_note(study, "origin", origin)
    close(storage)


def test_a_worker_of_the_command_line_needs_the_name_alone(tuned, url):
    ended = shell.run("worker", "shared", "--storage", url)
    assert ended.exit_code == 0, ended.output
    assert "until it has 4 trials" in ended.stdout and "Trained 2 of 4 trials." in ended.stdout
    assert n_finished(url) == 4
    again = shell.run("worker", "shared", "--storage", url, "--json")
    assert json.loads(again.stdout)["trained"] == []


def test_a_worker_beside_whoever_tunes_the_study_finishes_exactly_what_was_asked_for(tuned, url, monkeypatch):
    n_trials, before = 12, 2
    want(url, n_trials=n_trials)
    command = [sys.executable, "-m", "adamtune", "worker", "shared", "--lanes", "1", "--storage", url]
    words = ["--target", "y", "--n-trials", n_trials, "--epochs", 1, "--seed", 0, "--study-name", "shared", "--resume"]
    tick = LaneEngine.tick

    def tick_until_the_worker_has_ended_a_trial(engine):
        tick(engine)
        while n_finished(url) == before and worker.poll() is None:
            time.sleep(0.1)

    monkeypatch.setattr(LaneEngine, "tick", tick_until_the_worker_has_ended_a_trial)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as worker:
        ended = shell.run("tune", tuned, *words, "--lanes", 1, "--storage", url)
        said, errors = worker.communicate(timeout=120)
    assert (ended.exit_code, worker.returncode) == (0, 0), ended.output + errors
    trained = [int(line.split()[1]) for line in said.splitlines() if line.startswith("trial ")]
    assert 0 < len(set(trained)) == len(trained) < n_trials - before
    assert f"Trained {len(trained)} of {n_trials} trials." in said
    trials, _ = stored(url)
    assert n_finished(url) == len(trials) == n_trials
    assert len({records.config_of(trial) for trial in trials}) == n_trials


def test_a_worker_is_told_where_the_table_lies_and_what_else_it_cannot_know(tuned, url, tmp_path):
    moved = tuned.rename(tmp_path / "moved.csv")
    ended = shell.run("worker", "shared", "--storage", url)
    assert ended.exit_code == 1 and "--data FILE" in ended.stderr
    assert shell.run("worker", "shared", "--storage", url, "--data", moved).exit_code == 0
    AdamTuner(**SETTINGS | {"storage": url, "study_name": "mine", "n_trials": 1, "task": "classification"}).fit(X, Y)
    ended = shell.run("worker", "mine", "--storage", url)
    assert ended.exit_code == 1 and ".join(X, y)" in ended.stderr
