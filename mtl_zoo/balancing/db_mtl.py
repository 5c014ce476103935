"""DB-MTL: losses balanced by their logarithm, gradients by their length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing, now


@keras.saving.register_keras_serializable(package="mtl_zoo")
class DBMTL(GradientBalancing):
    """Sum moving averages of the gradients of `log L`, all as long as the longest.

    (Lin et al., 2023, algorithm 1.) At level `"params"` the `T` averages take the
    memory of as many models, and the update is the sum of them; at others only what is
    compared there is averaged, and its factors are given to the newest gradients. The
    average of an absent task stays, and adds nothing. Losses must be positive.

    Args:
        beta: Share of the average that is kept at the first step, 0 to below 1.
            Defaults to `0.9`.
        sigma: The share at step `t` is `beta / t ** sigma`. Defaults to `0.0`.
        level: See `GradientBalancing`.

    Reference:
        - [Lin et al., 2023](https://arxiv.org/abs/2308.12029)
    """

    whole_gradients = True
    promises = ("same for any order", "same for any scale")

    def __init__(
        self,
        beta: float = 0.9,
        sigma: float = 0.0,
        level: str = "last",
        **kwargs: Any,
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.beta = beta
        self.sigma = sigma

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        self.step = self.add_state((), "step")
        self.averages = self.add_state((len(task_names), gradient_size), "averages")

    def _averaged(
        self, gradients: Any, losses: Any, active: Any
    ) -> tuple[Any, Any, Any]:
        """Return averages of the gradients of `log L`, their factors, and `1 / L`."""
        step = now(self.step) + 1.0
        kept = self.beta / step**self.sigma
        inverse = 1.0 / (ops.where(active, losses, 1.0) + 1e-8)
        averages = now(self.averages)
        newest = gradients * ops.expand_dims(inverse, 1)
        moved = kept * averages + (1.0 - kept) * newest
        averages = ops.where(ops.expand_dims(active, 1), moved, averages)
        self.averages.assign(averages)
        self.step.assign(step)
        norms = ops.where(active, ops.sqrt(ops.sum(averages**2, axis=1)), 0.0)
        factors = ops.where(
            norms > 0, ops.max(norms) / ops.where(norms > 0, norms, 1.0), 0.0
        )
        return averages, factors, inverse

    def weights_from_gradients(self, gradients: Any, losses: Any, active: Any) -> Any:
        _, factors, inverse = self._averaged(gradients, losses, active)
        return factors * inverse

    def combine(self, gradients: Any, losses: Any, active: Any) -> tuple[Any, Any]:
        averages, factors, inverse = self._averaged(gradients, losses, active)
        return ops.matmul(factors, averages), factors * inverse

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "sigma": self.sigma}
