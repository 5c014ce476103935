"""The mean over classes of their F1."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtl_zoo")
class MacroF1(keras.metrics.Metric):
    """Unweighted mean over classes of `2 TP / (2 TP + FP + FN)`.

    Classes that are neither in the labels nor among the predictions do not count, as
    in scikit-learn's `f1_score(average="macro")`.

    Args:
        num_classes: Number of classes.

    Call arguments:
        y_true: Class numbers, int `(batch,)`.
        y_pred: Scores, `(batch, num_classes)`; the highest is the prediction.
        sample_weight: Optional `(batch,)`.
    """

    direction = "up"

    def __init__(self, num_classes: int, name: str = "macro_f1", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        shape = (num_classes, num_classes)
        self.confusion = self.add_variable(shape, initializer="zeros", name="confusion")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        truth = ops.one_hot(ops.cast(y_true, "int32"), self.num_classes)
        found = ops.one_hot(ops.argmax(y_pred, axis=-1), self.num_classes)
        if sample_weight is not None:
            truth = truth * ops.expand_dims(ops.cast(sample_weight, "float32"), -1)
        self.confusion.assign_add(ops.matmul(ops.transpose(truth), found))

    def result(self) -> Any:
        """Return the macro F1, 0 without any sample."""
        hits = ops.diagonal(self.confusion)
        both = ops.sum(self.confusion, axis=0) + ops.sum(self.confusion, axis=1)
        present = ops.cast(both > 0, "float32")
        scores = 2.0 * hits / ops.where(both > 0, both, 1.0)
        return ops.sum(scores) / ops.maximum(ops.sum(present), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}
