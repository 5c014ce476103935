"""GradNorm: weights trained so that the tasks learn at one rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing, now


def gradnorm_slope(
    norms: Any, weights: Any, losses: Any, first_losses: Any, active: Any, alpha: float
) -> Any:
    """Return the derivative `(T,)` of GradNorm's objective by the weights.

    The objective is the sum of `|w_k n_k - target_k|` over the active tasks, in units
    of the mean of `w_k n_k`, with the targets held fixed.
    """
    here = ops.cast(active, norms.dtype)
    count = ops.maximum(ops.sum(here), 1.0)
    lengths = weights * norms * here
    mean = ops.sum(lengths) / count
    ratio = losses / ops.where(first_losses > 0, first_losses, 1.0)
    mean_ratio = ops.sum(ratio * here) / count
    rate = ratio / ops.where(mean_ratio > 0, mean_ratio, 1.0)
    target = mean * ops.maximum(rate, 1e-12) ** alpha
    slope = norms * ops.sign(lengths - target) / ops.where(mean > 0, mean, 1.0)
    return slope * here


@keras.saving.register_keras_serializable(package="mtl_zoo")
class GradNorm(GradientBalancing):
    """Train the weights so that slow tasks get longer gradients.

    The objective (Chen et al., 2018, equation 2) wants `w_k |g_k|` to be the mean of
    them times the task's relative inverse training rate to the power `alpha`, that is
    its loss relative to the first one, over the mean of these. Its gradient needs no
    second derivative: the length of `w_k g_k` is `w_k` times that of `g_k`. The
    weights are `T` times a softmax, and so positive and of sum `T`; the objective is
    taken in units of the mean length, so that the rate does not depend on the scale of
    the losses. Heads learn from their own, unweighted loss.

    Args:
        alpha: Strength, at least 0. Defaults to `1.5`.
        learning_rate: Of the logits of the weights. Defaults to `0.025`.
        level: See `GradientBalancing`; the paper's is `"last"`.

    Reference:
        - [Chen et al., 2018](https://arxiv.org/abs/1711.02257)
    """

    promises = ("same for any order", "plain for one task")

    def __init__(
        self,
        alpha: float = 1.5,
        learning_rate: float = 0.025,
        level: str = "last",
        **kwargs: Any,
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.alpha = alpha
        self.learning_rate = learning_rate

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        self.logits = self.add_state((len(task_names),), "logits")
        self.first_losses = self.add_state((len(task_names),), "first_losses")

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        first = now(self.first_losses)
        first = ops.where(ops.logical_and(active, first <= 0), losses, first)
        self.first_losses.assign(first)
        logits = now(self.logits)
        share = ops.exp(logits - ops.max(logits))
        share = share / ops.sum(share)
        weights = self.num_tasks * share
        norms = ops.sqrt(ops.maximum(ops.diagonal(gramian), 0.0))
        slope = gradnorm_slope(norms, weights, losses, first, active, self.alpha)
        # Through the softmax: dw_j / dlogit_k = w_j (1[j = k] - share_k).
        slope = weights * slope - share * ops.sum(weights * slope)
        self.logits.assign(logits - self.learning_rate * slope)
        return weights * ops.cast(active, weights.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
        }
