"""Tiny models and data with legal labels, for tests of everything above the ground."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl

NAMES = ("kind", "size", "colour")


def tasks(dropout: float = 0.0) -> list[mtl.Task]:
    """One classification and two regression tasks, deliberately not in sorted order."""
    return [
        mtl.Task(
            "kind",
            mtl.heads.Classification(4, feature="layer_2", dropout=dropout),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        ),
        mtl.Task(
            "size",
            mtl.heads.Regression(1, feature="layer_2"),
            keras.losses.MeanSquaredError(),
            [keras.metrics.MeanAbsoluteError(name="mae")],
        ),
        mtl.Task(
            "colour",
            mtl.heads.Regression(3, feature="layer_2"),
            keras.losses.MeanSquaredError(),
            weight=0.5,
        ),
    ]


def model(
    optimizer: object = None, seed: int = 1, dropout: float = 0.0, **compile_kwargs
) -> mtl.architectures.HardSharing:
    """A compiled, built hard-sharing MLP over 6 inputs."""
    keras.utils.set_random_seed(seed)
    network = mtl.architectures.HardSharing(
        mtl.trunks.mlp([16, 8], activation="tanh"), tasks(dropout)
    )
    network.build((None, 6))
    network.compile(optimizer or keras.optimizers.SGD(0.1), **compile_kwargs)
    return network


def arrays(samples: int = 32, seed: int = 0) -> tuple[np.ndarray, dict]:
    """Inputs `(samples, 6)` and labels that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 6)).astype("float32")
    labels = {
        "kind": np.argmax(x[:, :4], axis=1).astype("int32"),
        "size": np.tanh(x[:, :1] - x[:, 1:2]),
        "colour": np.tanh(x[:, 2:5]),
    }
    return x, labels


def batches(
    samples: int = 32, batch_size: int = 8, weights: dict | None = None
) -> tf.data.Dataset:
    """Batches in a fixed order."""
    x, labels = arrays(samples)
    data = (x, labels) if weights is None else (x, labels, weights)
    return tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
