"""The table that all figures are made of: corpus.npz.

One array a task, (candidates, seeds, epochs): validation losses, NaN after a trial has diverged; and `about`, JSON:
tasks (name, family, data set, what people call it, features), and candidates (source, config), in the order
of the arrays.
"""

import json
from pathlib import Path

import numpy as np
from candidates import candidates

TABLE = Path(__file__).resolve().parent / "corpus.npz"


def read(path=TABLE):
    """(what is said of each task, its array by name); nothing where there is no table, or one of other candidates."""
    if not path.exists():
        return [], {}
    with np.load(path) as stored:
        about = json.loads(str(stored["about"]))
        if about["candidates"] != _tried():
            return [], {}
        return about["tasks"], {task["name"]: stored[task["name"]] for task in about["tasks"]}


def write(tasks, arrays, path=TABLE):
    about = json.dumps({"tasks": tasks, "candidates": _tried()})
    np.savez_compressed(path, about=np.array(about), **arrays)


def _tried():
    return [[each.source, each.config.to_dict()] for each in candidates()]
