"""Block principal pivoting: which of the entries of a solution are positive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops


def pivoted(
    solve: Callable[[Any], tuple[Any, Any]], start: Any, present: Any, slack: float
) -> Any:
    """Return which entries are free, so that no entry has a wrong sign.

    Of entries `x` and their slopes `y`, `x_i y_i = 0`, none is to be negative. All
    entries with a wrong sign change sides at once; when three such exchanges in a row
    do not bring their number to a new minimum, only the last of them changes, until
    one is reached (Kim and Park, 2011, section 3). At most `8 T` exchanges.

    Args:
        solve: From the free entries `(..., T)` bool to `x` and `y`, `x_i` being 0 where
            `i` is not free, and `y_i` where it is.
        start: `(..., T)` bool, the first guess.
        present: `(..., T)` bool; other entries are never free.
        slack: How far below 0 is no wrong sign yet.

    Returns:
        `(..., T)` bool.

    Reference:
        - [Kim and Park, 2011](https://doi.org/10.1137/110821172)
    """
    size = present.shape[-1]
    order = ops.arange(1, size + 1)

    def wrong(free: Any) -> Any:
        x, y = solve(free)
        return ops.logical_and(present, ops.where(free, x, y) < -slack)

    def unfinished(step: Any, free: Any, least: Any, tries: Any, bad: Any) -> Any:
        del free, least, tries
        return ops.logical_and(step < 8 * size, ops.any(bad))

    def exchange(step: Any, free: Any, least: Any, tries: Any, bad: Any) -> tuple:
        count = ops.sum(ops.cast(bad, "int32"), axis=-1)
        fewer = count < least
        tries = ops.where(fewer, 3, tries - 1)
        rank = ops.where(bad, order, ops.zeros_like(order))
        last = ops.logical_and(bad, rank >= ops.max(rank, axis=-1, keepdims=True))
        free = ops.logical_xor(
            free, ops.where(ops.expand_dims(tries >= 0, -1), bad, last)
        )
        return step + 1, free, ops.where(fewer, count, least), tries, wrong(free)

    count = ops.sum(ops.cast(present, "int32"), axis=-1)
    least, tries = ops.full_like(count, size + 1), ops.full_like(count, 3)
    return ops.while_loop(unfinished, exchange, (0, start, least, tries, wrong(start)))[
        1
    ]


def among(matrix: Any, free: Any, right: Any) -> Any:
    """Solve a linear system for the free entries alone; the others are 0.

    Args:
        matrix: `(..., T, T)`.
        free: `(..., T)` bool.
        right: `(..., T, k)`.

    Returns:
        `(..., T, k)`.
    """
    rows = ops.expand_dims(free, -1)
    both = ops.logical_and(rows, ops.expand_dims(free, -2))
    unit = ops.eye(matrix.shape[-1], dtype=matrix.dtype)
    system = ops.where(both, matrix, ops.broadcast_to(unit, ops.shape(both)))
    return ops.solve(system, ops.where(rows, right, ops.zeros_like(right)))


def times(matrix: Any, vector: Any) -> Any:
    """Return the product of `(..., T, T)` and `(..., T)`."""
    return ops.squeeze(ops.matmul(matrix, ops.expand_dims(vector, -1)), -1)
