"""Weights that share an improvement fairly: Nash's bargaining and its relatives."""

from __future__ import annotations

from typing import Any

from keras import ops

from mtl_zoo.balancing.solvers.normalised import normalised
from mtl_zoo.balancing.solvers.pivoting import times

STEPS = 60
NEAR = 1e-7


def proportionally_fair(
    gramian: Any, active: Any | None = None, alpha: float = 1.0
) -> tuple[Any, Any]:
    """Return the `w > 0` with `(A w)_i = w_i ** (-1 / alpha)`.

    For `alpha = 1` that is the bargaining solution of Nash-MTL (Navon et al., 2022,
    claim 3.2), for others `alpha`-fairness (Ban and Ji, 2024, equation 7). It is the
    minimum of the convex `w' A w / 2 - sum(w_i ** p) / p`, `p = 1 - 1 / alpha` (with
    `log w_i` for `p = 0`), found by Newton's method, each step cut so that no weight
    falls below a tenth. Two gradients exactly against each other have no solution;
    `10 accuracy` on the diagonal, relative to it, gives them a large one.

    Args:
        gramian: `A`, `(..., T, T)`.
        active: `(..., T)` bool. Defaults to all.
        alpha: Above 0. Defaults to `1.0`.

    Returns:
        `w` `(..., T)`, 0 for tasks without a gradient; and the residual `(...)`, the
        largest `|(A w)_i w_i ** (1 / alpha) - 1|`. Both float64.

    Reference:
        - [Navon et al., 2022](https://arxiv.org/abs/2202.01017)
        - [Ban and Ji, 2024](https://arxiv.org/abs/2402.15638)
    """
    cosines, norms, scale, present, accuracy = normalised(gramian, active)
    size = gramian.shape[-1]
    power = 1.0 / alpha
    unit = ops.eye(size, dtype=cosines.dtype)
    matrix = cosines + 10.0 * accuracy * unit
    # With b_i = norm_i w_i: (C b)_i = pull_i b_i ** -power. A factor of all norms
    # becomes one of all weights.
    pull = norms ** (power - 1.0)
    middle = ops.exp(ops.mean(ops.log(pull), axis=-1, keepdims=True))
    pull = pull / middle

    def slope_of(b: Any) -> tuple[Any, Any, Any]:
        """The derivatives of the objective, the pull in it, and the residual."""
        product, force = times(matrix, b), pull * b**-power
        off = ops.abs(product / force - 1.0)
        off = ops.max(ops.where(present, off, ops.zeros_like(off)), axis=-1)
        return product - force, force, off

    def unfinished(step: Any, b: Any, slope: Any, force: Any, off: Any) -> Any:
        del b, slope, force
        return ops.logical_and(step < STEPS, ops.any(off > NEAR))

    def newton(step: Any, b: Any, slope: Any, force: Any, off: Any) -> tuple:
        hessian = matrix + ops.expand_dims(power * force / b, -1) * unit
        move = ops.squeeze(ops.solve(hessian, ops.expand_dims(-slope, -1)), -1)
        shrink = ops.max(-move / b, axis=-1, keepdims=True)
        b = b + move * (0.9 / ops.maximum(shrink, 0.9))
        return step + 1, b, *slope_of(b)

    start = pull ** (1.0 / (1.0 + power))
    _, b, _, _, residual = ops.while_loop(
        unfinished, newton, (0, start, *slope_of(start))
    )
    factor = middle ** (1.0 / (1.0 + power)) * ops.expand_dims(
        scale ** (-2.0 / (1.0 + power)), -1
    )
    weights = b / norms * factor
    return ops.where(present, weights, ops.zeros_like(weights)), residual
