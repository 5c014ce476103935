"""RLW: random weights at every step."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing


@keras.saving.register_keras_serializable(package="mtl_zoo")
class RLW(LossBalancing):
    """Draw the weights anew at each step: the softmax of normal numbers.

    Over the tasks that are in the batch; of sum 1 (Lin et al., 2022, section 3.1, with
    their standard normal distribution). A baseline that methods have to beat.

    Args:
        seed: Of the draws. Defaults to `None`: from Keras's global seed.

    Reference:
        - [Lin et al., 2022](https://arxiv.org/abs/2111.10603)
    """

    promises = ("plain for one task",)

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.draw_from(seed)

    def task_weights(self, losses: Any, active: Any) -> Any:
        drawn = keras.random.normal(losses.shape, seed=self.draws, dtype=losses.dtype)
        exponent = ops.exp(drawn) * ops.cast(active, losses.dtype)
        return exponent / ops.maximum(ops.sum(exponent), 1e-12)
