"""Methods inside the train step: levels, XLA, replicas, half precision, optimizers."""

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
from tests.balancing import methods


def task_gradients(model, variables, x, labels) -> np.ndarray:
    """Gradients of the weighted losses by `variables`, `(T, N)`, one tape a task."""
    rows = []
    for task in model.tasks:
        with tf.GradientTape() as tape:
            value = task.loss(labels[task.name], model(x)[task.name]) * task.weight
        gradients = tape.gradient(value, variables)
        rows.append(np.concatenate([np.ravel(g) for g in gradients]))
    return np.array(rows)


def model_with(name: str, **kwargs):
    method = methods.of(name, fakes.NAMES, **kwargs)
    return fakes.model(keras.optimizers.SGD(1.0), balancing=method, run_eagerly=True)


@pytest.mark.parametrize("level", ["last", "params", "feature"])
@pytest.mark.parametrize("name", methods.OF_GRADIENTS)
def test_update_of_the_trunk_is_what_the_method_says(name, level):
    """The step of the shared variables, from gradients that are taken one by one."""
    model = model_with(name, level=level)
    x, labels = fakes.arrays()
    rows = task_gradients(model, model.shared_variables, x, labels)
    last = task_gradients(model, model.last_shared_variables, x, labels)
    losses = [
        float(task.loss(labels[task.name], model(x)[task.name])) * task.weight
        for task in model.tasks
    ]
    twin = methods.of(name, fakes.NAMES, level=level)
    twin.build(fakes.NAMES, model.balancing.gradient_size)
    given = (methods.tensor(losses), methods.tensor([True] * 3, "bool"))
    before = [v.numpy() for v in model.shared_variables]
    model.train_step((x, labels))
    after = [v.numpy() for v in model.shared_variables]
    update = np.concatenate(
        [(b - a).ravel() for b, a in zip(before, after, strict=True)]
    )
    if level == "params":
        expected, _ = twin.combine(methods.tensor(rows), *given)
    elif level == "last":
        weights = twin.weights_from_gradients(methods.tensor(last), *given)
        expected = np.asarray(weights) @ rows
    else:  # some combination of the tasks' gradients, and not nothing
        weights = np.linalg.lstsq(rows.T, update, rcond=None)[0]
        expected = weights @ rows
        assert np.linalg.norm(update) > 0
    np.testing.assert_allclose(update, expected, atol=3e-4 * np.abs(update).max())


@pytest.mark.parametrize("name", methods.OF_LOSSES)
def test_weights_of_losses_reach_everything(name):
    """The whole update is the gradient of the weighted sum, with the method's own."""
    model = model_with(name)
    x, labels = fakes.arrays()
    twin = methods.of(name, fakes.NAMES)
    twin.build(fakes.NAMES)
    own = model.balancing.trainable_variables
    variables = [v for v in model.trainable_variables if not any(v is o for o in own)]
    with tf.GradientTape() as tape:
        losses = tf.stack(
            [t.loss(labels[t.name], model(x)[t.name]) * t.weight for t in model.tasks]
        )
        total = twin.total(losses, methods.tensor([True] * 3, "bool"))
    expected = tape.gradient(total, variables + twin.trainable_variables)
    before = [v.numpy() for v in variables + own]
    model.train_step((x, labels))
    for old, variable, gradient in zip(before, variables + own, expected, strict=True):
        np.testing.assert_allclose(
            old - variable.numpy(), gradient, rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("name", methods.ALL)
def test_method_runs_inside_xla(name):
    """With the answer it has outside, state and all."""
    rng = np.random.default_rng(0)
    rows = methods.tensor(rng.normal(size=(4, 10)))
    losses = methods.tensor([0.5, 2.0, 0.0, 1.0])
    active = methods.tensor([True, True, False, True], "bool")
    rows = rows * keras.ops.cast(keras.ops.expand_dims(active, 1), "float32")
    found = []
    for jit in (False, True):
        if name in methods.OF_GRADIENTS:
            method = methods.of(name, tuple("abcd"), level="params")
            method.build(tuple("abcd"), 10)
            step = tf.function(method.combine, jit_compile=jit)
            for _ in range(2):
                update = step(rows, losses, active)[0]
        else:
            method = methods.of(name, tuple("abcd"))
            method.build(tuple("abcd"))
            step = tf.function(method.total, jit_compile=jit)
            for _ in range(2):
                update = step(losses, active)
        found.append([np.asarray(update), *(np.asarray(v) for v in method.variables)])
    assert all(np.all(np.isfinite(one)) for one in found[1])
    if name in ("RLW", "PCGrad", "GradVac", "GradDrop"):
        return  # XLA draws other numbers
    for plain, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["Equal", "UPGrad", "FAMO"])
def test_whole_step_inside_xla(name):
    models = [
        fakes.model(balancing=methods.of(name, fakes.NAMES), jit_compile=jit)
        for jit in (False, True)
    ]
    for model in models:
        model.fit(fakes.batches(), verbose=0)
    for left, right in zip(*(m.variables for m in models), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["UPGrad", "MGDA", "FAMO"])
def test_eager_epoch_is_the_compiled_one(name):
    models = [
        fakes.model(balancing=methods.of(name, fakes.NAMES), run_eagerly=eager)
        for eager in (True, False)
    ]
    logs = [one.fit(fakes.batches(), verbose=0).history for one in models]
    assert logs[0].keys() == logs[1].keys()
    for key, values in logs[0].items():
        assert values == pytest.approx(logs[1][key], abs=1e-5)
    for a, b in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["DBMTL", "GradVac", "DWA", "UncertaintyWeighting"])
def test_overflow_of_half_precision_leaves_the_state(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = fakes.model(
            keras.optimizers.LossScaleOptimizer(
                keras.optimizers.SGD(0.1), initial_scale=1e30
            ),
            balancing=methods.of(name, fakes.NAMES),
        )
    finally:
        keras.config.set_dtype_policy("float32")
    before = [v.numpy() for v in model.balancing.variables]
    x, labels = fakes.arrays()
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(32)
    model.fit(data, verbose=0)
    for old, variable in zip(before, model.balancing.variables, strict=True):
        if "seed" not in variable.path:
            np.testing.assert_array_equal(old, variable)
    model.fit(data, epochs=100, verbose=0)  # the scale is halved until it fits
    assert all(np.all(np.isfinite(v)) for v in model.variables)
    assert any(
        np.any(old != v.numpy())
        for old, v in zip(before, model.balancing.variables, strict=True)
    )


@pytest.mark.parametrize("name", ["Equal", "CAGrad"])
def test_accumulated_clipped_and_averaged_gradients(name):
    """What Keras optimizers do comes behind the balancing."""
    model = fakes.model(
        keras.optimizers.AdamW(
            0.01, gradient_accumulation_steps=2, global_clipnorm=0.1, use_ema=True
        ),
        balancing=methods.of(name),
    )
    losses = model.fit(fakes.batches(64), epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_heads_at_other_depths_are_compared_where_all_have_a_gradient():
    """A head that reads an earlier feature is not taken for an absent task."""
    tasks = [
        mtl.Task(
            name,
            mtl.heads.Regression(1, feature=feature),
            keras.losses.MeanSquaredError(),
        )
        for name, feature in (("early", "layer_1"), ("late", "layer_3"))
    ]
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.mlp([8, 8, 8], activation="tanh")
    model = mtl.architectures.HardSharing(trunk, tasks)
    model.compile(keras.optimizers.SGD(0.1), mtl.balancing.MGDA(), diagnostics=True)
    model.build((None, 4))
    (compared,) = model._compared()
    assert compared is trunk.stages["layer_1"].trainable_variables[0]
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    labels = {"early": x[:, :1], "late": -x[:, :1]}
    model.fit(x, labels, batch_size=16, verbose=0)
    weights = model.balancing_statistics.summary()["weights"]
    assert weights["early"] > 0 and weights["late"] > 0


def test_look_ahead_sees_the_losses_behind_the_update():
    seen = []

    class Spy(mtl.balancing.Equal):
        looks_ahead = True

        def after_step(self, before, after, active):
            seen.append((np.asarray(before), np.asarray(after)))

    model = fakes.model(keras.optimizers.SGD(0.1), balancing=Spy(), run_eagerly=True)
    x, labels = fakes.arrays()
    model.train_step((x, labels))
    model.train_step((x, labels))
    np.testing.assert_allclose(seen[0][1], seen[1][0], rtol=1e-6)
    assert np.all(seen[0][1] < seen[0][0])


def test_learned_weights_do_not_decay():
    model = fakes.model(
        keras.optimizers.AdamW(0.01, weight_decay=0.5),
        balancing=mtl.balancing.UncertaintyWeighting(initial=2.0),
    )
    (learned,) = model.balancing.trainable_variables
    assert not model.optimizer._use_weight_decay(learned)
    assert model.optimizer._use_weight_decay(model.shared_variables[0])


def test_method_of_another_model_is_refused():
    method = mtl.balancing.PCGrad()
    method.build(("one", "two"))
    with pytest.raises(ValueError, match="Make a new one"):
        fakes.model(balancing=method)


@pytest.mark.parametrize("name", ["Fixed", "Scheduled"])
def test_weights_for_other_tasks_are_refused(name):
    with pytest.raises(ValueError, match=r"Expected a weight.*colour"):
        fakes.model(balancing=methods.of(name))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: mtl.balancing.MGDA(normalisation="l1"), "l2"),
        (lambda: mtl.balancing.CAGrad(c=1.0), "below 1"),
        (lambda: mtl.balancing.FairGrad(alpha=0.0), "above 0"),
        (lambda: mtl.balancing.AlignedMTL(scale="max"), "median"),
        (lambda: mtl.balancing.DWA(window=0), "at least 1"),
        (lambda: mtl.balancing.STCH(mu=0.0), "above 0"),
    ],
)
def test_bad_settings_say_what_is_expected(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_unsolved_steps_are_counted():
    method = mtl.balancing.IMTLG()
    method.build(("a", "b"))
    opposite = methods.tensor([[1.0, -1.0], [-1.0, 1.0]])
    ones = methods.tensor([1.0, 1.0])
    active = methods.tensor([True, True], "bool")
    method.task_weights(methods.tensor(np.eye(2)), ones, active)
    assert float(method.unsolved) == 0
    method.task_weights(opposite * 2.0 - 1.0, ones, active)
    logs = fakes.model(balancing=mtl.balancing.UPGrad()).fit(fakes.batches(), verbose=0)
    assert logs.history["unsolved"] == [0.0]


def test_two_replicas_give_the_weights_of_one_device():
    """On unequal labelled counts per replica, clipped globally.

    One method of each kind, since each is traced twice for two devices; all of them
    with MTL_ZOO_LONG_TESTS=1.
    """
    program = """
        import os
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from tests import fakes
        from tests.balancing import methods
        present = (np.arange(32) % 8 < 3).astype("float32")
        present[8:16] = 0  # one global batch without a label of this task
        data = fakes.batches(weights={"size": present})
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        chosen = {
            "UPGrad": "params", "DBMTL": "last", "MoCo": "feature", "PCGrad": "last",
            "UncertaintyWeighting": "", "STCH": "", "FAMO": "", "DWA": ""}
        if os.environ.get("MTL_ZOO_LONG_TESTS"):
            levels = ("last", "params", "feature")
            chosen = {name: levels[i % 3] for i, name in enumerate(methods.ALL)}
        for name, level in chosen.items():
            kwargs = {"level": level} if name in methods.OF_GRADIENTS else {}
            if name == "STCH":
                kwargs = {"warm_up": 4}
            make = lambda: dict(
                optimizer=keras.optimizers.AdamW(0.01, global_clipnorm=0.05),
                balancing=methods.of(name, fakes.NAMES, **kwargs))
            one = fakes.model(**make())
            one.fit(data, epochs=2, verbose=0)
            with strategy.scope():
                two = fakes.model(**make(), jit_compile=False)
            two.fit(data, epochs=2, verbose=0)
            for a, b in zip(one.variables, two.variables, strict=True):
                if "seed" not in a.path:
                    np.testing.assert_allclose(
                        a.numpy(), b.numpy(), atol=1e-5, rtol=1e-4,
                        err_msg=f"{name} {kwargs} {a.path}")
        with strategy.scope():
            try:
                fakes.model(keras.optimizers.Adam(gradient_accumulation_steps=2))
            except ValueError as error:
                assert "Leave it out" in str(error)
                print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]
