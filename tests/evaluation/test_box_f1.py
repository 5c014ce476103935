import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo.evaluation.box_f1 import BoxF1, match_boxes

CLASSES = 2


def iou_of(a, b):
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.prod(np.maximum(size, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def match_slowly(detected, detected_labels, boxes, labels, threshold=0.5):
    owner = np.full(len(boxes), -1)
    for d in range(len(detected)):
        free = [
            (iou_of(detected[d], boxes[j]), -j)
            for j in range(len(boxes))
            if owner[j] < 0 and labels[j] >= 0 and labels[j] == detected_labels[d]
        ]
        if free and max(free)[0] >= threshold:
            owner[-max(free)[1]] = d
    return owner


def scene(seed, boxes=12, detections=30, padding=4):
    """Boxes in clusters, and detections around them, best first."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 40, (boxes, 2)), rng.uniform(8, 16, (boxes, 2))
    true = np.hstack([corner, corner + size])
    labels = rng.integers(0, CLASSES, boxes)
    source = rng.integers(0, boxes, detections)
    found = true[source] + rng.normal(0, 1.5, (detections, 4))
    found_labels = np.where(
        rng.uniform(size=detections) < 0.8, labels[source], 1 - labels[source]
    )
    true = np.vstack([true, np.full((padding, 4), -1.0)])
    labels = np.append(labels, [-1] * padding)
    found = np.vstack([found, np.full((padding, 4), -1.0)])
    found_labels = np.append(found_labels, [-1] * padding)
    return (
        np.float32(found),
        np.int32(found_labels),
        np.float32(true),
        np.int32(labels),
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_matching_equals_slow_numpy(jit_compile):
    scenes = [scene(seed) for seed in range(8)]
    batch = [np.stack(a) for a in zip(*scenes, strict=True)]
    match = tf.function(match_boxes, jit_compile=jit_compile)
    expected = [match_slowly(*s) for s in scenes]
    np.testing.assert_array_equal(match(*map(tf.constant, batch)), expected)
    # And some boxes are hit, some are not, by detections that others beat to them.
    assert 30 < np.sum(np.array(expected) >= 0) < 8 * 12


def test_matching_by_hand():
    # The first detection takes the nearer box, though the other would do; the second
    # gets the other one, the third nothing; the fourth is of another class.
    boxes = ops.array([[[0.0, 0, 10, 10], [3, 0, 13, 10]]])
    detected = ops.array(
        [[[2.0, 0, 12, 10], [2, 0, 12, 10], [2, 0, 12, 10], [0, 0, 10, 10]]]
    )
    owner = match_boxes(detected, ops.array([[0, 0, 0, 1]]), boxes, ops.array([[0, 0]]))
    np.testing.assert_array_equal(owner, [[1, 0]])


def test_matching_equals_pycocotools():
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    scenes = [scene(seed, padding=0) for seed in range(5)]
    truth, found = [], []
    for image, (detected, detected_labels, boxes, labels) in enumerate(scenes):
        for box, label in zip(boxes, labels, strict=True):
            truth.append(annotation(len(truth) + 1, image, box, label))
        for rank, (box, label) in enumerate(
            zip(detected, detected_labels, strict=True)
        ):
            entry = annotation(len(found) + 1, image, box, label)
            found.append({**entry, "score": 1 - rank / 100})
    dataset = coco.COCO()
    dataset.dataset = {
        "info": {},
        "images": [{"id": i} for i in range(len(scenes))],
        "categories": [{"id": c} for c in range(CLASSES)],
        "annotations": truth,
    }
    dataset.createIndex()
    evaluation = cocoeval.COCOeval(dataset, dataset.loadRes(found), "bbox")
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
    evaluation.evaluate()
    hits = [
        {e["gtIds"][j]: d for j, d in enumerate(e["gtMatches"][0]) if d > 0}
        for e in evaluation.evalImgs
        if e is not None
    ]
    expected = {int(g): int(d) for hit in hits for g, d in hit.items()}

    batch = [ops.array(np.stack(a)) for a in zip(*scenes, strict=True)]
    owner = np.array(match_boxes(*batch))
    got = {
        image * 12 + j + 1: image * 30 + owner[image, j] + 1
        for image, j in zip(*np.nonzero(owner >= 0), strict=True)
    }
    assert len(got) > 20
    assert got == expected


def annotation(index, image, box, label):
    x1, y1, x2, y2 = (float(v) for v in box)
    return {
        "id": index,
        "image_id": image,
        "category_id": int(label),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
    }


def raw_scene(seed):
    """Raw outputs of detections that no other suppresses, and the boxes."""
    found, found_labels, boxes, labels = scene(seed)
    kept = []
    for d in np.flatnonzero(found_labels >= 0):
        if all(
            found_labels[k] != found_labels[d] or iou_of(found[k], found[d]) < 0.49
            for k in kept
        ):
            kept.append(d)
    found = np.clip(found[kept], 0, 100)
    found_labels = found_labels[kept]
    rng = np.random.default_rng(seed)
    # Between the edges of the metric's bins, and different.
    scores = rng.choice(np.arange(5, 99), len(kept), replace=False) / 100 + 0.004
    raw = np.zeros((40, CLASSES + 7))
    raw[:, :CLASSES] = -20
    raw[np.arange(len(kept)), found_labels] = np.log(scores / (1 - scores))
    raw[: len(kept), CLASSES : CLASSES + 4] = found
    raw[:, -3:] = 98, 98, 4
    order = np.argsort(-scores)
    return (
        np.float32(raw),
        {"boxes": boxes, "labels": labels},
        (scores[order], found[order], found_labels[order]),
    )


def f1_slowly(scenes, threshold):
    hits = found = boxes = 0
    for _, y, (scores, detected, labels) in scenes:
        above = scores > threshold
        owner = match_slowly(detected[above], labels[above], y["boxes"], y["labels"])
        hits += np.sum(owner >= 0)
        found += np.sum(above)
        boxes += np.sum(y["labels"] >= 0)
    return 2 * hits / (found + boxes)


def batch_of(scenes):
    y = {k: np.stack([s[1][k] for s in scenes]) for k in ("boxes", "labels")}
    return y, np.stack([s[0] for s in scenes])


def test_f1_at_every_threshold_equals_slow_numpy():
    scenes = [raw_scene(seed) for seed in range(6)]
    best = BoxF1()
    for part in (scenes[:2], scenes[2:]):  # pooled over batches
        best.update_state(*batch_of(part))
    curve = [f1_slowly(scenes, k / 100) for k in range(100)]
    np.testing.assert_allclose(best._curve(), curve, atol=1e-6)
    assert 0.3 < max(curve) < 0.9
    assert float(best.result()) == pytest.approx(max(curve), abs=1e-6)
    threshold = float(best.best_threshold())
    assert f1_slowly(scenes, threshold) == pytest.approx(max(curve))
    for threshold in (0.2, 0.333, 0.77):
        fixed = BoxF1(score_threshold=threshold)
        fixed.update_state(*batch_of(scenes))
        expected = f1_slowly(scenes, threshold)
        assert float(fixed.result()) == pytest.approx(expected, abs=1e-6)


def test_weight_zero_leaves_an_image_out():
    scenes = [raw_scene(seed) for seed in range(4)]
    metric = BoxF1()
    metric.update_state(*batch_of(scenes), sample_weight=[1, 0, 0, 1])
    expected = BoxF1()
    expected.update_state(*batch_of([scenes[0], scenes[3]]))
    np.testing.assert_allclose(metric._curve(), expected._curve())
    assert float(metric.boxes) == 24


def test_state_in_a_graph_reset_and_config():
    y, raw = batch_of([raw_scene(0)])
    metric = BoxF1(score_threshold=0.3, name="f1")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert again.get_config() == metric.get_config()
    metric.update_state(y, raw)
    tf.function(again.update_state)(
        {k: tf.constant(v) for k, v in y.items()}, tf.constant(raw), tf.ones(1)
    )
    assert float(again.result()) == float(metric.result()) > 0
    assert metric.direction == "up"
    metric.reset_state()
    assert float(metric.result()) == 0


def test_perfect_and_empty():
    y = {"boxes": np.float32([[[10, 10, 30, 30]]]), "labels": np.int32([[0]])}
    raw = np.float32([[[5, 10, 10, 30, 30, 98, 98, 4]]])
    metric = BoxF1()
    metric.update_state(y, raw)
    assert float(metric.result()) == 1
    no_boxes = {"boxes": y["boxes"] * 0 - 1, "labels": y["labels"] - 1}
    metric.reset_state()
    metric.update_state(no_boxes, raw - [9, 0, 0, 0, 0, 0, 0, 0])
    assert float(metric.result()) == 0  # nothing to find, nothing found
    metric.update_state(no_boxes, raw)
    assert float(metric.result()) == 0
    assert float(metric.best_threshold()) > 0
