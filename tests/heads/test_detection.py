import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo.heads import Detection, decode_boxes


def raw_output(cells):
    """Rows of class logits and xyxy; all locations at (8, 8) of a 16 px image."""
    cells = np.float32(cells)
    return ops.array(
        np.concatenate([cells, np.tile(np.float32([62, 62, 4]), (len(cells), 1))], 1)
    )[None]


def logit(p):
    return np.log(p / (1 - p))


def test_start_by_hand():
    # With kernels of zero, all is bias: p = 1/100, and softplus(2) strides a side.
    head = Detection(1, ("a", "b"), (4, 8), width=8)
    x = {"a": ops.ones((1, 2, 3, 4)), "b": ops.ones((1, 1, 2, 4))}
    head(x)
    for layer in (head.class_logits, head.distances):
        layer.kernel.assign(ops.zeros_like(layer.kernel))
    head.scale.assign([1.0, 0.5])
    raw = np.array(head(x))[0]
    np.testing.assert_allclose(
        raw[:, 5:],
        [
            *[(2, 2, 4), (6, 2, 4), (10, 2, 4), (2, 6, 4), (6, 6, 4), (10, 6, 4)],
            *[(4, 4, 8), (12, 4, 8)],
        ],
    )
    np.testing.assert_allclose(raw[:, 0], -np.log(99), rtol=1e-6)
    side = np.log1p(np.exp(2.0)) * raw[:, 7:] * np.float64([[1]] * 6 + [[0.5]] * 2)
    xy = raw[:, 5:7]
    np.testing.assert_allclose(raw[:, 1:5], np.hstack([xy - side, xy + side]), 1e-5)


def test_levels_share_their_weights():
    head = Detection(1, ("a", "b"), (4, 8), width=8)
    one = Detection(1, ("a",), (4,), width=8)
    x = ops.ones((1, 2, 2, 4))
    head({"a": x, "b": x}), one({"a": x})
    # One scale a level is all that a level adds.
    assert head.count_params() == one.count_params() + 1


def test_decode_by_hand():
    raw = raw_output(
        [
            [logit(0.6), 10, 10, 20, 20],  # best but one, on its own
            [logit(0.9), 30, 30, 50, 50],
            [logit(0.7), 31, 30, 50, 50],  # overlaps the best: suppressed
            [logit(0.3), -9, -9, 99, 70],  # clipped to the image
            [logit(0.1), 0, 0, 5, 5],  # too bad
        ]
    )
    decoded = decode_boxes(raw, max_detections=4, score_threshold=0.2)
    np.testing.assert_array_equal(decoded["count"], [3])
    np.testing.assert_allclose(
        decoded["boxes"][0],
        [[30, 30, 50, 50], [10, 10, 20, 20], [0, 0, 64, 64], [-1] * 4],
    )
    np.testing.assert_allclose(decoded["scores"][0], [0.9, 0.6, 0.3, -1], rtol=1e-6)
    np.testing.assert_array_equal(decoded["labels"][0], [0, 0, 0, -1])
    assert decoded["labels"].dtype == decoded["count"].dtype == "int32"


def test_classes_do_not_suppress_each_other():
    box = [10, 10, 20, 20]
    decoded = decode_boxes(
        raw_output([[3.0, 2.0, -9.0, *box], [2.5, -9.0, 1.0, *box]]), max_detections=9
    )
    np.testing.assert_array_equal(decoded["labels"][0, :4], [0, 1, 2, -1])
    np.testing.assert_array_equal(decoded["count"], [3])


def test_nothing_found():
    decoded = decode_boxes(raw_output([[-9.0, 1, 1, 2, 2]]), max_detections=2)
    np.testing.assert_array_equal(decoded["count"], [0])
    np.testing.assert_array_equal(decoded["boxes"], np.full((1, 2, 4), -1))


def greedy(scores, boxes, iou_threshold):
    """Non-maximum suppression, one box after the other, in float64."""
    kept = []
    for i in np.argsort(-scores):
        for j in kept:
            size = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(
                boxes[i, :2], boxes[j, :2]
            )
            both = np.prod(np.maximum(size, 0))
            areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, j)]
            if both / (sum(areas) - both) >= iou_threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("jit_compile", [False, True])
def test_suppression_equals_numpy(jit_compile):
    rng = np.random.default_rng(0)
    n = 400  # more than one tile of the suppression
    centre, size = rng.uniform(8, 56, (n, 2)), rng.uniform(4, 16, (n, 2))
    boxes = np.clip(np.hstack([centre - size / 2, centre + size / 2]), 0, 64)
    boxes = np.float32(boxes)
    scores = rng.permutation(np.linspace(0.1, 0.9, n))
    raw = raw_output(np.hstack([logit(scores)[:, None], boxes]))
    decode = tf.function(decode_boxes, jit_compile=jit_compile)
    decoded = decode(tf.concat([raw, raw[:, ::-1]], 0))
    kept = greedy(scores, boxes, 0.5)
    assert 50 < len(kept) < 300
    for image in (0, 1):  # and the order of the cells does not matter
        assert decoded["count"][image] == len(kept)
        found = decoded["boxes"][image, : len(kept)]
        np.testing.assert_allclose(found, boxes[kept], atol=1e-5)


def test_decoding_is_exported_for_any_batch_and_size(tmp_path):
    head = Detection(2, ("a", "b"), (4, 8), width=8, max_detections=7)
    inputs = {k: keras.Input((None, None, 4), name=k) for k in ("a", "b")}
    model = keras.Model(inputs, head(inputs))
    specs = {k: tf.TensorSpec((None, None, None, 4), name=k) for k in ("a", "b")}
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda x: head.decode(model(x)), [specs])
    archive.write_out(str(tmp_path), verbose=False)
    served = tf.saved_model.load(str(tmp_path))
    for batch, height in ((1, 4), (3, 6)):
        x = {
            "a": tf.random.normal((batch, 2 * height, 8, 4)),
            "b": tf.random.normal((batch, height, 4, 4)),
        }
        boxes = served.serve(x)["boxes"]
        np.testing.assert_allclose(boxes, head.decode(model(x))["boxes"], atol=1e-4)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"strides=\(4, 8\)"):
        Detection(1, ("a",), (4, 8))
    with pytest.raises(ValueError, match="depth=0"):
        Detection(1, depth=0)
    with pytest.raises(ValueError, match="one width"):
        Detection(1, ("a", "b"), (4, 8))(
            {"a": ops.ones((1, 2, 2, 4)), "b": ops.ones((1, 1, 1, 8))}
        )
