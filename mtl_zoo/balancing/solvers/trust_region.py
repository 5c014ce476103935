"""The update near the mean gradient that improves the worst task the most."""

from __future__ import annotations

from typing import Any

from keras import ops

from mtl_zoo.balancing.solvers.normalised import normalised
from mtl_zoo.balancing.solvers.quadratic import nonnegative_minimum

STEPS = 90
NEAR = 1e-7


def worst_improvement(
    gramian: Any, active: Any | None = None, radius: float = 0.5
) -> tuple[Any, Any]:
    """Return the `v >= 0` for which `d = g0 + G' v` maximises `min_i g_i' d`.

    With `g0` the mean gradient of the active tasks, among all `d` with
    `|d - g0| <= radius |g0|`: problem 3 of CAGrad (Liu et al., 2021), whose dual form
    minimises `g_w' g0 + radius |g0| |g_w|` over `w` on the simplex; `v` is `w` times
    `radius |g0| / |g_w|`.

    The optimum has a level `m`, the improvement of the worst task, with `A v + a >= m`
    for `a = G g0`, equal where `v > 0`. For given `m` that is a non-negative quadratic
    program, and `|G' v|` grows with `m` from 0: the `m` where it is
    `radius |g0|` is found by Newton's method, kept inside a bracket.

    Args:
        gramian: `A = G G'`, `(..., T, T)`.
        active: `(..., T)` bool. Defaults to all.
        radius: Of the ball, in units of `|g0|`; 0 to below 1. Defaults to `0.5`.

    Returns:
        `v` `(..., T)`, 0 for tasks without a gradient; and the residual `(...)`, the
        larger of that of the last program and `| |G' v| / (radius |g0|) - 1 |`. Both
        float64.

    Reference:
        - [Liu et al., 2021](https://arxiv.org/abs/2110.14048)
    """
    cosines, norms, _, present, accuracy = normalised(gramian, active)
    here = ops.cast(present, cosines.dtype)
    count = ops.maximum(ops.sum(here, axis=-1, keepdims=True), 1.0)
    mean = here * norms / count  # g0 in the unit gradients

    def product(matrix: Any, x: Any) -> Any:
        return ops.squeeze(ops.matmul(matrix, ops.expand_dims(x, -1)), -1)

    def inner(x: Any, y: Any) -> Any:
        return ops.sum(x * y, axis=-1, keepdims=True)

    a = product(
        cosines, mean
    )  # of the unit gradients with g0; a_i = norms_i times this
    length = ops.sqrt(ops.maximum(inner(mean, a), 0.0))
    wanted = radius * length
    far = ops.full_like(a, 1e30)
    low = ops.min(ops.where(present, norms * a, far), axis=-1, keepdims=True)
    high = ops.min(
        ops.where(present, norms * (a + wanted), far), axis=-1, keepdims=True
    )

    unit = ops.eye(gramian.shape[-1], dtype=cosines.dtype)
    # As `nonnegative_minimum` has it: without, a length of 0 may be that of any v.
    steady = cosines + 10.0 * accuracy * unit

    def at(level: Any) -> tuple[Any, Any, Any]:
        """The program's solution in the unit gradients, and its length."""
        z, residual = nonnegative_minimum(cosines, level / norms - a, present, accuracy)
        return z, ops.sqrt(inner(z, product(steady, z))), residual

    def unfinished(step: Any, low: Any, high: Any, level: Any, off: Any) -> Any:
        del low, high, level
        return ops.logical_and(step < STEPS, ops.any(ops.abs(off) > NEAR))

    def newton(step: Any, low: Any, high: Any, level: Any, off: Any) -> tuple:
        z, reach, _ = at(level)
        width = high - low
        low = ops.where(reach < wanted, level, low)
        high = ops.where(reach < wanted, high, level)
        # d|G'v|/dm: the same system with the right-hand side 1 / norms.
        free = ops.cast(z > 0, z.dtype)
        both = ops.expand_dims(free, -1) * ops.expand_dims(free, -2)
        system = steady * both + (1.0 - ops.expand_dims(free, -1)) * unit
        grows = ops.squeeze(ops.solve(system, ops.expand_dims(free / norms, -1)), -1)
        slope = inner(product(steady, z), grows) / ops.where(reach > 0, reach, 1.0)
        guess = level + (wanted - reach) / ops.where(slope > 0, slope, 1.0)
        # Newton's step if it stays inside and the bracket got shorter, else half of it.
        usable = (guess > low) & (guess < high) & (slope > 0)
        usable = usable & ((step % 3 < 2) | (high - low < width / 2.0))
        off = ops.where(wanted > 0, (reach - wanted) / ops.maximum(wanted, 1e-30), 0.0)
        following = ops.where(usable, guess, (low + high) / 2.0)
        level = ops.where(ops.abs(off) > NEAR, following, level)
        return step + 1, low, high, level, off

    start = (low + high) / 2.0
    _, _, _, level, _ = ops.while_loop(
        unfinished, newton, (0, low, high, start, ops.ones_like(low))
    )
    z, reach, residual = at(level)
    off = ops.abs(reach - wanted) / ops.maximum(wanted, 1e-30)
    off = ops.where(wanted > 0, off, ops.zeros_like(off))
    residual = ops.maximum(residual, ops.squeeze(off, -1))
    return ops.where(present, z / norms, ops.zeros_like(z)), residual
