"""AdaShare: its limits, its terms, its phases, and the model it decides for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests.architectures import structures

X = tf.constant(structures.data()[0])


def searched(sure=()):
    """A model of three tasks and two blocks; `sure` are logits."""
    keras.utils.set_random_seed(1)
    trunk = mtl.trunks.mlp([8, 8, 8], activation="tanh")
    tasks = [structures.task_of(name, "layer_3") for name in ("north", "south", "west")]
    network = mtl.architectures.AdaShare(trunk, tasks)
    network.build((None, 6))
    if len(sure):
        network.logits.assign(sure)
    return network


def hard_sharing_like(network):
    trunk = mtl.trunks.mlp([8, 8, 8], activation="tanh")
    tasks = [structures.task_of(name, "layer_3") for name in network.task_names]
    shared = mtl.architectures.HardSharing(trunk, tasks)
    shared.build((None, 6))
    shared.trunk.set_weights(network.whole.get_weights())
    for one, other in zip(network.heads, shared.heads, strict=True):
        other.set_weights(one.get_weights())
    return shared


@pytest.mark.parametrize("training", [False, True])
def test_all_blocks_executed_is_hard_sharing(training):
    network = searched()
    shared = hard_sharing_like(network)
    network.set_phase("all")
    for task, raw in network(X, training=training).items():
        np.testing.assert_allclose(raw, shared(X)[task], atol=1e-6)
    assert float(network.penalty()) == 0.0


def test_nothing_skipped_is_hard_sharing():
    network = searched(np.tile([5.0, -5.0], (3, 2, 1)))
    made = network.decided()
    shared = hard_sharing_like(network)
    for task, raw in made(X).items():
        np.testing.assert_allclose(raw, shared(X)[task], atol=1e-6)
    assert all(runs == ("layer_1", "layer_2", "layer_3") for runs in made.runs.values())


def test_decided_is_the_model_at_its_most_likely_decisions(tmp_path):
    logits = np.zeros((3, 2, 2), "float32")
    logits[0, 0, 1] = logits[1, 1, 1] = logits[2, :, 1] = 2.0  # skipped
    network = searched(logits)
    network.set_phase("search")
    made = network.decided()
    assert made.runs == {
        "north": ("layer_1", "layer_3"),
        "south": ("layer_1", "layer_2"),
        "west": ("layer_1",),
    }
    for task, raw in made(X).items():
        np.testing.assert_allclose(raw, network(X)[task], atol=1e-6)


def test_blocks_that_nobody_runs_are_in_no_export(tmp_path):
    logits = np.zeros((3, 2, 2), "float32")
    logits[:, 0, 1] = 9.0
    made = searched(logits).decided()
    version = mtl.export.to_serving(made, tmp_path / "served")
    loaded = tf.saved_model.load(str(version))
    nodes = [
        node.name
        for function in loaded.signatures.values()
        for node in function.graph.as_graph_def().node
    ]
    names = {v.path for v in made.whole.stages["layer_2"].weights}
    assert not any(path in node for node in nodes for path in names)
    shapes = [tuple(v.shape) for v in made.trainable_variables]
    assert shapes.count((8, 8)) == 1


def test_draws_follow_the_probabilities():
    network = searched(np.tile([1.0, 0.0], (3, 2, 1)))
    want = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(network.run_probabilities(), want, rtol=1e-6)
    runs = [
        sum(len(r) - 1 for r in network.decided(seed=seed).runs.values())
        for seed in range(40)
    ]
    assert abs(np.mean(runs) / 6 - want) < 0.1 and len(set(runs)) > 1


def test_shares_are_a_relaxation_of_the_draws():
    """Cold, they are near 0 or 1, and their mean is the probability."""
    network = searched(np.tile([1.0, 0.0], (3, 2, 1)))
    network.set_phase("search", temperature=0.05)
    drawn = np.stack([np.asarray(network._shares(True)) for _ in range(400)])
    assert np.mean((drawn < 0.05) | (drawn > 0.95)) > 0.9
    np.testing.assert_allclose(drawn.mean(), 1 / (1 + np.exp(-1)), atol=0.04)
    network.set_phase("search", temperature=0.05, blocks=1)
    np.testing.assert_array_equal(np.asarray(network._shares(True))[:, 0], 1.0)


def test_penalty_is_that_of_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 2)).astype("float32")
    network = searched(logits)
    network.set_phase("search")
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    sparsity = -np.log(share[..., 1]).mean()
    pairs = [(0, 1), (0, 2), (1, 2)]
    sharing = np.mean(
        [
            depth * abs(share[i, block, 0] - share[j, block, 0])
            for i, j in pairs
            for block, depth in ((0, 1.0), (1, 0.5))
        ]
    )
    wanted = 0.05 * sparsity + 0.05 * sharing
    np.testing.assert_allclose(float(network.penalty()), wanted, rtol=1e-5)


def test_search_skips_what_a_task_does_not_need():
    """A strong sparsity term and blocks that nobody needs: the policy skips them."""
    keras.utils.set_random_seed(1)
    trunk = mtl.trunks.mlp([8, 8, 8], activation="tanh")
    tasks = [structures.task_of(name, "layer_3") for name in ("north", "south")]
    network = mtl.architectures.AdaShare(trunk, tasks, sparsity=1.0)
    network.build((None, 6))
    network.compile(keras.optimizers.Adam(0.05))
    inputs, labels, _ = structures.data()
    batches = tf.data.Dataset.from_tensors((inputs, labels)).repeat(10)
    callback = mtl.training.PolicySearch(warm_up=1, open_every=2)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            state = (network.searching, network.opened, network.temperature)
            seen.append([round(float(v), 3) for v in state])

    network.fit(batches, epochs=6, verbose=0, callbacks=[callback, Look()])
    assert seen[0] == [0.0, 2.0, 5.0]
    assert [s[1] for s in seen[1:]] == [1.0, 1.0, 2.0, 2.0, 2.0]
    assert seen[2][2] == round(5.0 * 0.965, 3)
    assert (network.run_probabilities() < 0.3).all()


def test_errors_say_what_is_expected():
    trunk, tasks, _ = structures.parts("mlp")
    with pytest.raises(ValueError, match="names of stages"):
        mtl.architectures.AdaShare(trunk, tasks, blocks=["layer_9"])
    wide = mtl.architectures.AdaShare(mtl.trunks.mlp([8, 4]), tasks)
    with pytest.raises(ValueError, match="skipped returns the shape"):
        wide.build((None, 6))
    with pytest.raises(ValueError, match="phase"):
        searched().set_phase("sleep")
    with pytest.raises(ValueError, match="not all"):
        mtl.architectures.SelectedBlocks(
            trunk, tasks, {"north": ["layer_1", "layer_2"]}
        )
    with pytest.raises(ValueError, match="warm_up"):
        mtl.training.PolicySearch(warm_up=-1)
    plain = structures.model("HardSharing")
    with pytest.raises(ValueError, match="AdaShare"):
        plain.fit(X, callbacks=[mtl.training.PolicySearch()], verbose=0)
