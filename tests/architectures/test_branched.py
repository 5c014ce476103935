"""A tree of tasks: what it reduces to, and parting while training goes on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests.architectures import structures

NAMES = ("north", "south", "west")
X = tf.constant(structures.data()[0])


def branched(groups=None, optimizer=None, seed=1):
    keras.utils.set_random_seed(seed)
    trunk = mtl.trunks.mlp([8, 6, 4], activation="tanh")
    tasks = [structures.task_of(name, "layer_3") for name in NAMES]
    network = mtl.architectures.Branched(trunk, tasks, groups or {})
    network.build((None, 6))
    network.compile(optimizer or keras.optimizers.Adam(0.01))
    return network


def batches():
    inputs, labels, _ = structures.data()
    labels = {**labels, "west": labels["north"][::-1].copy()}
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4)


def test_one_group_a_stage_is_hard_sharing():
    network = branched()
    shared = mtl.architectures.HardSharing(
        mtl.trunks.mlp([8, 6, 4], activation="tanh"),
        [structures.task_of(name, "layer_3") for name in NAMES],
    )
    shared.build((None, 6))
    shared.trunk.set_weights(network.whole.get_weights())
    for one, other in zip(network.heads, shared.heads, strict=True):
        other.set_weights(one.get_weights())
    shared.compile(keras.optimizers.Adam(0.01))
    for each in (network, shared):
        each.fit(batches(), epochs=3, verbose=0)
    for task, raw in network(X).items():
        np.testing.assert_allclose(raw, shared(X)[task], atol=1e-6)


def test_a_group_for_each_task_is_separate_towers():
    network = branched({"layer_1": [[name] for name in NAMES]})
    towers = mtl.architectures.SeparateTowers(
        mtl.trunks.mlp([8, 6, 4], activation="tanh"),
        [structures.task_of(name, "layer_3") for name in NAMES],
    )
    towers.build((None, 6))
    for tower in towers.towers:
        tower.set_weights(network.whole.get_weights())
    for one, other in zip(network.heads, towers.heads, strict=True):
        other.set_weights(one.get_weights())
    towers.compile(keras.optimizers.Adam(0.01))
    for each in (network, towers):
        each.fit(batches(), epochs=3, verbose=0)
    for task, raw in network(X).items():
        np.testing.assert_allclose(raw, towers(X)[task], atol=1e-6)


def test_parting_keeps_outputs_weights_and_optimizer_state():
    network = branched()
    network.fit(batches(), epochs=2, verbose=0)
    before = {task: raw.numpy() for task, raw in network(X).items()}
    old = network.optimizer
    place = {id(v): i for i, v in enumerate(old._trainable_variables)}
    kernel = network.branches[2][0].kernel
    momentum = np.asarray(old._momentums[place[id(kernel)]])
    assert np.abs(momentum).max() > 0
    network.part({"layer_3": [["north", "west"], ["south"]]})
    for task, raw in network(X).items():
        np.testing.assert_array_equal(raw, before[task])
    assert network.groups["layer_3"] == (("north", "west"), ("south",))
    assert int(network.optimizer.iterations) == int(old.iterations) == 4
    new = network.optimizer
    place = {id(v): i for i, v in enumerate(new._trainable_variables)}
    for branch in network.branches[2]:
        found = np.asarray(new._momentums[place[id(branch.kernel)]])
        np.testing.assert_array_equal(found, momentum)
    network.fit(batches(), epochs=2, verbose=0)
    one, other = (np.asarray(branch.kernel) for branch in network.branches[2])
    assert np.abs(one - other).max() > 1e-3


def test_parting_all_at_once_trains_like_a_model_made_so():
    """Parted before the first step, it is the tree of the constructor."""
    groups = {"layer_2": [["north", "west"], ["south"]]}
    made, parted = branched(groups), branched()
    parted.part(groups)
    parted.whole.set_weights(made.whole.get_weights())
    for at, branches in enumerate(made.branches):
        for one, other in zip(branches, parted.branches[at], strict=True):
            other.set_weights(one.get_weights())
    for one, other in zip(made.heads, parted.heads, strict=True):
        other.set_weights(one.get_weights())
    for each in (made, parted):
        each.fit(batches(), epochs=3, verbose=0)
    for task, raw in made(X).items():
        np.testing.assert_allclose(raw, parted(X)[task], atol=1e-6)


@pytest.mark.parametrize(
    "rounds",
    [
        [{"layer_2": [["north", "west"], ["south"]]}],
        [  # From the heads down, as it grows: three copies of the last stage.
            {"layer_3": [["north", "west"], ["south"]]},
            {"layer_3": [[name] for name in NAMES]},
            {
                "layer_2": [["north"], ["south", "west"]],
                "layer_3": [[name] for name in NAMES],
            },
        ],
    ],
)
def test_a_parted_model_is_saved_and_restored(tmp_path, rounds):
    network = branched()
    network.fit(batches(), verbose=0)
    for groups in rounds:
        network.part(groups)
    network.fit(batches(), verbose=0)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.groups == network.groups
    for task, raw in network(X).items():
        np.testing.assert_array_equal(again(X)[task], raw)
    for each in (network, again):
        each.fit(batches(), verbose=0)
    for task, raw in network(X).items():
        np.testing.assert_allclose(again(X)[task], raw, atol=1e-6)


def test_callback_parts_tasks_that_find_other_samples_difficult():
    """Two tasks have the same labels; the third, others: it gets a branch."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(256, 6)).astype("float32")
    same = (inputs[:, 0] + 0.8 * rng.normal(size=256) > 0).astype("int32")
    other = (inputs[:, 1] + 0.8 * rng.normal(size=256) > 0).astype("int32")
    labels = {"north": same, "south": same, "west": other}
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(32)
    network = branched(optimizer=keras.optimizers.Adam(0.01))
    callback = mtl.training.AdaptiveSharing(data, every=4, branch_cost=0.25)
    history = network.fit(data, epochs=12, verbose=0, callbacks=[callback]).history
    stage, groups, affinity = callback.history[0]
    assert stage == "layer_3" and groups == (("north", "south"), ("west",))
    assert affinity[0, 1] > affinity[0, 2] + 0.1
    assert network.groups["layer_3"] == groups
    assert history["loss"][-1] < history["loss"][0]
    assert [one[0] for one in callback.history[:2]] == ["layer_3", "layer_2"]
    shared = mtl.training.AdaptiveSharing(data, branch_cost=100.0)
    whole = branched()
    whole.fit(data, epochs=3, verbose=0, callbacks=[shared])
    assert len(shared.history) == 1 and whole.groups["layer_3"] == (NAMES,)


def test_errors_say_what_is_expected():
    network = branched({"layer_2": [["north", "west"], ["south"]]})
    with pytest.raises(ValueError, match="each of the tasks"):
        branched({"layer_2": [["north"]]})
    with pytest.raises(ValueError, match="joined again"):
        branched({"layer_1": [["north", "west"], ["south"]], "layer_2": [NAMES]})
    with pytest.raises(ValueError, match="lie within"):
        network.part({"layer_1": [NAMES], "layer_2": [NAMES]})
    with pytest.raises(ValueError, match="for stages of"):
        network.part({"layer_7": [NAMES]})
    plain = structures.model("HardSharing")
    with pytest.raises(ValueError, match="Branched"):
        callback = mtl.training.AdaptiveSharing(structures.batches("mlp", plain))
        plain.fit(structures.batches("mlp", plain), callbacks=[callback], verbose=0)
