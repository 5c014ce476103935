import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl_zoo.losses import quality_focal


def test_numpy_float64_eq_2():
    rng = np.random.default_rng(0)
    y, x = rng.uniform(0, 1, 100), rng.normal(0, 3, 100)
    s = 1 / (1 + np.exp(-x))
    for beta in (1.0, 2.0, 2.5):
        expected = -(np.abs(y - s) ** beta) * ((1 - y) * np.log(1 - s) + y * np.log(s))
        got = quality_focal(ops.array(y), ops.array(x), beta)
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_hard_targets_give_kerass_focal_loss():
    y = np.float32([[0], [1], [0], [1]])
    x = np.float32([[-2], [-1], [3], [0.5]])
    focal = keras.losses.BinaryFocalCrossentropy(
        gamma=2.0, from_logits=True, reduction=None
    )
    np.testing.assert_allclose(quality_focal(y, x)[:, 0], focal(y, x), rtol=1e-5)


def test_zero_and_flat_where_the_score_is_the_target():
    x = tf.Variable([-3.0, 0.0, 2.0])
    with tf.GradientTape() as tape:
        loss = quality_focal(tf.sigmoid(tf.constant([-3.0, 0.0, 2.0])), x)
    np.testing.assert_allclose(loss, 0, atol=1e-12)
    np.testing.assert_allclose(tape.gradient(loss, x), 0, atol=1e-6)


def test_finite_for_any_logit_and_no_gradient_for_the_target():
    x, y = tf.Variable([-1e4, 1e4, -1e4, 1e4]), tf.Variable([0.0, 0.0, 1.0, 0.3])
    with tf.GradientTape() as tape:
        loss = quality_focal(y, x)
    gradients = tape.gradient(loss, [x, y])
    assert np.isfinite(loss).all() and np.isfinite(gradients[0]).all()
    assert gradients[1] is None
