"""Convex quadratic programs over the non-negative orthant."""

from __future__ import annotations

from typing import Any

from keras import ops

from mtl_zoo.balancing.solvers.pivoting import among, pivoted, times


def nonnegative_minimum(
    matrix: Any, vector: Any, present: Any, accuracy: float, start: Any | None = None
) -> tuple[Any, Any]:
    """Minimise `x' Q x / 2 - b' x` over `x >= 0`.

    By block principal pivoting; see `pivoted`. Nearly always it takes a few solutions
    of a linear system, whatever `T`. `Q` gets `10 accuracy` on its diagonal, relative
    to the diagonal, without which a Gramian of deficient rank has no unique solution.

    Args:
        matrix: `Q`, `(..., T, T)`, symmetric and positive semi-definite up to
            `accuracy`, of positive diagonal.
        vector: `b`, `(..., T)`.
        present: `(..., T)` bool; other entries of `x` are 0.
        accuracy: Rounding unit of the data behind `Q` and `b`.
        start: `(..., T)` bool, a guess of which entries of `x` are positive. Defaults
            to those of `b`.

    Returns:
        `x` `(..., T)`, and the residual `(...)`: the largest violation of
        `min(x_i, (Q x - b)_i) = 0`, where `Q` is scaled to a diagonal of 1 and the
        largest entry of `|b|` to 1.
    """
    to_unit = 1.0 / ops.sqrt(ops.diagonal(matrix, axis1=-2, axis2=-1))
    q = matrix * ops.expand_dims(to_unit, -1) * ops.expand_dims(to_unit, -2)
    q = q + 10.0 * accuracy * ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    b = ops.where(present, vector * to_unit, ops.zeros_like(to_unit))
    top = ops.max(ops.abs(b), axis=-1, keepdims=True)
    top = ops.where(top > 0, top, ops.ones_like(top))
    b = b / top

    def solve(free: Any) -> tuple[Any, Any]:
        x = ops.squeeze(among(q, free, ops.expand_dims(b, -1)), -1)
        return x, times(q, x) - b

    start = b > 0 if start is None else start
    free = pivoted(solve, ops.logical_and(present, start), present, accuracy)
    x, y = solve(free)
    gap = ops.where(present, ops.abs(ops.minimum(x, y)), ops.zeros_like(x))
    x = ops.where(present, ops.maximum(x, 0.0), ops.zeros_like(x))
    return x * top * to_unit, ops.max(gap, axis=-1)
