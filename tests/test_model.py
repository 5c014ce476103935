"""The train step: what every architecture and balancing method stands on."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests import fakes


class Ones(mtl.balancing.GradientBalancing):
    """Sum of the gradients, by way of the Gramian."""

    def task_weights(self, gramian, losses, active):
        return keras.ops.ones((gramian.shape[0],))


class First(mtl.balancing.LossBalancing):
    """Only the first task counts."""

    def task_weights(self, losses, active):
        return keras.ops.one_hot(0, losses.shape[0])


def weights_of(model: keras.Model) -> dict[int, np.ndarray]:
    return {i: v.numpy() for i, v in enumerate(model.trainable_variables)}


def places_of(variables: list, model: keras.Model) -> set[int]:
    order = [id(v) for v in model.trainable_variables]
    return {order.index(id(v)) for v in variables}


def largest_difference(left: dict, right: dict) -> float:
    assert left.keys() == right.keys()
    return max(float(np.max(np.abs(left[k] - right[k]))) for k in left)


def test_outputs_follow_task_order():
    model = fakes.model()
    outputs = model(fakes.arrays()[0])
    assert model.task_names == fakes.NAMES == tuple(outputs)
    assert [tuple(outputs[n].shape) for n in fakes.NAMES] == [(32, 4), (32, 1), (32, 3)]


def test_loss_is_the_labelled_mean_by_hand():
    """Sum over labelled items / their number, weighted by `Task.weight`, in float64."""
    model = fakes.model()
    x, labels = fakes.arrays()
    raw = {k: v.numpy().astype("float64") for k, v in model(x).items()}
    present = np.arange(32) % 3 == 0
    weights = {"size": present.astype("float32")}
    logits = raw["kind"]
    log_z = np.log(np.exp(logits).sum(1))
    kind = np.mean(log_z - logits[np.arange(32), labels["kind"]])
    size = np.sum((raw["size"] - labels["size"])[present] ** 2) / present.sum()
    colour = np.mean((raw["colour"] - labels["colour"]) ** 2)
    logs = model.evaluate(
        tf.data.Dataset.from_tensor_slices((x, labels, weights)).batch(32),
        return_dict=True,
        verbose=0,
    )
    expected = {"kind_loss": kind, "size_loss": size, "colour_loss": colour}
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-5)
    assert logs["loss"] == pytest.approx(kind + size + 0.5 * colour, rel=1e-5)
    mae = np.abs(raw["size"] - labels["size"])[present].mean()
    assert logs["size_mae"] == pytest.approx(mae, rel=1e-5)


def test_epoch_loss_is_exact_over_uneven_batches():
    """Logged losses are means over all labelled items, not means of batch means."""
    model = fakes.model()
    present = (np.arange(32) < 5).astype("float32")
    data = lambda size: fakes.batches(batch_size=size, weights={"size": present})  # noqa: E731
    whole = model.evaluate(data(32), return_dict=True, verbose=0)["size_loss"]
    parts = model.evaluate(data(3), return_dict=True, verbose=0)["size_loss"]
    assert parts == pytest.approx(whole, rel=1e-5)


def test_same_weights_as_plain_keras_fit():
    """Ten Adam steps equal stock Keras on the functional twin with summed losses."""
    ours, other = fakes.model(keras.optimizers.Adam(0.01)), fakes.model()
    other.set_weights(ours.get_weights())
    inputs = keras.Input((6,))
    twin = keras.Model(inputs, other(inputs))
    twin.compile(
        keras.optimizers.Adam(0.01),
        loss={task.name: task.loss for task in other.tasks},
        loss_weights={task.name: task.weight for task in other.tasks},
    )
    data = fakes.batches(80)
    ours.fit(data, verbose=0)
    twin.fit(data, verbose=0)
    assert largest_difference(weights_of(ours), weights_of(other)) < 1e-6


@pytest.mark.parametrize("level", ["last", "params", "feature"])
def test_gradient_route_with_weights_one_equals_the_sum(level):
    equal, ones = fakes.model(), fakes.model(balancing=Ones(level=level))
    for model in (equal, ones):
        for layer in model.trunk.stages.values():
            for sub in layer._flatten_layers():
                if isinstance(sub, keras.layers.Dense):
                    sub.kernel_regularizer = keras.regularizers.L2(0.01)
                    sub.kernel.regularizer = sub.kernel_regularizer
    for model in (equal, ones):
        assert len(model.losses) == 2
        model.fit(fakes.batches(), epochs=2, verbose=0)
    assert largest_difference(weights_of(equal), weights_of(ones)) < 1e-6


def test_gradient_route_gives_the_gramian_of_the_tasks():
    """At level params the Gramian equals that of T separate gradients."""
    seen = []

    class Spy(Ones):
        def task_weights(self, gramian, losses, active):
            seen.append(gramian.numpy())
            return super().task_weights(gramian, losses, active)

    model = fakes.model(balancing=Spy(level="params"), run_eagerly=True)
    x, labels = fakes.arrays()
    rows = []
    for task in model.tasks:
        with tf.GradientTape() as tape:
            value = task.loss(labels[task.name], model(x)[task.name]) * task.weight
        gradients = tape.gradient(value, model.shared_variables)
        rows.append(np.concatenate([g.numpy().ravel() for g in gradients]))
    model.train_step((x, labels))
    rows = np.array(rows, "float64")
    np.testing.assert_allclose(seen[0], rows @ rows.T, rtol=1e-4, atol=1e-7)


def test_loss_weights_reach_trunk_and_heads():
    """A task of weight 0 leaves its head as it was."""
    model = fakes.model(balancing=First())
    before = weights_of(model)
    model.fit(fakes.batches(), verbose=0)
    after = weights_of(model)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == places_of(
        model.task_variables("kind") + model.shared_variables, model
    )


@pytest.mark.parametrize("balancing", [None, Ones("last"), Ones("params")])
@pytest.mark.parametrize("fill", [np.nan, -1.0])
def test_absent_task_adds_and_moves_nothing(balancing, fill):
    """Not even by momentum and weight decay, and whatever stands in the label."""
    model = fakes.model(
        keras.optimizers.AdamW(0.01, weight_decay=0.1), balancing=balancing
    )
    model.fit(fakes.batches(), epochs=1, verbose=0)  # fills the momenta
    x, labels = fakes.arrays()
    labels = {**labels, "size": np.full((32, 1), fill, "float32")}
    labels["kind"] = np.where(np.arange(32) % 2, labels["kind"], -1)
    weights = {
        "size": np.zeros(32, "float32"),
        "kind": (np.arange(32) % 2).astype("float32"),
    }
    before = weights_of(model)
    history = model.fit(
        tf.data.Dataset.from_tensor_slices((x, labels, weights)).batch(8), verbose=0
    ).history
    after = weights_of(model)
    own = places_of(model.task_variables("size"), model)
    assert own
    for name in before:
        assert np.all(np.isfinite(after[name]))
        assert np.array_equal(before[name], after[name]) == (name in own), name
    assert history["size_loss"] == [0.0]


def test_extra_labels_are_ignored_and_missing_ones_named():
    model = fakes.model()
    x, labels = fakes.arrays()
    model.fit(x, {**labels, "other": labels["size"]}, verbose=0)
    del labels["size"]
    with pytest.raises(ValueError, match="no label for task 'size'"):
        model.fit(x, labels, verbose=0)


@pytest.mark.parametrize("weights", [None, {"size": np.ones(32, "float32")}])
def test_fit_builds_an_unbuilt_model(weights):
    keras.utils.set_random_seed(1)
    trunk = mtl.trunks.mlp([16, 8], activation="tanh")
    model = mtl.architectures.HardSharing(trunk, fakes.tasks())
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(fakes.batches(weights=weights), verbose=0)
    built = fakes.model()
    assert len(model.trainable_variables) == len(built.trainable_variables) > 0


def test_every_trainable_weight_gets_a_gradient():
    model = fakes.model()
    before = weights_of(model)
    model.fit(fakes.batches(), verbose=0)
    after = weights_of(model)
    assert all(np.any(before[name] != after[name]) for name in before)


@pytest.mark.parametrize("balancing", [None, Ones("last"), Ones("params")])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(policy, balancing):
    keras.config.set_dtype_policy(policy)
    try:
        model = fakes.model(keras.optimizers.Adam(0.01), balancing=balancing)
    finally:
        keras.config.set_dtype_policy("float32")
    losses = model.fit(fakes.batches(64), epochs=15, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses)) and losses[-1] < 0.7 * losses[0]
    assert all(v.dtype == "float32" for v in model.trainable_variables)


def test_xla_step_equals_plain_step():
    plain, xla = fakes.model(), fakes.model(jit_compile=True)
    for model in (plain, xla):
        model.fit(fakes.batches(), verbose=0)
    assert largest_difference(weights_of(plain), weights_of(xla)) < 1e-5


def test_round_trip_goes_on_training(tmp_path):
    """A `.keras` file brings back outputs, optimizer state and balancing."""
    model = fakes.model(keras.optimizers.Adam(0.01), train_metrics=True)
    model.fit(fakes.batches(), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = fakes.arrays()[0]
    for name, value in model(x).items():
        np.testing.assert_array_equal(value, again(x)[name])
    assert again.train_metrics and isinstance(again.balancing, mtl.balancing.Equal)
    for each in (model, again):
        each.fit(fakes.batches(), verbose=0)
    for left, right in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


@pytest.mark.parametrize(
    "argument", [{"loss": "mse"}, {"metrics": ["mae"]}, {"loss_weights": [1.0]}]
)
def test_compile_sends_losses_to_the_tasks(argument):
    with pytest.raises(ValueError, match="Give it to the Task"):
        fakes.model(**argument)


def test_compile_refuses_a_balancing_name():
    with pytest.raises(TypeError, match="such as Equal"):
        fakes.model(balancing="equal")


def test_labels_must_be_a_dict():
    with pytest.raises(TypeError, match="task: label"):
        fakes.model().fit(fakes.arrays()[0], np.zeros(32), verbose=0)


def test_two_replicas_equal_one_process():
    """MirroredStrategy on two logical CPUs, unequal labelled counts per replica."""
    program = """
        import sys
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from tests import fakes
        from tests.test_model import Ones, largest_difference, weights_of
        present = (np.arange(32) % 8 < 3).astype("float32")
        present[8:16] = 0  # one global batch without a label of this task
        data = fakes.batches(weights={"size": present})
        adam = lambda: keras.optimizers.AdamW(0.01)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        for make in (lambda: None, lambda: Ones("last"), lambda: Ones("params")):
            one = fakes.model(adam(), balancing=make())
            a = one.fit(data, epochs=2, verbose=0).history
            with strategy.scope():
                two = fakes.model(adam(), balancing=make(), jit_compile=False)
            b = two.fit(data, epochs=2, verbose=0).history
            assert largest_difference(weights_of(one), weights_of(two)) < 1e-5
            for name in a:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-4)
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]


@pytest.mark.parametrize("balancing", [mtl.balancing.Equal, Ones])
def test_a_step_is_traced_once_though_the_optimizer_has_state(balancing, monkeypatch):
    model = fakes.model(keras.optimizers.Adam(0.01), balancing=balancing())
    traced, step = [], model.train_step
    monkeypatch.setattr(
        model, "train_step", lambda data: traced.append(data) or step(data)
    )
    x, labels = fakes.arrays()
    model.fit(x, labels, batch_size=16, epochs=2, verbose=0)
    assert len(traced) == 1
