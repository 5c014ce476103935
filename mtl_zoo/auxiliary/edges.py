"""Where an image changes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, ones
from mtl_zoo.heads import DenseRegression
from mtl_zoo.task import Task


class Edges(OfBatches):
    """Draw the edges: how much the grey image changes at each pixel.

    The length of Sobel's gradient, 1 for a step from black to white along an axis.

    Args:
        name: Defaults to `"edges"`.

    Example:
        >>> white = tf.fill((1, 4, 2, 3), 255.0)
        >>> white = tf.pad(white, [[0, 0], [0, 0], [2, 0], [0, 0]])
        >>> data = tf.data.Dataset.from_tensors((white, {}))
        >>> _, labels, _ = next(iter(Edges().add(data)))
        >>> labels["edges"].numpy()[0, 1, :, 0].tolist()
        [0.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, name: str = "edges") -> None:
        super().__init__(name)

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return the edges `(batch, height, width, 1)`, and a weight of 1."""
        grey = tf.reduce_mean(tf.cast(inputs, tf.float32), axis=-1, keepdims=True)
        slopes = tf.image.sobel_edges(grey / 255.0)
        return tf.norm(slopes, axis=-1) / 4.0, ones(inputs)

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a regression for each pixel; see `heads.DenseRegression`."""
        return Task(
            self.name,
            DenseRegression(1, **head),
            keras.losses.MeanSquaredError(),
            weight=weight,
            role="auxiliary",
        )
