"""Zhang et al. 2019, Algorithm 1, with the Adam of above inside."""

from tests.optimizers.papers import adam, lookahead_sgd

VALUES = [
    values | lookahead_sgd.AROUND[number % len(lookahead_sgd.AROUND)] for number, values in enumerate(adam.VALUES)
]


def paper(gradients, w, **values):
    for fast, _ in lookahead_sgd.lookahead(adam.paper, gradients, w, **values):
        yield fast
