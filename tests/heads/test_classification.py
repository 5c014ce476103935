import keras
import numpy as np
import pytest
from keras import ops

from mtl_zoo.heads import Classification


def test_decode_by_hand():
    decoded = Classification(2).decode(ops.array([[0.0, np.log(3.0)], [1.0, 1.0]]))
    np.testing.assert_array_equal(decoded["label"], [1, 0])
    assert decoded["label"].dtype == "int32"
    np.testing.assert_allclose(
        decoded["probabilities"], [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6
    )


def test_a_map_counts_as_its_average():
    head = Classification(3, feature="x")
    maps = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype("float32")
    np.testing.assert_allclose(
        head({"x": maps}), head({"x": maps.mean((1, 2))}), atol=1e-6
    )


def test_dropout_only_in_training():
    head = Classification(3, feature="x", dropout=0.9)
    x = {"x": ops.ones((1, 50))}
    np.testing.assert_array_equal(head(x), head(x))
    assert np.abs(head(x, training=True) - head(x)).max() > 0


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_classes=1"):
        Classification(1)


def test_penalty_on_the_kernel_is_kept():
    head = Classification(2, feature="x", kernel_regularizer=keras.regularizers.L2(0.5))
    again = Classification.from_config(head.get_config())
    for one in (head, again):
        one({"x": ops.ones((1, 3))})
        kernel = np.asarray(one.output_kernel)
        np.testing.assert_allclose(sum(one.losses), 0.5 * np.sum(kernel**2), rtol=1e-6)
