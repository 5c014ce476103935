import numpy as np
from keras import ops

from mtl_zoo.heads import DenseRegression


def test_activation_bounds_the_map():
    x = {"x": np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype("float32") * 50}
    free = DenseRegression(1, ("x",), width=8)
    bounded = DenseRegression(1, ("x",), width=8, activation="sigmoid")
    bounded(x)
    raw = np.array(free(x))
    bounded.set_weights(free.get_weights())
    np.testing.assert_allclose(bounded(x), 1 / (1 + np.exp(-raw)), atol=1e-6)
    assert raw.min() < 0


def test_decode_gives_the_map():
    raw = ops.ones((1, 4, 4, 2))
    np.testing.assert_array_equal(DenseRegression(2).decode(raw)["value_map"], raw)
