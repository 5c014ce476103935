"""Intersection over union of one class, pooled over all pixels."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="mtl_zoo")
class ForegroundIoU(keras.metrics.IoU):
    """IoU of the foreground of a two-class segmentation, from logits.

    `keras.metrics.IoU` with what two-class maps need filled in, counting in float32 so
    that fractional pixel weights are not rounded.

    Args:
        name: Defaults to `"foreground_iou"`.
        **kwargs: See `keras.metrics.Metric`.

    Call arguments:
        y_true: int `(batch, height, width)`, 1 is foreground.
        y_pred: logits `(batch, height, width, 2)`.
        sample_weight: Pixel weights `(batch, height, width)`; 0 leaves a pixel out.

    Example:
        >>> metric = ForegroundIoU()
        >>> logits = keras.ops.one_hot(keras.ops.array([[[1, 1, 0]]]), 2)
        >>> _ = metric.update_state(keras.ops.array([[[1, 0, 0]]]), logits)
        >>> print(round(float(metric.result()), 4))
        0.5
    """

    direction = "up"

    def __init__(self, name: str = "foreground_iou", **kwargs: Any) -> None:
        super().__init__(
            num_classes=2,
            target_class_ids=[1],
            sparse_y_pred=False,
            name=name,
            **{"dtype": "float32", **kwargs},
        )

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
