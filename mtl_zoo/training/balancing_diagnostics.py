"""What the tasks' gradients did in each epoch, for TensorBoard and `metrics.json`."""

from __future__ import annotations

import os
from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.evaluation import report


class BalancingDiagnostics(keras.callbacks.Callback):
    """Keep the model's `balancing_statistics` of every epoch.

    The model has to be compiled with `diagnostics=True`; its step then also sums up
    task weights, cosines, magnitude similarities, conflicts and condition numbers,
    which this callback reads once an epoch, before the validation. List it before
    `Resume`, and among `Resume(callbacks=...)`, to keep the epochs over a restart.

    Args:
        log_dir: Folder for TensorBoard, scalars such as `balancing/cosine/a/b`.
            Defaults to `None`: none are written.
        path: JSON file that has `epochs` after each of them. Defaults to `None`.

    Attributes:
        epochs: `BalancingStatistics.summary()` of each epoch, with `"unsolved"`, the
            steps so far at which a solver did not converge, for methods with one.
            `epochs[-1]` is what belongs into `metrics.json`.

    Raises:
        ValueError: From `fit`, when the model is not compiled with diagnostics.
    """

    def __init__(
        self, log_dir: str | os.PathLike | None = None, path: Any = None
    ) -> None:
        super().__init__()
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.path = path
        self.epochs: list[dict[str, Any]] = []
        self._writer: Any = None
        self._epoch = -1

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start afresh; `Resume`, later in the list, brings back the saved state."""
        _ = self.model.balancing_statistics  # raises without diagnostics
        self.epochs = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Remember the epoch."""
        self._epoch, self._read = epoch, False

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Read before a validation, which sets all metrics back."""
        if self._epoch >= 0 and not self._read:
            self._keep()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write what was read."""
        if not self._read:
            self._keep()
        if self.log_dir is not None:
            self._write(epoch)
        if self.path is not None:
            report.write_json({"epochs": self.epochs}, self.path)
        self._epoch = -1

    def _keep(self) -> None:
        summary = self.model.balancing_statistics.summary()
        unsolved = getattr(self.model.balancing, "unsolved", None)
        if unsolved is not None:
            summary["unsolved"] = float(unsolved)
        self.epochs.append(summary)
        self._read = True

    def _write(self, epoch: int) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default(step=epoch):
            for name, value in self.epochs[-1].items():
                parts = value.items() if isinstance(value, dict) else [("", value)]
                for part, number in parts:
                    tf.summary.scalar(f"balancing/{name}/{part}".rstrip("/"), number)
        self._writer.flush()

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs: JSON values."""
        return {"epoch": len(self.epochs) - 1, "epochs": self.epochs}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on behind the epochs of `get_state`."""
        self.epochs = list(state["epochs"])
