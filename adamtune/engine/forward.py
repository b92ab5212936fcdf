"""Forward: a Keras model as a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from adamtune.tasks.task import Task


class Forward:
    """A built Keras model as a pure function of its weights.

    Its variables fall into three groups: `weights` (trained), `state` (batch-norm statistics and the like, one per
    lane) and `seeds` (states of the generators behind dropout and noise, shared by all lanes so that their masks are
    the same).
    """

    def __init__(self, model: Any, task: Task) -> None:
        self.model = model
        self.loss = task.loss
        self.metric = task.mean_metric
        self.weights = list(model.trainable_variables)
        others = model.non_trainable_variables
        self._is_seed = [variable.path.endswith("seed_generator_state") for variable in others]
        self.state = [v for v, is_seed in zip(others, self._is_seed, strict=True) if not is_seed]
        self.seeds = [v for v, is_seed in zip(others, self._is_seed, strict=True) if is_seed]

    def __call__(
        self,
        weights: Sequence[Any],
        state: Sequence[Any],
        seeds: Sequence[Any],
        x: Any,
        y: Any,
        weight: Any,
        training: bool,
    ) -> tuple[Any, Any, tuple[Any, ...], tuple[Any, ...]]:
        """Loss (with the model's own losses) and outputs of one batch, then the new state and seeds."""
        own_state, own_seeds = iter(state), iter(seeds)
        others = [next(own_seeds) if is_seed else next(own_state) for is_seed in self._is_seed]
        # As in Keras' own steps: a model whose `call` takes no `training` is not told.
        told = {"training": training} if self.model._call_has_training_arg else {}
        outputs, others, extra = self.model.stateless_call(list(weights), others, x, return_losses=True, **told)
        loss = self.loss(y, outputs, weight)
        for each in extra:
            loss = loss + ops.sum(each)
        new = list(zip(self._is_seed, others, strict=True))
        return (
            loss,
            outputs,
            tuple(value for is_seed, value in new if not is_seed),
            tuple(value for is_seed, value in new if is_seed),
        )

    def mean_metric(self, y: Any, outputs: Any) -> Any:
        """The metric's mean over a batch; like `model.compile(metrics=...)` it leaves sample weights out."""
        values = ops.cast(self.metric._fn(y, outputs, **self.metric._fn_kwargs), self.loss.dtype)
        # Not `ops.mean`, which on JAX goes through float32.
        return ops.sum(values) / int(np.prod(values.shape))
