"""How well numbers go with the true ones along a line."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Pearson(keras.metrics.Metric):
    """Pearson's correlation of numbers with the true ones, over all samples.

    For `heads.Regression` of one number and for `heads.Rating`, whose number is the
    mean of its steps; which number the lowest step has makes no difference.

    Means and second moments are kept up to date batch by batch (Chan et al., 1979), so
    that nothing is lost where the numbers are far from 0.

    Call arguments:
        y_true: Numbers `(batch,)` or `(batch, 1)`.
        y_pred: Numbers `(batch,)` or `(batch, 1)`; or the logits of steps, `(batch,
            steps)`.
        sample_weight: Optional `(batch,)`.
    """

    direction = "up"

    def __init__(self, name: str = "pearson", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.count = self.add_variable((), initializer="zeros", name="count")
        self.means = self.add_variable((2,), initializer="zeros", name="means")
        self.moments = self.add_variable((2, 2), initializer="zeros", name="moments")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        found = ops.cast(y_pred, "float32")
        if len(found.shape) == 2 and found.shape[-1] > 1:
            steps = ops.arange(found.shape[-1], dtype="float32")
            found = ops.sum(ops.softmax(found, axis=-1) * steps, axis=-1)
        found = ops.reshape(found, (-1,))
        truth = ops.reshape(ops.cast(y_true, "float32"), (-1,))
        weight = ops.ones_like(found)
        if sample_weight is not None:
            weight = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        pairs = ops.stack([truth, found], axis=-1)
        weight = ops.expand_dims(weight, -1)
        pairs = ops.where(weight > 0, pairs, 0.0)  # an absent label may be anything
        count = ops.sum(weight)
        means = ops.sum(weight * pairs, axis=0) / ops.maximum(count, 1e-9)
        away = pairs - means
        moments = ops.matmul(ops.transpose(weight * away), away)
        total = ops.maximum(self.count + count, 1e-9)
        apart = ops.expand_dims(means - self.means, -1)
        between = ops.matmul(apart, ops.transpose(apart)) * self.count * count / total
        self.moments.assign(self.moments + moments + between)
        self.means.assign(self.means + apart[:, 0] * count / total)
        self.count.assign(self.count + count)

    def result(self) -> Any:
        """Return the correlation, 0 where one of the two does not vary."""
        both = self.moments[0, 0] * self.moments[1, 1]
        return ops.where(
            both > 0, self.moments[0, 1] / ops.sqrt(ops.where(both > 0, both, 1.0)), 0.0
        )
