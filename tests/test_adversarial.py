"""Adversarial tasks: heads that learn to predict, shared variables that unlearn it."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.data import stream
from tests import fakes
from tests.architectures import structures
from tests.balancing import methods

REVERSAL = 0.5


@keras.saving.register_keras_serializable(package="tests")
class Negated(keras.losses.Loss):
    """A loss times a negative number: what the shared variables see of an adversary."""

    def __init__(self, loss: keras.losses.Loss, factor: float) -> None:
        super().__init__()
        self.loss, self.factor = loss, factor
        if hasattr(loss, "count"):
            self.count = loss.count

    def call(self, y_true, y_pred):
        return -self.factor * self.loss.call(y_true, y_pred)


def adversary(task: mtl.Task, reversal=REVERSAL) -> mtl.Task:
    return replace(task, role="adversarial", reversal=reversal)


def opponent(task: mtl.Task) -> mtl.Task:
    return replace(task, loss=Negated(task.loss, REVERSAL))


def model(change=adversary, optimizer=None, **compile_kwargs):
    """The fake model with another last task."""
    keras.utils.set_random_seed(1)
    *others, last = fakes.tasks()
    network = mtl.architectures.HardSharing(
        mtl.trunks.mlp([16, 8], activation="tanh"), [*others, change(last)]
    )
    network.build((None, 6))
    network.compile(optimizer or keras.optimizers.SGD(1.0), **compile_kwargs)
    return network


def update(network, data, variables) -> list[np.ndarray]:
    """What one step takes from the variables."""
    before = [v.numpy() for v in variables]
    network.train_step(data)
    return [old - v.numpy() for old, v in zip(before, variables, strict=True)]


def losses_of(network, x, labels) -> dict:
    outputs = network(x, training=False)
    return {
        t.name: t.weight * t.loss(labels[t.name], outputs[t.name])
        for t in network.tasks
    }


def rows(network, variables, x, labels) -> np.ndarray:
    """The losses' gradients by the variables, not reversed, `(T, N)`."""
    with tf.GradientTape(persistent=True) as tape:
        losses = losses_of(network, x, labels)
    found = [tape.gradient(loss, variables) for loss in losses.values()]
    return np.array([np.concatenate([np.ravel(g) for g in one]) for one in found])


def flat(arrays) -> np.ndarray:
    return np.concatenate([np.ravel(array) for array in arrays])


# The gradient.


def test_finite_differences():
    """Each variable of the trunk goes down `L_main - reversal L_adversary`."""
    network = model(run_eagerly=True)
    x, labels = fakes.arrays()

    def objective(sign):
        *mains, last = losses_of(network, x, labels).values()
        return float(sum(mains) + sign * last)

    rng = np.random.default_rng(0)
    groups = [
        (network.shared_variables, -REVERSAL),
        (network.task_variables("colour"), 1.0),
        (network.task_variables("kind"), 1.0),
    ]
    expected, directions = [], []
    for variables, sign in groups:
        step = [rng.normal(size=v.shape).astype("float32") for v in variables]
        found = []
        for side in (1e-2, -1e-2):
            for variable, d in zip(variables, step, strict=True):
                variable.assign_add(side * d)
            found.append(objective(sign))
            for variable, d in zip(variables, step, strict=True):
                variable.assign_sub(side * d)
        directions.append(flat(step))
        expected.append((found[0] - found[1]) / 2e-2)
    variables = [v for group, _ in groups for v in group]
    taken = iter(update(network, (x, labels), variables))
    for (group, _), direction, slope in zip(groups, directions, expected, strict=True):
        gradient = flat([next(taken) for _ in group])
        assert gradient @ direction == pytest.approx(slope, rel=5e-3)


STRUCTURES = [
    # Of `SharedPrivate`, an adversary has fewer parts: see its own tests.
    *((name, "mlp") for name in structures.SHARING if name != "SharedPrivate"),
    ("HardSharing", "conv"),
    ("HardSharing", "text"),
]


@pytest.mark.parametrize(("name", "kind"), STRUCTURES)
def test_every_architecture_and_trunk(name, kind, monkeypatch):
    """The shared variables move as if the loss was negative, its own as if not."""
    parts, taken = structures.parts, []
    for change in (adversary, opponent):

        def changed(kind, change=change):
            trunk, (first, last), shape = parts(kind)
            return trunk, [first, change(last)], shape

        monkeypatch.setattr(structures, "parts", changed)
        network = structures.model(
            name,
            kind,
            {"run_eagerly": True},
            keras.optimizers.SGD(1.0),
            **({"entropy": 0.0} if name == "DSelectK" else {}),  # not in the loss
        )
        last = network.tasks[-1].name
        groups = [network.shared_variables, network.task_variables(last)]
        data = next(iter(structures.batches(kind, network)))
        moved = update(network, data, [v for group in groups for v in group])
        taken.append((moved[: len(groups[0])], moved[len(groups[0]) :]))
    (shared, own), (expected, opposite) = taken
    np.testing.assert_allclose(flat(shared), flat(expected), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        flat(own), flat(opposite) / -REVERSAL, rtol=1e-3, atol=1e-6
    )
    assert np.any(flat(own))


# Balancing.


def twin_of(name, network, **kwargs):
    method = methods.of(name, fakes.NAMES, **kwargs)
    method.build(fakes.NAMES, network.balancing.gradient_size)
    return method


@pytest.mark.parametrize(
    ("name", "level"),
    [
        *((name, "last") for name in methods.OF_GRADIENTS),
        *((name, "params") for name in ("MGDA", "PCGrad", "UPGrad", "NashMTL")),
    ],
)
def test_methods_see_the_reversed_gradient(name, level):
    network = model(
        balancing=methods.of(name, fakes.NAMES, level=level), run_eagerly=True
    )
    x, labels = fakes.arrays()
    sign = np.array([[1.0], [1.0], [-REVERSAL]])
    gradients = sign * rows(network, network.shared_variables, x, labels)
    last = sign * rows(network, network.last_shared_variables, x, labels)
    losses = [float(loss) for loss in losses_of(network, x, labels).values()]
    given = (methods.tensor(losses), methods.tensor([True] * 3, "bool"))
    method = twin_of(name, network, level=level)
    taken = flat(update(network, (x, labels), network.shared_variables))
    if level == "params":
        expected, _ = method.combine(methods.tensor(gradients), *given)
    else:
        weights = method.weights_from_gradients(methods.tensor(last), *given)
        expected = np.asarray(weights) @ gradients
    np.testing.assert_allclose(taken, expected, atol=3e-4 * np.abs(taken).max())


@pytest.mark.parametrize("name", ["MGDA", "UPGrad", "PCGrad", "CAGrad", "AlignedMTL"])
def test_at_the_features(name):
    """Methods that do not look at losses move the trunk as for a negative loss."""
    taken = [
        flat(update(network, fakes.arrays(), network.shared_variables))
        for network in (
            model(
                change,
                balancing=methods.of(name, fakes.NAMES, level="feature"),
                run_eagerly=True,
            )
            for change in (adversary, opponent)
        )
    ]
    np.testing.assert_allclose(*taken, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "diagnostics"),
    [*((name, False) for name in methods.OF_LOSSES), ("DWA", True)],
)
def test_methods_see_the_loss_as_it_is(name, diagnostics):
    """Its weight is for both sides: the head learns with it, the trunk against it."""
    network = model(
        balancing=methods.of(name, fakes.NAMES),
        diagnostics=diagnostics,
        run_eagerly=True,
    )
    x, labels = fakes.arrays()
    method = twin_of(name, network)
    losses = tf.stack(list(losses_of(network, x, labels).values()))
    with tf.GradientTape() as tape:
        tape.watch(losses)
        total = method.total(losses, methods.tensor([True] * 3, "bool"))
    weights = np.asarray(tape.gradient(total, losses))
    head = network.task("colour").head.trainable_variables
    with tf.GradientTape() as tape:
        loss = losses_of(network, x, labels)["colour"]
    own = weights[2] * flat(tape.gradient(loss, head))
    gradients = rows(network, network.shared_variables, x, labels)
    expected = (weights * [1.0, 1.0, -REVERSAL]) @ gradients
    variables = [*network.shared_variables, *head]
    taken = flat(update(network, (x, labels), variables))
    wanted = np.concatenate([expected, own])
    np.testing.assert_allclose(taken, wanted, rtol=1e-3, atol=1e-6)


# Where it goes.


def apart(damping: float) -> float:
    """How far domains are apart in the features, in their standard deviations."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    domain = np.arange(400) % 2
    # Means further apart than the rows of a domain: not much to damp in the data.
    x = rng.normal(size=(400, 50)).astype("float32")
    x *= 0.3 / np.linalg.norm(x, axis=1, keepdims=True)
    x[:, 0] += domain
    head = mtl.heads.Classification(
        2, "layer_1", kernel_regularizer=keras.regularizers.L2(damping)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task = mtl.Task("domain", head, loss, role="adversarial")
    network = mtl.architectures.HardSharing(
        mtl.trunks.mlp([10], activation="tanh"), [task]
    )
    network.build((None, 50))
    network.compile(keras.optimizers.SGD(0.2, momentum=0.9))

    network.fit(x, {"domain": domain}, batch_size=50, epochs=40, verbose=0)
    features = np.asarray(network.encode(x)["layer_1"])
    means = [features[domain == number].mean(axis=0) for number in (0, 1)]
    return float(np.linalg.norm(means[0] - means[1]) / features.std())


def test_a_penalty_on_the_adversary_damps_the_circles():
    """Undamped, all that features tell in the end is the domain; see `Task`."""
    assert apart(0.05) < 0.1 < 1.0 < apart(0.0)


# Where and how it runs.


@pytest.mark.parametrize("name", ["Equal", "UPGrad"])
def test_half_precision_is_exact(name):
    """Half of the gradient, negative, is a number of float16: bit for bit the same."""
    trained = []
    keras.config.set_dtype_policy("mixed_float16")
    try:
        for change in (adversary, opponent):
            inner = keras.optimizers.SGD(0.1)
            optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1024)
            balancing = methods.of(name, fakes.NAMES)
            network = model(change, optimizer, balancing=balancing)
            network.fit(fakes.batches(8), verbose=0)
            trained.append([v.numpy() for v in network.shared_variables])
            assert int(optimizer.iterations) == 1
    finally:
        keras.config.set_dtype_policy("float32")
    start = model()
    for one, other, before in zip(*trained, start.shared_variables, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.any(one != before.numpy())


def test_inside_xla():
    trained = [model(jit_compile=jit) for jit in (False, True)]
    for network in trained:
        network.optimizer.learning_rate = 0.1
        network.fit(fakes.batches(), verbose=0)
    for left, right in zip(*(n.variables for n in trained), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_logs_have_the_loss_as_it_is():
    network = model(optimizer=keras.optimizers.SGD(0.0))
    logs = network.fit(fakes.batches(), verbose=0).history
    x, labels = fakes.arrays()
    expected = float(losses_of(network, x, labels)["colour"]) / 0.5
    assert logs["colour_loss"][0] == pytest.approx(expected, rel=1e-5)
    assert network.evaluate(fakes.batches(), verbose=0, return_dict=True)[
        "colour_loss"
    ] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["Equal", "UPGrad"])
def test_without_labels_it_moves_nothing(name):
    x, labels = fakes.arrays()
    weights = {n: np.ones(len(x), "float32") for n in fakes.NAMES}
    weights["colour"][:] = 0.0
    taken = []
    for change in (adversary, lambda task: task):
        balancing = methods.of(name, fakes.NAMES)
        network = model(change, balancing=balancing, run_eagerly=True)
        data = (x, labels, weights)
        taken.append(update(network, data, network.shared_variables))
        own = network.task_variables("colour")
        assert not np.any(flat(update(network, data, own)))
    np.testing.assert_array_equal(flat(taken[0]), flat(taken[1]))


# The schedule.


def test_ramp_is_the_papers():
    ramp = mtl.training.ReversalRamp(200, strength=0.3)
    steps = np.arange(0, 201, 20)
    found = [float(ramp(step)) for step in steps]
    expected = 0.3 * (2 / (1 + np.exp(-10 * steps / 200)) - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert float(ramp(1000)) == found[-1]
    for kwargs in (
        {"steps": 0},
        {"steps": 1, "strength": -1},
        {"steps": 1, "gamma": 0},
    ):
        with pytest.raises(ValueError, match="Received"):
            mtl.training.ReversalRamp(**kwargs)


def ramped(steps: int = 8, **compile_kwargs):
    ramp = mtl.training.ReversalRamp(steps)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    return model(lambda task: adversary(task, ramp), optimizer, **compile_kwargs)


def test_ramp_follows_the_iterations_of_a_compiled_step():
    network, by_hand = ramped(), ramped(run_eagerly=True)
    network.fit(fakes.batches(), verbose=0)
    ramp, task = by_hand.tasks[-1].reversal, by_hand.tasks[-1]
    for step, (x, labels) in enumerate(fakes.batches()):
        object.__setattr__(task, "reversal", float(ramp(step)))
        by_hand.train_step((x, labels))
    for left, right in zip(network.weights, by_hand.weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_ramp_goes_on_in_a_loaded_model(tmp_path):
    whole, first = ramped(), ramped()
    data = fakes.batches()  # of four batches
    whole.fit(data, epochs=2, verbose=0)
    first.fit(data, verbose=0)
    first.save(tmp_path / "model.keras")
    second = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert float(second.tasks[-1].reversal_at(second.optimizer.iterations)) == (
        pytest.approx(2 / (1 + np.exp(-5)) - 1)
    )
    second.fit(data, verbose=0)
    for left, right in zip(whole.weights, second.weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_ramp_goes_on_behind_resume(tmp_path):
    x, labels = fakes.arrays()
    table = tf.data.Dataset.from_tensor_slices((x, labels))

    def run(epochs, folder):
        network = ramped(steps=16)
        data = stream.checkpointable(table.repeat().batch(8))
        resume = mtl.training.Resume(folder)
        network.fit(
            data, epochs=epochs, steps_per_epoch=4, callbacks=[resume], verbose=0
        )
        return network

    whole = run(4, tmp_path / "whole")
    run(2, tmp_path / "parts")
    again = run(4, tmp_path / "parts")
    for left, right in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_array_equal(left, right)


# What it is not: a result.


def with_roles():
    keras.utils.set_random_seed(1)
    kind, size, colour = fakes.tasks()
    tasks = [kind, replace(size, role="auxiliary"), adversary(colour)]
    network = mtl.architectures.HardSharing(mtl.trunks.mlp([16, 8]), tasks)
    network.build((None, 6))
    network.compile("sgd")
    return network


def test_results_are_those_of_main_tasks():
    network = with_roles()
    x, _ = fakes.arrays(4)
    assert network.main_tasks == ("kind",)
    assert list(network.primary_metrics) == ["kind"]
    assert list(network.predict_tasks(x)) == ["kind"]
    assert list(network.predict_tasks(x, ["colour", "size"])) == ["size", "colour"]
    assert list(network(x)) == list(fakes.NAMES)
    results = mtl.evaluation.evaluate(
        network, fakes.batches(), baselines={"kind": {"accuracy": 0.5}}
    )
    assert set(results["delta_m"]) == {"per_task", "per_metric", "primary"}
    assert set(results) == {*fakes.NAMES, "delta_m"}


def test_export_has_the_main_tasks(tmp_path):
    network = with_roles()
    path = mtl.export.write_version(network, tmp_path / "kind_only", trunk="none")
    loaded = tf.saved_model.load(str(path))
    assert "kind" in loaded.signatures
    assert not {"size", "colour"} & set(loaded.signatures)
    served = loaded.signatures["serving_default"].structured_outputs
    assert all(name.startswith("kind") for name in served)
    # All variables are there: a model is restored from the folder.
    stored = [s for n, s in tf.train.list_variables(str(path / "variables/variables"))]
    assert all(list(v.shape) in stored for v in network.task_variables("colour"))
    path = mtl.export.write_version(
        network, tmp_path / "asked", trunk="none", tasks=["colour"]
    )
    assert "colour" in tf.saved_model.load(str(path)).signatures


def test_round_trip_of_a_task():
    ramp = mtl.training.ReversalRamp(10)
    for reversal in (0.25, ramp):
        task = adversary(fakes.tasks()[-1], reversal)
        again = mtl.Task.from_config(task.get_config())
        assert again.get_config() == task.get_config()
        assert float(again.reversal_at(5)) == float(task.reversal_at(5))


def test_errors():
    kind, _, colour = fakes.tasks()
    with pytest.raises(ValueError, match=r"Received: reversal=0\.5, role='main'"):
        replace(kind, reversal=0.5)
    with pytest.raises(ValueError, match="not negative"):
        adversary(colour, -1.0)
    with pytest.raises(TypeError, match="Received: 'ramp'"):
        adversary(colour, "ramp")
    towers = mtl.architectures.SeparateTowers(
        mtl.trunks.mlp([16, 8]), [kind, adversary(colour)]
    )
    towers.build((None, 6))
    with pytest.raises(ValueError, match="SeparateTowers shares nothing"):
        towers.compile("sgd")
