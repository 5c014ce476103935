"""FAMO: equal progress in the logarithms of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing, now
from mtl_zoo.balancing.gls import SMALLEST


@keras.saving.register_keras_serializable(package="mtl_zoo")
class FAMO(LossBalancing):
    """Keep the rates equal at which the losses fall.

    With `z` the softmax of logits over the active tasks, the weights are
    `c z_k / L_k`, of sum 1 by the factor `c`. With `L_k'` the losses after the update,
    the logits go down along the gradient of `sum_k z_k (log L_k - log L_k')` plus
    `decay / 2` times their square: a task that fell fast gets less weight (Liu et al.,
    2023, algorithm 1). As in the authors' code, the logits are moved by Adam. Losses
    must be positive.

    The paper takes `L_k'` from the batch that made the update, which costs a second
    forward pass. From the next batch that has a label of the task it is there anyway;
    what differs between two batches is then taken for progress, and given back a step
    later. That is ours, and as good on Multi-MNIST (docs/balancing.md).

    Args:
        learning_rate: Of the logits. Defaults to `0.025`.
        decay: Defaults to `0.001`.
        progress_on: `"next batch"`, or `"same batch"` as published. Defaults to
            `"next batch"`.

    Raises:
        ValueError: When `progress_on` is something else.

    Reference:
        - [Liu et al., 2023](https://arxiv.org/abs/2306.03792)
    """

    promises = ("same for any order", "same for any scale", "plain for one task")

    def __init__(
        self,
        learning_rate: float = 0.025,
        decay: float = 0.001,
        progress_on: str = "next batch",
        **kwargs: Any,
    ) -> None:
        if progress_on not in ("same batch", "next batch"):
            raise ValueError(
                'Expected progress_on="same batch" or "next batch". '
                f"Received: {progress_on!r}"
            )
        super().__init__(**kwargs)
        self.learning_rate = learning_rate
        self.decay = decay
        self.progress_on = progress_on
        self.looks_ahead = progress_on == "same batch"

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        size = (len(task_names),)
        self.step = self.add_state((), "step")
        self.logits = self.add_state(size, "logits")
        self.mean = self.add_state(size, "mean")
        self.square = self.add_state(size, "square")
        if not self.looks_ahead:
            self.last_losses = self.add_state(size, "last_losses")

    def task_weights(self, losses: Any, active: Any) -> Any:
        if not self.looks_ahead:
            last = now(self.last_losses)
            self.after_step(last, losses, ops.logical_and(active, last > 0))
            self.last_losses.assign(ops.where(active, losses, last))
        share = _softmax(now(self.logits), active)
        positive = ops.maximum(ops.where(active, losses, 1.0), SMALLEST)
        weights = share / positive
        return weights / ops.maximum(ops.sum(weights), SMALLEST)

    def after_step(self, before: Any, after: Any, active: Any) -> None:
        logits = now(self.logits)
        share = _softmax(logits, active)
        progress = ops.where(
            active,
            ops.log(ops.maximum(before, SMALLEST))
            - ops.log(ops.maximum(after, SMALLEST)),
            0.0,
        )
        slope = share * (progress - ops.sum(share * progress)) + self.decay * logits
        slope = ops.where(active, slope, 0.0)
        step = now(self.step) + ops.cast(ops.any(active), "float32")
        mean = 0.9 * now(self.mean) + 0.1 * slope
        square = 0.999 * now(self.square) + 0.001 * slope**2
        steps = ops.maximum(step, 1.0)
        move = (mean / (1.0 - 0.9**steps)) / (
            ops.sqrt(square / (1.0 - 0.999**steps)) + 1e-8
        )
        self.logits.assign(
            ops.where(active, logits - self.learning_rate * move, logits)
        )
        self.mean.assign(mean)
        self.square.assign(square)
        self.step.assign(step)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "learning_rate": self.learning_rate,
            "decay": self.decay,
            "progress_on": self.progress_on,
        }


def _softmax(logits: Any, active: Any) -> Any:
    exponent = ops.exp(logits - ops.max(logits)) * ops.cast(active, logits.dtype)
    return exponent / ops.maximum(ops.sum(exponent), SMALLEST)
