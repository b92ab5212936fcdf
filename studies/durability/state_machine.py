"""State machine: two processes do to a database whatever they like; does it ever read otherwise than it should?

    python studies/durability/state_machine.py [--examples 500] [--steps 50] [--seed SEED] [URL ...]

The machine of tests/tuning/test_state_machine.py, with more examples. After each operation both processes, and plain
Optuna, are compared with Optuna's storage in memory; some examples look less often, because a look makes a buffer
write. A difference is made small and printed, that database is done, and the exit status is 1. The seed is a new one
each time, and printed. Without URLs: a SQLite file, and the servers that `ADAMTUNE_TEST_POSTGRES` and
`ADAMTUNE_TEST_MYSQL` name.
"""

from __future__ import annotations

import argparse
import collections
import logging
import secrets
import sys
import time
import traceback
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hypothesis
import optuna
import pages
import places
from hypothesis.stateful import invariant, run_state_machine_as_test

from adamtune.tuning import buffer
from adamtune.tuning import storage as storages
from tests.tuning.test_state_machine import Opened, machine_for

HEAD = ["database", "seed", "examples", "steps at most", "operations", "differences", "s"]
README = Path(__file__).with_name("README.md")


def tried(url: str, examples: int, steps: int, seed: int) -> tuple[collections.Counter[str], bool]:
    """What was done, and whether it all read as it should."""
    counts: collections.Counter[str] = collections.Counter()
    machine = machine_for(url)

    class Counting(machine):
        @invariant()
        def count(self) -> None:
            counts["operations"] += 1

        def teardown(self) -> None:
            counts["examples"] += 1
            counts["operations"] -= 1  # what is invariant is also looked at when an example begins
            super().teardown()

    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    try:
        with mock.patch.object(storages, "BufferedRDBStorage", Opened), mock.patch.object(buffer, "_GLANCE", 0.0):
            run_state_machine_as_test(hypothesis.seed(seed)(Counting), settings=settings)
    except Exception:  # an assertion of the machine, or an error of a storage that the other one has not
        traceback.print_exc()
        return counts, False
    return counts, True


def main() -> None:
    """Try each database, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=500, help="on each database")
    parser.add_argument("--steps", type=int, default=50, help="operations an example at most")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--page", type=Path, default=README, help="where the table is written")
    parser.add_argument("urls", nargs="*")
    given = parser.parse_args()
    print("seed", given.seed, flush=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("adamtune").setLevel(logging.ERROR)  # the machine ends trials of the other process on purpose
    rows, is_right = [], True
    with places.databases(given.urls) as urls:
        for kind, url in urls.items():
            began = time.monotonic()
            counts, reads = tried(url, given.examples, given.steps, given.seed)
            done = [f"{counts['examples']:,}", str(given.steps), f"{counts['operations']:,}", "0" if reads else "found"]
            rows.append([kind, str(given.seed), *done, f"{time.monotonic() - began:.0f}"])
            print(rows[-1], flush=True)
            is_right &= reads
    pages.write(given.page, pages.table(HEAD, rows), "state-machine")
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
