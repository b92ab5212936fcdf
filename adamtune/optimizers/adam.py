"""Adam: steps along the mean of the gradient, scaled by the root of its second moment.

Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", arXiv 1412.6980, Algorithm 1 in the order of the last
paragraph of section 2, with that order's epsilon ("epsilon hat": it is added before the bias correction of v):

    m = m + (1 - beta_1) (g - m)
    v = v + (1 - beta_2) (g^2 - v)
    w = w - lr sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)

This is the Adam of Keras and TensorFlow. PyTorch and optax have Algorithm 1 itself, with epsilon after the correction,
lr m_hat / (sqrt(v_hat) + epsilon), where the same number means less: at t = 1 and beta_2 = 0.999 an epsilon of 1e-7
here acts like 3.2e-6 there. The mask `epsilon_after_correction` is that form: epsilon times sqrt(1 - beta_2^t) in the
equation above.

Without `bias_correction` the step is lr m / (sqrt(v) + epsilon), on which both forms of epsilon agree. That is the
comparison of section 6.4 of the paper. Its first step has the length lr (1 - beta_1) / sqrt(1 - beta_2), 3.2 lr by
default and the more the nearer beta_2 is to one, where the first step of Adam has the length lr.

AMSGrad is the mask `amsgrad`: Reddi, Kale & Kumar 2018, "On the Convergence of Adam and Beyond", arXiv 1904.09237,
Algorithm 2, in the form of Keras and PyTorch (the maximum is taken over the raw v, then both moments are corrected as
in Adam; the paper corrects neither). The other forms there are: `adamtune.optimizers.amsgrad`.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1, by hand: about lr per step
>>> [round(w, 4) for w in three_steps("adam", learning_rate=0.1)]
[0.9, 0.8004, 0.7016]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import Value, flag, fraction, positive
from adamtune.optimizers._moments import corrected_rate, floored, moments, too_near_one, without_epsilon
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Builtin, Rule, Scalars, Slots, Total, without


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """Both bias corrections in the rate and in epsilon, once a step instead of once a weight."""
    rate, root = corrected_rate(h, t)
    corrects = h.bias_correction > 0
    rate = ops.where(corrects, rate, h.learning_rate)
    epsilon = h.epsilon * ops.where(h.epsilon_after_correction * h.bias_correction > 0, root, ops.ones_like(root))
    return SimpleNamespace(**vars(h), corrected_rate=rate, scaled_epsilon=floored(epsilon)), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adam, or of AMSGrad where `h.amsgrad` is 1."""
    m, v, v_max = slots
    m, v = moments(g, m, v, h)
    v_max = ops.maximum(v_max, v)
    seen = ops.where(h.amsgrad > 0, v_max, v)
    return w - h.corrected_rate * m / (ops.sqrt(seen) + h.scaled_epsilon), (m, v, v_max)


def unlike_builtin(values: Mapping[str, Value], class_name: str = "Adam") -> str:
    """Why keras.optimizers.Adam, or a class that has its equations, would compute something else for these values."""
    if not values["bias_correction"]:
        return f"keras.optimizers.{class_name} always corrects the bias of its moments"
    if values["epsilon_after_correction"] and values["epsilon"]:
        return f"keras.optimizers.{class_name} adds epsilon before the bias correction"
    return without_epsilon(values, class_name) or too_near_one(values, f"keras.optimizers.{class_name}")


NOT_IN_KERAS = ("epsilon_after_correction", "bias_correction")

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
        flag("epsilon_after_correction", tier=4, meaning="epsilon as in Algorithm 1, PyTorch and optax"),
        flag("bias_correction", True, tier=4, meaning="undo that the moments start at 0"),
    ),
    slots=("momentum", "velocity", "velocity_hat"),
    update=update,
    prepare=prepare,
    builtin=Builtin("Adam", unlike_builtin, without(*NOT_IN_KERAS)),
    unused=lambda values: () if values["amsgrad"] else ("velocity_hat",),
)
