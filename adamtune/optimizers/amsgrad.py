"""AMSGrad: Adam that divides by the largest second moment there has been, so that no step forgets a large gradient.

Reddi, Kale & Kumar 2018, "On the Convergence of Adam and Beyond", arXiv 1904.09237, Algorithm 2. With m, v, `rate` and
epsilon as in `adamtune.optimizers.adam`:

    v_max = max(v_max, v)
    w = w - rate * m / (sqrt(v_max) + epsilon)

Three forms are in use, and the same numbers make other trainings of them:

    Keras, PyTorch   the maximum of the raw v, and then both corrections of Adam with the t of this step: the default,
                     the same as `adam` with its mask `amsgrad`
    the paper        no correction at all: `bias_correction` off
    optax            the maximum of v / (1 - beta_2^t): `corrected_maximum`

Epsilon stands before the correction as in Keras, or after it with `epsilon_after_correction` as in PyTorch and optax;
the paper has none. The paper lets beta_1 and the rate fall with t and keeps the weights in a bounded set; here a
schedule moves the rate, and beta_1 stays.

The corrected maximum is the pitfall. At t = 1 v / (1 - beta_2^t) is all of g^2, and a maximum never forgets: one large
gradient among the first divides all later steps, where the raw v has taken up but 1 - beta_2 of it.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1, where gradients shrink: Adam's first steps
>>> [round(w, 4) for w in three_steps("amsgrad", learning_rate=0.1)]
[0.9, 0.8004, 0.7016]
>>> [round(w, 4) for w in three_steps("amsgrad", learning_rate=0.1, corrected_maximum=True)]
[0.9, 0.8053, 0.7158]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, flag
from adamtune.optimizers import adam
from adamtune.optimizers._moments import bias_correction, moments
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """What Adam prepares, and the correction that comes before the maximum: 1 where there is none."""
    h, scalars = adam.prepare(h, scalars, t, total)
    correction = bias_correction(h.one_minus_beta_2, t)
    is_on = h.corrected_maximum * h.bias_correction > 0
    return SimpleNamespace(**vars(h), correction=ops.where(is_on, correction, ops.ones_like(correction))), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of AMSGrad."""
    m, v, v_max = slots
    m, v = moments(g, m, v, h)
    v_max = ops.maximum(v_max, v / h.correction)
    # The rate corrects once more, by the root: that is taken back here.
    seen = v_max * h.correction
    return w - h.corrected_rate * m / (ops.sqrt(seen) + h.scaled_epsilon), (m, v, v_max)


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Adam with amsgrad=True would compute something else for these values."""
    if values["corrected_maximum"] and values["bias_correction"]:
        return "keras.optimizers.Adam takes the maximum before the bias correction"
    return adam.unlike_builtin(values)


def arguments(values: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments of keras.optimizers.Adam, whose option AMSGrad is."""
    missing = (*adam.NOT_IN_KERAS, "corrected_maximum")
    return {name: value for name, value in values.items() if name not in missing} | {"amsgrad": True}


RULE = Rule(
    name="amsgrad",
    class_name="AMSGrad",
    family="adam",
    notes=__doc__,
    source="Reddi, Kale & Kumar 2018, arXiv 1904.09237, Algorithm 2",
    # Defaults and search bounds: Adam's.
    hypers=(
        *(hyper for hyper in adam.RULE.hypers if hyper.name != "amsgrad"),
        flag("corrected_maximum", tier=4, meaning="the maximum of the corrected second moments, as in optax"),
    ),
    slots=adam.RULE.slots,
    update=update,
    prepare=prepare,
    builtin=Builtin("Adam", unlike_builtin, arguments),
)
