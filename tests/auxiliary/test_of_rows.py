"""Auxiliary tasks of vectors: inputs as outputs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests import fakes

aux = mtl.auxiliary


def first(dataset):
    return next(iter(dataset))


def test_inverse_inputs_are_moved_to_the_labels():
    inputs, labels, weights = first(aux.InverseInputs([4, 1]).add(fakes.batches()))
    old, _ = first(fakes.batches())
    np.testing.assert_array_equal(inputs, old.numpy()[:, [0, 2, 3, 5]])
    np.testing.assert_array_equal(labels["inverse"], old.numpy()[:, [4, 1]])
    np.testing.assert_array_equal(weights["kind"], np.ones(8))


def test_autoencoder_gives_the_inputs():
    inputs, labels, _ = first(aux.Autoencoder(6).add(fakes.batches()))
    np.testing.assert_array_equal(labels["inputs"], inputs)


@pytest.mark.parametrize(
    ("make", "width"),
    [(lambda: aux.InverseInputs([5]), 5), (lambda: aux.Autoencoder(6), 6)],
)
def test_trains_beside_a_main_task(make, width):
    auxiliary = make()
    tasks = [fakes.tasks()[0], auxiliary.task(feature="layer_2")]
    model = mtl.architectures.HardSharing(mtl.trunks.mlp([16, 8]), tasks)
    model.build((None, width))
    model.compile(keras.optimizers.Adam(0.01))
    data = auxiliary.add(fakes.batches())
    before = model.evaluate(data, return_dict=True, verbose=0)
    model.fit(data.repeat(10), verbose=0)
    after = model.evaluate(data, return_dict=True, verbose=0)
    for name in model.task_names:
        assert after[f"{name}_loss"] < before[f"{name}_loss"]
    assert model.main_tasks == ("kind",)


@pytest.mark.parametrize("columns", [[], [1, 1], [6], range(6)])
def test_columns_are_some_of_the_inputs(columns):
    with pytest.raises(ValueError, match="Received: columns="):
        aux.InverseInputs(columns).add(fakes.batches())


def test_several_are_added_one_after_the_other():
    data = aux.Autoencoder(5).add(aux.InverseInputs([0]).add(fakes.batches()))
    inputs, labels, weights = first(data)
    assert inputs.shape[1] == labels["inputs"].shape[1] == 5
    assert {"kind", "inverse", "inputs"} <= set(labels) == {*weights}
    assert tf.data.experimental.cardinality(data) == 4
