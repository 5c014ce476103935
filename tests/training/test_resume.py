"""Resume: bit for bit after `kill -9`, and its refusals."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests import fakes

ROOT = Path(__file__).parents[2]
RUNS = Path(__file__).with_name("resume_runs.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder with the ends of all trainings of resume_runs.py."""
    folder = tmp_path_factory.mktemp("runs")
    seed = random.SystemRandom().randrange(10**6)
    print(f"resume_runs.py with random seed {seed}")
    done = subprocess.run(
        [sys.executable, str(RUNS), str(folder), str(seed)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.count("killed") >= 2, done.stdout  # the test can fail
    print(done.stdout)
    return folder


def read(folder, name="end.npz"):
    with np.load(folder / name) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["full", "stopped"])
def test_killed_run_ends_with_the_same_bits(runs, name):
    whole, killed = read(runs / f"{name}_whole"), read(runs / f"{name}_killed")
    assert len(whole) > 30
    for key, value in whole.items():
        assert value.tobytes() == killed[key].tobytes(), key


@pytest.mark.parametrize("name, epochs", [("full", 5), ("stopped", 3)])
def test_history_holds_the_earlier_epochs_too(runs, name, epochs):
    whole, killed = (
        json.loads((runs / f"{name}_{kind}" / "history.json").read_text())
        for kind in ("whole", "killed")
    )
    assert whole == killed
    assert whole["epoch"] == list(range(epochs))
    assert len(whole["history"]["val_delta_m"]) == epochs


@pytest.mark.parametrize("name", ["full", "stopped"])
def test_finished_run_started_again_does_nothing(runs, name):
    before = read(runs / f"{name}_killed", "before_restart.npz")
    after = read(runs / f"{name}_killed")
    assert all(before[k].tobytes() == after[k].tobytes() for k in before)


@pytest.mark.parametrize("name, last", [("full", 5), ("stopped", 3)])
def test_two_complete_checkpoints_are_kept(runs, name, last):
    names = {path.name for path in (runs / f"{name}_killed/checkpoints").iterdir()}
    kept = {
        f"{part}-{number}.{extension}"
        for number in (last - 1, last)
        for part, extension in (
            ("epoch", "index"),
            ("epoch", "data-00000-of-00001"),
            ("iterator", "index"),
            ("iterator", "data-00000-of-00001"),
            ("state", "json"),
            ("state", "npz"),
        )
    }
    assert names == kept | {"checkpoint", "run.json"}


def make_model(optimizer=None, **kwargs):
    """Eager: a few steps take less time than making a graph."""
    return fakes.model(optimizer, run_eagerly=True, **kwargs)


def fit(model, folder, epochs=1, data=None, steps=2, callbacks=(), **kwargs):
    return model.fit(
        fakes.batches().repeat() if data is None else data,
        epochs=epochs,
        steps_per_epoch=steps,
        callbacks=[*callbacks, mtl.training.Resume(folder, **kwargs)],
        verbose=0,
    )


def test_same_code_in_one_process_goes_on_in_spite_of_numbered_names(tmp_path):
    fit(make_model(), tmp_path, epochs=1)
    history = fit(make_model(seed=2), tmp_path, epochs=3)
    assert history.epoch == [0, 1, 2]
    assert len(history.history["loss"]) == 3


def test_a_later_fit_without_resume_starts_at_epoch_0(tmp_path):
    model = make_model()
    fit(model, tmp_path, epochs=2)
    fit(model, tmp_path, epochs=2)
    history = model.fit(fakes.batches(), epochs=1, verbose=0)
    assert history.epoch == [0]


def test_every_second_epoch_and_the_last(tmp_path):
    fit(make_model(), tmp_path, epochs=5, every=2, max_to_keep=9)
    names = sorted(path.name for path in tmp_path.glob("epoch-*.index"))
    assert names == ["epoch-2.index", "epoch-4.index", "epoch-5.index"]


def other_optimizer():
    return make_model(keras.optimizers.SGD(0.2))


def other_dropout():
    return make_model(dropout=0.5)


def other_width():
    model = mtl.architectures.HardSharing(mtl.trunks.mlp([9, 8]), fakes.tasks())
    model.build((None, 6))
    model.compile(keras.optimizers.SGD(0.1))
    return model


@pytest.mark.parametrize(
    "make, difference",
    [
        (other_optimizer, r"learning_rate: saved 0\.1\d*, now 0\.2"),
        (other_dropout, r"dropout: saved 0\.0, now 0\.5"),
        (other_width, r"\(6, 16\), now .*\(6, 9\)"),
    ],
)
def test_checkpoint_of_another_run_is_refused_before_training(
    tmp_path, make, difference
):
    fit(make_model(), tmp_path)
    model = make()
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"another run(.|\n)*{difference}"):
        fit(model, tmp_path, epochs=2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_epoch_length_is_refused(tmp_path):
    fit(make_model(), tmp_path)
    with pytest.raises(ValueError, match="steps_per_epoch: saved 2, now 3"):
        fit(make_model(), tmp_path, epochs=2, steps=3)


def test_finite_dataset_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="infinite dataset"):
        fit(make_model(), tmp_path, data=fakes.batches(), steps=None)
    assert not list(tmp_path.glob("epoch-*"))


def test_python_generator_is_refused(tmp_path):
    spec = fakes.batches().element_spec

    def generate():
        yield from fakes.batches().repeat()

    data = tf.data.Dataset.from_generator(generate, output_signature=spec)
    with pytest.raises(TypeError, match="Python generator"):
        fit(make_model(), tmp_path, data=data)


def test_model_that_is_not_built_is_refused(tmp_path):
    model = mtl.architectures.HardSharing(mtl.trunks.mlp([4, 8]), fakes.tasks())
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"model\.build"):
        fit(model, tmp_path)


def test_plain_keras_model_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="MultiTaskModel"):
        model.fit(
            np.zeros((4, 2)),
            np.zeros((4, 1)),
            callbacks=[mtl.training.Resume(tmp_path)],
            verbose=0,
        )


def test_wrong_order_of_callbacks_is_refused(tmp_path):
    stop = mtl.training.DeltaMEarlyStopping()
    with pytest.raises(ValueError, match="List Resume last"):
        make_model().fit(
            fakes.batches().repeat(),
            steps_per_epoch=1,
            validation_data=fakes.batches(),
            callbacks=[mtl.training.Resume(tmp_path, callbacks=[stop]), stop],
            verbose=0,
        )


def test_spoilt_state_is_never_saved(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                bias = self.model.shared_variables[1]
                bias.assign(np.full(bias.shape, np.nan))

    with pytest.raises(mtl.training.NonFiniteError, match="bias"):
        fit(make_model(), tmp_path, epochs=3, callbacks=[Spoil()])
    assert tf.train.latest_checkpoint(tmp_path).endswith("epoch-1")


@pytest.mark.parametrize("argument", ["every", "max_to_keep"])
def test_arguments_are_checked(tmp_path, argument):
    with pytest.raises(ValueError, match=argument):
        mtl.training.Resume(tmp_path, **{argument: 0})


def test_callback_without_state_is_refused(tmp_path):
    with pytest.raises(TypeError, match="get_state"):
        mtl.training.Resume(tmp_path, callbacks=[keras.callbacks.Callback()])
