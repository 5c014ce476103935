"""FairGrad: improvements shared by alpha-fairness."""

from __future__ import annotations

from typing import Any

import keras

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.solvers import proportionally_fair
from mtl_zoo.balancing.solving import CONVERGED, float32


@keras.saving.register_keras_serializable(package="mtl_zoo")
class FairGrad(GradientBalancing):
    """Share the improvement of the losses `alpha`-fairly among the tasks.

    The weights solve `(A w)_k = w_k ** (-1 / alpha)` for the Gramian `A` (Ban and Ji,
    2024, equation 7). `alpha = 1` is Nash-MTL without its cut; the larger, the more
    the task with the least improvement counts. With `alpha` other than 1, the step
    changes its length by a power of that of the gradients.

    Args:
        alpha: Above 0. Defaults to `1.0`.
        level: See `GradientBalancing`.

    Raises:
        ValueError: When `alpha` is not above 0.

    Reference:
        - [Ban and Ji, 2024](https://arxiv.org/abs/2402.15638)
    """

    solver = True
    promises = ("same for any order", "no task gets worse")

    def __init__(self, alpha: float = 1.0, level: str = "last", **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if not alpha > 0:
            raise ValueError(f"`alpha` must be above 0. Received: alpha={alpha}")
        self.alpha = alpha

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        weights, residual = proportionally_fair(gramian, active, self.alpha)
        self.solved(residual < CONVERGED)
        return float32(weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}
