"""Deep relationship networks: the architecture around the prior."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.priors import Normal, TensorNormal, TraceNorm
from tests.balancing import methods

NAMES = ("north", "south", "west")


def tasks(classes=(4, 4, 4)):
    return [
        mtl.Task(
            name,
            mtl.heads.Classification(count, feature="layer_1"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        for name, count in zip(NAMES, classes, strict=True)
    ]


def model(classes=(4, 4, 4), optimizer=None, compile_kwargs=None, **kwargs):
    keras.utils.set_random_seed(1)
    kwargs = {"units": [5], "strength": 0.1, "update_every": 1, **kwargs}
    # Equal starts make a first covariance of rank 1, in which rounding grows.
    kwargs = {"same_start": False, **kwargs}
    network = mtl.architectures.DeepRelationship(
        mtl.trunks.mlp([8], activation="tanh"), tasks(classes), "layer_1", **kwargs
    )
    network.build((None, 6))
    network.compile(optimizer or keras.optimizers.SGD(0.1), **(compile_kwargs or {}))
    return network


def arrays(samples=24):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 6)).astype("float32")
    label = np.argmax(x[:, :4], axis=1).astype("int32")
    return x, {name: label for name in NAMES}


def train(network, epochs=2, weights=None):
    x, labels = arrays()
    data = (x, labels) if weights is None else (x, labels, weights)
    batches = tf.data.Dataset.from_tensor_slices(data).batch(8, drop_remainder=True)
    return network.fit(batches, epochs=epochs, verbose=0)


def kernels(network):
    """Stacked kernels of the hidden layer and of the heads."""
    hidden = np.stack([np.asarray(t[0].kernel) for t in network.towers], axis=-1)
    heads = [np.asarray(t.head.output_kernel) for t in network.tasks]
    return hidden, np.stack(heads, axis=-1)


def test_variables_are_a_partition():
    network = model()
    parts = [network.shared_variables]
    parts += [network.task_variables(name) for name in NAMES]
    ids = [id(v) for part in parts for v in part]
    assert all(parts) and len(set(ids)) == len(ids)
    assert set(ids) == {id(v) for v in network.trainable_variables}


def test_loss_in_the_logs_has_the_prior():
    network = model(prior=Normal(variance=0.5), strength=0.2)
    x, labels = arrays(8)
    logs = network.test_on_batch(x, labels, return_dict=True)
    losses = sum(float(logs[f"{name}_loss"]) for name in NAMES)
    prior = 0.2 * sum(np.sum(kernel**2) for kernel in kernels(network))
    np.testing.assert_allclose(float(logs["loss"]), losses + prior, rtol=1e-5)


def test_covariances_follow_the_weights_every_few_steps():
    network = model(update_every=3)
    start = np.asarray(network.prior("heads").covariance(2))
    np.testing.assert_allclose(start, np.eye(3), atol=1e-6)
    x, labels = arrays(8)
    for _ in range(2):
        network.train_on_batch(x, labels)
    np.testing.assert_array_equal(network.prior("heads").covariance(2), start)
    network.train_on_batch(x, labels)
    for name, weights in zip(("hidden_1", "heads"), kernels(network), strict=True):
        prior = TensorNormal()
        prior.build(weights.shape)
        wanted = prior.updated(weights)
        found = network.prior(name).non_trainable_variables
        prior_found = [np.asarray(v) for v in found]
        for variable, value in zip(prior.non_trainable_variables, wanted, strict=True):
            variable.assign(value)
        for mode in range(3):
            np.testing.assert_allclose(
                network.prior(name).covariance(mode),
                prior.covariance(mode),
                rtol=1e-3,
                atol=1e-4,
            )
        assert all(np.all(np.isfinite(value)) for value in prior_found)


def test_like_tasks_come_out_as_alike():
    """Two tasks have the same labels, the third has others: the prior finds out."""
    network = model(
        optimizer=keras.optimizers.Adam(0.02), strength=1e-3, units=[], update_every=5
    )
    x, labels = arrays(200)
    rng = np.random.default_rng(1)
    labels["west"] = rng.permutation(labels["west"])
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(50)
    network.fit(data, epochs=40, verbose=0)
    found = network.prior("heads").correlation(2)
    assert found[0, 1] > found[0, 2] + 0.3 and found[0, 1] > found[1, 2] + 0.3


@pytest.mark.parametrize("prior", [TensorNormal(), TraceNorm(), Normal()])
def test_heads_of_different_sizes(prior):
    network = model(classes=(4, 5, 6), prior=prior)
    train(network)
    assert all(np.all(np.isfinite(v)) for v in network.variables)
    if isinstance(prior, TensorNormal):
        assert network.prior("heads").shape == (5, 15)
        assert network.prior("hidden_1").shape == (8, 5, 3)


@pytest.mark.parametrize("name", methods.ALL)
def test_the_prior_is_in_the_update_of_every_balancing_method(name):
    """One step of plain descent with and without: the gradient of the prior apart."""
    made = []
    for strength in (0.0, 0.2):
        method = methods.of(name, names=NAMES)
        # Tracing takes most of the time of a single step.
        kwargs = {"balancing": method, "run_eagerly": True}
        network = model(strength=strength, update_every=100, compile_kwargs=kwargs)
        before = kernels(network)
        x, labels = arrays(8)
        network.train_on_batch(x, labels)
        made.append(kernels(network))
    for start, without, related in zip(before, *made, strict=True):
        variance = 1.0 / len(start)
        np.testing.assert_allclose(
            related - without, -0.1 * 0.2 * start / variance, rtol=1e-3, atol=1e-5
        )


def test_gradient_accumulation_and_a_prior_in_float64():
    network = model(
        optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
        prior=TensorNormal(dtype="float64"),
        update_every=1,
    )
    x, labels = arrays(8)
    network.train_on_batch(x, labels)
    np.testing.assert_array_equal(network.prior("heads").covariance(2), np.eye(3))
    network.train_on_batch(x, labels)
    assert np.any(network.prior("heads").covariance(2) != np.eye(3))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        network = model()
    finally:
        keras.config.set_dtype_policy("float32")
    history = train(network).history
    assert np.all(np.isfinite(history["loss"]))
    found = network.prior("heads").covariance(0)
    assert found.dtype == np.float32 and np.all(np.isfinite(found))


def test_under_xla():
    network, plain = model(compile_kwargs={"jit_compile": True}), model()
    for one in (network, plain):
        train(one, epochs=1)
    for one, other in zip(kernels(network), kernels(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_two_replicas_follow_as_one():
    program = """
        import numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from tests.architectures import test_deep_relationship as tests
        alone = tests.model()
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            both = tests.model(compile_kwargs={"jit_compile": False})
        for one in (alone, both):
            tests.train(one, epochs=1)
        for one, other in zip(tests.kernels(alone), tests.kernels(both)):
            np.testing.assert_allclose(one, other, atol=1e-5)
        for one, other in zip(alone.priors, both.priors):
            np.testing.assert_allclose(
                one.covariance(2), other.covariance(2), atol=1e-3)
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_file_keeps_the_relations(tmp_path):
    network = model(optimizer=keras.optimizers.Adam(0.01))
    train(network)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for name in ("feature", "units", "strength", "update_every"):
        assert getattr(again, name) == getattr(network, name)
    for one, other in zip(network.priors, again.priors, strict=True):
        for mode in range(3):
            np.testing.assert_array_equal(one.covariance(mode), other.covariance(mode))
    x, _ = arrays()
    for name, output in network(x).items():
        np.testing.assert_allclose(output, again(x)[name], atol=1e-6)


def test_bad_arguments_say_what_is_expected():
    for wrong, message in (
        ({"units": [0]}, "units"),
        ({"strength": -1.0}, "strength"),
        ({"update_every": 0}, "update_every"),
    ):
        with pytest.raises(ValueError, match=f"{message}.*Received"):
            model(**wrong)
    with pytest.raises(ValueError, match=r"one of .*hidden_1.*'fc8'"):
        model().prior("fc8")
    ordinal = mtl.Task(
        "stars",
        mtl.heads.Ordinal(5, feature="layer_1"),
        keras.losses.MeanSquaredError(),
    )
    with pytest.raises(ValueError, match=r"output_kernel.*Ordinal.*'stars'"):
        mtl.architectures.DeepRelationship(mtl.trunks.mlp([8]), [ordinal], "layer_1")
    with pytest.raises(ValueError, match=r"'layer_2'.*reads 'layer_1'.*'north'"):
        mtl.architectures.DeepRelationship(mtl.trunks.mlp([8, 8]), tasks(), "layer_2")


def test_layers_of_the_tasks_start_equal_unless_they_differ_in_shape():
    for kernel in kernels(model(same_start=True)):
        assert np.ptp(kernel, axis=-1).max() == 0.0
    for kernel in kernels(model(same_start=False)):
        assert np.ptp(kernel, axis=-1).max() > 0.1
    mixed = model(classes=(4, 4, 3), same_start=True)
    first, second, third = (task.head.output_kernel for task in mixed.tasks)
    np.testing.assert_array_equal(first, second)
    assert third.shape != first.shape


def test_heads_that_start_at_zero_learn_how_alike_their_tasks_are():
    """Two tasks of the same labels, and one of other labels."""
    network = model(units=[], same_start=True, zero_heads=True, strength=1e-3)
    assert all(np.all(task.head.output_kernel == 0.0) for task in network.tasks)
    x, labels = arrays(samples=64)
    labels[NAMES[2]] = (labels[NAMES[2]] + 1) % 4
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(16)
    network.fit(data, epochs=20, verbose=0)
    found = network.prior("heads").correlation(2)
    assert found[0, 1] > 0.95
    assert abs(found[0, 2]) < 0.7 and abs(found[1, 2]) < 0.7
