import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo.losses import overlap


@pytest.mark.parametrize(
    ("box1", "box2", "iou", "giou"),
    [
        # The same box.
        ([0, 0, 4, 2], [0, 0, 4, 2], 1.0, 1.0),
        # Side by side: the union fills the box around them, 0 - 0.
        ([0, 0, 1, 1], [1, 0, 2, 1], 0.0, 0.0),
        # A gap of one: union 2, around 3; 0 - 1/3.
        ([0, 0, 1, 1], [2, 0, 3, 1], 0.0, -1 / 3),
        # Corners overlap: 1 / 7, around 9; 1/7 - 2/9.
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7, 1 / 7 - 2 / 9),
        # One inside the other: 1 / 16, around = union.
        ([0, 0, 4, 4], [1, 1, 2, 2], 1 / 16, 1 / 16),
        # A box without area, and two of them.
        ([0, 0, 2, 2], [1, 1, 1, 1], 0.0, 0.0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0, 0.0),
        ([-1, -1, -1, -1], [-1, -1, -1, -1], 0.0, 0.0),
    ],
)
def test_by_hand_algorithm_1(box1, box2, iou, giou):
    for a, b in ((box1, box2), (box2, box1)):
        got = overlap(ops.array(a, "float64"), ops.array(b, "float64"))
        np.testing.assert_allclose(got, (iou, giou), rtol=1e-12, atol=1e-15)


def random_boxes(n, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 50, (n, 2))
    return np.hstack([corner, corner + rng.uniform(0.1, 50, (n, 2))])


def test_properties():
    a, b = random_boxes(200, 0), random_boxes(200, 1)
    iou, giou = (np.array(x) for x in overlap(ops.array(a), ops.array(b)))
    assert (giou <= iou + 1e-12).all()
    assert (giou >= -1).all() and (iou >= 0).all() and (iou <= 1).all()
    shifted_and_scaled = overlap(ops.array(3 * a + 7), ops.array(3 * b + 7))
    np.testing.assert_allclose(shifted_and_scaled, (iou, giou), rtol=1e-10, atol=1e-12)


def test_apart_boxes_are_pulled_together_by_hand():
    # GIoU = U / C - 1 with U = 1 + (x2 - x1) = 2 and C = x2 = 6. By x1: -1 / C; by x2:
    # (C - U) / C^2. So the box grows towards the target, and its centre moves there.
    target = tf.constant([0.0, 0.0, 1.0, 1.0], tf.float64)
    box = tf.Variable([5.0, 0.0, 6.0, 1.0], dtype=tf.float64)
    with tf.GradientTape() as tape:
        loss = 1.0 - overlap(target, box)[1]
    gradient = tape.gradient(loss, box).numpy()
    np.testing.assert_allclose(gradient[[0, 2]], [1 / 6, -4 / 36], rtol=1e-12)


def test_gradient_is_finite_without_area():
    boxes = tf.Variable([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 3, 2, 2]])
    with tf.GradientTape() as tape:
        iou, giou = overlap(tf.zeros((3, 4)), boxes)
        total = tf.reduce_sum(iou + giou)
    assert np.isfinite(tape.gradient(total, boxes)).all()
