"""Uncertainty weighting: losses weighed by learned noise levels of the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing


@keras.saving.register_keras_serializable(package="mtl_zoo")
class UncertaintyWeighting(LossBalancing):
    """Learn the noise `sigma` of each task, and weigh its loss by the precision.

    With `s = log sigma^2`, trained with the model, the total is the sum of
    `exp(-s) L + s / 2` over classification tasks (Kendall et al., 2018, equation 10)
    and of `exp(-s) L / 2 + s / 2` over regression tasks with squared errors (equation
    7). A task that is absent from the batch adds nothing, its `s` included. The
    optimizer moves `s` like all variables, without weight decay.

    Args:
        regression: Names of the tasks with the second form. Defaults to none.
        initial: `s` at the start. Defaults to `0.0`: weights of 1, or 1/2.

    Raises:
        ValueError: In `build`, when a name is no task of the model.

    Reference:
        - [Kendall et al., 2018](https://arxiv.org/abs/1705.07115)
    """

    promises = ("same for any order",)

    def __init__(
        self, regression: Sequence[str] = (), initial: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.regression = tuple(regression)
        self.initial = initial

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        unknown = set(self.regression) - set(task_names)
        if unknown:
            raise ValueError(
                f"`regression` names tasks among {list(task_names)}. Received: "
                f"{sorted(unknown)}"
            )
        self.log_variances = self.add_weight(
            shape=(len(task_names),),
            initializer=keras.initializers.Constant(self.initial),
            dtype="float32",
            name="log_variances",
        )

    def total(self, losses: Any, active: Any) -> Any:
        half = ops.convert_to_tensor(
            [0.5 if name in self.regression else 1.0 for name in self.task_names],
            losses.dtype,
        )
        s = ops.convert_to_tensor(self.log_variances)
        terms = half * ops.exp(-s) * losses + s / 2.0
        return ops.sum(ops.where(active, terms, ops.zeros_like(terms)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "regression": list(self.regression),
            "initial": self.initial,
        }
