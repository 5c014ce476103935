"""ConFIG: the direction of the same positive cosine with every task's gradient."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.imtl_g import equal_projection
from mtl_zoo.balancing.solvers import normalised
from mtl_zoo.balancing.solving import float32


def config_weights(gramian: Any, active: Any) -> Any:
    """Return the weights `(T,)`."""
    parts = normalised(gramian, active)
    c = equal_projection(parts)
    projections = ops.matmul(parts.cosines, c)
    square = ops.maximum(ops.sum(c * projections), 0.0)
    here = ops.cast(parts.present, c.dtype)
    # The sum of the gradients' projections on the unit vector along the direction.
    length = ops.sum(here * parts.norms * projections)
    return c / parts.norms * length / ops.maximum(square, 1e-30)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class ConFIG(GradientBalancing):
    """Step in the direction that has one cosine with all gradients.

    As long as that direction exists, the step is as long as the gradients' projections
    on it together (Liu et al., 2025, equations 2 and 3): the more they agree, the
    longer. Where the gradients depend on each other linearly, it is the least-squares
    solution, and promises nothing.

    Args:
        level: See `GradientBalancing`.

    Reference:
        - [Liu et al., 2025](https://arxiv.org/abs/2408.11104)
    """

    promises = ("same for any order", "same for any scale", "plain for one task")

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        return float32(config_weights(gramian, active))
