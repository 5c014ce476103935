"""The loss of ratings on a scale."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Ratings(keras.losses.Loss):
    """Divergence of a scale's probabilities from those of a rating.

    For `heads.Rating`. A rating `y` stands for the probabilities `p_k = max(0, 1 -
    |y - k|)` of the steps `k`, whose mean it is; the loss is `KL(p || softmax(logits))`
    (Tai et al., 2015, section 4.2).

    Args:
        lowest: The lowest step, as of the head.

    Call arguments:
        y_true: Ratings `(batch,)`. What is beyond the scale counts as its end.
        y_pred: Logits of the steps, `(batch, steps)`.

    Returns:
        One value a sample, float32 `(batch,)`.

    Example:
        >>> loss = Ratings(lowest=1)
        >>> [round(float(x), 4) for x in loss.call(ops.array([1.5]), ops.zeros((1, 2)))]
        [0.0]

    Reference:
        - [Tai et al., 2015](https://arxiv.org/abs/1503.00075)
    """

    def __init__(self, lowest: int, name: str = "ratings", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.lowest = lowest

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logits = ops.cast(y_pred, "float32")
        steps = logits.shape[-1]
        place = ops.cast(y_true, "float32") - self.lowest
        place = ops.expand_dims(ops.clip(place, 0.0, steps - 1.0), -1)
        away = ops.abs(place - ops.arange(steps, dtype="float32"))
        chances = ops.maximum(1.0 - away, 0.0)
        apart = ops.log(ops.maximum(chances, 1e-9)) - ops.log_softmax(logits, axis=-1)
        return ops.sum(chances * apart, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "lowest": self.lowest}
