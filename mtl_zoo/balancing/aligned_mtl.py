"""Aligned-MTL: the gradients made orthogonal and of one length."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.solvers import rounding_unit, spectrum
from mtl_zoo.balancing.solving import float32

SCALES = ("min", "median", "rmse")


def aligned_weights(gramian: Any, active: Any, scale: str = "min") -> Any:
    """Return the weights `(T,)`."""
    top = ops.max(ops.abs(gramian))
    top = ops.where(top > 0, top, ops.ones_like(top))
    here = ops.cast(active, "float64")
    matrix = ops.cast(gramian / top, "float64")
    matrix = matrix * ops.expand_dims(here, 0) * ops.expand_dims(here, 1)
    found = spectrum(matrix, rounding_unit(gramian))
    kept = ops.cast(found.kept, "float64")
    count = ops.maximum(ops.sum(kept), 1.0)
    if scale == "min":
        chosen = ops.min(ops.where(found.kept, found.values, ops.max(found.values)))
    elif scale == "median":
        size = gramian.shape[-1]
        middle = size - 1 - ops.cast(count, "int32") // 2  # the lower of two
        chosen = ops.take(found.values, middle)
    else:
        chosen = ops.sum(found.values) / count
    balance = ops.sqrt(chosen) * found.inverse(0.5)
    return ops.matmul(balance, here) * here


@keras.saving.register_keras_serializable(package="mtl_zoo")
class AlignedMTL(GradientBalancing):
    """Replace the gradients by the nearest ones that are orthogonal and equally long.

    `sum_k (B G)_k` with `B = sqrt(l) A^(-1/2)` for the Gramian `A = G G'` and a common
    eigenvalue `l` (Senushkin et al., 2023, equations 11 to 13): the system of gradients
    has the condition number 1. Eigenvalues that are rounding are left out. Tasks count
    alike; give `Task.weight` for preferences.

    Args:
        scale: `l`: the smallest eigenvalue above rounding, `"min"` (default, the
            paper's), the `"median"` or the mean, `"rmse"`, of them.
        level: See `GradientBalancing`.

    Raises:
        ValueError: When `scale` is none of these.

    Reference:
        - [Senushkin et al., 2023](https://arxiv.org/abs/2305.19000)
    """

    promises = ("same for any order", "plain for one task")

    def __init__(self, scale: str = "min", level: str = "last", **kwargs: Any) -> None:
        super().__init__(level=level, **kwargs)
        if scale not in SCALES:
            raise ValueError(f"`scale` must be one of {SCALES}. Received: {scale!r}")
        self.scale = scale

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        return float32(aligned_weights(gramian, active, self.scale))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}
