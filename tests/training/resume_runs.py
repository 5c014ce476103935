"""Trainings that are killed at random and started again; run by test_resume.py.

Every training is a forked process, so that TensorFlow is imported once.

    python resume_runs.py <folder> <random seed>
"""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.data import stream

EPOCHS, STEPS = 5, 8


def make_model():
    """Dropout, batch normalisation, Adam, two tasks."""
    keras.utils.set_random_seed(7)
    trunk = mtl.trunks.Trunk(
        {
            "wide": keras.layers.Dense(16, activation="tanh"),
            "normal": keras.layers.BatchNormalization(),
            "dropped": keras.layers.Dropout(0.3),
        }
    )
    tasks = [
        mtl.Task(
            "size",
            mtl.heads.Regression(1, feature="dropped"),
            keras.losses.MeanSquaredError(),
            [keras.metrics.MeanAbsoluteError(name="mae")],
        ),
        mtl.Task(
            "kind",
            mtl.heads.Classification(4, feature="dropped", dropout=0.2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        ),
    ]
    model = mtl.architectures.HardSharing(trunk, tasks)
    model.build((None, 6))
    schedule = keras.optimizers.schedules.CosineDecay(0.05, EPOCHS * STEPS)
    model.compile(keras.optimizers.Adam(schedule), train_metrics=True)
    return model


def make_data(kind):
    """Training data and a validation set.

    "stream" is what the data sets of `mtl_zoo.data` are made of, with augmentation;
    "shuffled" is two mixed sources with shuffle buffers.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype("float32")
    labels = {
        "kind": np.argmax(x[:, :4], axis=1).astype("int32"),
        "size": np.tanh(x[:, :1] - x[:, 1:2]),
    }
    validation = keras.tree.map_structure(lambda a: a[160:], (x, labels))
    validation = tf.data.Dataset.from_tensor_slices(validation).batch(20)
    train = {"stream": streamed, "shuffled": shuffled}[kind](x, labels)
    return train, validation


def streamed(x, labels):
    """Examples in the order of `training_stream`, each with noise of its own seed."""
    columns = keras.tree.map_structure(tf.constant, (x, labels))

    def example(index, seed):
        inputs, targets = keras.tree.map_structure(lambda a: a[index], columns)
        return inputs + 0.1 * tf.random.stateless_normal((6,), seed), targets

    indices = stream.training_stream(160, seed=3)
    return stream.batches(indices, example, batch_size=8, drop_remainder=True)


def shuffled(x, labels):
    def source(start, stop, seed):
        part = keras.tree.map_structure(lambda a: a[start:stop], (x, labels))
        data = tf.data.Dataset.from_tensor_slices(part)
        return data.shuffle(50, seed=seed).repeat()

    train = tf.data.Dataset.sample_from_datasets(
        [source(0, 100, 1), source(100, 160, 2)], weights=[0.7, 0.3], seed=3
    )
    return train.batch(8, drop_remainder=True).prefetch(2)


class KillAtStep(keras.callbacks.Callback):
    """`kill -9` after a number of steps of this process."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class KillWhileSaving(mtl.training.Resume):
    """`kill -9` some time after the start of a save, of about 20 ms."""

    def __init__(self, *args, saves, delay, **kwargs):
        super().__init__(*args, **kwargs)
        self.saves, self.delay = saves, delay

    def _save(self, number):
        self.saves -= 1
        if self.saves == 0:
            threading.Thread(target=self._kill, daemon=True).start()
        super()._save(number)

    def _kill(self):
        time.sleep(self.delay)
        os.kill(os.getpid(), signal.SIGKILL)


def train(folder, data_kind, min_delta, kill=None):
    """Train, or go on, and write the final state."""
    model = make_model()
    data, validation = make_data(data_kind)
    stop = mtl.training.DeltaMEarlyStopping(patience=2, min_delta=min_delta)
    resume_class, extra = mtl.training.Resume, {}
    callbacks = [mtl.training.RaiseOnNonFiniteLoss(), stop]
    if kill and kill["where"] == "step":
        callbacks.append(KillAtStep(kill["step"]))
    elif kill:
        resume_class = KillWhileSaving
        extra = {"saves": kill["saves"], "delay": kill["delay"]}
    resume = resume_class(folder / "checkpoints", callbacks=[stop], **extra)
    history = model.fit(
        data,
        steps_per_epoch=STEPS,
        epochs=EPOCHS,
        validation_data=validation,
        callbacks=[*callbacks, resume],
        verbose=0,
    )
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    np.savez(folder / "end.npz", *[variable.numpy() for variable in variables])
    (folder / "history.json").write_text(
        json.dumps({"epoch": history.epoch, "history": history.history})
    )


def fork(*args):
    """Run `train` in a forked process and return whether it reached its end."""
    child = os.fork()
    if child == 0:
        try:
            train(*args)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("A training failed; see above.")
    return os.WIFEXITED(status)


def main(folder, seed):
    """An uninterrupted run, one that is killed, and a restart of the latter.

    "full" goes through all epochs of streamed data and is also killed some time after
    it has begun to save; "stopped", on shuffled data, stops early.
    """
    rng = random.Random(seed)
    in_save = {"where": "save", "saves": 1, "delay": rng.uniform(0.0, 0.03)}
    for name, data, min_delta, kills in (
        ("full", "stream", 0.0, [in_save]),
        ("stopped", "shuffled", 1000.0, []),
    ):
        whole, killed = folder / f"{name}_whole", folder / f"{name}_killed"
        for run in (whole, killed):
            run.mkdir()
        fork(whole, data, min_delta)
        kills.insert(0, {"where": "step", "step": rng.randrange(1, 3 * STEPS)})
        for kill in kills:
            done = fork(killed, data, min_delta, kill)
            print(f"{name}, {kill}: {'ended' if done else 'killed'}")
        fork(killed, data, min_delta)
        os.rename(killed / "end.npz", killed / "before_restart.npz")
        fork(killed, data, min_delta)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
