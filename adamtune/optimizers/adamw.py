"""AdamW: Adam whose weights shrink by a share of their own, which no moment sees.

Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", arXiv 1711.05101, Algorithm 2, in the form of Keras,
PyTorch and optax: the share is multiplied by the learning rate, and is taken off before Adam's step (the paper
multiplies it by the schedule's factor alone, so its decay is our learning rate times ours):

    w = w - lr weight_decay w
    then Adam's step, with its epsilon before the correction, see `adamtune.optimizers.adam`

So the equations are those of Adam and of `gradients.decay`, which stands before every rule; what AdamW has of its own
is a decay that is there by default. The penalty of an L2 term in the loss is another thing: Adam divides it by the root
of the second moment like every gradient, and so punishes large weights least where gradients are large.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: Adam's steps, and 1 % off before each
>>> [round(w, 4) for w in three_steps("adamw", learning_rate=0.1, weight_decay=0.1)]
[0.89, 0.7816, 0.6751]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adamtune.hypers import Value
from adamtune.optimizers import adam, gradients
from adamtune.optimizers._rule import Builtin, Rule, without


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.AdamW would compute something else for these values."""
    return adam.unlike_builtin(values, "AdamW")


_LEARNING_RATE, *_OTHERS = adam.RULE.hypers

RULE = Rule(
    name="adamw",
    class_name="AdamW",
    family="adam",
    notes=__doc__,
    source="Loshchilov & Hutter 2019, arXiv 1711.05101; Kingma & Ba 2015, arXiv 1412.6980",
    # Default: keras.optimizers.AdamW. Search bounds: from Sivaprasad et al. 2020 (arXiv 1910.11758) below to AlgoPerf
    # (Dahl et al. 2023, arXiv 2306.07179) above. In tier 1, because it is what tells AdamW from Adam.
    hypers=(_LEARNING_RATE, replace(gradients.WEIGHT_DECAY, default=4e-3, high=1.0, tier=1), *_OTHERS),
    slots=adam.RULE.slots,
    update=adam.update,
    prepare=adam.prepare,
    builtin=Builtin("AdamW", unlike_builtin, without(*adam.NOT_IN_KERAS)),
    unused=adam.RULE.unused,
)
