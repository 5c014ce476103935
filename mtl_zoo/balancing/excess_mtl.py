"""ExcessMTL: more weight to the tasks that are farther from their own optimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing, now


@keras.saving.register_keras_serializable(package="mtl_zoo")
class ExcessMTL(GradientBalancing):
    """Weigh tasks by their excess risk, which noise in the labels does not raise.

    A loss that stays high because its labels are noisy has little left to gain. What is
    left is estimated as `g' H^-1 g`, with the square root of the sum of the squared
    gradients so far for the diagonal of `H`; weights are multiplied by
    `exp(step_size * risk / first risk)` and made of sum `T` (He et al., 2024, algorithm
    1 and section 3.2). A task that is absent keeps its weight and adds nothing. Heads
    learn from their own, unweighted loss.

    Args:
        step_size: Defaults to `0.01`.
        level: See `GradientBalancing`. At `"params"` the sums take the memory of `T`
            models.

    Reference:
        - [He et al., 2024](https://arxiv.org/abs/2402.02009)
    """

    whole_gradients = True
    promises = ("same for any order", "plain for one task")

    def __init__(
        self, step_size: float = 0.01, level: str = "last", **kwargs: Any
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.step_size = step_size

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        size = len(task_names)
        self.squares = self.add_state((size, gradient_size), "squares")
        self.first_risks = self.add_state((size,), "first_risks")
        self.log_weights = self.add_state((size,), "log_weights")

    def weights_from_gradients(self, gradients: Any, losses: Any, active: Any) -> Any:
        squares = now(self.squares) + gradients**2
        self.squares.assign(squares)
        root = ops.sqrt(squares)
        terms = gradients**2 / ops.where(root > 0, root, 1.0)
        risks = ops.sum(terms, axis=1)
        first = now(self.first_risks)
        new = ops.logical_and(active, first <= 0)
        relative = risks / ops.where(first > 0, first, 1.0)
        moves = ops.logical_and(active, first > 0)
        logs = now(self.log_weights)
        logs = logs + ops.where(moves, self.step_size * relative, 0.0)
        logs = logs - ops.max(logs)
        self.first_risks.assign(ops.where(new, risks, first))
        self.log_weights.assign(logs)
        weights = ops.exp(logs)
        weights = self.num_tasks * weights / ops.sum(weights)
        return weights * ops.cast(active, weights.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "step_size": self.step_size}
