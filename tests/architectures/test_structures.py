"""What every architecture promises, on every kind of trunk."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.architectures import structures

EVERYWHERE = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in structures.ALL
    for kind in structures.TRUNKS
]


@functools.cache
def trained(name, kind):
    """A model after some epochs, all weights shaken a little, and the history."""
    network = structures.model(name, kind)
    history = structures.train(network, kind, epochs=12)
    structures.shake(network)
    return network, history


def outputs_of(network, kind):
    return network(tf.constant(structures.example(kind)))


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_it_learns(name, kind):
    _, history = trained(name, kind)
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_variables_are_a_partition(name, kind):
    network, _ = trained(name, kind)
    shared = [id(v) for v in network.shared_variables]
    own = [id(v) for t in network.task_names for v in network.task_variables(t)]
    assert len(set(shared + own)) == len(shared + own)
    assert set(shared + own) == {id(v) for v in network.trainable_variables}
    last = {id(v) for v in network.last_shared_variables}
    assert last <= set(shared)
    assert bool(last) == (name in structures.SHARING)


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_every_weight_has_a_gradient_and_is_of_those_who_give_it(name, kind):
    network, _ = trained(name, kind)
    inputs, labels, _ = next(iter(structures.batches(kind, network)))
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(inputs, training=True)
        losses = {
            t.name: tf.reduce_sum(t.loss.call(labels[t.name], outputs[t.name]))
            for t in network.tasks
        }
    variables = network.trainable_variables
    found = {task: tape.gradient(loss, variables) for task, loss in losses.items()}
    own = {t: {id(v) for v in network.task_variables(t)} for t in network.task_names}
    shared = {id(v) for v in network.shared_variables}
    for index, variable in enumerate(variables):
        gradients = {task: found[task][index] for task in found}
        readers = [task for task, g in gradients.items() if g is not None]
        if "pyramid" in variable.path and not readers:
            continue  # The neck of a task whose head reads the trunk itself.
        if id(variable) in shared:
            # What `encode` runs stands among the variables of all.
            some = name in ("JointManyTask", "NDDR", "PLE", "SelectedBlocks")
            some = some or "pyramid" in variable.path  # of hard sharing
            assert len(readers) >= (1 if some else 2)
        else:
            assert len(readers) == 1 and id(variable) in own[readers[0]]
        # The bias of the keys cancels out in the softmax of the attention.
        if "key/bias" not in variable.path:
            tensors = [tf.convert_to_tensor(gradients[task]) for task in readers]
            assert any(np.any(tensor) for tensor in tensors), variable.path


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_tasks_alone_have_the_outputs_of_all(name, kind):
    network, _ = trained(name, kind)
    inputs = tf.constant(structures.example(kind))
    every = network.predict_tasks(inputs)
    for task in network.task_names:
        alone = network.predict_tasks(inputs, tasks=[task])
        assert list(alone) == [task]
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_array_equal(a, b), alone[task], every[task]
        )


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_its_picture_shows_every_stage_and_task(name, kind, tmp_path):
    pytest.importorskip("matplotlib")
    network, _ = trained(name, kind)
    found = network.sharing()
    assert {f"head_{task}" for task in network.task_names} <= set(found.parts)
    labels = {part.label for part in found.parts.values()}
    assert set(structures.parts(kind)[0].stages) <= labels
    read = {source for source, _ in found.reads}
    assert read == {name for name in found.parts if not name.startswith("head_")}
    picture = network.plot_sharing(tmp_path / "sharing.png", title=name)
    assert picture.dtype == np.uint8 and picture.std() > 10
    assert (tmp_path / "sharing.png").stat().st_size > 1000


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_round_trip(name, kind, tmp_path):
    network, _ = trained(name, kind)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(again) is type(network)
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_array_equal(a, b),
        outputs_of(network, kind),
        outputs_of(again, kind),
    )
    # What is drawn starts anew: Keras does not save the state of its generators.
    if kind == "mlp" and name not in structures.SEARCHED:
        losses = [structures.train(each, kind)["loss"] for each in (network, again)]
        np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("name", structures.ALL)
def test_absent_task_moves_nothing(name):
    """Nor do momentum and what the step before had: it goes on from trained weights."""
    network, _ = trained(name, "mlp")
    inputs, labels, weights = structures.data()
    weights = {"north": np.zeros(8, "float32"), "south": weights["south"]}
    own = [v.numpy() for v in network.task_variables("north")]
    others = [v.numpy() for v in network.task_variables("south")]
    absent = tf.data.Dataset.from_tensor_slices((inputs, labels, weights))
    history = network.fit(absent.batch(4, drop_remainder=True), verbose=0).history
    assert history["north_loss"] == [0.0]
    for before, variable in zip(own, network.task_variables("north"), strict=True):
        np.testing.assert_array_equal(before, variable.numpy())
    pairs = zip(others, network.task_variables("south"), strict=True)
    assert any(np.any(before != variable.numpy()) for before, variable in pairs)
