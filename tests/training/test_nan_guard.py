"""RaiseOnNonFiniteLoss: the task and the step by name, and nothing spoilt is saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests import fakes


def spoilt_batches(batch, value=np.nan, task="size"):
    """Batches of 8, the label of one task spoilt in batch number `batch`."""
    x, labels = fakes.arrays(32)
    labels[task] = labels[task].copy()
    labels[task][8 * batch] = value
    return tf.data.Dataset.from_tensor_slices((x, labels)).batch(8)


def make_model():
    """Eager: a few steps take less time than making a graph."""
    return fakes.model(run_eagerly=True)


def fit(model, data, callbacks=(), **kwargs):
    return model.fit(
        data,
        callbacks=[mtl.training.RaiseOnNonFiniteLoss(), *callbacks],
        verbose=0,
        **kwargs,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("batch", [0, 2])
def test_task_and_step_are_named_at_the_very_batch(batch, value):
    with pytest.raises(
        mtl.training.NonFiniteLossError,
        match=rf"'size' is not finite, at batch {batch} of epoch 0 "
        rf"\(step {batch + 1} of",
    ):
        fit(make_model(), spoilt_batches(batch, value))


def test_with_several_steps_an_execution_the_last_is_named():
    with pytest.raises(mtl.training.NonFiniteLossError, match="batch 3 of epoch 0"):
        fit(fakes.model(steps_per_execution=2), spoilt_batches(2))


def test_validation_loss_is_checked():
    with pytest.raises(
        mtl.training.NonFiniteLossError, match=r"'colour'.*validation after epoch 0"
    ):
        fit(
            make_model(),
            fakes.batches(),
            validation_data=spoilt_batches(1, task="colour"),
        )


def test_total_alone_points_at_the_balancing():
    guard = mtl.training.RaiseOnNonFiniteLoss()
    guard.set_model(fakes.model())
    guard.on_epoch_begin(0)
    logs = {"loss": np.nan, "kind_loss": 1.0, "size_loss": 1.0, "colour_loss": 1.0}
    with pytest.raises(mtl.training.NonFiniteLossError, match="weights of the bal"):
        guard.on_train_batch_end(0, logs)


def test_finite_training_is_left_alone():
    guarded, plain = make_model(), make_model()
    fit(guarded, fakes.batches())
    plain.fit(fakes.batches(), verbose=0)
    for ours, theirs in zip(guarded.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_last_good_checkpoint_survives(tmp_path):
    # Finite in epoch 0 (4 batches), spoilt in epoch 1.
    data = fakes.batches().concatenate(spoilt_batches(1)).repeat()
    model = make_model()
    resume = mtl.training.Resume(tmp_path)
    with pytest.raises(mtl.training.NonFiniteLossError):
        fit(model, data, [resume], steps_per_epoch=4, epochs=3)
    assert tf.train.latest_checkpoint(tmp_path).endswith("epoch-1")


def test_check_finite_names_the_variable_and_skips_integers():
    good = keras.Variable([1, 2], dtype="int32", name="steps")
    bad = keras.Variable([1.0, np.inf], name="gain")
    mtl.training.nan_guard.check_finite([good], "now")
    with pytest.raises(mtl.training.NonFiniteError, match="'gain' is not finite now"):
        mtl.training.nan_guard.check_finite([good, bad], "now")
