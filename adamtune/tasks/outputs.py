"""Outputs: what a trained network says, as labels, probabilities or numbers of the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from adamtune.tasks import networks
from adamtune.tasks import task as tasks
from adamtune.tasks.inputs import LARGE, Inputs, Named
from adamtune.tasks.task import Task

# Rows that go through the network at once: always this many, so that a row's prediction cannot depend on how many
# neighbours it came with.
_AT_ONCE = 256
# Rows that are read together, from a disk too; fewer where they are large.
_READ_AT_ONCE = 64 * _AT_ONCE


@dataclass(frozen=True, eq=False)
class Meaning:
    """What the columns of a network's output stand for; holds on to no data.

    Parameters
    ----------
    kind : {"binary", "multiclass", "multilabel", "regression"}
    classes : ndarray or None
        The labels as the user wrote them.
    from_logits : bool
        Whether probabilities need a softmax or sigmoid first.
    target_scale : (mean, deviation) or None
        Of targets that were standardised.
    label_type : str or None
        The type of the user's 0 and 1, where a row may have several labels.
    """

    kind: str
    classes: np.ndarray | None = None
    from_logits: bool = False
    target_scale: tuple[np.ndarray, np.ndarray] | None = None
    label_type: str | None = None

    @classmethod
    def of(cls, task: Task, model: Any) -> Meaning:
        """What the outputs of a task's model mean."""
        data = task.data
        logits = tasks.from_logits(task.loss, model)
        return cls(data.kind, data.classes, logits, data.target_scale, data.label_type)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Labels (n,), 0 and 1 (n, n_labels), or numbers (n,) or (n, n_targets), of outputs (n, width)."""
        if self.kind == "multilabel":
            return (self.probabilities(outputs) > 0.5).astype(self.label_type)
        if self.kind != "regression":
            assert self.classes is not None
            # The largest score is the likeliest label, whatever the loss makes of scores.
            scores = outputs if outputs.shape[1] > 1 else self.probabilities(outputs)
            return self.classes[scores.argmax(axis=1)]
        offset, scale = self.target_scale or (0.0, 1.0)
        targets = outputs * scale + offset
        return targets[:, 0] if targets.shape[1] == 1 else targets

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Probability of each label, (n, n_classes), of outputs (n, width); of one label a row they add up to 1."""
        outputs = outputs.astype("float64")
        if self.kind == "multilabel" or outputs.shape[1] == 1:
            if self.from_logits:
                outputs = 0.5 * (1.0 + np.tanh(0.5 * outputs))
            return outputs if self.kind == "multilabel" else np.concatenate([1.0 - outputs, outputs], axis=1)
        if self.from_logits:
            outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return outputs / outputs.sum(axis=1, keepdims=True)


def of_model(model: Any, x: Inputs | Named) -> np.ndarray:
    """What the model says of each row, (n, width).

    Raises
    ------
    ModelError
        For rows that the model cannot take.
    """
    at_once = _AT_ONCE * max(1, min(_READ_AT_ONCE, LARGE // x.row_nbytes) // _AT_ONCE)
    starts = range(0, len(x), at_once)
    with networks.lean():
        try:
            return np.concatenate([_forward(model, x, slice(start, start + at_once)) for start in starts])
        except Exception:
            networks.check_rows(model, x)  # says what was expected, if the rows are the reason
            raise


def _forward(model: Any, x: Inputs | Named, rows: slice) -> np.ndarray:
    n = len(range(*rows.indices(len(x))))

    def padded(part: np.ndarray) -> np.ndarray:
        return np.pad(part, [(0, -n % _AT_ONCE)] + [(0, 0)] * (part.ndim - 1), mode="edge")

    return model.predict(keras.tree.map_structure(padded, x[rows]), batch_size=_AT_ONCE, verbose=0)[:n]
