"""Outputs: what a trained network says, as labels, probabilities or numbers of the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adamtune.tasks import networks
from adamtune.tasks import task as tasks
from adamtune.tasks.inputs import Inputs
from adamtune.tasks.task import Task

# Rows that go through the network at once: always this many, so that a row's prediction cannot depend on how many
# neighbours it came with.
_AT_ONCE = 256
# Rows that are read together, from a disk too.
_READ_AT_ONCE = 64 * _AT_ONCE


@dataclass(frozen=True, eq=False)
class Meaning:
    """What the columns of a network's output stand for; holds on to no data.

    Parameters
    ----------
    kind : {"binary", "multiclass", "regression"}
    classes : ndarray or None
        The labels as the user wrote them.
    from_logits : bool
        Whether probabilities need a softmax or sigmoid first.
    target_scale : (mean, deviation) or None
        Of targets that were standardised.
    """

    kind: str
    classes: np.ndarray | None = None
    from_logits: bool = False
    target_scale: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, task: Task, model: Any) -> Meaning:
        """What the outputs of a task's model mean."""
        data = task.data
        return cls(data.kind, data.classes, tasks.from_logits(task.loss, model), data.target_scale)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Labels (n,), or numbers (n,) or (n, n_targets), of outputs (n, width)."""
        if self.kind != "regression":
            assert self.classes is not None
            # The largest score is the likeliest label, whatever the loss makes of scores.
            scores = outputs if outputs.shape[1] > 1 else self.probabilities(outputs)
            return self.classes[scores.argmax(axis=1)]
        offset, scale = self.target_scale or (0.0, 1.0)
        targets = outputs * scale + offset
        return targets[:, 0] if targets.shape[1] == 1 else targets

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Probability of each label, (n, n_classes), of outputs (n, width)."""
        outputs = outputs.astype("float64")
        if outputs.shape[1] == 1:
            if self.from_logits:
                outputs = 0.5 * (1.0 + np.tanh(0.5 * outputs))
            return np.concatenate([1.0 - outputs, outputs], axis=1)
        if self.from_logits:
            outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return outputs / outputs.sum(axis=1, keepdims=True)


def of_model(model: Any, x: Inputs) -> np.ndarray:
    """What the model says of each row, (n, width)."""
    starts = range(0, len(x), _READ_AT_ONCE)
    with networks.lean():
        return np.concatenate([_forward(model, x[start : start + _READ_AT_ONCE]) for start in starts])


def _forward(model: Any, x: np.ndarray) -> np.ndarray:
    padding = [(0, -len(x) % _AT_ONCE)] + [(0, 0)] * (x.ndim - 1)
    padded = np.pad(x, padding, mode="edge")
    return model.predict(padded, batch_size=_AT_ONCE, verbose=0)[: len(x)]
