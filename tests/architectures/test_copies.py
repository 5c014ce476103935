"""Copies have weights of their own, in a model that is loaded too."""

import keras
import numpy as np
import pytest

import mtl_zoo as mtl
from tests.architectures import structures

NAMES = ("north", "south")


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_experts_of_a_loaded_model_are_not_one(tmp_path, dropout):
    tasks = [structures.task_of(name, "layer_2") for name in NAMES]
    trunk = mtl.trunks.mlp([5, 4], dropout=dropout)
    model = mtl.architectures.MMoE(trunk, tasks, experts=5, same_start=False)
    model.build((None, 6))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len({id(expert) for expert in again.experts}) == 5
    assert again.count_params() == model.count_params()
    inputs = structures.data()[0]
    for name, raw in model(inputs).items():
        np.testing.assert_array_equal(again(inputs)[name], raw)
