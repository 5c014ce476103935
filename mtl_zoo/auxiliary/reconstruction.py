"""The inputs themselves, as outputs: autoencoders."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, ones
from mtl_zoo.heads import DenseRegression, Regression
from mtl_zoo.task import Task


class ImageReconstruction(OfBatches):
    """Give the image back, from 0 to 1, by the features that other tasks read.

    Args:
        name: Defaults to `"image"`.
        channels: Of the images. Defaults to `3`.

    Reference:
        - [Ranzato and Szummer, 2008](https://doi.org/10.1145/1390156.1390256), for an
          autoencoder beside a supervised task.
    """

    def __init__(self, name: str = "image", channels: int = 3) -> None:
        super().__init__(name)
        self.channels = channels

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return the images, and a weight of 1."""
        return tf.cast(inputs, tf.float32) / 255.0, ones(inputs)

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a regression for each pixel; see `heads.DenseRegression`."""
        return Task(
            self.name,
            DenseRegression(self.channels, **head),
            keras.losses.MeanSquaredError(),
            weight=weight,
            role="auxiliary",
        )


class Autoencoder(OfBatches):
    """Give a vector of inputs back, such as the row of a table.

    Args:
        units: Length of the vector.
        name: Defaults to `"inputs"`.

    Example:
        >>> data = tf.data.Dataset.from_tensors(([[1.0, 2.0]], {"kind": [0]}))
        >>> _, labels, _ = next(iter(Autoencoder(2).add(data)))
        >>> labels["inputs"].numpy()
        array([[1., 2.]], dtype=float32)

    Reference:
        - [Ranzato and Szummer, 2008](https://doi.org/10.1145/1390156.1390256)
    """

    def __init__(self, units: int, name: str = "inputs") -> None:
        super().__init__(name)
        self.units = units

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return the inputs, and a weight of 1."""
        return tf.cast(inputs, tf.float32), ones(inputs)

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a regression of all inputs; see `heads.Regression`."""
        return Task(
            self.name,
            Regression(self.units, **head),
            keras.losses.MeanSquaredError(),
            weight=weight,
            role="auxiliary",
        )
