"""`studies` at a glance: what became of each, when, and what it gained."""

import datetime

import optuna
import pytest
from rich.console import Console

from adamtune import summary
from adamtune.cli import listing
from tests.shell import WINNER, add_study, confirmed

State = optuna.trial.TrialState
ago = datetime.timedelta


def study_of(*trials, strategy="stacked"):
    """A study of trials, each a state, how long ago it began and how long ago it ended."""
    study = add_study(None, "mine", n_trials=0, strategy=strategy)
    now = datetime.datetime.now()
    for number, (state, began, ended) in enumerate(trials):
        study.add_trial(
            optuna.trial.FrozenTrial(
                number=number,
                trial_id=number,
                state=state,
                value=0.5 if state is State.COMPLETE else None,
                datetime_start=None if began is None else now - began,
                datetime_complete=None if ended is None else now - ended,
                params={},
                distributions={},
                user_attrs={"config": WINNER.to_json()},
                system_attrs={},
                intermediate_values={},
            )
        )
    return study


DONE = (State.COMPLETE, ago(hours=3, minutes=1), ago(hours=3))
SHORT = (State.COMPLETE, ago(seconds=70), ago(seconds=60))


@pytest.mark.parametrize(
    ("trials", "strategy", "state"),
    [
        ([], "stacked", "interrupted"),
        ([(State.WAITING, None, None)], "stacked", "interrupted"),
        # Something came from it a while ago.
        ([SHORT], "stacked", "running"),
        ([SHORT, (State.RUNNING, ago(seconds=50), None)], "stacked", "running"),
        ([(State.RUNNING, ago(hours=2), None)], "stacked", "running"),
        # A trial took three hours, so two of silence are not long.
        ([(State.COMPLETE, ago(hours=5), ago(hours=2)), (State.RUNNING, ago(hours=2), None)], "stacked", "running"),
        # Killed: nothing for three hours from trials of a minute, nothing for a day from the first.
        ([DONE], "stacked", "interrupted"),
        ([DONE, (State.RUNNING, ago(hours=3), None)], "stacked", "interrupted"),
        ([(State.RUNNING, ago(days=9), None)], "stacked", "interrupted"),
        # Ctrl-C tells what ran to have failed.
        ([SHORT, (State.FAIL, ago(seconds=50), ago(seconds=40))], "stacked", "interrupted"),
        # A loop of one's own has no winner to wait for.
        ([DONE], "own_loop", "finished"),
        ([DONE, (State.FAIL, ago(hours=3), ago(hours=3))], "own_loop", "interrupted"),
        ([SHORT, (State.RUNNING, ago(seconds=50), None)], "own_loop", "running"),
    ],
)
def test_what_became_of_a_study(trials, strategy, state):
    found = summary.of_study(study_of(*trials, strategy=strategy))
    assert found.state == state
    assert summary.of_study(confirmed(study_of(DONE))).state == "finished"


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ({"seconds": 20}, "now"),
        ({"minutes": 5}, "5 min ago"),
        ({"minutes": 59}, "59 min ago"),
        ({"hours": 3}, "3 h ago"),
        ({"hours": 47}, "47 h ago"),
        ({"days": 6}, "6 d ago"),
        ({"seconds": -90}, "now"),
    ],
)
def test_when_it_began_is_said_in_a_word(length, words):
    found = summary.of_study(study_of((State.COMPLETE, ago(**length), ago())))
    assert words in shown(listing.cards([found], datetime.datetime.now()))


def test_long_ago_is_a_date_and_a_study_that_did_not_begin_has_none():
    now = datetime.datetime.now()
    long_ago = now - datetime.datetime(2014, 12, 22)
    old, empty = study_of((State.COMPLETE, long_ago, long_ago)), study_of()
    assert "2014-12-22" in shown(listing.cards([summary.of_study(old)], now))
    lines = shown(listing.rows([summary.of_study(each) for each in (old, empty)]), 200).splitlines()
    assert [line.split()[3][:13] for line in lines] == ["began", "2014-12-22T00", "-"]


def test_a_card_tells_how_trials_ended_what_counts_and_the_gain():
    study = study_of(DONE, DONE, (State.PRUNED, ago(hours=3), ago(hours=3)))
    lines = shown(listing.cards([summary.of_study(confirmed(study, score=0.12))], datetime.datetime.now())).splitlines()
    assert lines[1].split() == ["mine", "3", "h", "ago", "3", "finished", "0.12", "+20.0", "%"]
    assert lines[2].split() == ["t,", "adam", "1", "pruned", "val_loss"]


def test_names_of_others_do_not_steer_the_terminal():
    study = add_study(None, "a\x1b[31mb", task="c\nd", optimizer="e\tf")
    for made in (listing.cards([summary.of_study(study)]), listing.rows([summary.of_study(study)])):
        text = shown(made, 200)
        assert "a?[31mb" in text and "c?d" in text and "e?f" in text and "\x1b" not in text


def shown(what, width=80):
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(what)
    return captured.get()
