"""Stop a training whose loss is no number any more, and say which task's it was."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf


class NonFiniteError(ArithmeticError):
    """A value of the training is NaN or infinite."""


class NonFiniteLossError(NonFiniteError):
    """A loss is NaN or infinite."""


class RaiseOnNonFiniteLoss(keras.callbacks.Callback):
    """Raise `NonFiniteLossError` out of `fit` when a loss is NaN or infinite.

    The losses in the logs are running means over the epoch; a mean that a NaN or an
    infinity has entered never becomes finite again, so the logs of a batch are enough,
    at no cost but that of reading them. With `steps_per_execution=k` they come every
    `k` steps, and the error names the last of these.

    The error leaves `fit` before the epoch ends, so that callbacks that save at the end
    of an epoch never see the spoilt state. List this callback before those, so that
    a bad validation loss stops them as well.

    Raises:
        NonFiniteLossError: From `fit`, naming the tasks and the step.
    """

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Check the losses of the batch."""
        names = self._non_finite(logs or {}, "")
        if names:
            self._raise(names, f"at batch {batch} of epoch {self._epoch}")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Check the losses of the validation."""
        names = self._non_finite(logs or {}, "val_")
        if names:
            self._raise(names, f"in the validation after epoch {epoch}")

    def _non_finite(self, logs: dict[str, Any], prefix: str) -> list[str]:
        """Return the tasks whose loss is not finite, or `["loss"]` for the sum."""
        tasks = getattr(self.model, "task_names", ())
        found = [name for name in tasks if _is_bad(logs, f"{prefix}{name}_loss")]
        return found or (["loss"] if _is_bad(logs, f"{prefix}loss") else [])

    def _raise(self, names: list[str], when: str) -> None:
        if names == ["loss"]:
            what = (
                "The total loss is not finite, though every task's loss is: the "
                "weights of the balancing method or a regularisation loss are not"
            )
        else:
            what = f"The loss of {', '.join(map(repr, names))} is not finite"
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        raise NonFiniteLossError(
            f"{what}, {when} (step {step} of the optimizer). Expected finite losses. "
            "Training stopped; earlier checkpoints are untouched. Look for bad labels, "
            "lower the learning rate, clip gradients (`clipnorm=` of the optimizer) or "
            "leave half precision."
        )


def check_finite(variables: Iterable[keras.Variable], when: str) -> None:
    """Raise `NonFiniteError` when a floating-point variable has a NaN or infinity.

    Args:
        variables: The variables to look at.
        when: End of the sentence "The variable ... is not finite".
    """
    for variable in variables:
        value = tf.convert_to_tensor(variable.value)
        if value.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(value)):
            raise NonFiniteError(
                f"The variable {variable.path!r} is not finite {when}. Expected finite "
                "values; nothing was saved, and earlier checkpoints are untouched. "
                "Lower the learning rate or clip gradients (`clipnorm=`)."
            )


def _is_bad(logs: dict[str, Any], name: str) -> bool:
    return name in logs and not math.isfinite(float(logs[name]))
