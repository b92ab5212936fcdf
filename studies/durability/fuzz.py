"""Does every input that adamtune is given become something, or a message that says what is wrong?

    python studies/durability/fuzz.py                     # 20,000 inputs of each kind, some minutes on one core
    python studies/durability/fuzz.py --inputs 1000 --seed 7 --only tables

Configs, database URLs, tables and JSON files are made by the strategies of tests/fuzzing.py: valid ones, valid ones
with a few values or bytes changed, and noise. An input is accepted, or refused with an error of adamtune's whose text
is short and shows no password. Everything else is unclear: the first input of each kind of error is printed, and the
exit status is 1.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import sys
import traceback

import hypothesis

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = ROOT / "adamtune", ROOT / "tests"
sys.path.insert(0, str(ROOT))

from adamtune.errors import short  # noqa: E402
from tests.fuzzing import ENTRANCES, Entrance, answer  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=ENTRANCES, default=list(ENTRANCES))
    options = parser.parse_args()
    is_clear = True
    for name in options.only:
        counts, unclear = tried(ENTRANCES[name], options.inputs, options.seed)
        cells = [f"{counts[kind]:6,} {kind}" for kind in ("accepted", "refused", "unclear")]
        print(f"{name:14} {counts.total():6,} inputs, {', '.join(cells)}", flush=True)
        for where, given in unclear.items():
            print(f"  {where}\n    {shown(given)[:1000]}")
        is_clear &= not unclear
    sys.exit(not is_clear)


def tried(entrance: Entrance, inputs: int, seed: int) -> tuple[collections.Counter[str], dict[str, object]]:
    """How many inputs were accepted, refused and neither, and one of the latter for each place that raised."""
    counts: collections.Counter[str] = collections.Counter()
    unclear: dict[str, object] = {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(entrance.inputs)
    def try_one(given: object) -> None:
        try:
            counts[answer(entrance, given)] += 1
        except Exception as error:
            counts["unclear"] += 1
            frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
            where = [frame for frame in frames if any(map(pathlib.Path(frame.filename).is_relative_to, OURS))][-1]
            text = f"{type(error).__name__} at {where.filename}:{where.lineno}"
            unclear.setdefault(text, (str(error)[:300], given))

    try_one()
    return counts, unclear


def shown(given: object) -> str:
    try:
        return ascii(given)
    except (ValueError, RecursionError):  # numbers too long and lists too deep for Python to write
        return short(given)


if __name__ == "__main__":
    main()
