"""Where the centres of objects are."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, find
from mtl_zoo.heads import DenseRegression
from mtl_zoo.task import Task


class Centres(OfBatches):
    """Draw a heat map with a peak of 1 at the centre of each box.

    A normal density, without its factor, whose standard deviations are `spread` times
    the sides of the box; the highest of all boxes. An image without box labels has none
    here.

    Args:
        of: Labels `{"boxes": (batch, M, 4), "labels": (batch, M)}` of the data that it
            is made of, rows without a box -1. Defaults to `"boxes"`.
        stride: Pixels of the image, along a side, for one of the map: that of the
            finest feature that the head reads. Defaults to `4`.
        spread: Defaults to `0.15`.
        name: Defaults to `"centres"`.

    Raises:
        ValueError: When `stride` or `spread` is not positive.

    Reference:
        - [Zhou et al., 2019](https://arxiv.org/abs/1904.07850), for the map; the spread
          there follows from an overlap of boxes.
    """

    def __init__(
        self,
        of: str = "boxes",
        stride: int = 4,
        spread: float = 0.15,
        name: str = "centres",
    ) -> None:
        super().__init__(name)
        if stride < 1 or not spread > 0:
            raise ValueError(
                "Expected positive `stride` and `spread`. "
                f"Received: stride={stride}, spread={spread}"
            )
        self.of = of
        self.stride = stride
        self.spread = spread

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return the map, a `stride`-th of the image a side, and a weight."""
        found = find(labels, self.name, self.of)
        boxes, present = found["boxes"], found["labels"] >= 0
        x = self._along(boxes[..., 0], boxes[..., 2], tf.shape(inputs)[2])
        y = self._along(boxes[..., 1], boxes[..., 3], tf.shape(inputs)[1])
        y = tf.where(present[..., None], y, 0.0)
        heat = tf.reduce_max(y[:, :, :, None] * x[:, :, None], axis=1)
        return tf.maximum(heat, 0.0)[..., None], weights[self.of]

    def _along(self, low: Any, high: Any, size: Any) -> Any:
        """Return the density along one axis, `(batch, M, cells)`."""
        cells = tf.cast(tf.range(-(-size // self.stride)), tf.float32)
        middle = (cells + 0.5) * self.stride
        # A peak narrower than a cell would be missed.
        deviation = tf.maximum(self.spread * (high - low), self.stride / 2)
        distance = (middle - (low + high)[..., None] / 2) / deviation[..., None]
        return tf.exp(-(distance**2) / 2)

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a regression at the finest feature; see `heads.DenseRegression`."""
        return Task(
            self.name,
            DenseRegression(1, stride=1, **{"activation": "sigmoid", **head}),
            keras.losses.MeanSquaredError(),
            weight=weight,
            role="auxiliary",
        )
