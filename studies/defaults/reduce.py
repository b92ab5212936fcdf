"""From the corpus, which is a database of studies, to the table: adds to corpus.npz what it has not yet.

python studies/defaults/reduce.py [--storage sqlite:///...]
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import optuna
import table
from candidates import candidates
from corpus import SEEDS, STORAGE
from tasks import cases

from adamtune.recommending import describing
from adamtune.tuning import curves, records, storage


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", default=STORAGE)
    options = parser.parse_args()
    about, arrays = table.read()
    opened = storage.open_storage(options.storage)
    stored = set(optuna.get_all_study_names(opened)) - arrays.keys()
    for case in cases():
        if case.name not in stored:
            continue
        found = losses(case, optuna.load_study(study_name=case.name, storage=opened))
        if found is None:
            print(f"{case.name} is not finished")
            continue
        about.append(described(case))
        arrays[case.name] = found
    table.write(about, arrays)
    print(f"{len(arrays)} of {len(cases())} tasks, {table.TABLE.stat().st_size / 2**20:.1f} MiB in {table.TABLE.name}")


def described(case):
    """What the table says of a task: its names, what it is called, and its features."""
    x, y = case.rows()
    network = case.network(x, y)
    found = describing.of_rows(x, y, network, task=case.kind, epochs=case.epochs, batch_size=case.batch_size)
    named = {key: getattr(case, key) for key in ("name", "family", "data_set")}
    # Flat images look like a table, and a dense network does not tell.
    called = "image-classification" if case.family == "image-dense" else found.kind
    return named | {"called": called, "features": found.features.to_dict()}


def losses(case, study):
    """Validation losses, (candidates, seeds, epochs); None while a candidate is missing."""
    drawn, by_config = curves.read(study), {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state in records.FINISHED:
            by_config.setdefault(records.config_of(trial), drawn[trial.number].val_loss)
    rows = []
    for each in candidates():
        if each.config not in by_config:
            return None
        curve = by_config[each.config]
        missing = np.full(SEEDS * case.epochs - len(curve), np.nan, np.float32)
        rows.append(np.concatenate([curve, missing]).reshape(SEEDS, case.epochs))
    return np.stack(rows)


if __name__ == "__main__":
    main()
