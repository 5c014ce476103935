"""Points of the simplex: the nearest one, and the one of the smallest gradient."""

from __future__ import annotations

from typing import Any

from keras import ops

from mtl_zoo.balancing.solvers.normalised import normalised
from mtl_zoo.balancing.solvers.quadratic import nonnegative_minimum


def min_norm_point(gramian: Any, active: Any | None = None) -> tuple[Any, Any]:
    """Return the weights of the shortest vector in the convex hull of the gradients.

    `min w' A w` over the simplex has the optimum `w = u / sum(u)` of
    `min u' (A + k 11') u / 2 - k 1' u` over `u >= 0`, for any `k > 0`: both ask that
    the entries of `A w` are equal where `w` is positive and no smaller elsewhere.

    Args:
        gramian: `A`, `(..., T, T)`.
        active: `(..., T)` bool. Defaults to all.

    Returns:
        `w` `(..., T)`, 0 for tasks without a gradient, of sum 1 unless none has one;
        and the residual of `nonnegative_minimum` `(...)`. Both float64.
    """
    cosines, norms, _, present, accuracy = normalised(gramian, active)
    # In u_i = d_i z_i the matrix is that of the cosines, plus k d d'.
    shortest = ops.min(
        ops.where(present, norms, ops.ones_like(norms)), axis=-1, keepdims=True
    )
    d = shortest / norms
    matrix = cosines + ops.expand_dims(d, -1) * ops.expand_dims(d, -2)
    z, residual = nonnegative_minimum(matrix, d, present, accuracy)
    u = z * d
    total = ops.sum(u, axis=-1, keepdims=True)
    return u / ops.where(total > 0, total, ops.ones_like(total)), residual


def onto_simplex(point: Any, active: Any) -> Any:
    """Return the nearest point of the simplex, 0 for tasks that are not active.

    The nearest point subtracts one number from all entries and cuts at 0; sorted, the
    largest entries are the ones that stay (Duchi et al., 2008, figure 1).

    Args:
        point: `(..., T)`.
        active: `(..., T)` bool, at least one of them true.

    Returns:
        `(..., T)` of sum 1.

    Reference:
        - [Duchi et al., 2008](https://doi.org/10.1145/1390156.1390191)
    """
    low = ops.min(point, axis=-1, keepdims=True) - 2.0  # never stays
    masked = ops.where(active, point, ops.broadcast_to(low, ops.shape(point)))
    down = -ops.sort(-masked, axis=-1)
    count = ops.cast(ops.arange(1, point.shape[-1] + 1), point.dtype)
    above = (ops.cumsum(down, axis=-1) - 1.0) / count
    stays = ops.cast(down > above, "int32")
    last = ops.sum(stays, axis=-1, keepdims=True) - 1
    cut = ops.take_along_axis(above, ops.maximum(last, 0), axis=-1)
    return ops.where(active, ops.maximum(point - cut, 0.0), ops.zeros_like(point))
