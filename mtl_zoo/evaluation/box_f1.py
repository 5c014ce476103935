"""F1 of detected boxes, in the graph."""

from typing import Any

import keras
from keras import ops

from mtl_zoo.heads import decode_boxes


@keras.saving.register_keras_serializable(package="mtl_zoo")
class BoxF1(keras.metrics.Metric):
    """F1 of the boxes of `heads.Detection`, pooled over all images.

        F1 = 2 TP / (detections + boxes)

    A detection is a true positive when `match_boxes` gives it a box. Counts are kept in
    bins of the score; since a detection can take a box only from worse ones, the counts
    above any threshold are those of the detections above it.

    Args:
        score_threshold: Detections have a higher score than this. Defaults to `None`:
            the F1 at the best threshold for the images seen, `best_threshold()`, which
            is a figure to choose a threshold by, on validation data. On test data, give
            that threshold.
        iou_threshold: Overlap of a match, at least this. Defaults to `0.5`.
        max_detections: As in the head. Defaults to `300`.
        nms_iou_threshold: The head's `iou_threshold`. Defaults to `0.5`.
        bins: How many thresholds are tried between 0 and 1. Defaults to `100`.

    Call arguments:
        y_true: Dict of `"boxes"` `(batch, M, 4)`, xyxy in pixels, and `"labels"`
            `(batch, M)`, -1 where there is no box.
        y_pred: Raw output of `heads.Detection`, `(batch, locations, num_classes + 7)`.
        sample_weight: `(batch,)`; 0 leaves an image out. Defaults to ones.

    Example:
        >>> cell = [5.0, 10.0, 10.0, 30.0, 30.0, 62.0, 62.0, 4.0]  # logit, box, cell
        >>> boxes = [[11.0, 10.0, 30.0, 30.0], [50.0, 50.0, 60.0, 60.0]]
        >>> metric = BoxF1(score_threshold=0.5)
        >>> metric.update_state(
        ...     {"boxes": ops.array([boxes]), "labels": ops.array([[0, 0]])},
        ...     ops.array([[cell]]),
        ... )
        >>> print(f"{float(metric.result()):.3f}")  # one of two found: 2 * 1 / (1 + 2)
        0.667
    """

    direction = "up"

    def __init__(
        self,
        score_threshold: float | None = None,
        iou_threshold: float = 0.5,
        max_detections: int = 300,
        nms_iou_threshold: float = 0.5,
        bins: int = 100,
        name: str = "box_f1",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        self.nms_iou_threshold = nms_iou_threshold
        self.bins = bins
        self.true_positives = self.add_variable(
            (bins,), initializer="zeros", name="true_positives"
        )
        self.detections = self.add_variable(
            (bins,), initializer="zeros", name="detections"
        )
        self.boxes = self.add_variable((), initializer="zeros", name="boxes")

    def update_state(
        self, y_true: dict[str, Any], y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Decodes the raw output and adds its matches."""
        detected = decode_boxes(
            y_pred,
            max_detections=self.max_detections,
            # Below the first bin nothing can be told apart, and nothing is worth it.
            score_threshold=(
                1.0 / self.bins
                if self.score_threshold is None
                else self.score_threshold
            ),
            iou_threshold=self.nms_iou_threshold,
        )
        owner = match_boxes(
            detected["boxes"],
            detected["labels"],
            y_true["boxes"],
            y_true["labels"],
            self.iou_threshold,
        )
        weight = ops.ones_like(owner[:, :1], dtype="float32")
        if sample_weight is not None:
            weight = weight * ops.cast(sample_weight, "float32")[:, None]
        scores = detected["scores"]  # (batch, D)
        scores_of_hits = ops.take_along_axis(scores, ops.maximum(owner, 0), axis=1)
        present = is_box(y_true["boxes"], y_true["labels"])

        self.detections.assign_add(self._histogram(scores, scores >= 0, weight))
        self.true_positives.assign_add(
            self._histogram(scores_of_hits, owner >= 0, weight)
        )
        self.boxes.assign_add(ops.sum(weight * ops.cast(present, "float32")))

    def _histogram(self, scores: Any, counted: Any, weight: Any) -> Any:
        """Returns the weight of the counted scores in each bin, `(bins,)`."""
        index = ops.cast(ops.floor(scores * self.bins), "int32")
        index = ops.clip(index, 0, self.bins - 1)
        weight = weight * ops.cast(counted, "float32")
        return ops.segment_sum(
            ops.reshape(weight, (-1,)), ops.reshape(index, (-1,)), self.bins
        )

    def _curve(self) -> Any:
        """Returns F1 with the detections of bin `i` and above, `(bins,)`."""

        def above(histogram: Any) -> Any:
            return ops.flip(ops.cumsum(ops.flip(histogram)))

        return ops.divide_no_nan(
            2.0 * above(self.true_positives), above(self.detections) + self.boxes
        )

    def result(self) -> Any:
        """Returns F1 at the given threshold, else at the best one."""
        curve = self._curve()
        return ops.max(curve) if self.score_threshold is None else curve[0]

    def best_threshold(self) -> Any:
        """Returns the score from which on detections give the highest F1, a scalar."""
        best = ops.maximum(ops.argmax(self._curve()), 1)
        return ops.cast(best, "float32") / self.bins

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "max_detections": self.max_detections,
            "nms_iou_threshold": self.nms_iou_threshold,
            "bins": self.bins,
        }


def is_box(boxes: Any, labels: Any) -> Any:
    """Returns which entries of padded boxes are boxes, bool `(batch, M)`."""
    return (
        (labels >= 0)
        & (boxes[..., 2] > boxes[..., 0])
        & (boxes[..., 3] > boxes[..., 1])
    )


def match_boxes(
    detected_boxes: Any,
    detected_labels: Any,
    boxes: Any,
    labels: Any,
    iou_threshold: float = 0.5,
) -> Any:
    """Matches detections to boxes greedily, as COCO does.

    One detection after the other, best first, takes the box of its class that it
    overlaps most, among those not taken yet, if their IoU reaches the threshold.

    Args:
        detected_boxes: float32 `(batch, D, 4)`, xyxy, best first.
        detected_labels: int32 `(batch, D)`, -1 where there is
            none, which is after all others.
        boxes: float32 `(batch, M, 4)`.
        labels: int32 `(batch, M)`, -1 where there is none.
        iou_threshold: The smallest IoU of a match. Defaults to `0.5`.

    Returns:
        int32 `(batch, M)`: the index in `[0, D)` of each box's detection, or -1.

    Reference:
        - [Lin et al., Microsoft COCO, 2014](https://arxiv.org/abs/1405.0312); the code
          of `pycocotools.cocoeval`, without crowds.
    """
    labels = ops.cast(labels, "int32")
    iou = keras.utils.bounding_boxes.compute_iou(
        ops.cast(detected_boxes, "float32"), ops.cast(boxes, "float32"), "xyxy"
    )
    same_class = detected_labels[:, :, None] == labels[:, None, :]
    allowed = same_class & is_box(boxes, labels)[:, None, :] & (iou >= iou_threshold)
    iou = ops.transpose(ops.where(allowed, iou, 0.0), (1, 0, 2))  # (D, batch, M)
    places = ops.arange(ops.shape(iou)[2])

    def give_best(detection: Any, owner: Any) -> Any:
        free = ops.where(owner < 0, ops.take(iou, detection, axis=0), 0.0)
        best = ops.argmax(free, axis=-1, keepdims=True) == places
        return ops.where(best & (free > 0), detection, owner)

    last = ops.max(ops.sum(ops.cast(detected_labels >= 0, "int32"), axis=1))
    return ops.fori_loop(0, last, give_best, ops.full_like(labels, -1))
