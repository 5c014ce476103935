import numpy as np
from keras import ops

from mtl_zoo.heads import Regression


def test_decode_drops_the_axis_of_a_single_unit():
    raw = ops.array([[1.5], [2.5]])
    np.testing.assert_array_equal(Regression().decode(raw)["value"], [1.5, 2.5])
    assert Regression(2).decode(ops.ones((3, 2)))["value"].shape == (3, 2)


def test_is_linear_in_the_average():
    head = Regression(feature="x")
    maps = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype("float32")
    head.build({"x": maps.shape})
    kernel, bias = (np.float64(w) for w in head.get_weights())
    expected = maps.mean((1, 2), dtype="float64") @ kernel + bias
    np.testing.assert_allclose(head({"x": maps}), expected, atol=1e-6)
