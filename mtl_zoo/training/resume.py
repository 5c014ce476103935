"""Go on after a crash, bit for bit where the uninterrupted run would have been."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.evaluation.report import write_json
from mtl_zoo.training import run_state
from mtl_zoo.training.fingerprint import Fingerprint, differences, fingerprint
from mtl_zoo.training.nan_guard import check_finite


class Resume(keras.callbacks.Callback):
    """Save the whole state of a training run, and start from it when there is one.

    The state is: all variables of the model (weights, moving statistics, seeds of
    dropout, the balancing method's own), of the optimizer and of the metrics; the
    position in the training data, with the contents of shuffle buffers; the epoch; the
    history; and the state of `callbacks`. A run that was killed at any moment, also
    while saving, and started again with the same code ends with the same bits as one
    that was left alone. A run that has finished does nothing and returns its history.

    Checkpoints are made at the ends of epochs. So that the position in the data can be
    saved, `fit` needs an infinite `tf.data` dataset and `steps_per_epoch`; an epoch is
    then whatever number of steps you want between two checkpoints:

        data = data.shuffle(1000, seed=0).repeat().batch(32)
        resume = Resume("work/run_1")
        model.fit(data, steps_per_epoch=200, epochs=50, callbacks=[resume])

    Random operations inside the dataset must have a seed and be stateless
    (`dataset.random(seed)`, `tf.random.stateless_*`), since the state of others is not
    part of an iterator; `deterministic=False` gives up exactness as well.

    List it last in `fit(callbacks=...)`.

    Args:
        directory: Where the checkpoints of this one run are kept.
        every: Epochs between two checkpoints; the last epoch always has one. Defaults
            to `1`.
        max_to_keep: Number of checkpoints that are kept. Defaults to `2`.
        callbacks: Callbacks, also listed in `fit` before this one, whose state belongs
            to the run. They have `get_state()`, a dict of JSON values and NumPy
            arrays, and `set_state(state)`; `"epoch"` in the state is the last epoch
            they saw, and `"stopped"` says that they ended the training.

    Raises:
        ValueError: From `fit`, when the model is not built, the checkpoint is of
            another model, optimizer or epoch length (the message lists what differs),
            the dataset is finite, or the callbacks are in the wrong order.
        TypeError: When the position in the data or a callback cannot be saved.
        NonFiniteError: When a variable is NaN or infinite: such a state is not saved.

    Differences from Keras's `BackupAndRestore`:
        That one leaves out seeds, the position in the data and the history, and writes
        in place, so that a kill while saving leaves nothing to restore.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        every: int = 1,
        max_to_keep: int = 2,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        super().__init__()
        for name, value in (("every", every), ("max_to_keep", max_to_keep)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}")
        for callback in callbacks:
            if not hasattr(callback, "get_state") or not hasattr(callback, "set_state"):
                raise TypeError(
                    "Resume saves callbacks with get_state() and set_state(state). "
                    f"Received: {callback!r}. Leave it out if it has no state."
                )
        self.directory = Path(directory)
        self.every = every
        self.max_to_keep = max_to_keep
        self.callbacks = tuple(callbacks)
        self._fingerprint: Fingerprint = {}

    # Starting.

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Restore the newest checkpoint, if there is one."""
        model = self.model
        _check_model(model)
        variables = _variables(model)
        if not self._fingerprint:  # before training changes the learning rate
            self._fingerprint = fingerprint(
                model, variables, steps_per_epoch=self.params["steps"]
            )
        self._checkpoint = tf.train.Checkpoint(
            variables={f"{i:05d}": v.value for i, v in enumerate(variables)}
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint,
            str(self.directory),
            max_to_keep=self.max_to_keep,
            checkpoint_name="epoch",
        )
        self._epochs: list[int] = []
        self._logs: list[dict] = []
        self._iterator: Any = None
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clean_up()
        latest = self._manager.latest_checkpoint
        if latest is None:
            write_json(self._fingerprint, self._path("run.json"))
        else:
            self._restore(latest)

    def _restore(self, checkpoint: str) -> None:
        model, number = self.model, _number(checkpoint)
        found = differences(
            json.loads(self._path("run.json").read_text()), self._fingerprint
        )
        if found:
            shown = "\n  ".join(found[:10] + (["..."] if found[10:] else []))
            raise ValueError(
                f"The checkpoint {checkpoint} is of another run. Expected the model, "
                "optimizer and steps_per_epoch that it was made with; use another "
                f"directory for a new run. {len(found)} differences:\n  {shown}"
            )
        state = run_state.read(self._path(f"state-{number}"))
        if len(state["callbacks"]) != len(self.callbacks):
            raise ValueError(
                f"The checkpoint {checkpoint} has the state of "
                f"{len(state['callbacks'])} callbacks. Expected as many in "
                f"Resume(callbacks=...). Received: {len(self.callbacks)}"
            )
        self._checkpoint.restore(checkpoint).assert_consumed()
        for callback, saved in zip(self.callbacks, state["callbacks"], strict=True):
            callback.set_state(saved)
        stopped = any(saved.get("stopped") for saved in state["callbacks"])
        self._epochs, self._logs = state["epochs"], state["logs"]
        model.history.history = {}
        for logs in self._logs:
            for name, value in logs.items():
                model.history.history.setdefault(name, []).append(value)
        model._initial_epoch = self.params["epochs"] if stopped else number
        model.restore_iterator_from = str(self._path(f"iterator-{number}"))

    # Going on.

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Leave no trace in the model for a later `fit`."""
        self.model._initial_epoch = None

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Check the kind of data as soon as it is known."""
        if self._iterator is None and self.model.live_iterator is not None and batch:
            self._check_iterator()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save, if it is time."""
        self._check_iterator()
        self._epochs.append(epoch)
        self._logs.append(dict(logs or {}))
        number = epoch + 1
        last = number == self.params["epochs"] or self.model.stop_training
        if last or number % self.every == 0:
            self._save(number)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Complete the history and leave no trace in the model for a later `fit`."""
        self.model._initial_epoch = None
        self.model.restore_iterator_from = None
        self.model.history.epoch = list(self._epochs)

    def _save(self, number: int) -> None:
        """Write the parts, and last the file that makes them the newest checkpoint."""
        check_finite(self.model.variables, f"after epoch {number - 1}")
        states = [callback.get_state() for callback in self.callbacks]
        for callback, state in zip(self.callbacks, states, strict=True):
            if state["epoch"] != number - 1:
                raise ValueError(
                    f"Resume saves the state of {type(callback).__name__} after it has "
                    "seen the epoch. List Resume last in fit(callbacks=...), after it. "
                    f"Received a state of epoch {state['epoch']} in epoch {number - 1}."
                )
        self._save_iterator(number)
        run_state.write(
            {"epochs": self._epochs, "logs": self._logs, "callbacks": states},
            self._path(f"state-{number}"),
        )
        self._manager.save(checkpoint_number=number)
        self._clean_up()

    def _clean_up(self) -> None:
        """Remove parts without a checkpoint, and what a kill while saving left."""
        kept = {_number(path) for path in self._manager.checkpoints}
        for path in self.directory.iterdir():
            if re.match(r"(iterator|epoch)-\d+_temp$", path.name):
                shutil.rmtree(path)
            elif re.match(r"\.(state-\d+|run)\.", path.name):
                path.unlink()
            else:
                match = re.match(r"(?:iterator|state)-(\d+)\.", path.name)
                if match and int(match[1]) not in kept:
                    path.unlink()

    def _save_iterator(self, number: int) -> None:
        checkpoint = tf.train.Checkpoint(iterator=self._iterator)
        try:
            checkpoint.write(str(self._path(f"iterator-{number}")))
        except tf.errors.OpError as error:
            raise TypeError(
                "The position in the training data cannot be saved: a part of the "
                "dataset has a state that TensorFlow cannot read, such as a Python "
                "generator. Make the dataset of tf.data parts only. TensorFlow says: "
                f"{error.message}"
            ) from error

    def _check_iterator(self) -> None:
        iterator = self.model.live_iterator
        if iterator is self._iterator and iterator is not None:
            return
        if not isinstance(iterator, tf.data.Iterator):
            raise TypeError(
                "Resume saves the position in a tf.data dataset, outside of strategies "
                "that distribute the data themselves. Received an iterator of type "
                f"{type(iterator).__name__}. Pass a tf.data.Dataset to fit()."
            )
        dataset = getattr(iterator, "_dataset", None)
        endless = dataset is None or int(dataset.cardinality()) < 0
        if self._iterator is not None or not endless:
            raise ValueError(
                "Resume needs an infinite dataset, which one iterator reads in all "
                "epochs. Received a finite one. Use dataset.repeat() and "
                "fit(steps_per_epoch=...)."
            )
        self._iterator = iterator

    def _path(self, name: str) -> Path:
        return self.directory / name


def _check_model(model: keras.Model) -> None:
    if not hasattr(model, "live_iterator"):
        raise TypeError(
            "Resume needs a MultiTaskModel, which shows its position in the data. "
            f"Received: {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            "Resume restores variables before the first step, so they must exist. Call "
            "model.build(input_shape) before fit()."
        )


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Return all variables of the training, once each, in the order of creation."""
    of_metrics = [v for metric in model.metrics for v in metric.variables]
    found = [*model.variables, *model.optimizer.variables, *of_metrics]
    return list({id(variable): variable for variable in found}.values())


def _number(checkpoint: str) -> int:
    return int(checkpoint.rsplit("-", 1)[1])
