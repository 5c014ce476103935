"""`training.fit` trains, keeps the best weights, writes logs, and resumes."""

import keras
import numpy as np
import pytest

from mtl_zoo import training
from tests import fakes


def fit(folder, epochs=3, **arguments):
    model = fakes.model(keras.optimizers.Adam(0.02))
    history = training.fit(
        model,
        fakes.batches().repeat(),
        fakes.batches(),
        epochs=epochs,
        steps_per_epoch=4,
        workdir=folder,
        verbose=0,
        **arguments,
    )
    return model, history


def test_ends_with_the_best_weights_and_leaves_logs(tmp_path):
    model, history = fit(tmp_path)
    assert len(history["loss"]) == 3 and history["loss"][-1] < history["loss"][0]
    logs = model.evaluate(fakes.batches(), return_dict=True, verbose=0)
    best = int(np.argmax(history["val_delta_m"]))
    assert logs["loss"] == pytest.approx(history["val_loss"][best], rel=1e-5)
    assert list((tmp_path / "logs").rglob("events.*"))
    assert (tmp_path / "checkpoints").is_dir()


def test_a_finished_run_does_nothing(tmp_path):
    first, history = fit(tmp_path)
    second, again = fit(tmp_path)
    assert again["loss"] == history["loss"]
    for left, right in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())


def test_a_nan_stops_with_the_name_of_the_task(tmp_path):
    x, labels = fakes.arrays()
    labels["size"][5] = np.nan
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(8).repeat()
    model = fakes.model()
    with pytest.raises(training.NonFiniteLossError, match="size"):
        training.fit(
            model,
            data,
            fakes.batches(),
            epochs=1,
            steps_per_epoch=4,
            workdir=tmp_path,
            verbose=0,
        )
