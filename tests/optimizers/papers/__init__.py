"""Each optimizer a second time, in numpy and float64, written from its paper and not from our rule: a file each.

A file is called as its rule and defines

VALUES
    A list of hyper values, all of them given, which together reach every branch of the equations.
paper(gradients, w, **values)
    A generator of the weights after each step, in float64. `gradients` is an array of shape (steps, *shape).
SHAPE
    Where it matters: the shape of the weight. Default: (6,).
FLOAT32
    Where float32 allows no more: the largest difference from our rule in float32, as a share of the largest weight,
    with the reason. Default: 1e-6.
"""

import importlib
import pkgutil


def names():
    """The rules that there is a second writing of."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name):
    """The module of that rule."""
    return importlib.import_module(f"{__name__}.{name}")
