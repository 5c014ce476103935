"""Gradients as vectors."""

import numpy as np
import tensorflow as tf

from mtl_zoo import gradients


def test_flatten_and_unflatten_are_inverse():
    variables = [tf.Variable(tf.ones((2, 3))), tf.Variable(tf.ones((4,), tf.float16))]
    values = [tf.range(6.0), tf.range(4.0)]
    shaped = [
        tf.cast(tf.reshape(value, v.shape), v.dtype)
        for value, v in zip(values, variables, strict=True)
    ]
    vector = gradients.flatten(shaped, variables)
    assert vector.dtype == tf.float32
    np.testing.assert_array_equal(vector, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3])
    for found, expected in zip(
        gradients.unflatten(vector, variables), shaped, strict=True
    ):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_missing_gradients_are_zeros_in_vectors_and_absent_in_sums():
    variables = [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
    np.testing.assert_array_equal(
        gradients.flatten([None, tf.constant([5.0])], variables), [0, 0, 5]
    )
    assert gradients.add(None, None) is None
    assert float(gradients.add(None, tf.constant(2.0))) == 2.0
    assert float(gradients.add(tf.constant(3.0), tf.constant(2.0))) == 5.0


def test_weighted_sum_goes_feature_by_feature():
    cotangents = [
        [tf.constant([1.0]), None, None],
        [tf.constant([10.0]), tf.ones(2), None],
    ]
    total = gradients.weighted_sum([tf.constant(2.0), tf.constant(3.0)], cotangents)
    assert float(total[0][0]) == 32.0 and total[2] is None
    np.testing.assert_array_equal(total[1], [3.0, 3.0])


def test_one_replica_needs_no_sum():
    value = tf.constant([1.0])
    assert gradients.replicas() == 1
    assert gradients.sum_over_replicas(value) is value


def test_slices_add_up_and_are_scaled():
    slices = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([0, 2]), tf.constant([3, 2]))
    dense = [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    total = gradients.add(slices, slices)
    np.testing.assert_array_equal(total, 2 * np.array(dense))
    np.testing.assert_array_equal(
        gradients.add(slices, tf.ones((3, 2))), np.add(dense, 1)
    )
    scaled = gradients.times(slices, 0.5)
    assert isinstance(scaled, tf.IndexedSlices)
    np.testing.assert_array_equal(tf.convert_to_tensor(scaled), 0.5 * np.array(dense))
    np.testing.assert_array_equal(gradients.times(tf.ones(2), 3.0), [3.0, 3.0])
