"""Adding a task to a trained model leaves the others as they are, to the last bit."""

import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests.architectures import structures


@pytest.mark.parametrize("kind", ["bottleneck", "film"])
@pytest.mark.parametrize("inputs", ["mlp", "conv"])
def test_adding_a_task_changes_no_bit_of_the_others(kind, inputs):
    network = structures.model("Adapters", inputs, kind=kind)
    structures.train(network, inputs, epochs=2)
    x = tf.constant(structures.example(inputs))
    before = {task: raw.numpy() for task, raw in network(x).items()}
    feature = "layer_2" if inputs == "mlp" else "stride_8"
    grown = network.with_task(structures.task_of("west", feature))
    assert grown.task_names == (*network.task_names, "west")
    for task, raw in before.items():
        np.testing.assert_array_equal(grown(x)[task], raw)
    grown.compile("adam")
    labels = {"west": np.arange(8) % 3}
    absent = {task: np.zeros(8, "float32") for task in network.task_names}
    data = structures.data(inputs)
    weights = {**absent, "west": np.ones(8, "float32")}
    batch = tf.data.Dataset.from_tensors((data[0], {**data[1], **labels}, weights))
    new = grown(x)["west"].numpy()
    grown.fit(batch.repeat(5), verbose=0)
    assert np.abs(grown(x)["west"].numpy() - new).max() > 1e-3
    for task, raw in before.items():
        np.testing.assert_array_equal(grown(x)[task], raw)
        np.testing.assert_array_equal(network(x)[task], raw)


def test_adapters_start_as_the_trunk():
    network = structures.model("Adapters")
    x = tf.constant(structures.data()[0])
    features = network.encode(x)
    plain = network.whole(x)
    for task in network.task_names:
        for name in network.whole.stages:
            np.testing.assert_array_equal(features[f"{task}__{name}"], plain[name])


def test_only_adapters_and_heads_train():
    network = structures.model("Adapters", "conv")
    frozen = [v.numpy() for v in network.whole.stages["stride_4"].weights]
    structures.train(network, "conv", epochs=2)
    now = network.whole.stages["stride_4"].weights
    for before, variable in zip(frozen, now, strict=True):
        np.testing.assert_array_equal(before, variable.numpy())


def test_errors_say_what_is_expected():
    trunk, tasks, _ = structures.parts("mlp")
    with pytest.raises(ValueError, match="bottleneck"):
        mtl.architectures.Adapters(trunk, tasks, kind="lora")
    unbuilt = mtl.architectures.Adapters(trunk, tasks)
    with pytest.raises(ValueError, match="built"):
        unbuilt.with_task(structures.task_of("west", "layer_2"))
