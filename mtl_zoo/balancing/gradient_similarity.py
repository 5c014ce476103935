"""Gradient similarity: auxiliary gradients only where they agree with the main one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing


def similarity_weights(gramian: Any, is_main: Any, active: Any, weighted: bool) -> Any:
    """Return the weights `(T,)`: 1 for main tasks, those of their cosines for others.

    Args:
        gramian: `(T, T)`.
        is_main: `(T,)` bool.
        active: `(T,)` bool.
        weighted: Whether an auxiliary gradient counts its cosine, or 1, above 0.
    """
    present = ops.cast(active, gramian.dtype)
    main = ops.cast(is_main, gramian.dtype) * present
    with_main = ops.matmul(gramian, ops.expand_dims(main, -1))[:, 0]
    length = ops.sqrt(ops.maximum(ops.sum(main * with_main), 0.0))
    lengths = ops.sqrt(ops.diagonal(gramian)) * length
    known = lengths > 0
    safe = ops.where(known, lengths, ops.ones_like(lengths))
    cosine = ops.clip(with_main / safe, -1.0, 1.0)
    if weighted:
        gate = ops.maximum(cosine, 0.0)
    else:
        gate = ops.cast(cosine >= 0, gramian.dtype)
    gate = ops.where(known, gate, ops.zeros_like(gate))
    return present * ops.where(is_main, ops.ones_like(gate), gate)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class GradientSimilarity(GradientBalancing):
    """Let an auxiliary gradient through only where it agrees with the main one.

    With `g` the sum of the main tasks' gradients and `g_k` that of auxiliary task `k`,
    the update is (Du et al., 2018)

        g + sum_k w_k g_k
        w_k = max(0, cos(g, g_k))            weighted, proposition 1
        w_k = 1 if cos(g, g_k) >= 0 else 0   unweighted

    so that, to first order, no step on the auxiliary tasks' behalf raises the sum of
    the main losses. Each head learns from its own loss whatever the cosine, as in the
    paper. In a batch without a main label nothing is known to agree, and the shared
    variables get no gradient.

    Args:
        auxiliary: Names of the tasks that are not to disturb the others, such as those
            of `role="auxiliary"`.
        weighted: Which of the two. Defaults to `False`.
        level: See `GradientBalancing`.

    Raises:
        ValueError: In `build`, when the model has no such task, or no other.

    Differences from the paper:
        Several main and auxiliary tasks; the paper has one of each. Its unweighted
        version, `(1 + sign(cos)) / 2`, gives a cosine of exactly 0 a half.

    Reference:
        - [Du et al., 2018](https://arxiv.org/abs/1812.02224)
    """

    promises = ("same for any order", "plain for one task")

    def __init__(
        self,
        auxiliary: Sequence[str],
        weighted: bool = False,
        level: str = "last",
        **kwargs: Any,
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.auxiliary = tuple(auxiliary)
        self.weighted = weighted

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        unknown = set(self.auxiliary) - set(task_names)
        if unknown or not set(task_names) - set(self.auxiliary):
            raise ValueError(
                f"Expected some, not all, of the tasks {list(task_names)} as auxiliary "
                f"ones. Received: auxiliary={list(self.auxiliary)}"
            )

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        is_main = ops.array([name not in self.auxiliary for name in self.task_names])
        return similarity_weights(gramian, is_main, active, self.weighted)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "auxiliary": self.auxiliary,
            "weighted": self.weighted,
        }
