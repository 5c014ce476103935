"""COCO's average precision and F1 against cases worked out by hand."""

import numpy as np
import pytest

from mtl_zoo.evaluation.coco import CocoBoxes


def batch(*images, size=8):
    """Pad `[(box, label), ...]` of each image with -1."""
    boxes = np.full((len(images), size, 4), -1.0, "float32")
    labels = np.full((len(images), size), -1, "int32")
    for index, image in enumerate(images):
        for place, (box, label) in enumerate(image):
            boxes[index, place] = box
            labels[index, place] = label
    return {"boxes": boxes, "labels": labels}


def detections(*images, size=8):
    """Pad `[(box, label, score), ...]` of each image, best first."""
    found = batch(*([pair[:2] for pair in image] for image in images), size=size)
    scores = np.full((len(images), size), -1.0, "float32")
    for index, image in enumerate(images):
        scores[index, : len(image)] = [score for *_, score in image]
    count = np.array([len(image) for image in images], "int32")
    return {**found, "scores": scores, "count": count}


A, B, C = (0, 0, 10, 10), (20, 20, 40, 40), (50, 0, 60, 20)
FAR = (80, 80, 90, 90)


def boxes_of(truth, found, weight=None):
    boxes = CocoBoxes()
    boxes.add(truth, found, weight)
    return boxes


def test_perfect_detections():
    boxes = boxes_of(
        batch([(A, 0), (B, 1)], [(C, 0)]),
        detections([(A, 0, 0.9), (B, 1, 0.8)], [(C, 0, 0.7)]),
    )
    assert boxes.average_precision() == pytest.approx(
        {"AP": 1.0, "AP50": 1.0, "AP75": 1.0}
    )
    assert boxes.f1(0.0) == 1.0


def test_one_of_two_found_by_hand():
    boxes = boxes_of(batch([(A, 0), (B, 0)]), detections([(A, 0, 0.9)]))
    # Precision 1 up to recall .5: 51 of COCO's 101 recall points, 0 elsewhere.
    assert boxes.average_precision()["AP"] == pytest.approx(51 / 101, abs=1e-12)
    assert boxes.f1(0.0) == pytest.approx(2 / 3)


def test_false_positive_of_higher_score_by_hand():
    boxes = boxes_of(batch([(A, 0)]), detections([(FAR, 0, 0.9), (A, 0, 0.8)]))
    assert boxes.average_precision()["AP50"] == pytest.approx(0.5)  # precision 1 / 2
    assert boxes.f1(0.0) == pytest.approx(2 / 3)
    assert boxes.f1(0.85) == 0.0


def test_iou_thresholds_by_hand():
    # (0, 0, 10, 8) in (0, 0, 10, 10): IoU .8, a hit at .50, .55 ... .80: 7 of 10.
    boxes = boxes_of(batch([(A, 0)]), detections([((0, 0, 10, 8), 0, 0.9)]))
    assert boxes.average_precision() == pytest.approx(
        {"AP": 0.7, "AP50": 1.0, "AP75": 1.0}
    )
    assert [boxes.f1(0.0, iou=iou) for iou in (0.5, 0.75, 0.85)] == [1.0, 1.0, 0.0]


def test_class_must_agree_and_classes_are_averaged():
    boxes = boxes_of(batch([(A, 0), (B, 1)]), detections([(A, 0, 0.9), (B, 0, 0.8)]))
    assert boxes.average_precision()["AP50"] == pytest.approx(0.5)  # 1 and 0
    assert boxes.f1(0.0) == pytest.approx(0.5)


def test_second_detection_of_one_box_is_false():
    boxes = boxes_of(batch([(A, 0)]), detections([(A, 0, 0.9), (A, 0, 0.8)]))
    assert boxes.f1(0.0) == pytest.approx(2 / 3)


def test_threshold_is_exclusive():
    boxes = boxes_of(batch([(A, 0)]), detections([(A, 0, 0.5)]))
    assert (boxes.f1(0.5), boxes.f1(0.49)) == (0.0, 1.0)


def test_hundreds_of_objects_count():
    grid = [((5 * i, 0, 5 * i + 4, 4), 0) for i in range(250)]
    found = [(box, label, 1.0 - i / 1000) for i, (box, label) in enumerate(grid)]
    boxes = boxes_of(batch(grid, size=300), detections(found, size=300))
    assert boxes.average_precision()["AP"] == pytest.approx(
        1.0
    )  # COCOeval.summarize: 101 of 250
    assert boxes.f1(0.0) == 1.0


def test_batches_add_up_and_figures_can_be_read_in_between():
    truths = [[(A, 0)], [(B, 0), (C, 1)], []]
    found = [[(A, 0, 0.9)], [(B, 0, 0.3), (FAR, 1, 0.6)], [(C, 0, 0.2)]]
    whole = boxes_of(batch(*truths), detections(*found))
    parts = CocoBoxes()
    for truth, one in zip(truths, found, strict=True):
        parts.add(batch(truth), detections(one))
        parts.f1(0.0)
    assert parts.average_precision() == whole.average_precision()
    assert parts.f1(0.25) == whole.f1(0.25) == pytest.approx(2 * 2 / (3 + 3))


def test_images_of_weight_0_are_left_out():
    boxes = boxes_of(
        batch([(A, 0)], [(B, 0)]),
        detections([(A, 0, 0.9)], [(FAR, 0, 0.9)]),
        [1.0, 0.0],
    )
    assert boxes.average_precision()["AP"] == pytest.approx(1.0)
    assert boxes.f1(0.0) == 1.0


def test_without_boxes_there_is_no_figure():
    empty = boxes_of(batch([]), detections([]))
    assert np.isnan(empty.f1(0.0))
    assert all(np.isnan(value) for value in empty.average_precision().values())
    false = boxes_of(batch([]), detections([(A, 0, 0.9)]))
    assert false.f1(0.0) == 0.0
    assert np.isnan(false.average_precision()["AP"])


def test_nothing_found():
    boxes = boxes_of(batch([(A, 0)]), detections([]))
    assert boxes.average_precision()["AP"] == 0.0
    assert boxes.f1(0.0) == 0.0


def test_f1_agrees_with_greedy_matching_in_numpy():
    rng = np.random.default_rng(0)

    def random_boxes(number):
        corner = rng.uniform(0, 60, (number, 2))
        return np.concatenate([corner, corner + rng.uniform(5, 25, (number, 2))], 1)

    truth, found = random_boxes(40), random_boxes(60)
    found[:25] = truth[:25] + rng.normal(0, 2, (25, 4))
    scores = np.sort(rng.uniform(size=60))[::-1]
    area = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (found, truth)]
    inner = np.minimum(found[:, None, 2:], truth[None, :, 2:]) - np.maximum(
        found[:, None, :2], truth[None, :, :2]
    )
    inner = np.prod(np.clip(inner, 0, None), axis=-1)
    iou = inner / (area[0][:, None] + area[1][None] - inner)
    free, hits = np.ones(40, bool), 0
    kept = scores > 0.3
    for row in iou[kept]:
        best = int(np.argmax(np.where(free, row, -1)))
        if free[best] and row[best] >= 0.5:
            free[best], hits = False, hits + 1
    boxes = boxes_of(
        batch([(b, 0) for b in truth], size=40),
        detections([(b, 0, s) for b, s in zip(found, scores, strict=True)], size=60),
    )
    assert hits > 15
    assert boxes.f1(0.3) == pytest.approx(2 * hits / (kept.sum() + 40), abs=1e-12)


def test_prints_nothing_and_refuses_other_iou(capsys):
    boxes = boxes_of(batch([(A, 0)]), detections([(A, 0, 0.9)]))
    boxes.average_precision()
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match=r"0\.42"):
        boxes.f1(0.0, iou=0.42)
