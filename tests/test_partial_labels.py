"""Weight 0 takes an item out; weights broadcast from the left."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo.partial_labels import fill_absent, item_weights


def test_fill_absent_in_nested_labels_of_every_rank():
    weight = ops.array([1.0, 0.0])
    label = {
        "boxes": ops.array([[[1.0, 2, 3, 4]], [[np.nan] * 4]]),
        "labels": ops.array([[3], [-1]]),
    }
    filled = fill_absent(label, weight)
    np.testing.assert_array_equal(filled["labels"], [[3], [0]])
    np.testing.assert_array_equal(filled["boxes"][1], [[0, 0, 0, 0]])
    assert filled["labels"].dtype == label["labels"].dtype


def test_pixel_weights_on_a_map_and_on_a_vector():
    weight = ops.array([[[1.0, 0.0]], [[0.0, 0.0]]])  # (batch 2, height 1, width 2)
    pixels = ops.array([[[5, 6]], [[7, 8]]])
    np.testing.assert_array_equal(fill_absent(pixels, weight), [[[5, 0]], [[0, 0]]])
    np.testing.assert_array_equal(fill_absent(ops.array([1, 2]), weight), [1, 0])


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 4)])
def test_item_weights_have_the_shape_of_the_values(shape):
    values = ops.ones(shape)
    np.testing.assert_array_equal(item_weights(None, values), np.ones(shape))
    weighted = np.array(item_weights(ops.array([2.0, 0.0]), values))
    assert (
        weighted.shape == shape and np.all(weighted[0] == 2) and not weighted[1].any()
    )


def test_gradient_is_finite_where_the_label_is_not():
    prediction = tf.Variable([1.0, 2.0])
    label, weight = tf.constant([0.0, np.nan]), tf.constant([1.0, 0.0])
    with tf.GradientTape() as tape:
        values = (prediction - fill_absent(label, weight)) ** 2
        loss = tf.reduce_sum(item_weights(weight, values) * values)
    np.testing.assert_array_equal(tape.gradient(loss, prediction), [2.0, 0.0])
