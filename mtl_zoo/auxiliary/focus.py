"""The part of an image that is easily overlooked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, find
from mtl_zoo.heads import Segmentation
from mtl_zoo.task import Task


class Focus(OfBatches):
    """Find the pixels of a few classes, which a network may do without.

    What is small or rare counts little in the loss of the whole map. As a task of its
    own, it makes the features look there: lane markings for one who learns to steer
    (Caruana, 1997, section 2.5 calls that attention focusing).

    Args:
        of: The label map of the data, int `(batch, height, width)`.
        classes: Those to be found.
        name: Defaults to `"focus"`.

    Raises:
        ValueError: Without classes.

    Example:
        >>> batch = tf.ones((1, 1, 3, 3)), {"seg": [[[0, 2, 1]]]}
        >>> data = Focus("seg", classes=[2]).add(tf.data.Dataset.from_tensors(batch))
        >>> _, labels, _ = next(iter(data))
        >>> labels["focus"].numpy().tolist()
        [[[0, 1, 0]]]

    Reference:
        - [Caruana, 1997](https://doi.org/10.1023/A:1007379606734)
    """

    def __init__(self, of: str, classes: Sequence[int], name: str = "focus") -> None:
        super().__init__(name)
        if not classes:
            raise ValueError(
                f"Expected at least one class. Received: classes={list(classes)}"
            )
        self.of = of
        self.classes = tuple(classes)

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return 1 at the classes, 0 elsewhere, and the weight of the map."""
        found = find(labels, self.name, self.of)
        hits = tf.equal(found[..., None], tf.cast(self.classes, found.dtype))
        return tf.cast(tf.reduce_any(hits, axis=-1), tf.int32), weights[self.of]

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a segmentation of two classes; see `heads.Segmentation`."""
        return two_classes(self.name, weight, head)


def two_classes(name: str, weight: Any, head: dict) -> Task:
    """Return a segmentation of two classes."""
    return Task(
        name,
        Segmentation(2, **head),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weight=weight,
        role="auxiliary",
    )
