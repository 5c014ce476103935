"""How the relations of a deep relationship network come about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl_zoo.evaluation.files import write_file
from mtl_zoo.evaluation.heat_map import draw_correlations
from mtl_zoo.evaluation.pictures import write_png
from mtl_zoo.priors import TensorNormal

MODES = ("features", "outputs", "tasks")
LARGEST = 512


class Relations(keras.callbacks.Callback):
    """Keep the correlations that `DeepRelationship` learns, and draw them.

    Args:
        folder: For `<layer>_<mode>.png` behind the training, heat maps of the
            correlations at five times or fewer, and `relations.npz` with all of them.
            Defaults to `None`: neither.
        log_dir: Folder for TensorBoard, images `relations/<layer>/<mode>`. Defaults to
            `None`: none are written.
        every: Epochs between two looks. Defaults to `1`.

    Attributes:
        epochs: Numbers of the epochs, from 0, behind which there was a look.
        correlations: `{layer: {mode: [array (D, D) for each of them]}}`; the modes are
            `"features"`, `"outputs"` and `"tasks"`, as far as they have relations and
            not more than 512 rows.

    Raises:
        ValueError: From `fit`, when the model has no prior with covariances.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None = None,
        log_dir: str | os.PathLike | None = None,
        every: int = 1,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be at least 1. Received: every={every}")
        self.folder = None if folder is None else Path(folder)
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.every = every
        self.epochs: list[int] = []
        self.correlations: dict[str, dict[str, list[np.ndarray]]] = {}
        self._writer: Any = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start afresh."""
        if not isinstance(getattr(self.model, "start_prior", None), TensorNormal):
            raise ValueError(
                "Expected architectures.DeepRelationship with priors.TensorNormal. "
                f"Received: {self.model}"
            )
        self.epochs, self.correlations = [], {}

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look at the covariances."""
        if (epoch + 1) % self.every:
            return
        self.epochs.append(epoch)
        for layer in self.model.layer_names:
            prior = self.model.prior(layer)
            for mode, kind in enumerate(getattr(prior, "forms", ())):
                if kind in ("full", "low_rank") and prior.shape[mode] <= LARGEST:
                    modes = self.correlations.setdefault(layer, {})
                    modes.setdefault(MODES[mode], []).append(prior.correlation(mode))
        if self.log_dir is not None:
            self._write(epoch)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Draw."""
        if self.folder is None or not self.epochs:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        shown = np.unique(np.linspace(0, len(self.epochs) - 1, 5).round().astype(int))
        kept: dict[str, Any] = {"epochs": np.array(self.epochs)}
        for layer, modes in self.correlations.items():
            for mode, found in modes.items():
                kept[f"{layer}_{mode}"] = np.stack(found)
                picture = draw_correlations(
                    [found[i] for i in shown],
                    self._names(mode),
                    [f"{layer}, epoch {self.epochs[i] + 1}" for i in shown],
                )
                write_png(picture, self.folder / f"{layer}_{mode}.png")
        write_file(
            self.folder / "relations.npz",
            lambda file: np.savez_compressed(file, **kept),
        )

    def _names(self, mode: str) -> tuple[str, ...] | None:
        return self.model.task_names if mode == "tasks" else None

    def _write(self, epoch: int) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self.log_dir)
        with self._writer.as_default(step=epoch):
            for layer, modes in self.correlations.items():
                for mode, found in modes.items():
                    picture = draw_correlations(found[-1:], self._names(mode))
                    tf.summary.image(f"relations/{layer}/{mode}", picture[None])
        self._writer.flush()
