"""AdaBound over the maximum of its second moments."""

from functools import partial

from tests.optimizers.papers import adabound

VALUES = [values | {"beta_2": 0.9} for values in adabound.VALUES]
paper = partial(adabound.paper, amsbound=True)
