"""Every weight on its own: what weight decay amounts to."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.priors.prior import Prior


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Normal(Prior):
    """Independent normal weights of mean 0 and one variance: L2 regularisation.

    Args:
        variance: Of each weight. Defaults to `1.0`.

    Raises:
        ValueError: When `variance` is not positive.
    """

    def __init__(self, variance: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not variance > 0:
            raise ValueError(f"`variance` must be positive. Received: {variance}")
        self.variance = variance

    def call(self, weights: Any) -> Any:
        return ops.sum(ops.square(weights)) / (2.0 * self.variance)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "variance": self.variance}
