import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo.heads.bilinear import stretch, upsample


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_stretching_both_axes_equals_keras_resize(factor):
    maps = np.random.default_rng(0).normal(size=(2, 5, 3, 2)).astype("float32")
    stretched = stretch(stretch(ops.array(maps), factor, 1), factor, 2)
    resized = ops.image.resize(maps, (5 * factor, 3 * factor))
    np.testing.assert_allclose(stretched, resized, atol=1e-6)


def test_unknown_size_equals_known_size():
    maps = np.random.default_rng(0).normal(size=(2, 5, 3, 2)).astype("float32")
    anything = tf.TensorSpec((None, None, None, 2))
    graph = tf.function(lambda x: upsample(x, 4), input_signature=[anything])
    np.testing.assert_allclose(graph(maps), upsample(ops.array(maps), 4), atol=1e-6)


def test_one_cell_becomes_constant():
    maps = stretch(ops.full((1, 1, 1, 1), 3.0), 4, axis=1)
    np.testing.assert_allclose(maps, np.full((1, 4, 1, 1), 3.0))
