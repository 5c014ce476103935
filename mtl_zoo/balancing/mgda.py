"""MGDA: the shortest vector in the convex hull of the gradients."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.solvers import min_norm_point
from mtl_zoo.balancing.solving import CONVERGED, float32

NORMALISATIONS = ("none", "l2", "loss", "loss+")


def mgda_weights(
    gramian: Any, losses: Any, active: Any, normalisation: str = "none"
) -> tuple[Any, Any]:
    """Return the weights `(T,)` of sum 1, and whether the solver converged."""
    size = ops.ones_like(losses)
    if normalisation in ("l2", "loss+"):
        size = size * ops.sqrt(ops.diagonal(gramian))
    if normalisation in ("loss", "loss+"):
        size = size * losses
    size = ops.where(size > 0, size, ops.ones_like(size))
    scaled = gramian / ops.expand_dims(size, 1) / ops.expand_dims(size, 0)
    weights, residual = min_norm_point(scaled, active)
    weights = weights / ops.cast(size, weights.dtype)
    total = ops.sum(weights)
    weights = weights / ops.where(total > 0, total, ops.ones_like(total))
    return weights, residual < CONVERGED


@keras.saving.register_keras_serializable(package="mtl_zoo")
class MGDA(GradientBalancing):
    """Step along the shortest convex combination of the gradients.

    It has no smaller inner product with any task's gradient than with itself, so that
    no task gets worse to first order, and is zero where no such step exists (Désidéri,
    2012; Sener and Koltun, 2018, equation 3). Short gradients get most of the weight.

    Args:
        normalisation: What the gradients are divided by before: `"none"` (default),
            `"l2"` their norms, `"loss"` the losses, `"loss+"` both. Unlike in Sener and
            Koltun's code, the step is along the shortest combination of the *divided*
            gradients, which keeps the promise; its weights are made of sum 1.
        level: See `GradientBalancing`.

    Raises:
        ValueError: When a choice is not one of these.

    Reference:
        - [Désidéri, 2012](https://doi.org/10.1016/j.crma.2012.03.014)
        - [Sener and Koltun, 2018](https://arxiv.org/abs/1810.04650)
    """

    solver = True
    promises = ("same for any order", "no task gets worse", "plain for one task")

    def __init__(
        self, normalisation: str = "none", level: str = "last", **kwargs: Any
    ) -> None:
        super().__init__(level=level, **kwargs)
        if normalisation not in NORMALISATIONS:
            raise ValueError(
                f"`normalisation` must be one of {NORMALISATIONS}. Received: "
                f"{normalisation!r}"
            )
        self.normalisation = normalisation

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        weights, converged = mgda_weights(gramian, losses, active, self.normalisation)
        self.solved(converged)
        return float32(weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalisation": self.normalisation}
