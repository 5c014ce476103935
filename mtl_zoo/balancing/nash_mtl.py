"""Nash-MTL: the step on which the tasks agree as bargainers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.solvers import proportionally_fair
from mtl_zoo.balancing.solving import CONVERGED, float32


def within(weights: Any, gramian: Any, max_norm: float | None) -> Any:
    """Return the weights, scaled down where their combination is too long."""
    if max_norm is None:
        return weights
    square = ops.sum(weights * ops.matmul(ops.cast(gramian, weights.dtype), weights))
    norm = ops.sqrt(ops.maximum(square, 0.0))
    return weights * ops.minimum(1.0, max_norm / ops.maximum(norm, 1e-30))


@keras.saving.register_keras_serializable(package="mtl_zoo")
class NashMTL(GradientBalancing):
    """Take the step that the tasks' Nash bargaining agrees on.

    Its weights solve `(A w)_k = 1 / w_k` for the Gramian `A` (Navon et al., 2022, claim
    3.2): all tasks improve, and a task whose loss is scaled gets the weight that undoes
    it. The step has the length `sqrt(T)` wherever one is; the authors cut it to 1. The
    equations are solved at every step to machine accuracy, in place of their sequence
    of convex programs.

    Args:
        max_norm: Length to which the step is cut, at the level where gradients are
            compared; `None` for no cut. Defaults to `1.0`.
        level: See `GradientBalancing`.

    Reference:
        - [Navon et al., 2022](https://arxiv.org/abs/2202.01017)
    """

    solver = True
    promises = ("same for any order", "no task gets worse", "same for any scale")

    def __init__(
        self, max_norm: float | None = 1.0, level: str = "last", **kwargs: Any
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.max_norm = max_norm

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        weights, residual = proportionally_fair(gramian, active)
        self.solved(residual < CONVERGED)
        return float32(within(weights, gramian, self.max_norm))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_norm": self.max_norm}
