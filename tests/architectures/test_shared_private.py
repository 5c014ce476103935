"""A shared trunk and private ones: what the heads read, and what keeps them apart."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.architectures import shared_private
from tests.architectures import structures

X, LABELS, WEIGHTS = structures.data()


def network(role="main", reversal=1.0, optimizer=None, compile_kwargs=None, **kwargs):
    """The tiny model, of which the last task may be adversarial."""
    keras.utils.set_random_seed(1)
    trunk, (first, last), shape = structures.parts("mlp")
    last = replace(last, role=role, reversal=reversal)
    model = mtl.architectures.SharedPrivate(trunk, [first, last], **kwargs)
    model.build(shape)
    structures.shake(model)
    optimizer = optimizer or keras.optimizers.SGD(1.0)
    model.compile(optimizer, run_eagerly=True, **(compile_kwargs or {}))
    return model


def update(model, variables):
    before = [v.numpy() for v in variables]
    model.train_step((X, LABELS))
    return [old - v.numpy() for old, v in zip(before, variables, strict=True)]


def test_without_penalty_and_private_parts_it_is_hard_sharing():
    model = network(orthogonality=0.0)
    trunk, tasks, shape = structures.parts("mlp")
    shared = mtl.architectures.HardSharing(trunk, tasks)
    shared.build(shape)
    shared.trunk.set_weights(model.whole.get_weights())
    for one, other in zip(model.tasks, shared.tasks, strict=True):
        kernel, bias = one.head.get_weights()
        kernel[8:] = 0.0  # what the private trunk gives
        one.head.set_weights([kernel, bias])
        other.head.set_weights([kernel[:8], bias])
    for task, output in shared(X).items():
        np.testing.assert_allclose(model(X)[task], output, atol=1e-6)
    shared.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    for one, other in zip(
        update(model, model.shared_variables),
        update(shared, shared.shared_variables),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_without_shared_parts_it_is_separate_towers():
    model, towers = network(), structures.model("SeparateTowers")
    for index, (one, other) in enumerate(zip(model.tasks, towers.tasks, strict=True)):
        kernel, bias = one.head.get_weights()
        kernel[:8] = 0.0
        one.head.set_weights([kernel, bias])
        other.head.set_weights([kernel[8:], bias])
        towers.towers[index].set_weights(model.private[one.name].get_weights())
    for task, output in towers(X).items():
        np.testing.assert_allclose(model(X)[task], output, atol=1e-6)


def test_penalty_by_numpy():
    model = network(orthogonality=0.5)
    features = {name: np.asarray(x) for name, x in model.encode(X).items()}

    def rows(name):
        return features[name] / np.linalg.norm(features[name], axis=1, keepdims=True)

    expected = 0.5 * sum(
        np.linalg.norm(rows("layer_2").T @ rows(f"{task}__layer_2")) ** 2 / len(X) ** 2
        for task in model.task_names
    )
    assert float(model.penalty()) == pytest.approx(expected, rel=1e-5)
    logs = model.evaluate(X, LABELS, verbose=0, return_dict=True)
    total = logs["north_loss"] + logs["south_loss"] + expected
    assert logs["loss"] == pytest.approx(total, rel=1e-5)


def test_penalty_at_its_bounds():
    one, other = (
        np.eye(4, dtype="float32")[[0] * 5],
        np.eye(4, dtype="float32")[[1] * 5],
    )
    found = [
        float(shared_private.overlap(tf.constant(a), tf.constant(b)))
        for a, b in ((one, other), (one, one))
    ]
    assert found == pytest.approx([1.0, 1.0])  # a fixed pair of directions, not of rows
    signs = np.array([1, -1, 1, -1], "float32")[:, None]
    apart = shared_private.overlap(tf.constant(one[:4]), tf.constant(signs * other[:4]))
    assert float(apart) == 0.0


@pytest.mark.parametrize("name", ["Equal", "MGDA"])
def test_penalty_is_trained_under_every_kind_of_method(name):
    """Once, not again for each trace or task: the difference that it makes."""
    moved = []
    for strength in (0.0, 0.5):
        balancing = getattr(mtl.balancing, name)()
        model = network(orthogonality=strength, compile_kwargs={"balancing": balancing})
        variables = [*model.shared_variables, *model.private["north"].trainable_weights]
        moved.append(np.concatenate([u.ravel() for u in update(model, variables)]))
    model = network(orthogonality=0.5)
    variables = [*model.shared_variables, *model.private["north"].trainable_weights]
    with tf.GradientTape() as tape:
        model(X)
        penalty = model.penalty()
    gradients = tape.gradient(
        penalty, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    expected = np.concatenate([np.ravel(g) for g in gradients])
    assert np.any(expected)
    np.testing.assert_allclose(moved[1] - moved[0], expected, atol=2e-6)


def test_penalty_falls_where_it_is_all_there_is():
    model = network(orthogonality=100.0, optimizer=keras.optimizers.Adam(0.01))
    model(X)
    start = float(model.penalty())
    for _ in range(20):
        model.train_step((X, LABELS))
    model(X)
    assert float(model.penalty()) < 0.8 * start


def test_adversary_reads_and_reverses_the_shared_part_alone():
    model = network("adversarial", reversal=0.5, orthogonality=0.0)
    assert set(model.private) == {"north"}
    assert model.task("south").head.output_kernel.shape == (8, 3)
    assert model.task("north").head.output_kernel.shape == (16, 3)
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(X)
        north, south = (
            tf.reduce_mean(t.loss.call(LABELS[t.name], outputs[t.name]))
            for t in model.tasks
        )
    shared, own = model.shared_variables, model.private["north"].trainable_weights
    assert all(g is None for g in tape.gradient(south, own))
    expected = [
        a - 0.5 * b
        for a, b in zip(
            tape.gradient(north, shared), tape.gradient(south, shared), strict=True
        )
    ]
    expected += tape.gradient(north, own)
    for one, other in zip(update(model, [*shared, *own]), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_round_trip_with_an_adversary(tmp_path):
    model = network("adversarial", mtl.training.ReversalRamp(4), feature="layer_1")
    model.train_step((X, LABELS))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.get_config()["feature"] == "layer_1"
    for task, output in model(X).items():
        np.testing.assert_array_equal(again(X)[task], output)


def test_picture_shows_private_trunks_of_those_who_have_one():
    found = network("adversarial").sharing()
    assert {"shared/layer_1", "north/layer_1"} <= set(found.parts)
    assert "south/layer_1" not in found.parts
    readers = {t for s, t in found.reads if s == "shared/layer_2"}
    assert readers == {"head_north", "head_south"}


def test_errors():
    trunk, tasks, shape = structures.parts("mlp")
    with pytest.raises(ValueError, match="Received: orthogonality=-1"):
        mtl.architectures.SharedPrivate(trunk, tasks, orthogonality=-1)
    model = mtl.architectures.SharedPrivate(trunk, tasks, feature="layer_9")
    with pytest.raises(ValueError, match="Received: 'layer_9'"):
        model.build(shape)
