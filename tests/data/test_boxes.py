import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.data.boxes import pad_boxes, visible_share


def test_pad_boxes_keeps_order_and_fills_with_minus_one():
    boxes = tf.constant([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]])
    padded = pad_boxes(boxes, tf.constant([3, 1]), max_boxes=3)
    np.testing.assert_array_equal(padded["labels"], [3, 1, -1])
    np.testing.assert_array_equal(padded["boxes"][:2], boxes)
    np.testing.assert_array_equal(padded["boxes"][2], [-1.0] * 4)


def test_pad_boxes_without_boxes():
    padded = pad_boxes(tf.zeros((0, 4)), tf.zeros((0,), tf.int32), max_boxes=2)
    np.testing.assert_array_equal(padded["labels"], [-1, -1])


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ([1.0, 1.0, 3.0, 3.0], 1.0),
        ([-1.0, 0.0, 1.0, 2.0], 0.5),  # half of it left of the image
        ([9.0, 3.0, 11.0, 7.0], 0.25),  # one of two columns, two of four rows
        ([20.0, 0.0, 25.0, 5.0], 0.0),
        ([0.0, 0.0, 0.0, 0.0], 0.0),
    ],
)
def test_visible_share_by_hand(box, share):
    found = visible_share(tf.constant(box), height=5, width=10)
    assert float(found) == pytest.approx(share)
