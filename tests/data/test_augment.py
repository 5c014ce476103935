import numpy as np
import tensorflow as tf

from mtl_zoo.data.augment import cut_and_resize, jitter_colours

IMAGE = tf.random.stateless_uniform((12, 16, 3), (0, 0), 0.0, 255.0)


def test_cut_without_resize_is_slicing():
    label_map = tf.reshape(tf.range(12 * 16), (12, 16))
    image, labels = cut_and_resize(IMAGE, label_map, [2, 3], [5, 7], [5, 7])
    np.testing.assert_allclose(image, IMAGE[2:7, 3:10], rtol=1e-5)
    np.testing.assert_array_equal(labels, label_map[2:7, 3:10])


def test_labels_are_never_mixed_and_stay_with_their_pixels():
    label_map = tf.where(IMAGE[..., 0] > 128, 40, 7)
    painted = tf.cast(label_map, tf.float32)[..., None]
    image, labels = cut_and_resize(painted, label_map, [1, 1], [9, 9], [27, 27])
    assert set(np.unique(labels)) == {7, 40}
    # Bilinear and nearest sampling agree wherever the nine neighbours agree.
    agree = (image[..., 0] == 7) | (image[..., 0] == 40)
    np.testing.assert_array_equal(
        labels[agree], tf.cast(image[..., 0][agree], tf.int32)
    )


def test_jitter_depends_on_the_key_only_and_stays_in_range():
    one = jitter_colours(IMAGE, tf.constant([1, 2]))
    np.testing.assert_array_equal(one, jitter_colours(IMAGE, tf.constant([1, 2])))
    assert np.abs(one - jitter_colours(IMAGE, tf.constant([1, 3]))).max() > 1
    assert np.min(one) >= 0 and np.max(one) <= 255


def test_grey_stays_grey_and_dim_nuclei_stay_visible():
    dim = np.zeros((32, 32, 3), np.float32)
    dim[8:16, 8:16] = 15.0
    for number in range(20):
        changed = jitter_colours(tf.constant(dim), tf.constant([0, number])).numpy()
        np.testing.assert_allclose(changed, changed[..., :1] * np.ones(3), atol=1e-3)
        assert changed[10, 10, 0] > changed[0, 0, 0] + 5


def test_no_jitter_is_the_identity():
    same = jitter_colours(
        IMAGE, tf.constant([0, 0]), 1e-9, 1.000001, 1.000001, 1.0 + 1e-6
    )
    np.testing.assert_allclose(same, IMAGE, atol=0.01)
