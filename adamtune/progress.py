"""What people see while a study runs: a few live lines on a terminal, plain lines in a log, or nothing.

`open_view` looks at where standard output goes and chooses. The loop prints nothing itself: it yields events, and the
view counts them. A view never stops a fit: odd values are left out, and what cannot be written, because the pipe is
closed, is not written.

    with open_view(1, "val_loss", "minimize") as view:
        view.begin("study", 64)
        for event in loop.search(...):
            view.event(event)
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adamtune.config import OptimizerConfig
from adamtune.fit_tasks import FitTasks
from adamtune.tuning import loop, records

# Often enough to look alive, rarely enough to cost nothing beside training.
_REFRESH_HZ = 4
# A log gets a line for this share of a phase, and none sooner than so many seconds after the last.
_LINE_SHARE, _LINE_SECONDS = 0.1, 2.0
_FEW = 10


def open_view(verbose: int, objective: str, direction: str, tasks: FitTasks | None = None) -> View:
    """The view that suits `verbose` and standard output; use it as a context manager.

    Parameters
    ----------
    verbose : int
        0 shows nothing.
    objective : str
        What trials are judged by, such as "val_loss".
    direction : {"minimize", "maximize"}
    tasks : FitTasks, optional
        Told of every phase and unit too.

    Returns
    -------
    View
        Live lines where standard output is a terminal, else plain ones without control codes.
    """
    if not verbose:
        return View(_Display(), objective, direction, tasks)
    terminal = _is_terminal()
    # Notebooks get plain lines too: they keep every line, so a bar would be printed again and again.
    console = Console(file=sys.stdout, force_terminal=terminal, force_jupyter=False)
    live = terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    return View(_Bar(console) if live else _Lines(console), objective, direction, tasks)


class View:
    """Counts what happens and hands it to a display. Optuna's own log lines are silent while it is open."""

    def __init__(self, display: _Display, objective: str, direction: str, tasks: FitTasks | None = None) -> None:
        self._display, self._objective, self._direction = display, objective, direction
        self._tasks = tasks or FitTasks()
        self._phase: _Phase | None = None
        self._optuna = logging.getLogger("optuna")

    def __enter__(self) -> View:
        self._optuna_level = self._optuna.level
        self._optuna.setLevel(max(logging.WARNING, self._optuna_level))
        with _never_fails():
            self._display.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end_phase()
            with _never_fails():
                self._display.close()
        finally:
            self._optuna.setLevel(self._optuna_level)

    def say(self, text: str) -> None:
        """One line of information."""
        with _never_fails():
            self._display.print(str(text))

    def begin(self, phase: str, total: int | None, done: int = 0, unit: str = "trials") -> None:
        """Begin another piece of work and say how the one before it ended.

        Parameters
        ----------
        total : int or None
            Units in all; None when nobody knows.
        done : int
            Units done before, for a study that is resumed.
        unit : str
            What is counted, a plural. "trials" and "epochs" are counted from events, others by `advance`.
        """
        self._end_phase()
        self._phase = _Phase(phase, total, done, unit, done, time.monotonic(), self._objective, self._direction)
        with _never_fails():
            self._display.begin(self._phase)
        # Units of another kind end as trials, and nobody knows how many.
        self._tasks.begin(phase, None if total is None or unit == "epochs" else max(0, total - done))

    def event(self, event: Any) -> bool:
        """Count an event of `loop.search`; True when a callback of scikit-learn asks to stop."""
        if isinstance(event, loop.Phase):
            self.begin(event.name, event.total, unit=event.unit)
        elif isinstance(event, loop.Advanced):
            self.advance()
        elif isinstance(event, loop.Halved):
            self.say(f"The memory does not hold that many lanes: going on with {event.lanes}")
        elif self._phase is not None:
            self._phase.count(event)
            self._changed()
        return isinstance(event, loop.TrialEnded) and self._tasks.advance("trial")

    def advance(self, n: int = 1) -> None:
        """Count units of a phase that has no events."""
        if self._phase is not None:
            self._phase.done += n
            self._changed()
            for _ in range(n):
                self._tasks.advance(self._phase.unit)

    def show(self, renderable: RenderableType) -> None:
        """End the phase and show something that stays, such as a table, below an empty line."""
        self._end_phase()
        with _never_fails():
            self._display.print("")
            self._display.print(renderable)

    def _changed(self) -> None:
        with _never_fails():
            self._display.update()

    def _end_phase(self) -> None:
        if self._phase is not None:
            with _never_fails():
                self._display.end(self._phase)
            self._phase = None


@contextlib.contextmanager
def _never_fails() -> Iterator[None]:
    # ValueError: the file is closed.
    with contextlib.suppress(OSError, ValueError):
        yield


@dataclass(frozen=True)
class _Best:
    """The best trial that came to its end."""

    value: float
    number: int
    config: OptimizerConfig


@dataclass
class _Phase:
    """One piece of work and how far it is."""

    name: str
    total: int | None
    done: int
    unit: str
    done_before: int
    began: float
    objective: str
    direction: str
    pruned: int = 0
    diverged: int = 0
    best: _Best | None = None

    def count(self, event: Any) -> None:
        """Take a TrialEnded or Ticked into account."""
        if isinstance(event, loop.TrialEnded):
            self.done += self.unit == "trials"
            self.pruned += event.state == "pruned"
            self.diverged += event.state == "diverged"
            # A pruned trial's value was reached with less training: it is not comparable.
            value = event.value if event.state == "complete" else None
            if value is not None and math.isfinite(value) and self._is_best(value):
                self.best = _Best(value, event.number, event.config)
        elif isinstance(event, loop.Ticked) and self.unit == "epochs":
            self.done = self.done_before + event.epochs

    def _is_best(self, value: float) -> bool:
        if self.best is None:
            return True
        return records.sign(self.direction) * (self.best.value - value) > 0

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    @property
    def rate(self) -> float:
        """Units a second, those done before left out."""
        return (self.done - self.done_before) / max(self.seconds, 1e-9)

    @property
    def amount(self) -> str:
        """Such as "12 of 64 trials"."""
        if self.total is None or self.done >= self.total:
            return f"{self.done} {self.unit}"
        return f"{self.done} of {self.total} {self.unit}"

    @property
    def left(self) -> str:
        """The time left at this rate; "" while it cannot be known."""
        if self.total is None or self.done >= self.total or self.done == self.done_before:
            return ""
        return f"about {_duration((self.total - self.done) / self.rate)} left"

    @property
    def ended(self) -> str:
        """How the trials ended that were no use: "9 pruned, 1 diverged"; "" when there were none."""
        counts = {"pruned": self.pruned, "diverged": self.diverged}
        return ", ".join(f"{n} {how}" for how, n in counts.items() if n)

    @property
    def best_so_far(self) -> str:
        """The best value and its trial; "" while none has come to its end."""
        if self.best is None:
            return ""
        since = " since resuming" if self.done_before else ""
        return f"best {self.objective}{since} {self.best.value:.4g} (trial {self.best.number})"


class _Display:
    """Where a view's words go. This one shows nothing."""

    def open(self) -> None: ...
    def close(self) -> None: ...
    def print(self, what: RenderableType) -> None: ...
    def begin(self, phase: _Phase) -> None: ...
    def update(self) -> None: ...
    def end(self, phase: _Phase) -> None: ...


class _Lines(_Display):
    """Plain lines, a few a phase, for logs, pipes and notebooks."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase: _Phase | None = None

    def print(self, what: RenderableType) -> None:
        console = self._console
        with console.capture() as captured:
            _print(console, what)
        text = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
        # "?" for a letter that the output does not have.
        console.file.write(text.encode(console.encoding, "replace").decode(console.encoding))
        console.file.flush()

    def begin(self, phase: _Phase) -> None:
        self._phase = phase
        # A phase of few units is short: its end says enough.
        if phase.total is None or phase.total >= _FEW:
            self._say()

    def update(self) -> None:
        phase = self._phase
        if phase is None or phase.total is None or phase.total < _FEW or phase.done >= phase.total:
            return
        enough = phase.done - self._said_done >= _LINE_SHARE * phase.total
        if enough and time.monotonic() - self._said_at >= _LINE_SECONDS:
            self._say()

    def end(self, phase: _Phase) -> None:
        self._phase = None
        self.print(_closing(phase))

    def _say(self) -> None:
        assert self._phase is not None
        phase = self._phase
        self._said_done, self._said_at = phase.done, time.monotonic()
        details = ", ".join(part for part in (phase.amount, phase.ended, phase.left) if part)
        best = f"; {phase.best_so_far}" if phase.best_so_far else ""
        self.print(f"{phase.name}: {details}{best}")


class _Bar(_Display):
    """Live lines at the bottom of a terminal: a bar, how trials ended, the best so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase: _Phase | None = None
        self._live = Live(get_renderable=self._lines, console=console, refresh_per_second=_REFRESH_HZ, transient=True)

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def print(self, what: RenderableType) -> None:
        _print(self._console, what)

    def begin(self, phase: _Phase) -> None:
        self._phase = phase

    def end(self, phase: _Phase) -> None:
        self._phase = None
        self.print(_closing(phase))

    def _lines(self) -> RenderableType:
        phase = self._phase  # the main thread may begin another while this one draws
        if phase is None:
            return Text()
        bar = ProgressBar(total=phase.total, completed=phase.done, pulse=phase.total is None)
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        line.add_row(
            Text(phase.name), bar, Text(", ".join(filter(None, (phase.amount, _duration(phase.seconds), phase.left))))
        )
        lines: list[RenderableType] = [line]
        rate = f"{phase.rate:.3g} {phase.unit}/s" if phase.done > phase.done_before else ""
        best = f"{phase.best_so_far}: {_short(phase.best.config)}" if phase.best else ""
        for text in (", ".join(filter(None, (rate, phase.ended))), best):
            if text:
                lines.append(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
        # Room for the ^C that a terminal writes: in the last column it would move the lines that are to be erased.
        return Constrain(Group(*lines), self._console.width - 4)


def _closing(phase: _Phase) -> str:
    """The line that stays of a phase."""
    whole = "done" if phase.total == phase.done == 1 else phase.amount
    details = ", ".join(part for part in (f"{whole} in {_duration(phase.seconds)}", phase.ended) if part)
    best = f"; {phase.best_so_far}" if phase.best_so_far else ""
    return f"{phase.name}: {details}{best}"


def _print(console: Console, what: RenderableType) -> None:
    # No markup and no highlighting: names of studies and columns are printed as they are.
    if isinstance(what, str):
        console.print(what, soft_wrap=True, markup=False, highlight=False)
    else:
        console.print(what)


def _is_terminal() -> bool:
    try:
        return bool(sys.stdout.isatty())
    except (AttributeError, ValueError):  # None, or closed
        return False


def _short(config: OptimizerConfig) -> str:
    """The learning rate and whatever is not the default, three digits each."""
    defaults = OptimizerConfig(config.optimizer).hypers
    return ", ".join(
        f"{name}={_digits(value)}"
        for name, value in config.hypers.items()
        if name == "learning_rate" or value != defaults.get(name)
    )


def _digits(value: float | bool) -> str:
    if isinstance(value, bool):
        return str(value)
    text = f"{value:.3g}"
    return text if text != "1" else f"{value:.7g}"  # a beta near one is not one


def _duration(seconds: float) -> str:
    """Seconds in words.

    >>> _duration(9.6), _duration(75), _duration(7380)
    ('10 s', '1 min 15 s', '2 h 3 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
