"""The loss of ordered classes."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtl_zoo")
class OrderedClasses(keras.losses.Loss):
    """Negative log-likelihood of a class under cumulative logits, for `heads.Ordinal`.

    `P(k) = sigmoid(z_{k-1}) - sigmoid(z_k)` (McCullagh, 1980), computed as
    `log sigmoid(z_{k-1}) + log sigmoid(-z_k) + log(1 - exp(z_k - z_{k-1}))`, which
    stays exact where both are near 0 or 1.

    Call arguments:
        y_true: Class numbers, int `(batch,)`.
        y_pred: Cumulative logits `(batch, num_classes - 1)`, falling along each row.

    Returns:
        One value a sample, float32 `(batch,)`.
    """

    def __init__(self, name: str = "ordered_classes", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logits = ops.cast(y_pred, "float32")
        classes = logits.shape[-1] + 1
        number = ops.cast(y_true, "int32")
        # Beyond both ends the probability is 1: the terms there are 0.
        above = ops.log_sigmoid(logits)
        below = ops.log_sigmoid(-logits)
        inner = ops.log1p(-ops.exp(logits[:, 1:] - logits[:, :-1]))
        terms = (
            ops.pad(above, ((0, 0), (1, 0)))
            + ops.pad(below, ((0, 0), (0, 1)))
            + ops.pad(inner, ((0, 0), (1, 1)))
        )
        return -ops.sum(ops.one_hot(number, classes) * terms, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}
