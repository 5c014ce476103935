"""Weights that share an improvement fairly: Nash's bargaining and its relatives."""

from __future__ import annotations

from typing import Any

from keras import ops

from mtl_zoo.balancing.solvers.normalised import normalised

STEPS = 60


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

    def product(b: Any) -> Any:
        return ops.squeeze(ops.matmul(matrix, ops.expand_dims(b, -1)), -1)

    def gap(b: Any) -> Any:
        off = ops.abs(product(b) * b**power / pull - 1.0)
        return ops.max(ops.where(present, off, ops.zeros_like(off)), axis=-1)

    def value(b: Any) -> Any:
        if power == 1.0:
            gain = ops.log(b)
        else:
            gain = b ** (1.0 - power) / (1.0 - power)
        return ops.sum(b * product(b) / 2.0 - pull * gain, axis=-1)

    def unfinished(step: Any, b: Any) -> Any:
        return ops.logical_and(step < STEPS, ops.any(gap(b) > 1e-9))

    def newton(step: Any, b: Any) -> tuple[Any, Any]:
        slope = product(b) - pull * b**-power
        bend = power * pull * b ** (-power - 1.0)
        hessian = matrix + ops.expand_dims(bend, -1) * unit
        move = -ops.squeeze(ops.solve(hessian, ops.expand_dims(slope, -1)), -1)
        shrink = ops.max(-move / b, axis=-1, keepdims=True)
        far = 0.9 / ops.maximum(shrink, 0.9)
        # The lengths that are tried, all at once; the best is taken.
        lengths = ops.stack([far * 0.5**k for k in range(4)], axis=0)
        tried = ops.expand_dims(b, 0) + lengths * ops.expand_dims(move, 0)
        values = ops.stack([value(tried[k]) for k in range(4)], axis=-1)
        best = ops.one_hot(ops.argmin(values, axis=-1), 4, dtype=b.dtype)
        share = ops.sum(
            best * ops.stack([lengths[k, ..., 0] for k in range(4)], -1), -1
        )
        return step + 1, b + ops.expand_dims(share, -1) * move

    start = pull ** (1.0 / (1.0 + power))
    _, b = ops.while_loop(unfinished, newton, (0, start))
    residual = gap(b)
    factor = middle ** (1.0 / (1.0 + power)) * ops.expand_dims(
        scale ** (-2.0 / (1.0 + power)), -1
    )
    weights = b / norms * factor
    return ops.where(present, weights, ops.zeros_like(weights)), residual
