"""The folder of data sets that a developer may point ADAMTUNE_DATA at."""

import functools
import importlib.util
import os
import sys
from pathlib import Path


def load(name, **options):
    """A data set of the folder, (X, y, meta); None without such a folder."""
    loader = module()
    return loader and loader.load(name, **options)


def needed(name, **options):
    """The same; ends the program with the line to write where there is no folder."""
    found = load(name, **options)
    if found is None:
        sys.exit(
            f"ADAMTUNE_DATA={os.environ.get('ADAMTUNE_DATA')!r}: expected a folder with a load.py whose load({name!r})"
            f" returns (X, y, meta). Write ADAMTUNE_DATA=../shared/data python {sys.argv[0]}"
        )
    return found


@functools.cache
def module():
    """The folder's own load.py; None without one."""
    folder = os.environ.get("ADAMTUNE_DATA")
    if not folder or not Path(folder, "load.py").is_file():
        return None
    spec = importlib.util.spec_from_file_location("load", Path(folder, "load.py"))
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    return loader
