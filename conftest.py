"""What holds for every test, those in tests/ and the examples in adamtune's docstrings alike."""

import collections
import os

# Before anything imports Keras, which reads both once.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import signal
import threading

import hypothesis
import pytest

# Shells let what they start in the background ignore Ctrl-C, and processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: the first example of a property compiles, the others do not.
hypothesis.settings.register_profile("adamtune", deadline=None)
hypothesis.settings.load_profile("adamtune")


@pytest.fixture(autouse=True)
def storage_of_its_own(tmp_path_factory, monkeypatch):
    """Point the default storage away from the checkout and from the studies of who runs this."""
    folder = tmp_path_factory.mktemp("storage")
    monkeypatch.setenv("ADAMTUNE_STORAGE", f"sqlite:///{folder / 'adamtune.db'}")


def pytest_terminal_summary(terminalreporter):
    """Say why tests were skipped in a line a reason, not a line a test."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped {count}: {reason}")
