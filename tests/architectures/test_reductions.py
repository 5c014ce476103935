"""What architectures become when one of their parts is switched off."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests.architectures import structures

X = tf.constant(structures.data()[0])


def assert_same_outputs(one, other, atol=1e-6):
    found, wanted = one(X), other(X)
    assert list(found) == list(wanted)
    for task in found:
        np.testing.assert_allclose(found[task], wanted[task], atol=atol)


def give(source, target):
    """Copy the weights of a layer or trunk."""
    target.set_weights(source.get_weights())


def give_heads(source, target):
    for one, other in zip(source.tasks, target.tasks, strict=True):
        give(one.head, other.head)


def separate():
    network = structures.model("SeparateTowers")
    structures.shake(network)
    return network


def give_towers(source, target):
    for one, other in zip(source.towers, target.towers, strict=True):
        give(one, other)
    give_heads(source, target)


def test_separate_towers_are_single_task_models():
    together = structures.model("SeparateTowers", optimizer=keras.optimizers.SGD(0.1))
    alone = {}
    for index, name in enumerate(together.task_names):
        trunk, tasks, shape = structures.parts("mlp")
        alone[name] = mtl.architectures.HardSharing(trunk, [tasks[index]])
        alone[name].build(shape)
        give(together.towers[index], alone[name].trunk)
        give(together.task(name).head, alone[name].task(name).head)
        alone[name].compile(keras.optimizers.SGD(0.1))
        structures.train(alone[name], epochs=2)
    structures.train(together, epochs=2)
    for name, network in alone.items():
        np.testing.assert_allclose(network(X)[name], together(X)[name], atol=1e-6)


def test_start_from_takes_single_task_models():
    network, alone = structures.model("CrossStitch", self_weight=1.0), {}
    for index, name in enumerate(network.task_names):
        trunk, tasks, shape = structures.parts("mlp")
        alone[name] = mtl.architectures.HardSharing(trunk, [tasks[index]])
        alone[name].build(shape)
        structures.shake(alone[name], seed=index)
    network.start_from(alone)
    for name, one in alone.items():
        np.testing.assert_allclose(network(X)[name], one(X)[name], atol=1e-6)
    with pytest.raises(ValueError, match="a model for each"):
        network.start_from({"north": alone["north"]})


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("CrossStitch", {"self_weight": 1.0}),
        ("CrossStitch", {"self_weight": 1.0, "per_channel": True}),
        ("NDDR", {"self_weight": 1.0}),
        ("Sluice", {"self_weight": 1.0, "last_weight": 1.0}),
    ],
)
def test_identity_mixing_is_separate_towers(name, kwargs):
    network, towers = structures.model(name, **kwargs), separate()
    give_towers(towers, network)
    assert_same_outputs(network, towers)


def test_sluice_of_one_subspace_that_reads_the_last_stage_is_cross_stitch():
    stitch = structures.model("CrossStitch", self_weight=0.7)
    structures.shake(stitch)
    sluice = structures.model("Sluice", subspaces=1, last_weight=1.0, self_weight=0.7)
    give_towers(stitch, sluice)
    for one, other in zip(stitch.units, sluice.units, strict=True):
        give(one, other)
    assert_same_outputs(sluice, stitch)


def test_nddr_starts_as_cross_stitch():
    stitch = structures.model("CrossStitch", self_weight=0.7)
    nddr = structures.model("NDDR", self_weight=0.7)
    give_towers(stitch, nddr)
    assert_same_outputs(nddr, stitch)


def hard():
    network = structures.model("HardSharing")
    structures.shake(network)
    return network


@pytest.mark.parametrize("first", [None, "layer_2"])
def test_one_expert_is_hard_sharing(first):
    shared = hard()
    trunk, tasks, shape = structures.parts("mlp")
    network = mtl.architectures.MMoE(trunk, tasks, experts=1, first=first)
    network.build(shape)
    give(shared.trunk, network.whole)
    give_heads(shared, network)
    assert_same_outputs(network, shared)


def test_one_selected_expert_is_hard_sharing_with_it():
    shared = hard()
    trunk, tasks, shape = structures.parts("mlp")
    network = mtl.architectures.DSelectK(trunk, tasks, experts=4, selections=1)
    network.build(shape)
    structures.shake(network)
    give(shared.trunk, network.experts[2])
    give_heads(shared, network)
    for gate in network.gates:
        gate.positions.assign([[-1.0, 1.0]])  # binary 10
        np.testing.assert_array_equal(gate.expert_weights(), [0, 0, 1, 0])
        assert float(gate.penalty()) == 0.0
    assert_same_outputs(network, shared)


def test_closed_gates_to_own_experts_make_mmoe_of_ple():
    trunk, tasks, shape = structures.parts("mlp")
    stages = list(trunk.stages)
    ple = mtl.architectures.PLE(trunk, tasks, 1, shared_experts=2, levels=[stages])
    ple.build(shape)
    structures.shake(ple)
    mmoe = structures.model("MMoE")
    (level,) = ple.levels
    for one, other in zip(level.shared, mmoe.experts, strict=True):
        give(one, other)
    for one, other in zip(level.task_gates, mmoe.gates, strict=True):
        kernel, bias = one.get_weights()
        other.set_weights([kernel[:, 1:], bias[1:]])
        one.set_weights([kernel, np.array([-1e9, *bias[1:]], "float32")])
    give_heads(ple, mmoe)
    assert_same_outputs(ple, mmoe)


def test_open_masks_make_hard_sharing_of_mtan():
    shared, network = hard(), structures.model("MTAN")
    give(shared.trunk, network.whole)
    give_heads(shared, network)
    for own in network.attentions:
        for attention in own:
            attention.mask.bias.assign(np.full(attention.mask.bias.shape, 100.0))
    assert_same_outputs(network, shared)


def trained(name, rate, **kwargs):
    """After some steps in which the heads stay as they are."""
    network = structures.model(name, optimizer=keras.optimizers.SGD(rate), **kwargs)
    for task in network.tasks:
        task.head.trainable = False
    network.compile(keras.optimizers.SGD(rate))
    inputs, labels, _ = structures.data()
    batch = tf.data.Dataset.from_tensors((inputs, labels)).repeat(30)
    network.fit(batch, verbose=0)
    return network


def test_soft_sharing_without_strength_is_separate_towers():
    soft = trained("SoftSharing", 0.1, strength=0.0)
    assert_same_outputs(soft, trained("SeparateTowers", 0.1))


def test_strong_soft_sharing_is_hard_sharing():
    """Each tower has its task's gradient alone: the mean takes half of the steps."""
    shared = trained("HardSharing", 0.05)
    start = structures.model("HardSharing")
    moved = max(np.abs(shared(X)[t] - start(X)[t]).max() for t in start.task_names)
    bounds = []
    for strength in (0.3, 3.0):
        soft = trained("SoftSharing", 0.1, strength=strength)
        apart = [
            np.abs(np.asarray(a) - np.asarray(b)).max()
            for a, b in zip(*(t.trainable_variables for t in soft.towers), strict=True)
        ]
        far = [np.abs(soft(X)[t] - shared(X)[t]).max() for t in soft.task_names]
        bounds.append((max(apart), max(far)))
    (apart, far), (closer, nearer) = bounds
    assert closer < 0.2 * apart and nearer < 0.2 * far
    assert nearer < 0.05 * moved


def test_penalty_of_soft_sharing_is_the_sum_over_pairs():
    trunk, tasks, shape = structures.parts("mlp")
    tasks = [*tasks, structures.task_of("west", "layer_2")]
    network = mtl.architectures.SoftSharing(
        trunk, tasks, strength={"layer_1": 0.5}, same_start=False
    )
    network.build(shape)
    assert float(network.penalty()) > 0
    stages = [tower.stages["layer_1"].get_weights() for tower in network.towers]
    wanted = 0.5 * sum(
        np.sum((a - b) ** 2)
        for i in range(3)
        for j in range(i)
        for a, b in zip(stages[i], stages[j], strict=True)
    )
    np.testing.assert_allclose(float(network.penalty()), wanted, rtol=1e-5)


def test_trace_norm_of_soft_sharing_is_that_of_numpy():
    network = structures.model(
        "SoftSharing", strength=0.2, distance="trace_norm", same_start=False
    )
    wanted = 0.0
    for pair in zip(*(t.get_weights() for t in network.towers), strict=True):
        columns = np.stack([w.ravel() for w in pair], axis=-1)
        wanted += 0.2 * np.linalg.svd(columns, compute_uv=False).sum()
    np.testing.assert_allclose(float(network.penalty()), wanted, rtol=1e-3)


def test_orthogonality_of_sluice_is_that_of_the_columns():
    network = structures.model("Sluice", orthogonality=0.3)
    wanted = 0.0
    for tower in network.towers:
        for name in tower.stages:
            kernel = tower.stages[name].get_weights()[0]
            wanted += 0.3 * np.sum((kernel[:, :4].T @ kernel[:, 4:]) ** 2)
    np.testing.assert_allclose(float(network.penalty()), wanted, rtol=1e-5)


def test_rate_is_a_factor_on_the_steps_of_the_units():
    moved = {}
    for rate in (1.0, 100.0):
        network = structures.model(
            "CrossStitch", rate=rate, optimizer=keras.optimizers.Adam(1e-5)
        )
        before = network.unit("layer_1").weights_of_inputs
        structures.train(network)
        moved[rate] = np.abs(network.unit("layer_1").weights_of_inputs - before).max()
    np.testing.assert_allclose(moved[100.0] / moved[1.0], 100.0, rtol=0.05)
