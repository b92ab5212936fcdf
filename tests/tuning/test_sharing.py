"""Several processes that ask one study: what each trial tries, whatever becomes of the others."""

import errno
import os
import threading

import optuna
import pytest

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.tuning import leases, records, recovery, storage, study
from adamtune.tuning.asking import Asking
from adamtune.tuning.space import space
from adamtune.tuning.storage import close, open_storage, reserving
from tests.stamps import STAMP

ADAM = space(optimizers.get("adam"), {"learning_rate": (1e-5, 1e-1), "beta_1": (0.5, 0.99)}, 60)
WAVE = space([optimizers.get(name) for name in ("adam", "sgd", "nadam", "rmsprop")], "auto", 60, all_of_them=True)
WAITING = optuna.trial.TrialState.WAITING


@pytest.fixture
def open_again(another_storage):
    """Opens the study as another process would."""
    return lambda: optuna.load_study(study_name="study", storage=another_storage())


def made(url, searched=ADAM, starting=()):
    opened = open_storage(url)
    study.create(opened, "study", "minimize", STAMP, True, space=searched, starting=starting)
    close(opened)


def claimed(of, count):
    """Numbers that a process takes; it is killed before it says what they try."""
    with reserving(of, count):
        for _ in range(count):
            of._storage.create_new_trial(of._study_id)
    leases.drop(of._storage._backend.engine, of._storage._backend.worker)


@pytest.mark.parametrize("searched", [ADAM, WAVE], ids=["design", "wave"])
def test_no_point_is_tried_twice_after_a_process_was_killed_while_it_asked(searched, database_url, open_again, seed):
    made(database_url, searched)
    claimed(open_again(), 4)
    alive = open_again()
    configs = {}

    def ask(of):
        trial, config = Asking(of, searched, "tpe", seed).next()
        configs[trial.number] = config
        storage.flush(of._storage)

    waits = threading.Thread(target=ask, args=(alive,))  # for those four, which are of lower numbers
    waits.start()
    other = open_again()
    assert recovery.recover(other, stopped=False) == [0, 1, 2, 3]
    waits.join()
    assert list(configs) == [4]
    for _ in range(6):
        ask(other)
    assert len(set(configs.values())) == len(configs) == 7
    undisturbed = optuna.create_study()
    in_turn = [Asking(undisturbed, searched, "tpe", seed).next()[1] for _ in range(7)]
    retries = records.retries(alive.get_trials())
    assert [configs[n] for n in sorted(configs, key=lambda n: records.draw(n, retries))] == in_turn


def test_what_is_tried_again_comes_before_what_is_new(database_url, open_again):
    made(database_url, starting=[OptimizerConfig("adam", learning_rate=rate) for rate in (1e-3, 1e-2)])
    dead, alive = open_again(), open_again()
    with reserving(dead, 2, 2):
        lost = [dead.ask().number for _ in range(2)]
    leases.drop(dead._storage._backend.engine, dead._storage._backend.worker)
    with reserving(alive, 2, 2):
        # It has looked, and found nothing that waits; then another process lines them up.
        assert recovery.recover(open_again(), stopped=False) == lost
        with pytest.raises(leases.Enough):
            alive._storage.create_new_trial(alive._study_id)
    with reserving(alive, 2, 2):
        assert [alive.ask().number for _ in range(2)] == [2, 3]
    assert not alive.get_trials(states=(WAITING,))


def test_a_process_that_cannot_be_seen_is_not_taken_for_dead(monkeypatch):
    name = leases.worker()
    monkeypatch.setattr(leases, "_born", lambda process: None)
    assert not leases.is_gone(name)

    def kill(process, signal):
        raise OSError(errno.EPERM, "somebody else's")

    monkeypatch.setattr(os, "kill", kill)
    assert not leases.is_gone(name)

    def kill_none(process, signal):
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill_none)
    assert leases.is_gone(name)


def test_a_file_is_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = storage.absolute("sqlite:///runs.db?timeout=3")
    assert url == f"sqlite:///{tmp_path}/runs.db?timeout=3"
    assert storage.absolute(url) == url
