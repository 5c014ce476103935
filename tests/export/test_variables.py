"""Variables under names that outlive a process."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.export.variables import named_variables, restore_variables
from tests import fakes


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model and its export."""
    network = fakes.model(dropout=0.1)
    return network, mtl.export.to_serving(network, tmp_path_factory.mktemp("model"))


def test_names_are_unique_and_do_not_depend_on_what_was_made_before():
    first = named_variables(fakes.model())
    keras.layers.Dense(1)(np.ones((1, 1)))
    second = named_variables(fakes.model())
    assert [name[:5] for name in first] == [f"{i:04d}-" for i in range(len(first))]
    leaf = [name.rsplit("-", 1)[1] for name in first]
    assert leaf == [name.rsplit("-", 1)[1] for name in second]


def test_balancing_is_left_out():
    network = fakes.model()
    count = len(named_variables(network))

    class Learned(mtl.balancing.LossBalancing):
        def build(self, task_names, gradient_size=0):
            self.log = self.add_weight(shape=(len(task_names),), name="log")
            super().build(task_names, gradient_size)

    network.compile("sgd", balancing=Learned())
    assert len(network.variables) == count + 1
    assert len(named_variables(network)) == count


def test_restores_every_variable(exported):
    network, version = exported
    other = fakes.model(seed=5, dropout=0.1)
    restore_variables(other, version)
    for mine, theirs in zip(network.weights, other.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_wrong_shape_changes_nothing(exported):
    _, version = exported
    other = mtl.architectures.HardSharing(
        mtl.trunks.mlp([16, 9], activation="tanh"), fakes.tasks(dropout=0.1)
    )
    other.build((None, 6))
    before = [v.numpy() for v in other.weights]
    with pytest.raises(ValueError, match=r"kernel has the shape \(9, 4\).*\(8, 4\)"):
        restore_variables(other, version)
    for old, variable in zip(before, other.weights, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_missing_and_left_over_variables(exported):
    _, version = exported
    smaller = fakes.model()  # no dropout, so no state of it
    with pytest.raises(ValueError, match=r"it stores \d+; .*and \d+ more"):
        restore_variables(smaller, version)


def test_not_a_saved_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"saved_model\.pb"):
        restore_variables(fakes.model(), tmp_path)


def test_checkpoint_holds_each_variable_once(exported):
    network, version = exported
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    keys = [key for key in reader.get_variable_to_shape_map() if "weights/" in key]
    assert len(keys) == len(named_variables(network))
