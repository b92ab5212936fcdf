"""Loading Keras and its backend, without what TensorFlow writes before it has read how much it should."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

# Information, and a warning about itself.
_CHATTER = r"I\d{4} |WARNING: All log messages before absl"
_FILTER = f"""
import re, sys
for line in sys.stdin.buffer:
    if not re.match(b{_CHATTER!r}, line):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""


def load() -> None:
    """Import Keras without TensorFlow's chatter on the terminal; whoever sets TF_CPP_MIN_LOG_LEVEL gets it all.

    Whatever else is written passes, also when the import ends the process: the filter is a process of its own.
    """
    if "keras" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # what goes wrong is raised; at 2 a machine without a GPU is an error
    sys.stderr.flush()
    stderr = os.dup(2)
    reader, writer = os.pipe()
    passing = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER], stdin=reader, stdout=stderr, stderr=stderr, start_new_session=True
    )
    os.close(reader)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        import keras

        keras.ops.zeros(())  # the first array wakes the device, which has its own chatter
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)  # closes the pipe, and so ends the filter
        os.close(stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):
            passing.wait(timeout=5)
