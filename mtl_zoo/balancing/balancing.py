"""What a balancing method is: task losses or gradients in, one update out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

LEVELS = ("last", "params", "feature")


class Balancing(keras.layers.Layer):
    """Base of `LossBalancing` and `GradientBalancing`; subclass one of those.

    A balancing object may own variables (created in `build(num_tasks)`); they are
    saved with the model. Every `(T,)` array follows `model.task_names`. (`weights` is
    what Keras calls the variables of a layer, hence `task_weights`.)
    """

    def build(self, num_tasks: int) -> None:
        """Create the state for `num_tasks` tasks."""
        self.built = True


class LossBalancing(Balancing):
    """A method that weighs losses: one backward pass through `sum(weights * losses)`.

    A subclass writes `task_weights`.
    """

    def task_weights(self, losses: Any, active: Any) -> Any:
        """Return the weight of each loss.

        Args:
            losses: `(T,)` float32, 0 for a task without a label in the batch.
            active: `(T,)` bool, whether a task has a label in the (global) batch.

        Returns:
            `(T,)` float32.
        """
        raise NotImplementedError

    def total(self, losses: Any, active: Any) -> Any:
        """Return the scalar that is differentiated, `sum(weights * losses)`."""
        return ops.sum(self.task_weights(losses, active) * losses)


class GradientBalancing(Balancing):
    """A method that weighs the tasks' gradients by their inner products.

    A subclass writes `task_weights`, or `combine` when it needs whole gradients.

    Args:
        level: Where gradients are compared. `"last"` (default): at the last shared
            layer, at the price of one backward pass through the trunk. `"params"`: at
            all shared parameters, exact, with one backward pass a task. `"feature"`:
            at the shared representation (the "-UB" variants of the papers); blind to
            conflicts between rows that belong to one task each.

    Raises:
        ValueError: When `level` is not one of the three.
    """

    def __init__(self, level: str = "last", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if level not in LEVELS:
            raise ValueError(f"`level` must be one of {LEVELS}. Received: {level!r}")
        self.level = level

    def task_weights(self, gramian: Any, active: Any) -> Any:
        """Return the weight of each task's gradient.

        Args:
            gramian: `(T, T)` float32 inner products; rows and columns of tasks
                without a label in the batch are 0.
            active: `(T,)` bool, whether a task has a label in the (global) batch.

        Returns:
            `(T,)` float32.
        """
        raise NotImplementedError

    def combine(self, gradients: Any, active: Any) -> Any:
        """Return the update `(N,)` made of the gradients `(T, N)`, level `"params"`."""
        gramian = ops.matmul(gradients, ops.transpose(gradients))
        return ops.matmul(self.task_weights(gramian, active), gradients)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "level": self.level}
