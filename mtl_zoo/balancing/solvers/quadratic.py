"""Convex quadratic programs over the non-negative orthant."""

from __future__ import annotations

from typing import Any

from keras import ops


def nonnegative_minimum(
    matrix: Any, vector: Any, present: Any, accuracy: float
) -> tuple[Any, Any]:
    """Minimise `x' Q x / 2 - b' x` over `x >= 0`.

    Block principal pivoting: guess which entries are positive, solve for them as if
    they were free, and exchange all entries with a wrong sign, `x_i < 0` or
    `(Q x - b)_i < 0`; when three exchanges in a row do not bring their number to a new
    minimum, exchange one at a time until it is, which ends (Kim and Park, 2011,
    section 3, for non-negative least squares). Nearly always it takes a few solutions
    of a linear system, whatever `T`. `Q` gets `10 accuracy` on its diagonal,
    relative to the diagonal, without which a Gramian of deficient rank has no unique
    solution.

    Args:
        matrix: `Q`, `(..., T, T)`, symmetric and positive semi-definite up to
            `accuracy`, of positive diagonal.
        vector: `b`, `(..., T)`.
        present: `(..., T)` bool; other entries of `x` are 0.
        accuracy: Rounding unit of the data behind `Q` and `b`.

    Returns:
        `x` `(..., T)`, and the residual `(...)`: the largest violation of
        `min(x_i, (Q x - b)_i) = 0`, where `Q` is scaled to a diagonal of 1 and the
        largest entry of `|b|` to 1.

    Reference:
        - [Kim and Park, 2011](https://doi.org/10.1137/110821172)
    """
    size = matrix.shape[-1]
    diagonal = ops.diagonal(matrix, axis1=-2, axis2=-1)
    to_unit = 1.0 / ops.sqrt(diagonal)
    unit = ops.eye(size, dtype=matrix.dtype)
    q = matrix * ops.expand_dims(to_unit, -1) * ops.expand_dims(to_unit, -2)
    q = q + 10.0 * accuracy * unit
    b = ops.where(present, vector * to_unit, ops.zeros_like(to_unit))
    top = ops.max(ops.abs(b), axis=-1, keepdims=True)
    top = ops.where(top > 0, top, ops.ones_like(top))
    b = b / top
    slack = accuracy  # a sign within rounding is no wrong sign
    order = ops.cast(ops.arange(1, size + 1), matrix.dtype)

    def solution(free: Any) -> tuple[Any, Any]:
        both = ops.logical_and(ops.expand_dims(free, -1), ops.expand_dims(free, -2))
        system = ops.where(both, q, ops.broadcast_to(unit, ops.shape(q)))
        right = ops.where(free, b, ops.zeros_like(b))
        x = ops.squeeze(ops.solve(system, ops.expand_dims(right, -1)), -1)
        return x, ops.squeeze(ops.matmul(q, ops.expand_dims(x, -1)), -1) - b

    def wrong(free: Any, x: Any, y: Any) -> Any:
        return ops.logical_and(present, ops.where(free, x < -slack, y < -slack))

    def unfinished(step: Any, free: Any, least: Any, tries: Any, bad: Any) -> Any:
        del free, least, tries
        return ops.logical_and(step < 8 * size, ops.any(bad))

    def exchange(step: Any, free: Any, least: Any, tries: Any, bad: Any) -> tuple:
        count = ops.sum(ops.cast(bad, "int32"), axis=-1)
        fewer = count < least
        tries = ops.where(fewer, 3, tries - 1)
        rank = ops.where(bad, order, ops.zeros_like(b))
        last = ops.logical_and(bad, rank >= ops.max(rank, axis=-1, keepdims=True))
        chosen = ops.where(ops.expand_dims(tries >= 0, -1), bad, last)
        free = ops.logical_xor(free, chosen)
        x, y = solution(free)
        least = ops.where(fewer, count, least)
        return step + 1, free, least, tries, wrong(free, x, y)

    none = ops.zeros_like(present)
    many = ops.zeros_like(ops.sum(ops.cast(present, "int32"), axis=-1)) + size + 1
    _, free, _, _, _ = ops.while_loop(
        unfinished,
        exchange,
        (0, none, many, ops.zeros_like(many) + 3, wrong(none, ops.zeros_like(b), -b)),
    )
    x, y = solution(free)
    gap = ops.where(present, ops.abs(ops.minimum(x, y)), ops.zeros_like(x))
    x = ops.where(present, ops.maximum(x, 0.0), ops.zeros_like(x))
    return x * top * to_unit, ops.max(gap, axis=-1)
