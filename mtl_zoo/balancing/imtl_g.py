"""IMTL-G: a step of equal projection on every task's gradient."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing
from mtl_zoo.balancing.solvers import Normalised, inverse_cosines, normalised
from mtl_zoo.balancing.solving import float32


def equal_projection(parts: Normalised) -> Any:
    """Return `c` `(T,)` for which `U' c` has the projection 1 on each unit gradient.

    With `U` the unit gradients and `C` their cosines, `C c = 1`; the least-squares
    solution where there is none.
    """
    here = ops.cast(parts.present, parts.cosines.dtype)
    return ops.matmul(inverse_cosines(parts), here)


def imtl_g_weights(gramian: Any, active: Any) -> tuple[Any, Any]:
    """Return the weights `(T,)` of sum 1, and whether there are any."""
    parts = normalised(gramian, active)
    weights = equal_projection(parts) / parts.norms
    total = ops.sum(weights)
    size = ops.sum(ops.abs(weights))
    exists = ops.abs(total) > gramian.shape[-1] * parts.accuracy * size
    safe = ops.where(exists, total, ops.ones_like(total))
    here = ops.cast(parts.present, weights.dtype)
    mean = here / ops.maximum(ops.sum(here), 1.0)
    exists = ops.logical_or(exists, size <= 0)
    return ops.where(exists, weights / safe, mean), exists


@keras.saving.register_keras_serializable(package="mtl_zoo")
class IMTLG(GradientBalancing):
    """Take the combination of equal projection on all gradients, of weights of sum 1.

    `g_w' (u_1 - u_k) = 0` for the unit gradients `u_k` (Liu et al., 2021, equation 6),
    so that no task is favoured. Weights may be negative, and where they cannot sum to
    1, the equal ones are taken and `unsolved` counts the step. Its direction, up to
    the sign, is ConFIG's.

    Args:
        level: See `GradientBalancing`.

    Reference:
        - [Liu et al., 2021](https://openreview.net/forum?id=IMPnRXEWpvr)
    """

    solver = True
    promises = ("same for any order", "plain for one task")

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        weights, exists = imtl_g_weights(gramian, active)
        self.solved(exists)
        return float32(weights)
