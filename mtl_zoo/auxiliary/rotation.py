"""By how many quarter-turns has an image been turned?"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, all_weights, with_own_rows
from mtl_zoo.heads import Classification
from mtl_zoo.task import Task


class Rotation(OfBatches):
    """Tell by how many quarter-turns an image was turned (Gidaris et al., 2018).

    Turned copies of all images of a batch are appended to it, labelled for this task
    alone: the labels of other tasks would not fit them. A step costs twice as much. It
    says nothing about images that have no upright, such as those of a microscope.

    Args:
        name: Defaults to `"rotation"`.
        seed: Of the turns. Defaults to `0`.

    Example:
        >>> batch = tf.ones((2, 8, 8, 3)), {"kind": [0, 1]}
        >>> data = Rotation().add(tf.data.Dataset.from_tensors(batch))
        >>> images, labels, weights = next(iter(data))
        >>> images.shape[0], weights["kind"].numpy().tolist()
        (4, [1.0, 1.0, 0.0, 0.0])
        >>> weights["rotation"].numpy().tolist()
        [0.0, 0.0, 1.0, 1.0]

    Reference:
        - [Gidaris et al., 2018](https://arxiv.org/abs/1803.07728)
    """

    draws = True

    def __init__(self, name: str = "rotation", seed: int = 0) -> None:
        super().__init__(name, seed)

    def added(
        self, inputs: Any, labels: dict, weights: dict | None = None, *, key: Any
    ) -> tuple[Any, dict, dict]:
        """Return the batch with turned copies of its images behind them.

        Raises:
            ValueError: When images are not square.
        """
        if inputs.shape[1] != inputs.shape[2]:
            raise ValueError(
                "Images that are turned have to be square, with a size that is known. "
                f"Received shape: {inputs.shape}"
            )
        count = tf.shape(inputs)[0]
        turns = tf.random.stateless_uniform([count], key, 0, 4, tf.int32)
        turned = tf.stack([tf.image.rot90(inputs, k) for k in range(4)], axis=1)
        turned = tf.gather(turned, turns, axis=1, batch_dims=1)
        batch = inputs, labels, all_weights(inputs, labels, weights)
        return with_own_rows(batch, self.name, turned, turns)

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a classification of four classes; see `heads.Classification`."""
        return Task(
            self.name,
            Classification(4, **head),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            weight=weight,
            role="auxiliary",
        )
