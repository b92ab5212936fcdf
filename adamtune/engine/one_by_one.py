"""One trial at a time through `model.fit`: the oracle for lanes, and the refuge for what they cannot take.

It has the engine's contract with a single lane. Each tick fits one epoch on the rows in the stream's order, without
Keras' own shuffling, after setting the generators behind dropout to the stream's masks, so a trial here is the plain
Keras run that a lane has to equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adamtune.config import OptimizerConfig
from adamtune.engine.program import Forward, Report, Stream, report, rows
from adamtune.tasks.task import Task


class OneByOne:
    """An engine of one seat; see `adamtune.engine.Engine` for the contract.

    Parameters
    ----------
    builtin : {"auto", "always", "never"}
        Which Keras class trains, see `OptimizerConfig.to_keras`.
    """

    n_lanes = 1

    def __init__(self, task: Task, model: Any, stream: Stream, builtin: str = "auto") -> None:
        self.task, self.stream, self.builtin = task, stream, builtin
        self.clock = 0
        self.n_programs = 0
        self._model = model
        self._rows = rows(task)
        self._generators = Forward(model, task).seeds
        self._age: int | None = None
        self._judged: list[Report] = []
        self._initial = model.get_weights()

    def load(self, configs: Mapping[int, OptimizerConfig]) -> None:
        """Seat a config in lane 0, from the stream's initial weights."""
        if set(configs) - {0}:
            raise ValueError(f"there is one lane, 0; got {sorted(configs)}")
        for config in configs.values():
            self._model.set_weights(self._initial)
            self._model.compile(
                optimizer=config.to_keras(builtin=self.builtin),
                loss=self.task.loss,
                metrics=self.task.metrics,
            )
            self.n_programs += 1
            self._age = 0

    def tick(self) -> None:
        """Train one epoch and judge it."""
        for variable, state in zip(self._generators, self.stream.masks(self.clock, len(self._generators)), strict=True):
            variable.assign(state)
        order, valid = self.stream.order(self.clock), self.stream.split.valid
        self.clock += 1
        self._judged = []
        if self._age is None:
            return
        kept = self._rows
        history = self._model.fit(
            kept.x[order],
            kept.y[order],
            sample_weight=None if kept.train_weight is None else kept.train_weight[order],
            batch_size=self.task.batch_size,
            epochs=1,
            shuffle=False,
            verbose=0,
            validation_data=self._judging(valid),
            validation_batch_size=self.task.batch_size,
        ).history
        self._age += 1
        metric = history[f"val_{self.task.metric.name}"][-1] if self.task.metric is not None else 0.0
        self._judged = [report(self.task, 0, self._age, history["loss"][-1], history["val_loss"][-1], metric)]

    def reports(self) -> list[Report]:
        """What the seated trial did in the last tick."""
        return self._judged

    def free(self, lanes: list[int]) -> None:
        """Empty the seat."""
        if lanes:
            self._age = None

    def restart(self, stream: Stream, model: Any) -> None:
        """Go over to another stream, with the initial weights of `model`."""
        self.stream, self.clock, self._age = stream, 0, None
        self._initial = model.get_weights()

    def initial_loss(self) -> float:
        """The objective of the untrained model on the judging rows."""
        self._model.set_weights(self._initial)
        self._model.compile(
            loss=self.task.loss,
            metrics=self.task.metrics,
        )
        judged = self._model.evaluate(
            *self._judging(self.stream.split.valid),
            batch_size=self.task.batch_size,
            verbose=0,
            return_dict=True,
        )
        metric = judged[self.task.metric.name] if self.task.metric is not None else 0.0
        return report(self.task, 0, 0, 0.0, judged["loss"], metric).value

    def weights(self, lane: int) -> list[np.ndarray]:
        """The model's weights without seed-generator states."""
        skipped = {variable.path for variable in self._generators}
        return [np.asarray(v) for v in self._model.weights if v.path not in skipped]

    def _judging(self, valid: np.ndarray) -> tuple[Any, ...]:
        weight = self._rows.valid_weight
        return (
            self._rows.x[valid],
            self._rows.y[valid],
            *([] if weight is None else [weight[valid]]),
        )
