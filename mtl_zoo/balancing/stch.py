"""STCH: a smooth maximum of the losses, each relative to where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing, now
from mtl_zoo.balancing.gls import SMALLEST


def smooth_maximum(values: Any, active: Any, smoothness: float) -> Any:
    """Return `smoothness * log(sum(exp(values / smoothness)))` over active ones."""
    values = ops.where(active, values, ops.min(values))
    top = ops.max(values)
    terms = ops.exp((values - top) / smoothness) * ops.cast(active, values.dtype)
    total = ops.maximum(ops.sum(terms), SMALLEST)
    return top + smoothness * ops.log(total)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class STCH(LossBalancing):
    """Train on the smooth Tchebycheff scalarisation of the losses.

    `T mu log(sum_k exp(x_k / mu))`, a smooth form of the largest `x_k` (Lin et al.,
    2024, equation 12). Losses have different units, so `x_k = log(L_k / N_k)` with
    `N_k` the mean loss at the end of a warm-up, in which the sum of `log L_k` is
    trained. Losses must be positive.

    Args:
        mu: Smoothness, above 0: towards 0 the worst task alone counts. Defaults to
            `1.0`.
        warm_up: Steps of the warm-up. `N_k` is the mean over the last quarter. Defaults
            to `400`.

    Raises:
        ValueError: When `mu` is not above 0, or the warm-up shorter than 4 steps.

    Reference:
        - [Lin et al., 2024](https://arxiv.org/abs/2402.19078)
    """

    promises = ("same for any order", "same for any scale")

    def __init__(self, mu: float = 1.0, warm_up: int = 400, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not mu > 0 or warm_up < 4:
            raise ValueError(
                "Expected mu above 0 and a warm-up of at least 4 steps. Received: "
                f"mu={mu}, warm_up={warm_up}"
            )
        self.mu = mu
        self.warm_up = warm_up

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        self.step = self.add_state((), "step")
        self.sums = self.add_state((len(task_names),), "sums")
        self.counts = self.add_state((len(task_names),), "counts")

    def total(self, losses: Any, active: Any) -> Any:
        step = now(self.step)
        sums = now(self.sums)
        counts = now(self.counts)
        measured = ops.logical_and(step >= self.warm_up * 3 // 4, step < self.warm_up)
        here = ops.cast(ops.logical_and(active, measured), "float32")
        self.sums.assign(sums + ops.stop_gradient(losses) * here)
        self.counts.assign(counts + here)
        self.step.assign(step + 1)
        means = ops.where(counts > 0, sums / ops.maximum(counts, 1.0), 1.0)
        positive = ops.maximum(ops.where(active, losses, 1.0), SMALLEST)
        logs = ops.log(positive)
        warm = ops.sum(ops.where(active, logs, 0.0))
        relative = ops.log(positive / ops.maximum(means, SMALLEST))
        smooth = self.num_tasks * smooth_maximum(relative, active, self.mu)
        smooth = ops.where(ops.any(active), smooth, 0.0)
        return ops.where(step < self.warm_up, warm, smooth)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mu": self.mu, "warm_up": self.warm_up}
