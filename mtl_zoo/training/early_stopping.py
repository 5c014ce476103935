"""Early stopping by what all tasks gained together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from mtl_zoo.evaluation.delta_m import delta_m


class DeltaMEarlyStopping(keras.callbacks.Callback):
    """Stop when the tasks' average relative improvement on validation stops growing.

    The score of an epoch is delta_m in the convention `"primary"`, higher is better:

        score = mean over main tasks t of  100 s_t (v_t - r_t) / |r_t|

    with `v_t` the primary metric of the task on the validation data, `s_t` +1 where up
    is better and -1 where down is, and `r_t` the reference. Differences between epochs
    do not depend on which tasks' metrics are large numbers. The score is written to
    the logs as `val_delta_m`.

    List it before callbacks that read that entry, and before `Resume`, to which it is
    given as well: `fit(callbacks=[stop, Resume(folder, callbacks=[stop])])`.

    Args:
        patience: Epochs with validation and without a better score after which
            training stops. Defaults to `5`.
        baselines: Reference values `{task: value}` of the primary metrics, such as
            single-task results. By default the first validation in which no primary
            metric is 0 is the reference; epochs before it neither score nor count.
        min_delta: By how many points a score must be higher to be better. Defaults to
            `0.0`.
        restore_best_weights: Whether the model ends with the weights of the best epoch,
            which are kept in memory. Defaults to `True`.

    Raises:
        ValueError: When `patience` is below 1, or a task's metric or baseline is
            missing.

    Attributes:
        best: The best score, or `-inf`.
        best_epoch: Its epoch, from 0, or `None`.
        stopped: Whether the patience ran out.

    Reference:
        - [Maninis et al., 2019](https://arxiv.org/abs/1904.08918), for the score.
    """

    def __init__(
        self,
        patience: int = 5,
        baselines: Mapping[str, float] | None = None,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
    ) -> None:
        super().__init__()
        if patience < 1:
            raise ValueError(f"`patience` must be at least 1. Received: {patience}")
        self.patience = patience
        self.baselines = None if baselines is None else dict(baselines)
        self.min_delta = min_delta
        self.restore_best_weights = restore_best_weights
        self._forget()

    def _forget(self) -> None:
        self.reference = self.baselines
        self.best = -math.inf
        self.best_epoch: int | None = None
        self.wait = 0
        self.stopped = False
        self._epoch = -1
        self._best_weights: list[np.ndarray] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start afresh; `Resume`, later in the list, brings back the saved state."""
        self._forget()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Score the epoch."""
        self._epoch = epoch
        logs = {} if logs is None else logs
        if not any(name.startswith("val_") for name in logs):
            return
        values, directions = self._read(logs)
        if self.reference is None:
            if not all(value and math.isfinite(value) for value in values.values()):
                return
            self.reference = values
        score = delta_m(
            {task: {"primary": value} for task, value in values.items()},
            {task: {"primary": value} for task, value in self.reference.items()},
            {task: {"primary": direction} for task, direction in directions.items()},
            convention="primary",
        )
        logs["val_delta_m"] = score
        if score > self.best + self.min_delta:
            self.best, self.best_epoch, self.wait = score, epoch, 0
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped = True
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        """Bring back the weights of the best epoch."""
        if self.best_epoch is None:
            warnings.warn(
                "DeltaMEarlyStopping never saw a validation with a finite primary "
                "metric other than 0 for every task, so it did nothing. Pass "
                "`validation_data` to fit(), or train longer.",
                stacklevel=2,
            )
        if self._best_weights:
            self.model.set_weights(self._best_weights)

    def _read(self, logs: dict) -> tuple[dict[str, float], dict[str, str]]:
        """Return the main tasks' primary metrics and directions."""
        values, directions = {}, {}
        for task, (name, direction) in self.model.primary_metrics.items():
            if f"val_{name}" not in logs:
                raise ValueError(
                    f"The primary metric of task {task!r} is expected in the logs as "
                    f"'val_{name}'. Received logs: {sorted(logs)}. Validate on data "
                    "that has labels for every task."
                )
            values[task] = float(logs[f"val_{name}"])
            directions[task] = direction
        return values, directions

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs: JSON values and arrays."""
        return {
            "epoch": self._epoch,
            "stopped": self.stopped,
            "reference": self.reference,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            **{
                f"weight_{index}": _as_stored(weight)
                for index, weight in enumerate(self._best_weights)
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._epoch = state["epoch"]
        self.stopped = state["stopped"]
        self.reference = state["reference"]
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.wait = state["wait"]
        count = sum(name.startswith("weight_") for name in state)
        self._best_weights = [state[f"weight_{index}"] for index in range(count)]


def _as_stored(weight: np.ndarray) -> np.ndarray:
    """Return `weight` in a type that NumPy can save; float32 holds bfloat16 exactly."""
    return weight.astype("float32") if weight.dtype.name == "bfloat16" else weight
