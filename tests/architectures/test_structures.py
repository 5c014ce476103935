"""What every architecture promises, on every kind of trunk."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests.architectures import structures
from tests.balancing import methods

EVERYWHERE = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in structures.ALL
    for kind in structures.TRUNKS
]


def outputs_of(network, kind):
    return network(tf.constant(structures.example(kind)))


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_it_learns(name, kind):
    network = structures.model(name, kind)
    history = structures.train(network, kind, epochs=15)
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_every_trainable_weight_gets_a_gradient(name, kind):
    network = structures.model(name, kind)
    inputs, labels, _ = next(iter(structures.batches(kind, network)))
    with tf.GradientTape() as tape:
        outputs = network(inputs, training=True)
        values = [t.loss.call(labels[t.name], outputs[t.name]) for t in network.tasks]
        total = tf.add_n([tf.reduce_sum(value) for value in values])
    gradients = tape.gradient(total, network.trainable_variables)
    without = [
        v.path
        for v, g in zip(network.trainable_variables, gradients, strict=True)
        # The bias of the keys cancels out in the softmax of the attention.
        if (g is None or not np.any(tf.convert_to_tensor(g)))
        and "key/bias" not in v.path
    ]
    assert not without


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_variables_are_a_partition(name, kind):
    network = structures.model(name, kind)
    shared = [id(v) for v in network.shared_variables]
    own = [id(v) for t in network.task_names for v in network.task_variables(t)]
    assert len(set(shared + own)) == len(shared + own)
    assert set(shared + own) == {id(v) for v in network.trainable_variables}
    last = {id(v) for v in network.last_shared_variables}
    assert last <= set(shared)
    assert bool(last) == (name in structures.SHARING)


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_shared_means_that_several_tasks_depend_on_it(name, kind):
    network = structures.model(name, kind)
    inputs, _, _ = next(iter(structures.batches(kind, network)))
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(inputs, training=False)
        totals = {t: tf.reduce_sum(tf.square(outputs[t])) for t in network.task_names}
    found = {
        task: tape.gradient(total, network.trainable_variables)
        for task, total in totals.items()
    }
    shared = {id(v) for v in network.shared_variables}
    for index, variable in enumerate(network.trainable_variables):
        readers = [task for task in found if found[task][index] is not None]
        if id(variable) in shared:
            # A block that one task alone runs stands among those of all.
            at_least = 1 if name == "SelectedBlocks" else 2
            assert len(readers) >= at_least, variable.path
        else:
            assert len(readers) == 1, variable.path


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_round_trip(name, kind, tmp_path):
    network = structures.model(name, kind)
    structures.train(network, kind)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(again) is type(network)
    for task, raw in outputs_of(network, kind).items():
        np.testing.assert_array_equal(raw, outputs_of(again, kind)[task])
    losses = [structures.train(each, kind)["loss"] for each in (network, again)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("kind", structures.TRUNKS)
@pytest.mark.parametrize("name", structures.ALL)
def test_tasks_alone_have_the_outputs_of_all(name, kind):
    network = structures.model(name, kind)
    inputs = tf.constant(structures.example(kind))
    every = network.predict_tasks(inputs)
    for task in network.task_names:
        alone = network.predict_tasks(inputs, tasks=[task])
        assert list(alone) == [task]
        keras.tree.map_structure(
            lambda a, b: np.testing.assert_array_equal(a, b), alone[task], every[task]
        )


@pytest.mark.parametrize("method", methods.ALL)
@pytest.mark.parametrize("name", structures.SHARING)
def test_every_method_of_balancing(name, method):
    balancing = methods.of(method, ("north", "south"))
    network = structures.model(name, compile_kwargs={"balancing": balancing})
    history = structures.train(network, epochs=2)
    assert all(np.isfinite(values).all() for values in history.values())


@pytest.mark.parametrize("name", structures.SEPARATE)
def test_nothing_shared_means_nothing_to_balance_gradients_of(name):
    with pytest.raises(ValueError, match="No shared layer"):
        structures.model(name, compile_kwargs={"balancing": mtl.balancing.UPGrad()})
    for method in methods.OF_LOSSES:
        balancing = methods.of(method, ("north", "south"))
        if isinstance(balancing, mtl.balancing.GradientBalancing):
            continue
        network = structures.model(name, compile_kwargs={"balancing": balancing})
        assert np.isfinite(structures.train(network)["loss"]).all()


@pytest.mark.parametrize("name", structures.ALL)
def test_step_with_xla_is_the_step_without(name):
    weights = []
    for compiled in (False, True):
        network = structures.model(
            name,
            optimizer=keras.optimizers.SGD(0.1),
            compile_kwargs={"jit_compile": compiled},
        )
        structures.train(network)
        weights.append([np.asarray(v) for v in network.trainable_variables])
    for plain, compiled in zip(*weights, strict=True):
        np.testing.assert_allclose(plain, compiled, atol=1e-5)


@pytest.mark.parametrize("name", structures.ALL)
def test_absent_task_moves_nothing(name):
    network = structures.model(name)
    structures.train(network)
    inputs, labels, weights = structures.data()
    weights = {**weights, "north": np.zeros(8, "float32")}
    own = [v.numpy() for v in network.task_variables("north")]
    absent = tf.data.Dataset.from_tensors((inputs, labels, weights))
    history = network.fit(absent, verbose=0).history
    assert history["north_loss"] == [0.0]
    for before, variable in zip(own, network.task_variables("north"), strict=True):
        np.testing.assert_array_equal(before, variable.numpy())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", structures.ALL)
def test_mixed_precision(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        network = structures.model(name, "conv")
    finally:
        keras.config.set_dtype_policy("float32")
    history = structures.train(network, "conv")
    assert all(np.isfinite(values).all() for values in history.values())


@pytest.mark.parametrize(
    "name", [n for n in structures.ALL if n not in ("HardSharing",)]
)
def test_it_is_exported_and_each_task_of_it(name, tmp_path):
    """`to_serving` compares every signature with the model before it returns."""
    network = structures.model(name, "conv")
    version = mtl.export.to_serving(network, tmp_path / "served", example=None)
    signatures = tf.saved_model.load(str(version)).signatures
    assert {"serving_default", "north", "pixels", "features"} <= set(signatures)


@pytest.mark.parametrize(("name", "kind"), EVERYWHERE)
def test_its_picture_shows_every_stage_and_task(name, kind, tmp_path):
    pytest.importorskip("matplotlib")
    network = structures.model(name, kind)
    found = network.sharing()
    assert {f"head_{task}" for task in network.task_names} <= set(found.parts)
    trunk, _, _ = structures.parts(kind)
    labels = {part.label for part in found.parts.values()}
    assert set(trunk.stages) <= labels
    read = {source for source, _ in found.reads}
    assert read == {name for name in found.parts if not name.startswith("head_")}
    picture = network.plot_sharing(tmp_path / "sharing.png", title=name)
    assert picture.dtype == np.uint8 and picture.std() > 10
    assert (tmp_path / "sharing.png").stat().st_size > 1000
