"""What every architecture promises of its steps, and of its export."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import mtl_zoo as mtl
from tests.architectures import structures
from tests.balancing import methods


@functools.cache
def built(name):
    """A model that tests compile anew."""
    return structures.model(name)


def takes_a_step(network, method, **kwargs):
    """Compile with a method, and train on one batch."""
    balancing = methods.of(method, ("north", "south"))
    network.compile(keras.optimizers.SGD(0.01, momentum=0.9), balancing, **kwargs)
    before = [v.numpy() for v in network.trainable_variables]
    batch = tf.data.Dataset.from_tensors(structures.data())
    history = network.fit(batch, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    pairs = zip(before, network.trainable_variables, strict=True)
    assert any(np.any(old != v.numpy()) for old, v in pairs)


@pytest.mark.parametrize("name", structures.SHARING)
def test_every_method_of_balancing(name):
    for method in methods.ALL:
        takes_a_step(built(name), method, run_eagerly=True)


# A second pass, and the Gramian: `tests/balancing` has all of them in the graph.
@pytest.mark.parametrize("method", ["FAMO", "UPGrad"])
@pytest.mark.parametrize("name", structures.SHARING)
def test_methods_of_balancing_in_the_graph(name, method):
    takes_a_step(built(name), method)


@pytest.mark.parametrize("name", structures.SEPARATE)
def test_nothing_shared_means_nothing_to_balance_gradients_of(name):
    with pytest.raises(ValueError, match="No shared layer"):
        structures.model(name, compile_kwargs={"balancing": mtl.balancing.UPGrad()})
    for method in methods.OF_LOSSES:
        balancing = methods.of(method, ("north", "south"))
        if isinstance(balancing, mtl.balancing.GradientBalancing):
            continue
        network = built(name)
        network.compile(keras.optimizers.SGD(0.01), balancing, run_eagerly=True)
        assert np.isfinite(structures.train(network)["loss"]).all()


@pytest.mark.parametrize("name", structures.ALL)
def test_step_with_xla_is_the_step_without(name):
    weights = []
    for compiled in (True, False):
        network = structures.model(
            name,
            optimizer=keras.optimizers.SGD(0.1),
            compile_kwargs={"jit_compile": compiled},
        )
        if name in structures.SEARCHED:
            network.set_phase("all")  # XLA draws other numbers.
        assert np.isfinite(structures.train(network)["loss"]).all()
        if name == "LearningToBranch":
            return  # It draws in each phase.
        weights.append([np.asarray(v) for v in network.trainable_variables])
    for plain, compiled in zip(*weights, strict=True):
        np.testing.assert_allclose(plain, compiled, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16"])
@pytest.mark.parametrize("name", structures.ALL)
def test_mixed_precision(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        kwargs = {"run_eagerly": True}
        network = structures.model(name, "conv", compile_kwargs=kwargs)
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
    written = (version / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(written).meta_graphs
    names = {"serving_default", "north", "pixels", "features"}
    assert names <= set(graph.signature_def)
