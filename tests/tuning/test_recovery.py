"""Processes that die in a study: nothing that finished is lost, and what was cut off is tried again."""

import contextlib
import functools
import signal
import subprocess
import sys
import threading
import time

import optuna
import pytest
import sqlalchemy

from adamtune.tuning import leases, records, recovery, sharing
from adamtune.tuning import study as studies
from adamtune.tuning.storage import close, flush, open_storage, together
from tests.tuning.dying import RATES, finished, in_order, opened, searching, told

COMPLETE, PRUNED, FAIL, RUNNING, WAITING = (
    getattr(optuna.trial.TrialState, name) for name in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="a dead process is known at once on Linux alone")


@pytest.fixture
def open_again(another_storage):
    """Opens the study as another process would."""
    return lambda: opened(another_storage())


def die(url, lanes, n_trials, statement):
    command = [sys.executable, "-m", "tests.tuning.dying", url, *map(str, (lanes, n_trials, statement))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode == 0


def ids(trials):
    return {trial._trial_id: (trial.number, *told([trial])[0]) for trial in trials}


@linux
@pytest.mark.parametrize("lanes", [1, 4])
def test_a_study_whose_processes_are_killed_again_and_again_loses_nothing(lanes, database_url, open_again):
    n_trials, before = 16, {}
    for statement in (3, 40, 75, 140, 240) if lanes == 1 else (30, 45, 60):
        is_over = die(database_url, lanes, n_trials, statement)
        study = open_again()
        now = ids(finished(study))
        assert before.items() <= now.items()  # not one is gone or has changed
        assert not study.get_trials(states=(RUNNING,))
        before = now
        close(study._storage)
        if is_over:
            break
    study = open_again()
    list(searching(study, lanes, n_trials))
    assert len(finished(study)) == n_trials
    assert {records.config_of(trial).learning_rate for trial in finished(study)} >= set(RATES)
    configs = [records.config_of(trial) for trial in finished(study)]
    assert len(set(configs)) == n_trials
    assert [trial.number for trial in study.get_trials()] == list(range(len(study.get_trials())))
    if lanes == 1:
        undisturbed = opened(open_storage("memory"))
        list(searching(undisturbed, 1, n_trials))
        assert told(in_order(study)) == told(undisturbed.get_trials())


@linux
def test_processes_of_which_some_are_killed_finish_exactly_what_was_asked_for(database_url, open_again):
    n_trials, never, in_its_first_asks, after_two_trials = 24, str(10**9), "60", "2+20"
    open_again()
    command = [sys.executable, "-m", "tests.tuning.dying", database_url, "3", str(n_trials)]
    command += [never, in_its_first_asks, after_two_trials]
    searched = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    *ended, codes = searched.stdout.splitlines()
    assert codes == "0 killed killed", searched.stderr
    who, numbers = zip(*(line.split() for line in ended), strict=True)
    assert set(who) == {"0", "2"} and len(set(numbers)) == len(numbers)
    study = open_again()
    assert len(finished(study)) == n_trials and not study.get_trials(states=(RUNNING, WAITING))
    lost = study.get_trials(states=(FAIL,))
    assert {trial.user_attrs["stopped"] for trial in lost} == {"lost"}
    configs = [records.config_of(trial) for trial in finished(study)]
    assert len(set(configs)) == n_trials
    lost_twice = {records.config_of(trial).learning_rate for trial in lost if records.RETRY in trial.system_attrs}
    assert {config.learning_rate for config in configs} | lost_twice >= set(RATES)


def test_who_waits_for_a_trial_that_nobody_trains_is_told_what_ends_it(open_again, monkeypatch):
    monkeypatch.setattr(sharing, "_SAY", 0.0)
    number = open_again().ask().number
    others = sharing.Others(open_again(), None)
    with pytest.warns(UserWarning, match=rf"waits for its trials \[{number}\].*study.tell\({number}, state") as told:
        assert [others.may_need_help(1) for _ in range(4)] == [True] * 4
    assert len(told) == 1


@pytest.fixture
def running(open_again):
    """A study of which another storage trains three trials, and those."""
    study = open_again()
    trials = [study.ask() for _ in range(3)]
    for trial in trials:
        trial.set_user_attr(
            "config", trial.user_attrs.get("config") or records.config_of(study.get_trials()[0]).to_json()
        )
        trial.report(0.5, 1)
    flush(study._storage)
    return study, trials


def silence(study, seconds):
    """Let so much time pass since the leases were renewed."""
    engine = study._storage._backend.engine
    with engine.begin() as connection:
        held = connection.execute(sqlalchemy.select(leases._TABLE)).all()
        for trial_id, _, renewed in held:
            moment = renewed - leases.datetime.timedelta(seconds=seconds)
            connection.execute(
                leases._TABLE.update().where(leases._TABLE.c.trial_id == trial_id).values(renewed=moment)
            )


def test_trials_of_a_worker_that_lives_are_left_alone(running, open_again):
    study, _ = running
    other = open_again()  # which resumes
    assert recovery.recover(other, stopped=True) == []
    silence(study, leases.GRACE - 20)
    assert recovery.recover(other, stopped=True) == []
    assert [trial.state for trial in other.get_trials()] == [RUNNING] * 3


def test_trials_of_a_worker_that_is_silent_for_too_long_are_tried_once_more(running, open_again):
    study, trials = running
    other = open_again()
    silence(study, leases.GRACE + 1)
    assert recovery.recover(other, stopped=False) == [0, 1, 2]
    assert recovery.recover(other, stopped=True) == []
    found = other.get_trials()
    assert [trial.state for trial in found] == [FAIL] * 3 + [WAITING] * 3
    assert {trial.user_attrs["stopped"] for trial in found[:3]} == {"lost"}
    assert [trial.intermediate_values for trial in found[:3]] == [{1: 0.5}] * 3
    for lost, again in zip(found[:3], found[3:], strict=True):
        assert again.user_attrs["config"] == lost.user_attrs["config"]
        assert again.system_attrs[records.RETRY]["of"] == again.system_attrs[records.RETRY]["draw"] == lost.number
    # Whoever was only slow is told: what it says now does not count.
    with together(study):
        study.tell(trials[0], 1.0)
    assert other.get_trials()[0].state is FAIL
    # Lost once more, they have had their chance.
    for _ in range(3):
        other.ask()
    silence(other, leases.GRACE + 1)
    assert recovery.recover(study, stopped=True) == [3, 4, 5]
    assert len(study.get_trials()) == 6


def at_once(*works):
    """What each returns, all of them begun at the same moment."""
    barrier, found = threading.Barrier(len(works)), [None] * len(works)

    def run(place, work):
        barrier.wait()
        try:
            found[place] = work()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_of_several_that_recover_a_study_one_does(running, open_again):
    study, _ = running
    others = [open_again() for _ in range(3)]
    silence(study, leases.GRACE + 1)
    found = at_once(*(functools.partial(recovery.recover, other, stopped=True) for other in others))
    assert sorted(found, key=len) == [[], [], [0, 1, 2]]
    assert len(others[0].get_trials()) == 6


def test_a_worker_that_was_only_silent_goes_on_without_what_others_took(open_again):
    study, ended = open_again(), []
    events = searching(study, 4, 12, "none")
    next(events)  # a tick
    other = open_again()
    assert recovery.recover(study, stopped=True) == []
    silence(study, leases.GRACE + 1)
    assert recovery.recover(study, stopped=True) == []  # it knows that it lives
    lost = recovery.recover(other, stopped=True)
    assert len(lost) == 4
    ended = [event.number for event in events if hasattr(event, "number")]
    assert not set(ended) & set(lost)
    assert len(finished(other)) == 12 and not other.get_trials(states=(RUNNING, WAITING))


def test_what_waits_is_begun_by_one_and_within_the_limit(open_again):
    studies_ = [open_again() for _ in range(4)]

    def begin(study):
        with study._storage._backend.reserving(study._study_id, 1, 1):
            return study.ask().number

    found = at_once(*(functools.partial(begin, study) for study in studies_))
    assert [each for each in found if not isinstance(each, leases.Enough)] == [0]


def test_what_is_given_back_is_taken_from_nobody(open_again):
    ours, theirs = open_again(), open_again()
    with ours._storage._backend.reserving(ours._study_id, 2), contextlib.suppress(KeyError):
        trial = ours.ask()
    engine, name = ours._storage._backend.engine, ours._storage._backend.worker
    leases.give_back(engine, [trial._trial_id], name)
    again = theirs.ask()
    assert again.number == trial.number
    leases.give_back(engine, [trial._trial_id], name)  # the answer of the first was lost
    assert theirs.get_trials()[again.number].state is RUNNING
    assert ours.get_trials(states=(WAITING,))[0].number == 1


def test_what_somebody_stopped_is_tried_again_whenever_the_study_goes_on(open_again):
    for _ in range(3):
        study = open_again()
        for rate in RATES:  # in their order, each time
            trial = study.ask()
            assert records.config_of(study.get_trials()[trial.number]).learning_rate == rate
            trial.set_user_attr("stopped", "interrupted")
            study.tell(trial, state=FAIL)
        close(study._storage)
    assert [trial.state for trial in open_again().get_trials()] == [FAIL] * 6 + [WAITING] * 2


def test_a_worker_is_gone_when_its_process_is():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        machine, _, _, token = leases.worker().split("/")
        name = "/".join([machine, str(process.pid), leases._born(process.pid) or "", token])
        assert not leases.is_gone(name)
        process.kill()
        deadline = time.monotonic() + 10
        while not leases.is_gone(name) and time.monotonic() < deadline:  # also as a zombie, which nobody has fetched
            time.sleep(0.05)
        assert leases.is_gone(name) == (sys.platform == "linux")
    assert not leases.is_gone(leases.worker())
    assert not leases.is_gone(name.replace(machine, "elsewhere"))  # nobody can know
    assert not any(leases.is_gone(odd) for odd in ("", "a", "a/b/c/d", "///", f"{machine}/x/y/z", f"{machine}/1//z"))


def test_leases_are_renewed_while_a_worker_lives(running, monkeypatch):
    study, _ = running
    silence(study, 3600)
    memory = study._storage._backend._memory
    monkeypatch.setattr(leases, "BEAT", 0.05)
    keeper = leases.Keeper(memory.engine, memory.worker)
    try:
        deadline = time.monotonic() + 10
        while min(moments(memory.engine)) < max(moments(memory.engine, now=True)) - leases.datetime.timedelta(
            minutes=1
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        keeper.stop()
    assert recovery.recover(study, stopped=False) == []


def moments(engine, now=False):
    with engine.connect() as connection:
        return (
            [leases._moment(connection)]
            if now
            else list(connection.scalars(sqlalchemy.select(leases._TABLE.c.renewed)))
        )


def test_a_limit_holds_whoever_asks(open_again):
    ours, theirs = open_again(), open_again()
    made = []
    for study in (ours, theirs, ours, theirs):
        with study._storage._backend.reserving(study._study_id, 3, 5):
            for _ in range(3):
                try:
                    made.append(study.ask().number)
                except leases.Enough:
                    break
    assert sorted(made) == [0, 1, 2, 3, 4]


def test_a_study_whose_maker_died_is_made_anew(database_url, monkeypatch):
    monkeypatch.setattr(studies, "_MADE_WITHIN", 0.1)
    storage = open_storage(database_url)
    half = optuna.create_study(study_name="study", storage=storage)
    half.set_user_attr("adamtune:fingerprint", "x")
    study = opened(storage)
    assert records.is_stamped(study) and len(study.get_trials()) == len(RATES)
    # What has something of somebody else's is never removed.
    other = optuna.create_study(study_name="other", storage=storage)
    other.enqueue_trial({"x": 1.0})
    assert studies.whole(other) is other
    close(storage)
