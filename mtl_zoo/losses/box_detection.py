"""The loss of anchor-free detection: quality focal loss and generalized IoU."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.losses.box_assignment import assign_boxes
from mtl_zoo.losses.generalized_iou import overlap
from mtl_zoo.losses.quality_focal import quality_focal


@keras.saving.register_keras_serializable(package="mtl_zoo")
class BoxDetection(keras.losses.Loss):
    """Trains `heads.Detection`: which cell holds which class, and the boxes.

        loss = sum over cells and classes of QFL(y, logit)
             + box_weight * sum over positive cells of (1 - GIoU)

    A cell is positive when `assign_boxes` gave it a box. Its target `y` is then, for
    the class of that box, the IoU of the box that the cell predicts now (a constant for
    the gradient); all other `y` are 0. So the score learns to say how good the box is,
    which is what non-maximum suppression and a threshold need.

    Both sums run over the same cells and are to be divided by `count`, the number of
    positive cells, as in both papers. So neither the number of objects nor their size,
    which decides how many of the up to nine cells of a box lie inside it, moves the
    balance of the two terms or the size of the loss. An image without a box has its
    negatives in the sum and adds nothing to the count.

    Args:
        strides: Strides of the head's levels, finest first. Defaults to
            `(4, 8, 16, 32)`.
        level_sizes: For each level but the last, the size `sqrt(width * height)` in
            pixels that its boxes stay below. Defaults to `8 * stride`:
            `(32, 64, 128)`; the last level takes all larger boxes.
        box_weight: Weight of the second term. Defaults to `2.0`.
        beta: Exponent of the quality focal loss. Defaults to `2.0`.

    Call arguments:
        y_true: Dict of `"boxes"`, float `(batch, M, 4)`, xyxy in pixels, and
            `"labels"`, integer `(batch, M)`, -1 where there is no box.
        y_pred: Raw output of `heads.Detection`, float
            `(batch, locations, num_classes + 7)`.

    Returns:
        `call` and `count` give float32 `(batch,)`, one value an image; a multi-task
        model divides the sum of the one by that of the other.

    Raises:
        ValueError: If there is not one size for each level but the last.

    Differences from the papers:
        From FCOS: centre sampling in 3 x 3 cells, with the cell of the centre always
        taken (objects smaller than a cell), and levels chosen by the box, not by each
        cell's distances. From Generalized Focal Loss: the box term is not weighted with
        the score.

    Reference:
        - [Tian et al., FCOS, 2019](https://arxiv.org/abs/1904.01355)
        - [Li et al., Generalized Focal Loss, 2020](https://arxiv.org/abs/2006.04388)
        - [Rezatofighi et al., 2019](https://arxiv.org/abs/1902.09630)
    """

    def __init__(
        self,
        strides: Sequence[int] = (4, 8, 16, 32),
        level_sizes: Sequence[float] | None = None,
        box_weight: float = 2.0,
        beta: float = 2.0,
        name: str = "box_detection",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if level_sizes is None:
            level_sizes = [8.0 * stride for stride in strides[:-1]]
        if len(level_sizes) != len(strides) - 1:
            raise ValueError(
                "Expected one size for each level but the last, which is unbounded. "
                f"Received: strides={tuple(strides)}, level_sizes={tuple(level_sizes)}"
            )
        self.strides = tuple(strides)
        self.level_sizes = tuple(level_sizes)
        self.box_weight = box_weight
        self.beta = beta

    def call(self, y_true: dict[str, Any], y_pred: Any) -> Any:
        """Returns the loss of each image, a sum over its cells, `(batch,)`."""
        y_pred = ops.cast(y_pred, "float32")
        logits, predicted = y_pred[..., :-7], y_pred[..., -7:-3]
        owner = self._assign(y_true, y_pred)
        positive = ops.cast(owner >= 0, "float32")  # (batch, locations)
        owner = ops.maximum(owner, 0)
        labels = ops.cast(y_true["labels"], "int32")
        labels = ops.take_along_axis(labels, owner, axis=1)
        boxes = ops.cast(y_true["boxes"], "float32")
        boxes = ops.take_along_axis(boxes, owner[..., None], axis=1)

        iou, generalized_iou = overlap(boxes, predicted)
        quality = ops.one_hot(labels, logits.shape[-1]) * (positive * iou)[..., None]
        classes = ops.sum(quality_focal(quality, logits, self.beta), axis=(1, 2))
        regression = ops.sum(positive * (1.0 - generalized_iou), axis=1)
        return classes + self.box_weight * regression

    def count(self, y_true: dict[str, Any], y_pred: Any) -> Any:
        """Returns the number of positive cells of each image, `(batch,)`."""
        owner = self._assign(y_true, y_pred)
        return ops.sum(ops.cast(owner >= 0, "float32"), axis=1)

    def _assign(self, y_true: dict[str, Any], y_pred: Any) -> Any:
        location = ops.stop_gradient(ops.cast(y_pred[0, :, -3:], "float32"))
        return assign_boxes(
            y_true["boxes"],
            ops.cast(y_true["labels"], "int32"),
            location,
            self.strides,
            self.level_sizes,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "strides": self.strides,
            "level_sizes": self.level_sizes,
            "box_weight": self.box_weight,
            "beta": self.beta,
        }
