"""COCO's average precision of boxes, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


class CocoBoxes:
    """Collects true and detected boxes, then gives AP and F1 over all of them.

    Unlike `COCOeval.summarize`, which looks at the first 100 detections of an image,
    all detections count: an image may have hundreds of objects.

    Example:
        >>> boxes = CocoBoxes()
        >>> truth = {"boxes": [[[0, 0, 10, 10], [20, 20, 30, 30]]], "labels": [[0, 0]]}
        >>> found = {"boxes": [[[0, 0, 10, 9]]], "labels": [[0]], "scores": [[0.8]],
        ...          "count": [1]}
        >>> boxes.add(truth, found)
        >>> round(boxes.f1(score_threshold=0.5), 3)  # one of two: 2 * 1 / (1 + 2)
        0.667

    Reference:
        - [Lin et al., 2014](https://arxiv.org/abs/1405.0312)
    """

    def __init__(self) -> None:
        self._images = 0
        self._truth: list[dict] = []
        self._found: list[dict] = []
        self._matched: COCOeval | None = None

    def add(
        self,
        truth: Mapping[str, Any],
        found: Mapping[str, Any],
        weight: Any = None,
    ) -> None:
        """Take in a batch of images.

        Args:
            truth: `"boxes"` `(batch, M, 4)`, xyxy, and `"labels"` `(batch, M)`, -1
                where there is no box.
            found: What a detection head decodes: `"boxes"` `(batch, D, 4)`, `"labels"`
                and `"scores"` `(batch, D)`, and `"count"` `(batch,)`, how many of the
                `D` there are.
            weight: Optional `(batch,)`; images of weight 0 are left out.
        """
        self._matched = None
        truth, found = (
            {name: np.asarray(value) for name, value in boxes.items()}
            for boxes in (truth, found)
        )
        for index in range(len(truth["boxes"])):
            if weight is not None and not np.asarray(weight)[index]:
                continue
            self._images += 1
            real = truth["labels"][index] >= 0
            self._append(
                self._truth, truth["boxes"][index][real], truth["labels"][index][real]
            )
            count = int(found["count"][index])
            self._append(
                self._found,
                found["boxes"][index][:count],
                found["labels"][index][:count],
                found["scores"][index][:count],
            )

    def average_precision(self) -> dict[str, float]:
        """Return `"AP"` (the mean over IoU .50, .55 ... .95), `"AP50"` and `"AP75"`.

        Means over the classes that have boxes; NaN when there are none.
        """
        matched = self._match()
        with contextlib.redirect_stdout(io.StringIO()):
            matched.accumulate()
        precision = matched.eval["precision"][..., 0, 0]  # (IoU, recall, class)
        thresholds = matched.params.iouThrs
        return {
            "AP": _mean(precision),
            "AP50": _mean(precision[np.isclose(thresholds, 0.5)]),
            "AP75": _mean(precision[np.isclose(thresholds, 0.75)]),
        }

    def f1(self, score_threshold: float, iou: float = 0.5) -> float:
        """Return `2 TP / (detections + boxes)` pooled over all images and classes.

        A detection is a true positive when COCO's matching gives it a box: in the order
        of the scores, each takes the free box of its class that it overlaps most.
        Better detections choose first, so those under the threshold change nothing.

        Args:
            score_threshold: Detections with a higher score count.
            iou: Least overlap of a match: .50, .55 ... or .95. Defaults to `0.5`.

        Raises:
            ValueError: When `iou` is not one of COCO's ten thresholds.
        """
        matched = self._match()
        rows = np.flatnonzero(np.isclose(matched.params.iouThrs, iou))
        if not len(rows):
            raise ValueError(
                "`iou` must be one of COCO's thresholds, .50, .55 ... .95. "
                f"Received: {iou}"
            )
        images = [image for image in matched.evalImgs if image is not None]
        kept = [np.asarray(image["dtScores"]) > score_threshold for image in images]
        hits = [image["dtMatches"][rows[0]] > 0 for image in images]
        true = sum(int((k & hit).sum()) for k, hit in zip(kept, hits, strict=True))
        total = sum(int(k.sum()) for k in kept) + len(self._truth)
        return 2.0 * true / total if total else float("nan")

    def _append(
        self,
        annotations: list[dict],
        boxes: np.ndarray,
        labels: np.ndarray,
        scores: np.ndarray | None = None,
    ) -> None:
        for index, (box, label) in enumerate(zip(boxes, labels, strict=True)):
            left, top, right, bottom = map(float, box)
            annotation = {
                "id": len(annotations) + 1,  # pycocotools takes 0 for "no match"
                "image_id": self._images,
                "category_id": int(label),
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
            }
            if scores is not None:
                annotation["score"] = float(scores[index])
            annotations.append(annotation)

    def _match(self) -> COCOeval:
        """Match detections and boxes, once for all figures."""
        if self._matched is None:
            classes = sorted({a["category_id"] for a in self._truth + self._found})
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation = COCOeval(
                    self._dataset(self._truth, classes),
                    self._dataset(self._found, classes),
                    "bbox",
                )
                evaluation.params.maxDets = [max(len(self._found), 1)]  # all of them
                evaluation.params.areaRng = evaluation.params.areaRng[:1]
                evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
                evaluation.evaluate()
            self._matched = evaluation
        return self._matched

    def _dataset(self, annotations: list[dict], classes: list[int]) -> COCO:
        dataset = COCO()
        dataset.dataset = {
            "images": [{"id": number + 1} for number in range(self._images)],
            "categories": [{"id": label} for label in classes],
            "annotations": annotations,
        }
        dataset.createIndex()
        return dataset


def _mean(precision: np.ndarray) -> float:
    """The mean without the -1 that COCO writes for classes without boxes."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")
