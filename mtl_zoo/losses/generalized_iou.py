"""Overlap of boxes, pair by pair, as functions that can be trained on."""

from typing import Any

from keras import ops


def overlap(boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """Returns the IoU and the generalized IoU of corresponding boxes.

        IoU  = |A & B| / |A | B|
        GIoU = IoU - (|C| - |A | B|) / |C|        (algorithm 1)

    where `C` is the smallest box around `A` and `B`. GIoU lies in [-1, 1] and has a
    gradient also where the boxes do not touch.

    `keras.utils.bounding_boxes` has the IoU of all pairs (`compute_iou`) and the
    complete IoU of corresponding boxes (`compute_ciou`), but not these two.

    Args:
        boxes1: Float `(..., 4)`, xyxy.
        boxes2: Float `(..., 4)`, xyxy.

    Returns:
        IoU and GIoU, `(...,)` each. Two boxes without area give 0 and 0.

    Example:
        >>> iou, giou = overlap(
        ...     ops.array([[0.0, 0.0, 2.0, 2.0]]), ops.array([[1.0, 0.0, 4.0, 2.0]])
        ... )
        >>> float(iou[0]), float(giou[0])  # 2 / 8, and C = A | B
        (0.25, 0.25)

    Reference:
        - [Rezatofighi et al., 2019](https://arxiv.org/abs/1902.09630)
    """
    upper1, lower1 = boxes1[..., :2], boxes1[..., 2:]
    upper2, lower2 = boxes2[..., :2], boxes2[..., 2:]
    intersection = _area(ops.maximum(upper1, upper2), ops.minimum(lower1, lower2))
    union = _area(upper1, lower1) + _area(upper2, lower2) - intersection
    around = _area(ops.minimum(upper1, upper2), ops.maximum(lower1, lower2))
    iou = ops.divide_no_nan(intersection, union)
    return iou, iou - ops.divide_no_nan(around - union, around)


def _area(upper_left: Any, lower_right: Any) -> Any:
    size = ops.relu(lower_right - upper_left)
    return size[..., 0] * size[..., 1]
