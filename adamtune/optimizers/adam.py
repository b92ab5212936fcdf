"""Adam: steps along the mean of the gradient, scaled by the root of its second moment.

Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, Algorithm 1 in the order of the last
paragraph of section 2, with that order's epsilon ("epsilon hat": it is added before the bias correction of v):

    m = m + (1 - beta_1) (g - m)
    v = v + (1 - beta_2) (g^2 - v)
    w = w - lr sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)

This is the Adam of Keras and TensorFlow; PyTorch adds epsilon after the correction, so the same number means less
there: at t = 1 and beta_2 = 0.999 an epsilon of 1e-7 here acts like 3.2e-6 there.

AMSGrad is the mask `amsgrad`: Reddi, Kale & Kumar 2018, "On the Convergence of Adam and Beyond", arXiv 1904.09237,
Algorithm 2, in the form of Keras and PyTorch (the maximum is taken over the raw v, then both moments are corrected as
in Adam; the paper corrects neither).

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1, by hand: about lr per step
>>> [round(w, 4) for w in three_steps("adam", learning_rate=0.1)]
[0.9, 0.8004, 0.7016]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, flag, fraction, positive
from adamtune.optimizers._moments import bias_correction, too_near_one
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Scalars, Slots, Total


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """Both bias corrections in the rate, once a step instead of once a weight."""
    rate = h.learning_rate * ops.sqrt(bias_correction(h.one_minus_beta_2, t))
    rate = rate / bias_correction(h.one_minus_beta_1, t)
    return SimpleNamespace(**vars(h), corrected_rate=rate), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adam, or of AMSGrad where `h.amsgrad` is 1."""
    m, v, v_max = slots
    m = m + h.one_minus_beta_1 * (g - m)
    v = v + h.one_minus_beta_2 * (g * g - v)
    v_max = ops.maximum(v_max, v)
    seen = ops.where(h.amsgrad > 0, v_max, v)
    return w - h.corrected_rate * m / (ops.sqrt(seen) + h.epsilon), (m, v, v_max)


def unlike_builtin(values: Mapping[str, Value]) -> str:
    """Why keras.optimizers.Adam would compute something else for these values."""
    return too_near_one(values, "Adam")


RULE = Rule(
    name="adam",
    class_name="Adam",
    family="adam",
    notes=__doc__,
    source="Kingma & Ba 2015, arXiv 1412.6980; AMSGrad: Reddi et al. 2018, arXiv 1904.09237",
    # Defaults: keras.optimizers.Adam. Search bounds: Godbole et al. 2023 (tuning playbook) and TaskSet's adam4p
    # (Metz et al. 2020, arXiv 2002.11887), narrowed to what small dense networks use.
    hypers=(
        positive("learning_rate", 1e-3, low=1e-5, high=1e-1, tier=1, meaning="length of a step"),
        fraction("beta_1", 0.9, low=1e-2, high=1.0, tier=2, meaning="memory of the gradient's mean"),
        fraction("beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square"),
        positive(
            "epsilon",
            1e-7,
            low=1e-10,
            high=1e-1,
            tier=2,
            meaning="floor under the root; large makes Adam momentum SGD",
            zero=True,
        ),
        flag("amsgrad", tier=3, meaning="divide by the largest second moment so far"),
    ),
    slots=("momentum", "velocity", "velocity_hat"),
    update=update,
    prepare=prepare,
    builtin=Builtin("Adam", unlike_builtin),
    unused=lambda values: () if values["amsgrad"] else ("velocity_hat",),
)
