"""Products in bfloat16: on inside, as it was before outside, close to float32."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.training import bfloat16_products

OPTION = "auto_mixed_precision_onednn_bfloat16"


def option():
    return tf.config.optimizer.get_experimental_options().get(OPTION, False)


def test_on_inside_and_restored():
    with bfloat16_products():
        assert option()
        with bfloat16_products(False):
            assert not option()
        assert option()
    assert not option()


def test_restored_after_an_error():
    with pytest.raises(RuntimeError), bfloat16_products():
        raise RuntimeError
    assert not option()


def test_what_comes_out_stays_float32():
    x = tf.constant(np.random.default_rng(0).normal(size=(64, 64)), tf.float32)
    product = tf.function(lambda x: tf.nn.relu(x @ x))
    with bfloat16_products():
        found = product(x)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, tf.nn.relu(x @ x), rtol=0.05, atol=0.5)
