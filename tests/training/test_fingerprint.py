"""Fingerprints of runs."""

import keras

import mtl_zoo as mtl
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


def cut_backbone():
    """A model whose stages Keras cut from a graph, with clones of its tensors."""
    inputs = keras.Input((None, None, 3))
    x = inputs
    for filters in (4, 4, 8):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = keras.layers.Activation("relu")(x)
    task = mtl.Task(
        "size",
        mtl.heads.Regression(1, feature="stride_8"),
        keras.losses.MeanSquaredError(),
    )
    trunk = mtl.trunks.from_backbone(keras.Model(inputs, x))
    model = mtl.architectures.HardSharing(trunk, [task])
    model.build((None, 32, 32, 3))
    model.compile("sgd")
    return model


def test_numbers_of_cloned_tensors_do_not_count_either():
    first, second = of(cut_backbone()), of(cut_backbone())
    assert any("CLONE" in str(value) for value in first.values())  # the test can fail
    assert differences(first, second) == []


def test_nor_do_numbers_in_the_names_of_an_optimizers_variables():
    prints = []
    for _ in range(2):
        model = fakes.model("adam")
        model.optimizer.build(model.trainable_variables)
        prints.append(fingerprint(model, model.optimizer.variables))
    assert sum("momentum" in str(value) for value in prints[0].values()) > 3
    assert differences(*prints) == []


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
