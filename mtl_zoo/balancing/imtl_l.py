"""IMTL-L: losses brought to one scale by learned factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing


@keras.saving.register_keras_serializable(package="mtl_zoo")
class IMTLL(LossBalancing):
    """Learn factors `exp(s)` that bring all losses to one scale.

    The total is the sum of `exp(s) L - s`, smallest where `exp(s) L = 1` for every
    task (Liu et al., 2021, section 3.2); `s`, at first 0, is trained with the model,
    without weight decay. A task that is absent from the batch adds nothing.

    Reference:
        - [Liu et al., 2021](https://openreview.net/forum?id=IMPnRXEWpvr)
    """

    promises = ("same for any order",)

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        self.log_factors = self.add_weight(
            shape=(len(task_names),),
            initializer="zeros",
            dtype="float32",
            name="log_factors",
        )

    def total(self, losses: Any, active: Any) -> Any:
        s = ops.convert_to_tensor(self.log_factors)
        terms = ops.exp(s) * losses - s
        return ops.sum(ops.where(active, terms, ops.zeros_like(terms)))
