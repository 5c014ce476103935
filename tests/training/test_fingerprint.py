"""Fingerprints of runs."""

import keras

from mtl_zoo.training.fingerprint import differences, fingerprint
from tests import fakes


def of(model, **settings):
    return fingerprint(model, model.variables, **settings)


def test_same_code_gives_the_same_fingerprint_whatever_the_process_made_before():
    first = of(fakes.model(dropout=0.2))
    keras.layers.Dense(1)
    second = of(fakes.model(dropout=0.2))
    assert first == second
    assert differences(first, second) == []


def test_differences_name_the_place():
    first, second = of(fakes.model(), steps=3), of(fakes.model(dropout=0.2), steps=4)
    found = differences(first, second)
    assert found[0] == "steps: saved 3, now 4"
    assert any("dropout: saved 0.0, now 0.2" in line for line in found)
    assert any("saved (absent)" in line for line in found)  # the dropout's seed


def test_a_model_without_config_still_has_variables():
    class Plain(keras.Model):
        def __init__(self, size):
            super().__init__()
            self.size = keras.layers.Dense(size)

        def get_config(self):
            raise NotImplementedError

        def call(self, inputs):
            return self.size(inputs)

    models = [Plain(size) for size in (2, 3)]
    for model in models:
        model(keras.ops.ones((1, 4)))
        model.compile("sgd")
    assert any("(4, 2)" in line for line in differences(*map(of, models)))
