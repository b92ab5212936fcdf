"""One trial at a time through `model.fit`: the oracle for lanes, and the refuge for what they cannot take.

It has the engine's contract with a single lane. Each tick fits one epoch on the rows in the stream's order, without
Keras' own shuffling, after setting the generators behind dropout to the stream's masks, so a trial here is the plain
Keras run that a lane has to equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.engine.forward import Forward
from adamtune.engine.stream import Report, Stream, report
from adamtune.errors import OutOfMemory
from adamtune.optimizers._keras import averages
from adamtune.tasks.inputs import LARGE
from adamtune.tasks.task import Task, targets


class OneByOne:
    """An engine of one seat; see `adamtune.engine.Engine` for the contract.

    Parameters
    ----------
    builtin : {"auto", "always", "never"}
        Which Keras class trains, see `OptimizerConfig.to_keras`.
    jit_compile : bool or "auto"
        As for `model.compile`.
    """

    n_lanes = 1

    def __init__(
        self, task: Task, model: Any, stream: Stream, builtin: str = "auto", jit_compile: bool | str = "auto"
    ) -> None:
        self.task, self.stream, self.builtin, self.jit_compile = task, stream, builtin, jit_compile
        self.clock = 0
        self.n_programs = 0
        self._model = model
        self._y, self._train_weight, self._valid_weight = targets(task)
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
            optimizer = config.to_keras(self._steps, builtin=self.builtin)
            # `fit` ends with putting averaged weights in place; here it ends an epoch, not the training.
            optimizer.finalize_variable_values = lambda variables: None
            self._model.compile(
                optimizer=optimizer, loss=self.task.loss, metrics=self.task.metrics, jit_compile=self.jit_compile
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
        training = fit_arguments(self.task, order, self._y, self._train_weight)
        judging = fit_arguments(self.task, valid, self._y, self._valid_weight)
        history = self._model.fit(
            **training,
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=[optimizers.AveragedWeights()],
            validation_data=tuple(judging[name] for name in ("x", "y", "sample_weight") if name in judging)
            if "y" in judging
            else judging["x"],
            validation_batch_size=judging["batch_size"],
        ).history
        self._age += 1
        last = {name: values[-1] for name, values in history.items()}
        if not self._is_sound():
            last["val_loss"] = float("nan")
        metric = self._metric(judging, last, "val_")
        self._judged = [report(self.task, 0, self._age, last["loss"], last["val_loss"], metric)]

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

    def halve(self) -> None:
        """There is no half of one lane; `fit` itself says what it lacks."""
        raise OutOfMemory("one trial does not fit the memory: a smaller batch_size or a smaller model is needed")

    def initial_loss(self) -> float:
        """The objective of the untrained model on the judging rows."""
        self._model.set_weights(self._initial)
        self._model.compile(loss=self.task.loss, metrics=self.task.metrics)
        judging = fit_arguments(self.task, self.stream.split.valid, self._y, self._valid_weight)
        judged = self._model.evaluate(**judging, verbose=0, return_dict=True)
        return report(self.task, 0, 0, 0.0, judged["loss"], self._metric(judging, judged)).value

    def _metric(self, judging: dict[str, Any], judged: Mapping[str, float], prefix: str = "") -> float:
        """The task's metric: what Keras computed beside the loss, or the score of what the model says."""
        if self.task.metric is None:
            return 0.0
        if self.task.scorer is None:
            return judged[prefix + self.task.metric.name]
        averaged = optimizers.AveragedWeights()
        averaged.set_model(self._model)
        averaged.on_test_begin()
        said = self._model.predict(judging["x"], batch_size=judging["batch_size"], verbose=0)
        averaged.on_test_end()
        return self.task.scorer(self.stream.split.valid, said)

    def weights(self, lane: int) -> list[np.ndarray]:
        """The model's weights, as they are judged, without seed-generator states."""
        skipped = {variable.path for variable in self._generators}
        judged = {variable.path: value for variable, value in averages(self._model.optimizer)}
        return [judged.get(v.path, np.asarray(v)) for v in self._model.weights if v.path not in skipped]

    def finish(self) -> None:
        """End the training: where the optimizer averages weights, the averages take their place."""
        optimizer = self._model.optimizer
        type(optimizer).finalize_variable_values(optimizer, self._model.trainable_variables)

    def _is_sound(self) -> bool:
        """Whether all numbers that it trains with are finite; those that are not need not come to the loss."""
        variables = [*self._model.trainable_variables, *self._model.optimizer.variables]
        return all(np.isfinite(keras.ops.convert_to_numpy(variable)).all() for variable in variables)

    @property
    def _steps(self) -> int:
        return self.task.epochs * self.task.steps_per_epoch(self.stream.split.n_train)


class Batches(keras.utils.PyDataset):
    """Rows by the batch, for data of which a second copy might not fit the memory."""

    def __init__(self, task: Task, index: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> None:
        super().__init__()
        self._task, self._index, self._y, self._weight = task, index, y, weight

    def __len__(self) -> int:
        return -(-len(self._index) // self._task.batch_size)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        size = self._task.batch_size
        index = self._index[number * size : (number + 1) * size]
        rows = (self._task.data.x.take(index), self._y[index])
        return rows if self._weight is None else (*rows, self._weight[index])


def fit_arguments(task: Task, index: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> dict[str, Any]:
    """Those rows as arguments of `fit` and `evaluate`: arrays, or batch by batch where they are large or on disk."""
    if task.data.x.on_disk or task.data.x.nbytes > LARGE:
        return {"x": Batches(task, index, y, weight), "batch_size": None}
    rows = {"x": task.data.x.take(index), "y": y[index], "batch_size": task.batch_size}
    return rows if weight is None else rows | {"sample_weight": weight[index]}
