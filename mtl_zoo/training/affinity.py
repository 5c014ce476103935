"""Inter-task affinity: what a step for one task does to the losses of the others."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl_zoo.model import MultiTaskModel
from mtl_zoo.task_loss import task_loss, unpack


class InterTaskAffinity(keras.callbacks.Callback):
    """Look ahead, every `every` steps: one step for each task, and the losses after it.

    `1 - L_j(after a step of the shared variables for task i alone) / L_j`, of a batch
    (Fifty et al., 2021, equation 1): above 0 where task `i` helps task `j`. The step is
    plain gradient descent by `learning_rate`; the variables are put back. A measurement
    takes about `T` training steps and `T` evaluations of a batch.

    Args:
        data: Batches to measure on, as `fit` takes them; gone over again and again.
        every: Training steps between measurements. Defaults to `100`.
        learning_rate: Of the step. Defaults to `None`: the optimizer's current one.

    Attributes:
        epochs: For each epoch `{"i/j": mean affinity of i onto j}`, pairs of a task
            with itself included.

    Raises:
        TypeError: From `fit`, when the model is no `MultiTaskModel`.

    Reference:
        - [Fifty et al., 2021](https://arxiv.org/abs/2109.04617)
    """

    def __init__(
        self,
        data: tf.data.Dataset,
        every: int = 100,
        learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be at least 1. Received: every={every}")
        self.every = every
        self.learning_rate = learning_rate
        self.epochs: list[dict[str, float]] = []
        self._data = data
        self._found: list[np.ndarray] = []
        self._step = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Prepare the measurement."""
        if not isinstance(self.model, MultiTaskModel):
            raise TypeError(
                "Affinities are between the tasks of a MultiTaskModel. Received: "
                f"{type(self.model).__name__}"
            )
        self._batches = iter(self._data.repeat())
        self._measure = tf.function(functools.partial(affinity, self.model))
        self.epochs, self._step = [], 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Measure, if it is time."""
        self._step += 1
        if self._step % self.every == 0:
            rate = self.learning_rate
            if rate is None:
                rate = float(self.model.optimizer.learning_rate)
            found = self._measure(next(self._batches), tf.constant(rate))
            self._found.append(np.asarray(found))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Average over the epoch."""
        names = self.model.task_names
        if not self._found:
            self.epochs.append({})
            return
        mean = np.nanmean(np.stack(self._found), axis=0)
        self.epochs.append(
            {
                f"{one}/{other}": float(mean[i, j])
                for i, one in enumerate(names)
                for j, other in enumerate(names)
                if np.isfinite(mean[i, j])
            }
        )
        self._found = []


def affinity(model: MultiTaskModel, data: Any, learning_rate: Any) -> Any:
    """Return what a step for each task alone does to all losses of a batch.

    Args:
        model: A built model.
        data: A batch, as `train_step` takes it.
        learning_rate: Of the gradient steps of the shared variables, which are put
            back.

    Returns:
        `(T, T)`: `1 - loss of task j behind a step for task i / loss before`, NaN
        where a task has no label.
    """
    inputs, labels, weights = unpack(data)
    shared = model.shared_variables

    def losses() -> list:
        outputs = model(inputs, training=False)
        return [task_loss(t, labels, outputs, weights) for t in model.tasks]

    with tf.GradientTape(persistent=True) as tape:
        found = losses()
    start = [tf.identity(variable.value) for variable in shared]
    before = ops.stack([one.loss for one in found])
    labelled = ops.stack([one.labelled for one in found])
    rows = []
    for one in found:
        for variable, gradient in zip(
            shared, tape.gradient(one.loss, shared), strict=True
        ):
            if gradient is not None:
                variable.assign_sub(learning_rate * tf.convert_to_tensor(gradient))
        rows.append(1.0 - ops.stack([x.loss for x in losses()]) / before)
        for variable, value in zip(shared, start, strict=True):
            variable.assign(value)
    both = ops.expand_dims(labelled, 0) & ops.expand_dims(labelled, 1)
    return ops.where(both, ops.stack(rows), float("nan"))
