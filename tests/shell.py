"""What the tests of the command line share: ways to run it, and studies to look at."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import optuna
from typer.testing import CliRunner

from adamtune import cli
from adamtune.config import OptimizerConfig
from adamtune.tuning import records, storage
from adamtune.tuning.records import Stamp

ADAM = OptimizerConfig("adam")
WINNER = OptimizerConfig("adam", learning_rate=0.0123456789)
# What a terminal says of itself, and whoever asks for colour: a test sets its own.
_OF_TERMINALS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM", "PYTHONUNBUFFERED")


def run(*words, **kwargs):
    """A command line in this process; standard output and error apart, both no terminals and of no width."""
    return CliRunner().invoke(cli.app, [str(word) for word in words], env=dict.fromkeys(_OF_TERMINALS), **kwargs)


def environment(**given):
    """The variables of a Python of its own: none of how this process was started, and these."""
    gone = {*_OF_TERMINALS, "TF_CPP_MIN_LOG_LEVEL"}
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    return kept | {"TERM": "xterm-256color"} | given


def python(*words, cwd, **variables):
    """A Python of its own, away from this checkout and from what this process has imported."""
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment(**variables), check=False
    )


def on_terminal(*words, columns=80, **variables):
    """What a Python writes to a terminal of so many columns, and its exit code."""
    terminal, own = pty.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # Not pty.fork: this process has threads by now, of JAX and TensorFlow.
    started = subprocess.Popen(
        [sys.executable, *words], stdin=own, stdout=own, stderr=own, env=environment(**variables), close_fds=True
    )
    os.close(own)
    written = bytearray()
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            read = b""
        if not read:
            break
        written += read
    os.close(terminal)
    return written.decode().replace("\r\n", "\n"), started.wait()


def add_study(database, name, n_trials=1, config=WINNER, **stamp):
    """A study of so many trials with one config, all ended but no winner chosen."""
    study = optuna.create_study(storage=database, study_name=name)
    fields = ("f", "t", "adam", "{}", "val_loss", 5, 32, 50, 0, 8, "stacked", "CPU", "tensorflow", "tpe", "asha", "0")
    named = dict(zip(Stamp.__dataclass_fields__, fields, strict=False))
    records.write_stamp(study, Stamp(**named | stamp))
    for _ in range(n_trials):
        trial = study.ask()
        trial.set_user_attr("config", config.to_json())
        study.tell(trial, 0.3)
    return study


def confirmed(study, score=0.2, config=WINNER):
    """The study with the comparison that was run beside it: the winner is a fifth better than default Adam."""
    rows = [("trial 0", 0, config, score, 0.01), ("Keras' default Adam", None, ADAM, score / 0.8, 0.01)]
    records.write_comparison(study, rows, "minimize")
    records.write_winner(study, 0, config, score, 0.01, passes=3)
    records.set_note(study, "loss", "keras.losses.MeanSquaredError()")
    return study


@contextlib.contextmanager
def database(url=None):
    """The storage at a URL, or the default one; closed at the end."""
    opened = storage.open_storage(storage.resolve_url(url))
    try:
        yield opened
    finally:
        storage.close(opened)
