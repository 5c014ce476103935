"""How well the best box covers the object, for images of one object."""

from typing import Any

import keras
from keras import ops

from mtl_zoo.evaluation.box_f1 import is_box


@keras.saving.register_keras_serializable(package="mtl_zoo")
class MeanBoxIoU(keras.metrics.Mean):
    """IoU of the best-scoring box with the true one, averaged over the images.

    For localisation, with one object in an image. The best-scoring box is taken
    whatever its score and class; with several true boxes, the one it overlaps most
    counts. Images without a box are left out.

    Args:
        name: Defaults to `"box_iou"`.
        **kwargs: See `keras.metrics.Mean`.

    Call arguments:
        y_true: Dict of `"boxes"` `(batch, M, 4)`, xyxy in pixels, and `"labels"`
            `(batch, M)`, -1 where there is no box.
        y_pred: Raw output of `heads.Detection`, `(batch, locations, num_classes + 7)`.
        sample_weight: `(batch,)`; 0 leaves an image out. Defaults to ones.

    Example:
        >>> cell = [5.0, 0.0, 0.0, 30.0, 20.0, 62.0, 62.0, 4.0]  # logit, box, cell
        >>> box = [0.0, 0.0, 40.0, 20.0]
        >>> metric = MeanBoxIoU()
        >>> metric.update_state(
        ...     {"boxes": ops.array([[box]]), "labels": ops.array([[0]])},
        ...     ops.array([[cell]]),
        ... )
        >>> print(f"{float(metric.result()):.2f}")
        0.75
    """

    direction = "up"

    def __init__(self, name: str = "box_iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def update_state(
        self, y_true: dict[str, Any], y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Adds the overlap of each image's best box."""
        y_pred = ops.cast(y_pred, "float32")
        best = ops.argmax(ops.max(y_pred[..., :-7], axis=-1), axis=1)
        box = ops.take_along_axis(y_pred[..., -7:-3], best[:, None, None], axis=1)
        boxes = ops.cast(y_true["boxes"], "float32")
        iou = keras.utils.bounding_boxes.compute_iou(box, boxes, "xyxy")[:, 0]
        present = ops.cast(is_box(boxes, y_true["labels"]), "float32")  # (batch, M)
        weight = ops.max(present, axis=1)
        if sample_weight is not None:
            weight = weight * ops.cast(sample_weight, "float32")
        super().update_state(ops.max(iou * present, axis=1), sample_weight=weight)
