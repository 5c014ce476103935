"""Model soups."""

import keras
import numpy as np
import pytest

from mtl_zoo.training.soup import average_weights, soup
from tests import fakes


def test_weights_are_the_mean_and_start_the_same():
    model = fakes.model(dropout=0.5)
    start = [w.copy() for w in model.get_weights()]
    seen, found = [], []

    def train(number):
        seen.append([w.copy() for w in model.get_weights()])
        model.compile(keras.optimizers.SGD(0.1 * (number + 1)))
        model.fit(fakes.batches(), verbose=0)
        found.append([w.copy() for w in model.get_weights()])

    soup(model, 3, train)
    for one in seen:
        for left, right in zip(one, start, strict=True):
            np.testing.assert_array_equal(left, right)
    for mean, *parts in zip(model.get_weights(), *found, strict=True):
        if np.issubdtype(mean.dtype, np.floating):
            np.testing.assert_allclose(mean, np.mean(parts, axis=0), rtol=1e-6)
        else:
            np.testing.assert_array_equal(mean, parts[0])


def test_half_precision_stays_half():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, dtype="float16")]
    )
    ones = [np.ones(w.shape, "float16") for w in model.get_weights()]
    average_weights(model, [ones, [3 * w for w in ones]])
    assert all(np.all(w == 2) for w in model.get_weights())


def test_bad_input_says_what_is_expected():
    model = fakes.model()
    with pytest.raises(ValueError, match="number 1"):
        average_weights(model, [model.get_weights(), model.get_weights()[1:]])
    with pytest.raises(ValueError, match="at least one"):
        average_weights(model, [])
    with pytest.raises(ValueError, match="at least 1"):
        soup(model, 0, lambda number: None)
