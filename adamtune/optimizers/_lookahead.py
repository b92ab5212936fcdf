"""Lookahead: another optimizer explores, and slow weights follow a part of the way.

Zhang, Lucas, Hinton & Ba 2019, "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610, Algorithm 1. The
slow weights s start at the weights there are. An inner optimizer moves the fast weights w as ever; after every
k = `sync_period` of its steps, with alpha = `slow_step_size`,

    s = s + alpha (w - s)
    w = s

s is what is judged and kept. Between two such steps it stands still, so it is up to k - 1 steps behind. The inner
optimizer keeps its slots when w jumps, as in optax by default. At alpha = 1 it trains as it does alone, whatever k is.
Decoupled decay belongs to the inner optimizer, and is taken off the fast weights alone.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import count, positive
from adamtune.optimizers import gradients
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Rule, Slots

# Defaults: the paper's k = 5 and alpha = 0.5. No published bounds were found; these are ours: k from half to twice the
# paper's, so that slow weights move often enough in a short training, alpha from less than half of it up to 1, which is
# the inner optimizer alone.
_HYPERS = (
    count("sync_period", 5, low=3, high=10, tier=3, meaning="steps of the fast weights to one of the slow ones"),
    positive(
        "slow_step_size",
        0.5,
        low=0.2,
        high=1.0,
        tier=3,
        meaning="share of the way to the fast weights that the slow ones go",
        most=1.0,
    ),
)


def around(rule: Rule, name: str, class_name: str, notes: str) -> Rule:
    """Lookahead with an inner rule, one that updates all weights alike and leaves their decay to `gradients.decay`.

    The new rule does that decay itself: else the slow weights would start where the first decay left the fast ones.
    """

    def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
        *inner, slow = slots
        slow = ops.where(ops.equal(t, 1), w, slow)
        w = gradients.decay(w, h.learning_rate, h.weight_decay)
        w, moved = rule.update(g, w, tuple(inner), h, t)
        is_due = ops.equal(ops.mod(t, h.sync_period), 0)
        # slow + alpha (w - slow) would be off by a rounding at alpha = 1.
        slow = ops.where(is_due, w - (1 - h.slow_step_size) * (w - slow), slow)
        return ops.where(is_due, slow, w), (*moved, slow)

    return replace(
        rule,
        name=name,
        class_name=class_name,
        family="averaging",
        notes=notes,
        source=f"Zhang et al. 2019, arXiv 1907.08610, Algorithm 1; inside: {rule.source}",
        hypers=(*rule.hypers, gradients.WEIGHT_DECAY, *_HYPERS),
        slots=(*rule.slots, "slow"),
        update=update,
        builtin=None,
        averaged="slow",
        decays=True,
    )
