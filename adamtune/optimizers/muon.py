"""Muon: matrices step along their momentum with all singular values made one; everything else has Adam.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon) and
code; the scale of the step: Liu et al. 2025, "Muon is Scalable for LLM Training", arXiv 2502.16982, section 2.2. For a
matrix of shape (rows, columns):

    u = momentum u + g
    p = u                           (Nesterov: g + momentum u)
    X = p / (|p|_F + 1e-7), then five times  A = X X^T,  X = a X + (b A + c A^2) X
    w = w - lr rms_rate sqrt(max(rows, columns)) X

with (a, b, c) = (3.4445, -4.7750, 2.0315). For p = U S V^T this makes X = U S' V^T with S' from 0.68 to 1.20 where S is
at least 0.3 % of |p|_F: the constants are chosen to lift small singular values fast, not to converge. A smaller S grows
485-fold, and rounding with it. An X with all singular values one has elements of mean square 1 / max(rows, columns), so
the step's are of size lr rms_rate. With Moonlight's rms_rate of 0.2 that is the size of Adam's steps, and rate and
decay are of the size of AdamW's. Jordan's own scale is sqrt(max(1, columns / rows)) with a rate around 0.02.

Which weights are matrices here: kernels of rank 2 but for the output layer's, as Jordan writes; and the kernels of
two-dimensional convolutions, seen as (height * width * inputs, outputs), as in his code, without depthwise ones, whose
filters each have one input, and transposed ones, whose axes are in another order. All others (embeddings, biases,
attention's kernels of rank 3) have Adam with the rate adam_lr_ratio lr and Keras' epsilon, see
`adamtune.optimizers.adam`. The layer is told by the names in its path, the output layer by being the last matrix.

`keras.optimizers.Muon` has the same steps, but gives Adam to convolutions and Muon to the output layer, unless
`exclude_layers` names it; so it is not used in this rule's place. It also has a weight decay of its own for what Adam
trains; here there is one for all, with the same default. PyTorch's and Jordan's momentum is a moving average, whose
direction is the same; both compute X in bfloat16. PyTorch's matrices are (outputs, inputs): X is the same transposed.

>>> from adamtune.testing import three_steps  # on 0.5 * w**2 from w = 1: a number is no matrix, so Adam's steps
>>> [round(w, 4) for w in three_steps("muon", learning_rate=0.1, weight_decay=0.0)]
[0.9, 0.8004, 0.7016]
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from adamtune.hypers import flag, fraction, positive
from adamtune.optimizers import gradients
from adamtune.optimizers._moments import corrected_rate, floored, moments
from adamtune.optimizers._ops import ops
from adamtune.optimizers._rule import Place, Rule, Scalars, Shape, Slots, Total, Update, own_axes

# Jordan et al. 2024, and their code: muon.py, zeropower_via_newtonschulz5.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5
_FLOOR = 1e-7

# Words in the path of a layer whose kernel has the rank of a matrix, or of a convolution's, but is none.
_NO_MATRIX = ("embedding", "depthwise", "transpose")


def prepare(h: SimpleNamespace, scalars: Scalars, t: Any, total: Total) -> tuple[SimpleNamespace, Scalars]:
    """The rate of Adam with its bias corrections."""
    rate, _ = corrected_rate(_of_adam(h), t)
    return SimpleNamespace(**vars(h), adam_rate=rate, floor=floored(h.epsilon)), scalars


def update(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Muon, for a matrix or the kernel of a convolution."""
    u, unused = slots
    momentum = 1 - h.one_minus_momentum
    u = momentum * u + g
    push = ops.where(h.nesterov > 0, g + momentum * u, u)
    lanes = tuple(w.shape)[: len(w.shape) - len(own_axes(w, h.learning_rate))]
    x = orthogonal(ops.reshape(push, (*lanes, -1, w.shape[-1])))
    scale = h.rms_rate * math.sqrt(max(x.shape[-2:]))
    return w - h.learning_rate * scale * ops.reshape(x, w.shape), (u, unused)


def adam(g: Any, w: Any, slots: Slots, h: SimpleNamespace, t: Any) -> tuple[Any, Slots]:
    """One step of Adam, for everything else."""
    m, v = slots
    m, v = moments(g, m, v, _of_adam(h))
    return w - h.adam_rate * m / (ops.sqrt(v) + h.floor), (m, v)


def _of_adam(h: SimpleNamespace) -> SimpleNamespace:
    """What belongs to Adam, by Adam's names."""
    return SimpleNamespace(
        learning_rate=h.adam_lr_ratio * h.learning_rate,
        one_minus_beta_1=h.one_minus_adam_beta_1,
        one_minus_beta_2=h.one_minus_adam_beta_2,
    )


def orthogonal(x: Any) -> Any:
    """Matrices, the last two axes, with their singular values made about one by Newton-Schulz iterations."""
    is_tall = x.shape[-2] > x.shape[-1]
    # A = X X^T has the side of the rows.
    x = ops.swapaxes(x, -2, -1) if is_tall else x
    x = x / (ops.sqrt(ops.sum(x * x, axis=(-2, -1), keepdims=True)) + _FLOOR)
    for _ in range(_ROUNDS):
        a = ops.matmul(x, ops.swapaxes(x, -2, -1))
        x = _A * x + ops.matmul(_B * a + _C * ops.matmul(a, a), x)
    return ops.swapaxes(x, -2, -1) if is_tall else x


def by_place(place: Place) -> Update:
    """Muon for the kernels of dense layers and two-dimensional convolutions, Adam for all others."""
    is_kernel = place.path.endswith("kernel") and len(place.shape) in (2, 4)
    is_no_matrix = place.is_output or any(word in place.path.lower() for word in _NO_MATRIX)
    return update if is_kernel and not is_no_matrix else adam


def shapes(place: Place) -> tuple[Shape, ...]:
    """Muon has no second moment."""
    return place.shape, (1,) * len(place.shape) if by_place(place) is update else place.shape


RULE = Rule(
    name="muon",
    class_name="Muon",
    family="matrix",
    notes=__doc__,
    source="Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv 2502.16982, section 2.2",
    # Defaults: keras.optimizers.Muon. Search bounds: the rate and the decay as AdamW's, whose sizes they have at
    # Moonlight's scale; the rest of Adam as Adam's; momentum around the 0.95 of Jordan, PyTorch and Keras;
    # adam_lr_ratio down to the 3e-4 to 0.02 of Jordan's defaults.
    hypers=(
        positive(
            "learning_rate",
            1e-3,
            low=1e-5,
            high=1e-1,
            tier=1,
            meaning="length of a step; rms_rate of it is the size of its elements",
        ),
        replace(gradients.WEIGHT_DECAY, default=4e-3, high=1.0, tier=2),
        fraction("momentum", 0.95, low=1e-2, high=0.2, tier=3, meaning="share of the last direction kept"),
        flag("nesterov", True, tier=3, meaning="look ahead along the momentum"),
        positive("rms_rate", 0.2, low=2e-2, high=2.0, tier=4, meaning="size of a step's elements at a rate of 1"),
        positive("adam_lr_ratio", 1.0, low=1e-2, high=1.0, tier=1, meaning="rate of Adam, as a share of the rate"),
        fraction("adam_beta_1", 0.9, low=1e-2, high=1.0, tier=3, meaning="memory of the gradient's mean, in Adam"),
        fraction("adam_beta_2", 0.999, low=1e-5, high=0.3, tier=3, meaning="memory of its square, in Adam"),
        positive("epsilon", 1e-7, low=1e-10, high=1e-1, tier=3, meaning="floor under the root, in Adam", zero=True),
    ),
    slots=("momentum", "velocity"),
    update=update,
    prepare=prepare,
    by_place=by_place,
    shapes=shapes,
)
