"""GradVac: gradients turned towards each other, up to the cosine that is usual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing, now
from mtl_zoo.balancing.pcgrad import random_order


def gradvac_weights(
    gramian: Any, targets: Any, order: Any, active: Any, beta: float
) -> tuple[Any, Any]:
    """Return the weights `(T,)`, and the targets `(T, T)` behind the step.

    Args:
        gramian: `(T, T)`.
        targets: `(T, T)`, in -1 to 1.
        order: `(T, T)` int32; see `pcgrad_weights`.
        active: `(T,)` bool.
        beta: Of the moving average.
    """
    size = gramian.shape[-1]
    dtype = gramian.dtype
    norms = ops.sqrt(ops.diagonal(gramian))
    present = ops.logical_and(active, norms > 0)
    safe = ops.where(norms > 0, norms, ops.ones_like(norms))

    def meet(turn: Any, parts: Any, targets: Any) -> tuple[Any, Any, Any]:
        other = ops.take(order, turn, axis=1)
        met = ops.one_hot(other, size, dtype=dtype)
        product = ops.matmul(parts, gramian)
        length = ops.sqrt(ops.maximum(ops.sum(product * parts, axis=1), 0.0))
        longer = ops.where(length > 0, length, ops.ones_like(length))
        cosine = ops.sum(product * met, axis=1) / longer / ops.take(safe, other)
        cosine = ops.clip(cosine, -1.0, 1.0)
        wanted = ops.sum(targets * met, axis=1)
        is_other = ops.not_equal(other, ops.arange(size, dtype=other.dtype))
        usable = is_other & present & ops.take(present, other)
        room = ops.sqrt(ops.maximum(1.0 - wanted**2, 1e-12))
        turned = wanted * ops.sqrt(1.0 - cosine**2) - cosine * room
        added = length * turned / room / ops.take(safe, other)
        added = ops.where(usable & (cosine < wanted), added, ops.zeros_like(added))
        moved = ops.expand_dims(beta * (cosine - wanted), 1) * met
        moved = ops.where(ops.expand_dims(usable, 1), moved, ops.zeros_like(moved))
        return turn + 1, parts + ops.expand_dims(added, 1) * met, targets + moved

    _, parts, targets = ops.while_loop(
        lambda turn, parts, targets: turn < size,
        meet,
        (0, ops.eye(size, dtype=dtype), targets),
        maximum_iterations=size,
    )
    return ops.sum(parts, axis=0) * ops.cast(active, dtype), targets


@keras.saving.register_keras_serializable(package="mtl_zoo")
class GradVac(GradientBalancing):
    """Turn each gradient towards the others until their cosine is the usual one.

    The usual cosine of a pair is a moving average over the steps. A gradient that is
    less aligned with another one than that gets as much of it added as makes them so
    (Wang et al., 2021, equations 2 and 3), where PCGrad only mends cosines below 0.
    Pairs of which one is absent keep their average.

    Args:
        beta: Share of the newest cosine in the average. Defaults to `0.5`; the paper
            has 0.01, on batches of which each is of one language.
        seed: Of the orders in which gradients meet. Defaults to `None`: from Keras's
            global seed.
        level: See `GradientBalancing`.

    Reference:
        - [Wang et al., 2021](https://arxiv.org/abs/2010.05874)
    """

    promises = ("plain for one task",)

    def __init__(
        self,
        beta: float = 0.5,
        seed: int | None = None,
        level: str = "last",
        **kwargs: Any,
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.beta = beta
        self.draw_from(seed)

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        size = len(task_names)
        self.targets = self.add_state((size, size), "targets")

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        weights, targets = gradvac_weights(
            gramian,
            now(self.targets),
            random_order(self.num_tasks, self.draws),
            active,
            self.beta,
        )
        self.targets.assign(targets)
        return weights

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}
