"""UPGrad: the gradients, each made harmless to the others, summed."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.solvers import nonnegative_minimum, normalised
from mtl_zoo.balancing.solving import CONVERGED, float32


def upgrad_weights(gramian: Any, active: Any) -> tuple[Any, Any]:
    """Return the weights `(T,)`, and whether the solver converged.

    The projection of `g_k` onto the vectors that have no negative inner product with
    any gradient is `g_k + G' x`, with the `x >= 0` that minimises its length.
    """
    cosines, norms, _, present, accuracy = normalised(gramian, active)
    size = gramian.shape[-1]
    # Row k is task k's problem, in unit gradients.
    x, residual = nonnegative_minimum(
        ops.broadcast_to(cosines, (size, size, size)),
        -cosines,
        ops.broadcast_to(present, (size, size)),
        accuracy,
    )
    here = ops.cast(present, x.dtype)
    own = here * norms
    weights = (own + ops.matmul(own, x)) / norms * here
    return weights, ops.max(residual) < CONVERGED


@keras.saving.register_keras_serializable(package="mtl_zoo")
class UPGrad(GradientBalancing):
    """Project every gradient onto the dual cone of all of them, and add them up.

    No projection, hence no sum of them, has a negative inner product with any task's
    gradient (Quinton and Rey, 2024, equation 6; their sum is divided by `T`). Without
    conflicts it is the plain sum.

    Args:
        level: See `GradientBalancing`.

    Reference:
        - [Quinton and Rey, 2024](https://arxiv.org/abs/2406.16232)
    """

    solver = True
    promises = ("same for any order", "no task gets worse", "plain for one task")

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        weights, converged = upgrad_weights(gramian, active)
        self.solved(converged)
        return float32(weights)
