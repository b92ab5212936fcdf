import contextlib
import io
import logging
import re

import pytest
from rich.console import Console
from rich.text import Text

from adamtune import progress
from adamtune.config import OptimizerConfig
from adamtune.tuning.loop import Advanced, Halved, Phase, Ticked, TrialEnded

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;)[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    ours = Clock()
    monkeypatch.setattr(progress, "time", ours)
    return ours


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def ended(number, state="complete", value=0.5, **hypers):
    return TrialEnded(number, OptimizerConfig("adam", **hypers), state, value, epochs=10)


def test_verbose_0_prints_nothing(capsys):
    with progress.open_view(0, "val_loss", "minimize") as view:
        view.say("text")
        view.begin("study", 2)
        view.event(ended(0))
        view.advance()
        view.show("the end")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [0, 1])
def test_optunas_lines_are_silent_while_a_view_is_open_and_come_back(verbose, capsys):
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(KeyboardInterrupt), progress.open_view(verbose, "val_loss", "minimize"):
            assert not logger.isEnabledFor(logging.INFO)
            assert logger.isEnabledFor(logging.WARNING)
            raise KeyboardInterrupt
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(before)


def test_a_level_above_warning_stays():
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with progress.open_view(1, "val_loss", "minimize"):
            assert logger.level == logging.CRITICAL
    finally:
        logger.setLevel(before)


def test_a_log_gets_the_first_the_last_and_a_few_lines_without_codes(clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # some CI services set it; a log stays plain
    with progress.open_view(1, "val_loss", "minimize") as view:
        view.say("Study [bold]x[/bold]")
        view.begin("study", 100)
        for number in range(100):
            clock.now += 1
            state = "pruned" if number % 2 else "complete"
            view.event(ended(number, state, value=1 / (number + 1)))
            view.event(Ticked(8, number))
        view.show(Text("the end  ", style="bold red"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Study [bold]x[/bold]"
    assert lines[1] == "study: 0 of 100 trials"
    assert lines[2] == "study: 10 of 100 trials, 5 pruned, about 1 min 30 s left; best val_loss 0.1111 (trial 8)"
    assert lines[-3] == "study: 100 trials in 1 min 40 s, 50 pruned; best val_loss 0.0101 (trial 98)"
    assert lines[-2:] == ["", "the end"]
    assert len(lines) == 14
    assert not any("\x1b" in line for line in lines)


def test_a_fast_study_gets_no_line_for_each_tenth(clock, capsys):
    with progress.open_view(1, "val_loss", "minimize") as view:
        view.begin("study", 100)
        for number in range(100):
            view.event(ended(number))
    assert capsys.readouterr().out.splitlines() == [
        "study: 0 of 100 trials",
        "study: 100 trials in 0 s; best val_loss 0.5 (trial 0)",
    ]


def test_lanes_that_were_given_up_are_told(clock, capsys):
    with progress.open_view(1, "val_loss", "minimize") as view:
        view.begin("study", 2)
        view.event(Halved(4))
    assert "The memory does not hold that many lanes: going on with 4" in capsys.readouterr().out.splitlines()


def test_a_phase_of_few_units_gets_one_line_and_epochs_count_from_ticks(clock, capsys):
    with progress.open_view(1, "val_loss", "minimize") as view:
        view.event(Phase("confirming", 3, "passes"))
        for _ in range(3):
            clock.now += 2
            view.event(Advanced())
        view.event(Phase("learning rate alone", 30, "epochs"))
        view.event(ended(0, "diverged", value=None))
        view.event(Ticked(4, 12))
        view.begin("training the winner", 1, unit="models")
        view.advance()
    assert capsys.readouterr().out.splitlines() == [
        "confirming: 3 passes in 6 s",
        "learning rate alone: 0 of 30 epochs",
        "learning rate alone: 12 of 30 epochs in 0 s, 1 diverged",
        "training the winner: done in 0 s",
    ]


@pytest.mark.parametrize("direction, best", [("minimize", "0.25 (trial 1)"), ("maximize", "0.75 (trial 2)")])
def test_the_best_follows_the_direction_and_leaves_pruned_trials_out(direction, best, clock, capsys):
    with progress.open_view(1, "val_x", direction) as view:
        view.begin("study", 4)
        for number, value in enumerate([0.5, 0.25, 0.75]):
            view.event(ended(number, value=value))
        view.event(ended(3, "pruned", value=0.0 if direction == "minimize" else 1.0))
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"best val_x {best}")


def test_a_resumed_study_counts_on_and_does_not_claim_the_best_of_all(clock, capsys):
    with progress.open_view(1, "val_loss", "minimize") as view:
        view.begin("study", 40, done=20)
        clock.now += 10
        for number in range(20, 30):
            view.event(ended(number))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "study: 20 of 40 trials"
    # 4 trials took 10 s, so 16 take 40 s; those of the first run took no time here.
    assert lines[1].startswith("study: 24 of 40 trials, about 40 s left")
    assert lines[-1] == "study: 30 of 40 trials in 10 s; best val_loss since resuming 0.5 (trial 20)"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_odd_values_are_no_best_and_no_error(value, clock, capsys):
    with progress.open_view(1, "val_loss", "minimize") as view:
        view.event(ended(0))  # before any phase
        view.advance()
        view.begin("study", None)
        view.event(ended(0, value=value))
        view.event(None)
        view.begin("study", 0)
    assert "best" not in capsys.readouterr().out


def test_an_output_that_cannot_be_written_stops_nothing():
    closed = io.StringIO()
    closed.close()
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    for stdout in (closed, None, ascii_only):
        with contextlib.redirect_stdout(stdout), progress.open_view(1, "val_loss", "minimize") as view:
            view.say("größer")
            view.begin("study", 20)
            view.event(ended(0))
            view.show("größer")
    ascii_only.flush()
    assert ascii_only.buffer.getvalue().decode().splitlines()[::4] == ["gr??er", "gr??er"]


def test_a_terminal_shows_three_lines_that_fit_and_keeps_one(terminal, clock):
    with contextlib.redirect_stdout(terminal), progress.open_view(1, "val_loss", "minimize") as view:
        view.begin("study", 64)
        clock.now += 10
        view.event(ended(0, value=0.0712, learning_rate=0.00312345, beta_2=0.99999, epsilon=1.23e-5, amsgrad=True))
        view.event(ended(1, "pruned"))
        view.event(ended(2, "diverged", value=None))
        drawn = Console(width=80, file=io.StringIO())
        drawn.print(view._display._lines())
        lines = drawn.file.getvalue().splitlines()
        view.show("the end")
    assert len(lines) == 3
    assert max(map(len, lines)) < 80
    assert "3 of 64 trials, 10 s, about 3 min 23 s left" in lines[0]
    assert lines[1] == "0.3 trials/s, 1 pruned, 1 diverged"
    assert lines[2].startswith("best val_loss 0.0712 (trial 0): learning_rate=0.00312, beta_2=0.99999, eps")
    written = terminal.getvalue()
    assert "study: 3 of 64 trials in 10 s, 1 pruned, 1 diverged; best val_loss 0.0712 (trial 0)" in written
    assert CODES.sub("", written).split()[-2:] == ["the", "end"]


def test_a_terminal_is_restored_after_an_exception(terminal):
    opened = progress.open_view
    with contextlib.redirect_stdout(terminal), pytest.raises(RuntimeError), opened(1, "val_loss", "minimize") as view:
        view.begin("study", 64)
        assert terminal.getvalue().count("\x1b[?25l") == 1
        raise RuntimeError
    hidden, shown = terminal.getvalue().rindex("\x1b[?25l"), terminal.getvalue().rindex("\x1b[?25h")
    assert shown > hidden


@pytest.mark.parametrize("no_color", [True, False])
def test_no_color_is_honoured(no_color, terminal, monkeypatch):
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    with contextlib.redirect_stdout(terminal), progress.open_view(1, "val_loss", "minimize") as view:
        view.begin("study", 4)
        view.event(ended(0))
        view._display._live.refresh()
    assert bool(COLOUR.search(terminal.getvalue())) is not no_color


def test_a_dumb_terminal_gets_plain_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with contextlib.redirect_stdout(terminal), progress.open_view(1, "val_loss", "minimize") as view:
        view.begin("study", 20)
    assert terminal.getvalue() == "study: 0 of 20 trials\nstudy: 0 of 20 trials in 0 s\n"
