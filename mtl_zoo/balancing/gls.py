"""GLS: the geometric mean of the losses."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing

SMALLEST = 1e-12


def geometric_mean(losses: Any, active: Any) -> Any:
    """Return the geometric mean of the active losses; those below 1e-12 count so."""
    logs = ops.log(ops.maximum(ops.where(active, losses, 1.0), SMALLEST))
    count = ops.maximum(ops.sum(ops.cast(active, losses.dtype)), 1.0)
    mean = ops.exp(ops.sum(logs) / count)
    return ops.where(ops.any(active), mean, ops.zeros_like(mean))


@keras.saving.register_keras_serializable(package="mtl_zoo")
class GLS(LossBalancing):
    """Train on the geometric mean of the losses, which must be positive.

    The `n` active tasks have the weights `mean / (n L)`: every loss falls by the same
    share for its own gradient (Chennupati et al., 2019, equation 3).

    Example:
        >>> losses, active = ops.array([4.0, 1.0, 0.0]), ops.array([True, True, False])
        >>> float(GLS().total(losses, active))
        2.0

    Reference:
        - [Chennupati et al., 2019](https://arxiv.org/abs/1904.08492)
    """

    promises = ("same for any order", "same for any scale", "plain for one task")

    def total(self, losses: Any, active: Any) -> Any:
        return geometric_mean(losses, active)
