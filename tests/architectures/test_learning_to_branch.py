"""Learning to branch: the tree that is decided for is the model at its choices."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests.architectures import structures

NAMES = ("north", "south", "west")
X = tf.constant(structures.data()[0])


def made():
    keras.utils.set_random_seed(1)
    trunk = mtl.trunks.mlp([8, 8, 8], activation="tanh")
    tasks = [structures.task_of(name, "layer_3") for name in NAMES]
    network = mtl.architectures.LearningToBranch(trunk, tasks, same_start=False)
    network.build((None, 6))
    return network


def choose(network, first, second):
    """Let the branches of the second stage choose `first`, of the third `second`."""
    for logits, parents in zip(network.logits, (first, second), strict=True):
        logits.assign(4.0 * np.eye(3)[list(parents)])


@pytest.mark.parametrize(
    ("first", "second", "groups"),
    [
        ((0, 0, 0), (0, 0, 0), [[NAMES], [NAMES]]),
        ((2, 1, 0), (2, 2, 1), [[("north", "south"), ("west",)]] * 2),
        ((0, 0, 1), (0, 1, 2), [[("north", "south"), ("west",)], [[n] for n in NAMES]]),
    ],
)
def test_decided_is_the_tree_of_the_most_likely_choices(first, second, groups):
    network = made()
    choose(network, first, second)
    tree = network.decided()
    wanted = [tuple(tuple(g) for g in each) for each in groups]
    assert [tree.groups[name] for name in ("layer_1", "layer_2")] == wanted
    assert tree.groups["layer_3"] == tuple((name,) for name in NAMES)
    for task, raw in network(X).items():
        np.testing.assert_allclose(tree(X)[task], raw, atol=1e-6)


def test_choices_learn_in_the_search_alone():
    network = made()
    network.compile(keras.optimizers.Adam(0.05))
    inputs, labels, _ = structures.data()
    labels = {**labels, "west": labels["north"]}
    batches = tf.data.Dataset.from_tensors((inputs, labels)).repeat(4)

    def moved(phase, blocks=-1):
        network.set_phase(phase, blocks=blocks)
        before = [np.asarray(v) for v in network.logits]
        network.fit(batches, verbose=0)
        pairs = zip(before, network.logits, strict=True)
        return [float(np.abs(np.asarray(v) - old).max()) for old, v in pairs]

    assert moved("all") == [0.0, 0.0]
    first, second = moved("search", blocks=1)
    assert first == 0.0 and second > 0.0
    assert min(moved("search")) > 0.0


def test_it_needs_two_stages():
    trunk = mtl.trunks.mlp([8])
    tasks = [structures.task_of(name, "layer_1") for name in NAMES]
    with pytest.raises(ValueError, match="two stages"):
        mtl.architectures.LearningToBranch(trunk, tasks)
