"""Boxes as every data set here gives them: `xyxy` in pixels, padded with -1."""

import tensorflow as tf

__all__ = ["pad_boxes", "visible_share"]


def pad_boxes(
    boxes: tf.Tensor, labels: tf.Tensor, max_boxes: int
) -> dict[str, tf.Tensor]:
    """Pads boxes and labels to a fixed number with -1.

    Args:
        boxes: `(n, 4)` with `n <= max_boxes`.
        labels: `(n,)` class numbers.
        max_boxes: Number of rows of the result.

    Returns:
        `{"boxes": (max_boxes, 4) float32, "labels": (max_boxes,) int32}`.

    Example:
        >>> pad_boxes([[0., 0., 2., 3.]], [5], max_boxes=2)["labels"].numpy().tolist()
        [5, -1]
    """
    boxes = tf.cast(boxes, tf.float32)
    missing = max_boxes - tf.shape(boxes)[0]
    padded = tf.pad(boxes, [[0, missing], [0, 0]], constant_values=-1.0)
    labels = tf.pad(tf.cast(labels, tf.int32), [[0, missing]], constant_values=-1)
    return {
        "boxes": tf.ensure_shape(padded, (max_boxes, 4)),
        "labels": tf.ensure_shape(labels, (max_boxes,)),
    }


def visible_share(boxes: tf.Tensor, height: float, width: float) -> tf.Tensor:
    """Share of each box that lies inside an image, `(..., 4) -> (...)`, in 0..1."""
    limits = tf.cast(tf.stack([width, height, width, height]), boxes.dtype)
    clipped = tf.clip_by_value(boxes, 0.0, limits)
    return tf.math.divide_no_nan(_area(clipped), _area(boxes))


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
