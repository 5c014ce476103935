"""MoCo: MGDA on running estimates of the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing, gramian_of, now
from mtl_zoo.balancing.solvers import onto_simplex


@keras.saving.register_keras_serializable(package="mtl_zoo")
class MoCo(GradientBalancing):
    """Take the noise out of MGDA: follow gradients and weights by moving averages.

    `y_k` moves by the share `beta` towards the newest gradient of its task, the
    weights by a projected gradient step on `|Y' w|^2 / 2`, and the update is `Y' w`
    (Fernando et al., 2023, algorithm 1). The step of the weights is `gamma` in units of
    the trace of `Y Y'`, so that it does not depend on the scale of the losses. At level
    `"params"` the `T` averages take the memory of as many models; at others, the
    weights follow averages of what is compared there, and are given to the newest
    gradients. The average of an absent task stays.

    Args:
        beta: Share of the newest gradient, above 0 to 1. Defaults to `0.5`.
        gamma: Step of the weights. Defaults to `0.1`.
        level: See `GradientBalancing`.

    Reference:
        - [Fernando et al., 2023](https://openreview.net/forum?id=dLAYGdKTi2)
    """

    whole_gradients = True
    promises = ("same for any order",)

    def __init__(
        self,
        beta: float = 0.5,
        gamma: float = 0.1,
        level: str = "last",
        **kwargs: Any,
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.beta = beta
        self.gamma = gamma

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        size = len(task_names)
        self.averages = self.add_state((size, gradient_size), "averages")
        equal = keras.initializers.Constant(1.0 / size)
        self.followed = self.add_state((size,), "followed", equal)

    def _follow(self, gradients: Any, active: Any) -> tuple[Any, Any]:
        """Return the averages `(T, N)` and the weights `(T,)`, moved by a step."""
        averages = now(self.averages)
        moved = averages + self.beta * (gradients - averages)
        averages = ops.where(ops.expand_dims(active, 1), moved, averages)
        self.averages.assign(averages)
        followed = now(self.followed)
        gramian = gramian_of(averages)
        trace = ops.sum(ops.diagonal(gramian))
        slope = ops.matmul(gramian, followed) / ops.where(trace > 0, trace, 1.0)
        followed = onto_simplex(
            followed - self.gamma * slope, ops.ones_like(active, dtype="bool")
        )
        self.followed.assign(followed)
        return averages, followed * ops.cast(active, followed.dtype)

    def weights_from_gradients(self, gradients: Any, losses: Any, active: Any) -> Any:
        return self._follow(gradients, active)[1]

    def combine(self, gradients: Any, losses: Any, active: Any) -> tuple[Any, Any]:
        averages, weights = self._follow(gradients, active)
        return ops.matmul(weights, averages), weights

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "gamma": self.gamma}
