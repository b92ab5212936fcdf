"""Write what this version leaves behind, for the tests of the next: a database, a pickle and a saved estimator.

    python -m tests.assets.write

Named by the version, and never written again: `tests/test_old_files.py` opens all of them.
"""

import contextlib
import json
import pathlib
import pickle
import sqlite3
import tempfile

import adamtune
from adamtune import AdamTunerClassifier
from tests.small import SETTINGS, X, Y

HERE = pathlib.Path(__file__).parent


def main():
    """Two studies, one of them cut off; and what an estimator knows after its fit."""
    name = f"adamtune-{adamtune.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "a.db")
        kept = SETTINGS | {"storage": f"sqlite:///{file}", "study_name": "old", "resume": True, "confirm": 2}
        tuner = AdamTunerClassifier(**kept | {"n_trials": 8, "refit": True, "optimizer": ["adam", "sgd"]}).fit(X, Y)

        def stop(study, trial):
            raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            AdamTunerClassifier(**kept | {"study_name": "cut off", "lanes": 4, "callbacks": (stop,)}).fit(X, Y)
        tuner.set_params(storage="memory")
        (HERE / f"{name}.pickle").write_bytes(pickle.dumps(tuner))
        tuner.save(HERE / f"{name}.adamtune")
        (HERE / f"{name}.json").write_text(json.dumps(tuner.predict_proba(X).round(6).tolist()))
        with sqlite3.connect(file) as source, sqlite3.connect(HERE / f"{name}.db") as copy:
            copy.execute("PRAGMA page_size=1024")
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("VACUUM")


if __name__ == "__main__":
    main()
