"""Equal weighting: the plain sum of the task losses."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Equal(LossBalancing):
    """Weigh every task's loss by one (times the fixed `Task.weight`).

    Example:
        >>> losses, active = ops.array([3.0, 0.1]), ops.array([True, True])
        >>> weights = Equal().task_weights(losses, active)
        >>> print(ops.convert_to_numpy(weights))
        [1. 1.]
    """

    promises = ("plain for one task",)

    def task_weights(self, losses: Any, active: Any) -> Any:
        return ops.ones_like(losses)
