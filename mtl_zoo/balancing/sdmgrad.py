"""SDMGrad: MGDA with a pull towards the mean gradient, solved a little at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing, now
from mtl_zoo.balancing.solvers import onto_simplex


def sdmgrad_descent(
    gramian: Any, weights: Any, active: Any, pull: float, steps: int
) -> Any:
    """Return `weights` after steps of projected gradient descent.

    On `|g_w + pull g_0|^2 / 2` over the simplex, `g_0` the mean gradient.

    Args:
        gramian: `(T, T)`.
        weights: `(T,)` at the start, on the simplex of the active tasks.
        active: `(T,)` bool.
        pull: The paper's lambda.
        steps: How many.
    """
    here = ops.cast(active, gramian.dtype)
    mean = here / ops.maximum(ops.sum(here), 1.0)
    # The trace bounds the largest eigenvalue: with this length every step descends.
    trace = ops.sum(ops.diagonal(gramian))
    matrix = gramian / ops.where(trace > 0, trace, ops.ones_like(trace))
    towards = pull * ops.matmul(matrix, mean)

    def step(turn: Any, weights: Any) -> tuple[Any, Any]:
        slope = ops.matmul(matrix, weights) + towards
        return turn + 1, onto_simplex(weights - slope, active)

    _, weights = ops.while_loop(
        lambda turn, weights: turn < steps, step, (0, weights), maximum_iterations=steps
    )
    return weights


@keras.saving.register_keras_serializable(package="mtl_zoo")
class SDMGrad(GradientBalancing):
    """Follow MGDA's weights by a few gradient steps each time, near the mean gradient.

    The weights stay on the simplex and go on from step to step; the update is
    `(g_w + pull g_0) / (1 + pull)` with the mean gradient `g_0` (Xiao et al., 2023,
    algorithm 1). The paper draws two further batches for each step of the weights, to
    keep their gradient free of bias; here, as in the authors' experiments in
    supervised learning, they are taken from the Gramian of the batch at hand, divided
    by its trace, so that the length of a step needs no tuning.

    Args:
        pull: The paper's lambda, at least 0. Defaults to `0.3`.
        steps: Of the weights, each time. Defaults to `20`.
        level: See `GradientBalancing`.

    Reference:
        - [Xiao et al., 2023](https://arxiv.org/abs/2305.18409)
    """

    promises = ("same for any order", "plain for one task")

    def __init__(
        self, pull: float = 0.3, steps: int = 20, level: str = "last", **kwargs: Any
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.pull = pull
        self.steps = steps

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        equal = keras.initializers.Constant(1.0 / len(task_names))
        self.followed = self.add_state((len(task_names),), "followed", equal)

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        followed = now(self.followed)
        start = onto_simplex(followed, active)
        weights = sdmgrad_descent(gramian, start, active, self.pull, self.steps)
        # Absent tasks keep their share of the whole.
        share = ops.sum(ops.where(active, followed, 0.0))
        self.followed.assign(ops.where(active, weights * share, followed))
        here = ops.cast(active, weights.dtype)
        mean = here / ops.maximum(ops.sum(here), 1.0)
        return (weights + self.pull * mean) / (1.0 + self.pull)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pull": self.pull, "steps": self.steps}
