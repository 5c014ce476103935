"""PCGrad: from each gradient, what is against another one is taken out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing


def pcgrad_weights(gramian: Any, order: Any) -> Any:
    """Return the weights `(T,)` of the sum of the projected gradients.

    Args:
        gramian: `(T, T)`.
        order: `(T, T)` int32; row `k` is the order in which gradient `k` meets all. It
            passes itself by: what is left of it may be against what it was.

    Returns:
        `(T,)`.
    """
    size = gramian.shape[-1]
    diagonal = ops.diagonal(gramian)
    safe = ops.where(diagonal > 0, diagonal, ops.ones_like(diagonal))

    def meet(turn: Any, parts: Any) -> tuple[Any, Any]:
        """Row k of `parts` says what projected gradient k is made of."""
        other = ops.take(order, turn, axis=1)
        met = ops.one_hot(other, size, dtype=gramian.dtype)
        product = ops.sum(ops.matmul(parts, gramian) * met, axis=1)
        itself = ops.equal(other, ops.arange(size, dtype=other.dtype))
        against = ops.minimum(ops.where(itself, 0.0, product), 0.0)
        taken = against / ops.take(safe, other)
        return turn + 1, parts - ops.expand_dims(taken, 1) * met

    _, parts = ops.while_loop(
        lambda turn, parts: turn < size,
        meet,
        (0, ops.eye(size, dtype=gramian.dtype)),
        maximum_iterations=size,
    )
    return ops.sum(parts, axis=0)


def random_order(size: int, seed: keras.random.SeedGenerator) -> Any:
    """Return `(size, size)` int32, a random order of all tasks in each row."""
    return ops.argsort(keras.random.uniform((size, size), seed=seed), axis=1)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class PCGrad(GradientBalancing):
    """Project each gradient onto the normal plane of those it conflicts with, and sum.

    Every gradient meets the others in a random order, and loses its component along
    each that it has a negative inner product with (Yu et al., 2020, algorithm 1). For
    two tasks no one gets worse; for more, a projection may undo an earlier one.

    Args:
        seed: Of the orders. Defaults to `None`: from Keras's global seed.
        level: See `GradientBalancing`.

    Reference:
        - [Yu et al., 2020](https://arxiv.org/abs/2001.06782)
    """

    promises = ("plain for one task",)

    def __init__(
        self, seed: int | None = None, level: str = "last", **kwargs: Any
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.draw_from(seed)

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        # The row of an absent task is zero: nothing conflicts with it.
        weights = pcgrad_weights(gramian, random_order(self.num_tasks, self.draws))
        return weights * ops.cast(active, weights.dtype)
