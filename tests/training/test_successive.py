"""Weights stay near those of the task before; by hand, and after a restart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.training import Resume, SuccessiveRegularization
from tests.architectures import structures


def network(optimizer=None):
    made = structures.model("JointManyTask")
    made.compile(optimizer or keras.optimizers.SGD(0.1))
    return made


def batch():
    return tf.data.Dataset.from_tensors(structures.data()).repeat()


def fit(model, epochs, *callbacks, steps=2):
    return model.fit(
        batch(),
        steps_per_epoch=steps,
        epochs=epochs,
        callbacks=list(callbacks),
        verbose=0,
    )


def test_two_steps_by_hand():
    """The first step is free; the second is drawn back by `2 delta (t - t')`."""
    free, held = network(), network()
    kernel = free.whole.stages["layer_1"].kernel
    start = kernel.numpy()
    fit(free, 1, steps=1)
    one = kernel.numpy()
    fit(free, 1, steps=1)
    callback = SuccessiveRegularization(strength=0.5)
    fit(held, 1, callback)
    expected = kernel.numpy() - 0.1 * 2 * 0.5 * (one - start)
    np.testing.assert_allclose(held.whole.stages["layer_1"].kernel, expected, atol=1e-6)
    assert len(callback.distance) == 1 and callback.distance[0] > 0


def test_the_penalty_is_in_the_loss_and_gone_afterwards():
    model = network(keras.optimizers.SGD(0.0))
    callback = SuccessiveRegularization(strength=3.0)

    class Moved(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            bias = self.model.whole.stages["layer_1"].bias
            bias.assign(bias + 1.0)

    def losses(*callbacks):
        model.whole.stages["layer_1"].bias.assign(np.zeros(8))
        history = fit(model, 1, *callbacks, steps=1).history
        return history["loss"][0], history["north_loss"][0]

    plain, _ = losses(Moved())
    total, _ = losses(callback, Moved())
    assert total == pytest.approx(plain + 3.0 * 8, rel=1e-5)
    assert callback.distance == [8.0]
    assert model.extra_penalty is None
    assert losses(Moved())[0] == pytest.approx(plain)


def test_stronger_means_nearer():
    ends = []
    for strength in (0.0, 1.0):
        callback = SuccessiveRegularization(strength)
        fit(network(), 1, callback, steps=20)
        ends.append(callback.distance[0])
    assert ends[1] < 0.5 * ends[0]


def test_weights_are_kept_once_a_block_and_only_those_named():
    model = network()
    kernel = model.whole.stages["layer_1"].kernel
    callback = SuccessiveRegularization(0.0, every=2, variables=[kernel])
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append((kernel.numpy(), callback.get_state()["before_0"]))

    fit(model, 4, callback, Watch())
    assert set(callback.get_state()) == {"epoch", "distance", "before_0"}
    for epoch, (_, before) in enumerate(seen):
        np.testing.assert_array_equal(before, seen[epoch // 2 * 2][0])


def test_a_run_that_goes_on_ends_like_one_that_was_left_alone(tmp_path):
    def run(epochs, folder):
        model = network(keras.optimizers.SGD(0.05, momentum=0.9))
        callback = SuccessiveRegularization(0.5, every=3)
        resume = Resume(tmp_path / folder, callbacks=[callback])
        fit(model, epochs, callback, resume)
        return model, callback

    whole, kept = run(5, "whole")
    run(2, "parts")  # in the middle of a block
    again, restored = run(5, "parts")
    assert restored.distance == kept.distance
    for one, other in zip(whole.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_methods_that_balance_gradients_leave_the_penalty_alone():
    model = structures.model("JointManyTask")
    model.compile(keras.optimizers.SGD(0.1), mtl.balancing.UPGrad())
    callback = SuccessiveRegularization(0.5)
    history = fit(model, 2, callback).history
    assert np.isfinite(history["loss"]).all() and callback.distance[0] > 0


def test_errors_say_what_was_received():
    for kwargs in ({"strength": -1.0}, {"every": 0}):
        with pytest.raises(ValueError, match="Received"):
            SuccessiveRegularization(**kwargs)
    first, second = SuccessiveRegularization(), SuccessiveRegularization()
    with pytest.raises(ValueError, match="another penalty"):
        fit(network(), 1, first, second)
