"""The update near the mean gradient that improves the worst task the most."""

from __future__ import annotations

from typing import Any

from keras import ops

from mtl_zoo.balancing.solvers.normalised import normalised
from mtl_zoo.balancing.solvers.pivoting import among, pivoted, times
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
    for `a = G g0`, equal where `v > 0`. For a guess of which entries are positive, `v`
    is linear in `m`, and `|G' v| = radius |g0|` a quadratic equation for `m`; `pivoted`
    finds the guess. It nearly always ends, but need not. Where it does not, the
    non-negative quadratic program of a given `m` is solved, in which `|G' v|` grows
    with `m` from 0, and `m` is found by Newton's method, kept inside a bracket.

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

    def inner(x: Any, y: Any) -> Any:
        return ops.sum(x * y, axis=-1, keepdims=True)

    a = times(cosines, mean)  # of the unit gradients with g0; a_i = norms_i times this
    wanted = radius * ops.sqrt(ops.maximum(inner(mean, a), 0.0))
    # As `nonnegative_minimum` has it: without, a length of 0 may be that of any v.
    unit = ops.eye(gramian.shape[-1], dtype=cosines.dtype)
    steady = cosines + 10.0 * accuracy * unit
    u = 1.0 / norms

    def level_of(free: Any) -> tuple[Any, Any]:
        """The level at which |G'v| is as wanted, and v, if these entries are free."""
        found = among(steady, free, ops.stack([u, a], axis=-1))
        p, q = found[..., 0], found[..., 1]
        here = ops.cast(free, u.dtype)
        up, uq, aq = inner(here * u, p), inner(here * u, q), inner(here * a, q)
        root = ops.sqrt(ops.maximum(uq**2 - up * (aq - wanted**2), 0.0))
        level = (uq + root) / ops.where(up > 0, up, ops.ones_like(up))
        return level, level * p - q

    def solve(free: Any) -> tuple[Any, Any]:
        level, z = level_of(free)
        slope = times(steady, z) + a - level * u
        # With nothing free there is no level; everything wants to be.
        nothing = ops.logical_not(ops.any(free, axis=-1, keepdims=True))
        return z, ops.where(nothing, -ops.ones_like(slope), slope)

    guess = pivoted(solve, present, present, accuracy)
    start, _ = level_of(guess)

    def at(level: Any, free: Any) -> tuple[Any, Any, Any]:
        """The program's solution in the unit gradients, and its length."""
        z, residual = nonnegative_minimum(
            cosines, level * u - a, present, accuracy, free
        )
        return z, ops.sqrt(inner(z, times(steady, z))), residual

    def relative(reach: Any) -> Any:
        return ops.where(wanted > 0, (reach - wanted) / ops.maximum(wanted, 1e-30), 0.0)

    far = ops.full_like(a, 1e30)
    low = ops.min(ops.where(present, norms * a, far), axis=-1, keepdims=True)
    # No unit gradient has more than its length, of `steady`, times |G'v| of G'v.
    most = a + wanted * (1.0 + 10.0 * accuracy) ** 0.5
    high = ops.min(ops.where(present, norms * most, far), axis=-1, keepdims=True)
    start = ops.clip(start, low, high)

    def unfinished(step: Any, low: Any, high: Any, level: Any, *found: Any) -> Any:
        del low, high, level
        return ops.logical_and(
            step < STEPS, ops.any(ops.abs(relative(found[1])) > NEAR)
        )

    def newton(step: Any, low: Any, high: Any, level: Any, *found: Any) -> tuple:
        z, reach, _ = found
        width = high - low
        low = ops.where(reach < wanted, level, low)
        high = ops.where(reach < wanted, high, level)
        # d|G'v|/dm: the same system with the right-hand side 1 / norms.
        grows = ops.squeeze(among(steady, z > 0, ops.expand_dims(u, -1)), -1)
        slope = inner(times(steady, z), grows) / ops.where(reach > 0, reach, 1.0)
        target = level + (wanted - reach) / ops.where(slope > 0, slope, 1.0)
        # Newton's step if it stays inside and the bracket got shorter, else half of it.
        usable = (target > low) & (target < high) & (slope > 0)
        usable = usable & ((step % 3 < 2) | (high - low < width / 2.0))
        following = ops.where(usable, target, (low + high) / 2.0)
        level = ops.where(ops.abs(relative(reach)) > NEAR, following, level)
        return step + 1, low, high, level, *at(level, z > 0)

    state = (0, low, high, start, *at(start, guess))
    *_, z, reach, residual = ops.while_loop(unfinished, newton, state)
    residual = ops.maximum(residual, ops.squeeze(ops.abs(relative(reach)), -1))
    # In a ball of radius 0, `z` is the rounding of 0.
    return ops.where(present & (wanted > 0), z * u, ops.zeros_like(z)), residual
