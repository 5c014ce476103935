"""How often a positive sample scores above a negative one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

BINS = 4096
# Logits this many times closer to 0 spread over the bins, for rare classes too.
TEMPERATURE = 4.0


@keras.saving.register_keras_serializable(package="mtl_zoo")
class TwoClassAUC(keras.metrics.Metric):
    """Area under the ROC curve, of the logits of two classes.

    The probability that a sample of class 1 scores above one of class 0, ties counting
    half (Mann and Whitney). Scores are differences of logits, counted in 4096 bins of
    `sigmoid(score / 4)`; scores within one bin are ties.

    Call arguments:
        y_true: 0 or 1, `(batch,)`.
        y_pred: Logits `(batch, 2)`, as of `heads.Classification(2)`.
        sample_weight: Optional `(batch,)`.

    Example:
        >>> metric = TwoClassAUC()
        >>> metric.update_state([0, 1, 1], [[0.0, 1.0], [0.0, 0.5], [0.0, 2.0]])
        >>> float(metric.result())
        0.5

    Reference:
        - [Hanley and McNeil, 1982](https://doi.org/10.1148/radiology.143.1.7063747)
    """

    direction = "up"

    def __init__(self, name: str = "auc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        zeros = {"shape": (BINS,), "initializer": "zeros"}
        self.positive = self.add_variable(name="positive", **zeros)
        self.negative = self.add_variable(name="negative", **zeros)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = ops.cast(y_pred, "float32")
        place = ops.sigmoid((y_pred[:, 1] - y_pred[:, 0]) / TEMPERATURE)
        bins = ops.cast(ops.minimum(place * BINS, BINS - 1), "int32")
        truth = ops.cast(y_true, "float32")
        weight = ops.ones_like(truth)
        if sample_weight is not None:
            weight = ops.cast(sample_weight, "float32")
        for counts, values in (
            (self.positive, weight * truth),
            (self.negative, weight * (1.0 - truth)),
        ):
            counts.assign_add(ops.segment_sum(values, bins, num_segments=BINS))

    def result(self) -> Any:
        """Return the area, 0 without a sample of either class."""
        below = ops.cumsum(self.negative) - self.negative / 2.0
        pairs = ops.sum(self.positive) * ops.sum(self.negative)
        area = ops.sum(self.positive * below) / ops.where(pairs > 0, pairs, 1.0)
        return ops.where(pairs > 0, area, 0.0)
