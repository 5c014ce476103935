"""Hard sharing: one trunk, every head on its features."""

import keras
import numpy as np
import pytest

import mtl_zoo as mtl
from tests import fakes


def test_two_steps_equal_one_call():
    model = fakes.model()
    x = fakes.arrays()[0]
    whole, steps = model(x), model.decode(model.encode(x))
    for name in model.task_names:
        np.testing.assert_array_equal(whole[name], steps[name])


def test_shared_and_task_variables_are_a_partition():
    model = fakes.model()
    parts = [model.shared_variables]
    parts += [model.task_variables(name) for name in model.task_names]
    ids = [id(variable) for part in parts for variable in part]
    assert all(parts) and len(set(ids)) == len(ids)
    assert set(ids) == {id(variable) for variable in model.trainable_variables}
    assert {id(v) for v in model.last_shared_variables} <= set(ids[: len(parts[0])])


def test_a_task_does_not_depend_on_the_others():
    """One task alone, on the same trunk and head, gives the same output."""
    model = fakes.model()
    alone = mtl.architectures.HardSharing(model.trunk, [model.task("size")])
    x = fakes.arrays()[0]
    np.testing.assert_array_equal(model(x)["size"], alone(x)["size"])


def test_a_plain_layer_is_no_trunk():
    with pytest.raises(TypeError, match=r"mtl_zoo\.trunks"):
        mtl.architectures.HardSharing(keras.layers.Dense(1), fakes.tasks())
