"""Ordered classes: probabilities by hand, the loss from them, learning an order."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.heads import Ordinal
from mtl_zoo.losses import OrderedClasses


def raw(batch=6, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    falling = -np.sort(-rng.normal(0.0, 3.0, (batch, classes - 1)), axis=1)
    return falling.astype("float32")


def probabilities(logits):
    above = 1.0 / (1.0 + np.exp(-logits.astype("float64")))
    edges = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    return edges[:, :-1] - edges[:, 1:]


def test_decoded_by_hand():
    logits = raw()
    found = Ordinal(5).decode(tf.constant(logits))
    expected = probabilities(logits)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(found["label"], expected.argmax(1))
    np.testing.assert_allclose(found["value"], expected @ np.arange(5), atol=1e-5)


def test_loss_is_the_log_of_the_probability():
    logits = raw(batch=50)
    labels = np.random.default_rng(1).integers(0, 5, 50)
    expected = -np.log(probabilities(logits)[np.arange(50), labels])
    found = OrderedClasses().call(labels, tf.constant(logits))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_loss_is_finite_far_from_the_label():
    logits = tf.constant([[80.0, 79.0], [-80.0, -81.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = OrderedClasses().call(np.array([0, 2]), logits)
    np.testing.assert_allclose(loss, [80.0, 81.0], atol=1e-3)
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_all_classes_are_equally_likely_at_first():
    head = Ordinal(4, feature="x")
    decoded = head.decode(head({"x": tf.zeros((1, 3))}))
    np.testing.assert_allclose(decoded["probabilities"], [[0.25] * 4], atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_thresholds_stay_in_order(classes):
    head = Ordinal(classes, feature="x")
    head.build({"x": (None, 3)})
    for weight in head.weights:
        weight.assign(np.random.default_rng(0).normal(0.0, 3.0, weight.shape))
    logits = np.asarray(head({"x": tf.ones((1, 3))}))
    assert (np.diff(logits) <= 0).all()
    assert logits.shape == (1, classes - 1)


def test_learns_an_order():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 2)).astype("float32")
    labels = np.digitize(x[:, 0], [-0.5, 0.0, 1.0])
    head, loss = Ordinal(4, feature="x"), OrderedClasses()
    head({"x": x})
    optimizer = keras.optimizers.Adam(0.1)
    for _ in range(150):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss.call(labels, head({"x": x}, training=True)))
        gradients = tape.gradient(value, head.trainable_weights)
        optimizer.apply(gradients, head.trainable_weights)
    decoded = head.decode(head({"x": x}))
    assert np.mean(np.asarray(decoded["label"]) == labels) > 0.9


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match=r"two classes.*num_classes=1"):
        Ordinal(1)
    with pytest.raises(ValueError, match="Received"):
        Ordinal(3, class_names=["a", "b"])
