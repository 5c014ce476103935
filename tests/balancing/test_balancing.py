"""The bases of the balancing methods, and equal weights."""

import keras
import numpy as np
import pytest

from mtl_zoo.balancing import Equal, GradientBalancing, LossBalancing


class Inverse(GradientBalancing):
    """Weights of 1 / squared norm."""

    def task_weights(self, gramian, losses, active):
        return 1.0 / keras.ops.diagonal(gramian)


def test_equal_weighs_every_loss_by_one():
    losses = keras.ops.array([3.0, 0.0, 1e6])
    active = keras.ops.array([True, False, True])
    np.testing.assert_array_equal(Equal().task_weights(losses, active), np.ones(3))
    assert float(Equal().total(losses, active)) == 1000003.0


def test_combination_is_that_of_numpy():
    gradients = np.random.default_rng(0).normal(size=(3, 50))
    weights = 1.0 / np.sum(gradients**2, axis=1)
    update, found = Inverse("params").combine(
        keras.ops.convert_to_tensor(gradients, "float32"),
        keras.ops.ones(3),
        keras.ops.ones(3, "bool"),
    )
    np.testing.assert_allclose(found, weights, rtol=1e-5)
    np.testing.assert_allclose(update, weights @ gradients, rtol=1e-5)


@pytest.mark.parametrize("level", ["last", "params", "feature"])
def test_level_is_part_of_the_config(level):
    method = Inverse(level=level)
    assert Inverse.from_config(method.get_config()).level == level


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match=r"last.*Received: 'trunk'"):
        Inverse(level="trunk")


def test_bases_leave_the_weights_to_the_method():
    ones, active = keras.ops.ones(2), keras.ops.ones(2, "bool")
    with pytest.raises(NotImplementedError):
        LossBalancing().task_weights(ones, active)
    with pytest.raises(NotImplementedError):
        GradientBalancing().task_weights(keras.ops.eye(2), ones, active)
