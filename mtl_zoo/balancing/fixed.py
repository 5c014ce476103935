"""Fixed weights, given by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Fixed(LossBalancing):
    """Weigh the losses by given numbers.

    Args:
        weights_by_task: `{task: weight}` of every task of the model.

    Raises:
        ValueError: In `build`, when these are not the model's tasks.

    Example:
        >>> method = Fixed({"det": 1.0, "seg": 2.0})
        >>> method.build(["det", "seg"])
        >>> losses, active = ops.array([3.0, 0.5]), ops.array([True, True])
        >>> float(method.total(losses, active))
        4.0
    """

    promises = ("same for any order",)

    def __init__(self, weights_by_task: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weights_by_task = dict(weights_by_task)

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        check_names(self.weights_by_task, task_names)

    def task_weights(self, losses: Any, active: Any) -> Any:
        return ops.convert_to_tensor(
            [self.weights_by_task[name] for name in self.task_names], losses.dtype
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights_by_task": self.weights_by_task}


def check_names(given: Mapping[str, Any], task_names: Sequence[str]) -> None:
    """Raise a ValueError when a mapping is not of the model's tasks."""
    if set(given) != set(task_names):
        raise ValueError(
            f"Expected a weight for each of the tasks {list(task_names)}. Received "
            f"weights for {sorted(given)}."
        )
