"""`fit` with what every run of a recipe wants: resume, guard, early stopping, logs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.model import MultiTaskModel
from mtl_zoo.training.early_stopping import DeltaMEarlyStopping
from mtl_zoo.training.nan_guard import RaiseOnNonFiniteLoss
from mtl_zoo.training.resume import Resume


def fit(
    model: MultiTaskModel,
    data: tf.data.Dataset,
    validation: tf.data.Dataset,
    *,
    epochs: int,
    steps_per_epoch: int,
    workdir: str | os.PathLike,
    patience: int | None = None,
    validation_freq: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Any = "auto",
) -> dict[str, list]:
    """Train, and end with the weights that were best on validation.

    A run that is started again in the same `workdir` goes on where it was, bit for
    bit, whatever ended it (`Resume`). A NaN or infinite loss stops it, naming the task
    and the step (`RaiseOnNonFiniteLoss`). The best epoch is that of the highest average
    relative improvement of the tasks' primary metrics (`DeltaMEarlyStopping`).
    `tensorboard --logdir=WORKDIR` shows the curves.

    Args:
        model: A built and compiled model.
        data: Endless training batches whose iterator can be saved.
        validation: Validation batches.
        epochs: Number of epochs at the most.
        steps_per_epoch: Steps in an epoch.
        workdir: Folder for checkpoints and logs of this one run.
        patience: Validations without improvement after which training stops. Defaults
            to `None`: it never stops early, but still ends with the best weights.
        validation_freq: Epochs between validations. Defaults to `1`.
        callbacks: Further callbacks. The state of those that have one (`get_state`)
            belongs to the run.
        verbose: As in Keras `fit`.

    Returns:
        The history, `{name in the logs: one value an epoch}`.
    """
    stop = DeltaMEarlyStopping(patience=epochs if patience is None else patience)
    stateful = [one for one in callbacks if hasattr(one, "get_state")]
    history = model.fit(
        data,
        validation_data=validation,
        validation_freq=validation_freq,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,  # the data comes shuffled
        verbose=verbose,
        callbacks=[
            RaiseOnNonFiniteLoss(),
            stop,
            *callbacks,
            keras.callbacks.TensorBoard(Path(workdir) / "logs"),
            Resume(Path(workdir) / "checkpoints", callbacks=[stop, *stateful]),
        ],
    )
    return history.history
