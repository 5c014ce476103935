"""Tasks whose weight is a schedule: values, what moves, and that a run goes on."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

import mtl_zoo as mtl
from tests import fakes

Fade = mtl.training.Fade


def model(weight, balancing=None, role="auxiliary", optimizer=None, seed=1):
    """Of `kind`, `size` and `colour`, of which the last fades."""
    keras.utils.set_random_seed(seed)
    *main, colour = fakes.tasks()
    tasks = [*main, replace(colour, weight=weight, role=role)]
    trunk = mtl.trunks.mlp([16, 8], activation="tanh")
    network = mtl.architectures.HardSharing(trunk, tasks)
    network.build((None, 6))
    network.compile(optimizer or keras.optimizers.SGD(0.1), balancing=balancing)
    return network


def without(balancing=None):
    """The same without `colour`, with the same start."""
    network = model(1.0)
    alone = mtl.architectures.HardSharing(network.trunk, network.tasks[:2])
    alone.build((None, 6))
    alone.compile(keras.optimizers.SGD(0.1), balancing=balancing)
    return alone


def assert_same(left, right, **kwargs):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one, other, **kwargs)


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential"])
def test_from_start_to_nothing_ever_less(shape):
    fade = Fade(40, shape, start=0.3)
    found = np.array([float(fade(step)) for step in range(60)])
    assert found[0] == pytest.approx(0.3)
    assert (np.diff(found[:41]) < 0).all()
    np.testing.assert_array_equal(found[40:], 0.0)


def test_keras_has_two_of_the_shapes():
    schedules = keras.optimizers.schedules
    for shape, same in (
        ("linear", schedules.PolynomialDecay(2.0, 10, 0.0)),
        ("cosine", schedules.CosineDecay(2.0, 10)),
    ):
        for step in range(12):
            found = float(Fade(10, shape, start=2.0)(step))
            assert found == pytest.approx(float(same(step)), abs=1e-6)


@pytest.mark.parametrize(
    "kwargs", [{"steps": 0}, {"start": 0.0}, {"rate": -1.0}, {"shape": "square"}]
)
def test_errors_say_what_was_received(kwargs):
    with pytest.raises(ValueError, match="Received"):
        Fade(**{"steps": 10, **kwargs})


def test_a_weight_is_a_number_or_a_schedule():
    with pytest.raises(TypeError, match=r"weight of task 'colour'.*Received: 'half'"):
        replace(fakes.tasks()[2], weight="half")


def test_weight_of_each_step():
    """Two steps of SGD, by fixed weights that are the schedule's."""
    fading = model(Fade(2))
    x, labels = fakes.arrays()
    fading.train_on_batch(x, labels)
    first = model(1.0)
    first.train_on_batch(x, labels)
    assert_same(fading.get_weights(), first.get_weights(), rtol=1e-6)
    fading.train_on_batch(x, labels)
    second = model(0.5)
    second.set_weights(first.get_weights())
    second.train_on_batch(x, labels)
    assert_same(fading.get_weights(), second.get_weights(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "method",
    [
        None,
        mtl.balancing.MGDA,
        mtl.balancing.UPGrad,
        mtl.balancing.UncertaintyWeighting,
    ],
)
def test_what_is_faded_is_not_there(method):
    """For the shared variables and other tasks; MGDA would stop at a gradient of 0."""
    balancing = method and method()
    faded, alone = model(Fade(1), balancing), without(method and method())
    faded.optimizer.iterations.assign(1)
    own = [v.numpy() for v in faded.task_variables("colour")]
    for network in (faded, alone):
        network.fit(fakes.batches(), verbose=0)
    assert_same(
        [v.numpy() for v in faded.shared_variables],
        [v.numpy() for v in alone.shared_variables],
        rtol=1e-4,
        atol=1e-6,
    )
    assert_same([v.numpy() for v in faded.task_variables("colour")], own)


def test_momentum_does_not_move_what_is_faded():
    network = model(Fade(2), optimizer=keras.optimizers.Adam(0.01))
    x, labels = fakes.arrays()
    for _ in range(2):
        network.train_on_batch(x, labels)
    own = [v.numpy() for v in network.task_variables("colour")]
    for _ in range(3):
        network.train_on_batch(x, labels)
    assert_same([v.numpy() for v in network.task_variables("colour")], own, rtol=0)


def test_loaded_model_goes_on_fading(tmp_path):
    network = model(Fade(8, "cosine"), optimizer=keras.optimizers.Adam(0.01))
    network.fit(fakes.batches(), verbose=0)  # 4 steps
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    task = again.task("colour")
    assert task.weight.get_config() == Fade(8, "cosine").get_config()
    assert int(again.optimizer.iterations) == 4
    for each in (network, again):
        each.fit(fakes.batches(), verbose=0)
    assert_same(network.get_weights(), again.get_weights(), rtol=1e-6)


def test_interrupted_run_goes_on_fading(tmp_path):
    """With `Resume`, two epochs in two processes are two epochs in one."""

    def fit(network, folder, epochs):
        return mtl.training.fit(
            network,
            mtl.data.stream.row_batches(fakes.arrays(), 8, seed=0),
            fakes.batches(),
            epochs=epochs,
            steps_per_epoch=4,
            workdir=folder,
            verbose=0,
        )

    kwargs = {"weight": Fade(6), "optimizer": None}
    whole = model(**kwargs)
    fit(whole, tmp_path / "whole", 2)
    fit(model(**kwargs), tmp_path / "parts", 1)
    resumed = model(**kwargs)
    fit(resumed, tmp_path / "parts", 2)
    assert int(resumed.optimizer.iterations) == 8
    assert_same(whole.get_weights(), resumed.get_weights(), rtol=1e-6)


def test_losses_in_the_logs_are_not_weighted():
    network = model(Fade(1))
    network.optimizer.iterations.assign(5)
    logs = network.evaluate(fakes.batches(), return_dict=True, verbose=0)
    parts = logs["kind_loss"] + logs["size_loss"]
    assert logs["colour_loss"] > 0
    assert logs["loss"] == pytest.approx(parts, rel=1e-5)


def test_auxiliary_tasks_are_no_result():
    network = model(1.0)
    assert network.main_tasks == ("kind", "size")
    assert list(network.primary_metrics) == ["kind", "size"]
    assert set(network.predict_tasks(fakes.arrays()[0])) == {"kind", "size"}
    results = mtl.evaluation.evaluate(network, fakes.batches())
    main = {name: results[name] for name in network.main_tasks}
    relative = mtl.evaluation.evaluate(network, fakes.batches(), baselines=main)
    assert relative["delta_m"]["per_task"] == pytest.approx(0.0, abs=1e-6)
