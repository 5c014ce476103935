"""CAGrad: near the mean gradient, the step that is best for the worst task."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.solvers import worst_improvement
from mtl_zoo.balancing.solving import CONVERGED, float32


def cagrad_weights(gramian: Any, active: Any, c: float = 0.5) -> tuple[Any, Any]:
    """Return the weights `(T,)`, and whether the solver converged."""
    added, residual = worst_improvement(gramian, active, radius=c)
    here = ops.cast(active, added.dtype)
    mean = here / ops.maximum(ops.sum(here), 1.0)
    return mean + added, residual < CONVERGED


@keras.saving.register_keras_serializable(package="mtl_zoo")
class CAGrad(GradientBalancing):
    """Among the steps near the mean gradient, take the one best for the worst task.

    "Near" is within `c` times its length (Liu et al., 2021, equation 3). For `c = 0`
    that is the mean. The authors' code also divides the step by `1 + c^2`, which is
    left to the learning rate.

    Args:
        c: 0 to below 1: above, training need not converge. Defaults to `0.5`.
        level: See `GradientBalancing`.

    Raises:
        ValueError: When `c` is not in this range.

    Reference:
        - [Liu et al., 2021](https://arxiv.org/abs/2110.14048)
    """

    solver = True
    promises = ("same for any order",)

    def __init__(self, c: float = 0.5, level: str = "last", **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if not 0 <= c < 1:
            raise ValueError(f"`c` must be at least 0 and below 1. Received: c={c}")
        self.c = c

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        weights, converged = cagrad_weights(gramian, active, self.c)
        self.solved(converged)
        return float32(weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "c": self.c}
