"""Makes the store that is shipped, adamtune/recommending/shipped.db, from corpus.npz.

    python studies/defaults/distil.py

Beside the tasks it holds how far predictions were off on families that were left out, of which intervals are made, and
how far behind later winners were in the course of their training, see `pruning`.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import entries
import judging
import pruning
import sqlalchemy

from adamtune.recommending import SHIPPED, store


def main() -> None:
    SHIPPED.unlink(missing_ok=True)
    engine = sqlalchemy.create_engine(f"sqlite:///{SHIPPED}")
    store.add(engine, entries.read())
    spread, learned = {}, {}
    for epoch in ("best", "last"):
        corpus = judging.read(epoch)
        learned[epoch] = judging.shipped(corpus)(corpus.evidence)
        found = judging.predicted(corpus, "family")
        own = judging.repeated(epoch)
        spread[epoch] = judging.spread_of(found.realised - found.gain, corpus.of("family"))
        spread[epoch] |= {f"{side} exact": far for side, far in judging.spread_of(own, corpus.of("family")).items()}
    store.set_facts(engine, {"spread": spread, "shares": pruning.shares(pruning.courses())})
    store.distil(engine, learned)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
        connection.exec_driver_sql("VACUUM")
    engine.dispose()
    print(f"{SHIPPED.name}: {len(entries.read())} tasks, {SHIPPED.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
