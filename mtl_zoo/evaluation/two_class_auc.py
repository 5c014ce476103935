"""How often a positive sample scores above a negative one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

BINS = 4096
# Logits this many times closer to 0 spread over the bins, for rare classes too.
TEMPERATURE = 4.0


@keras.saving.register_keras_serializable(package="mtl_zoo")
class TwoClassAUC(keras.metrics.AUC):
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
        super().__init__(num_thresholds=BINS + 1, name=name, **kwargs)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = ops.cast(y_pred, "float32")
        place = ops.sigmoid((y_pred[:, 1] - y_pred[:, 0]) / TEMPERATURE)
        super().update_state(y_true, place, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return keras.metrics.Metric.get_config(self)
