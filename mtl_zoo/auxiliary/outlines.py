"""Of objects side by side: where one ends, and how far inside a pixel is."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, find
from mtl_zoo.auxiliary.focus import two_classes
from mtl_zoo.data.instances import boundary_map, distance_map
from mtl_zoo.heads import DenseRegression
from mtl_zoo.task import Task


class Boundary(OfBatches):
    """Draw the boundary of each object, which separates those that touch.

    Args:
        of: Instance maps of the data, int `(batch, height, width)`, 0 for background
            and one number an object. Defaults to `"instances"`. `data.nuclei` has the
            label itself, as its target `"boundary"`: there nothing is to be added.
        name: Defaults to `"boundary"`.

    Reference:
        - [Chen et al., 2016](https://arxiv.org/abs/1604.02677)
    """

    def __init__(self, of: str = "instances", name: str = "boundary") -> None:
        super().__init__(name)
        self.of = of

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return 1 on boundaries, 0 elsewhere, and the weight of the map."""
        found = find(labels, self.name, self.of)
        return (
            tf.map_fn(boundary_map, found, fn_output_signature=tf.int32),
            weights[self.of],
        )

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a segmentation of two classes; see `heads.Segmentation`."""
        return two_classes(self.name, weight, head)


class Distance(OfBatches):
    """Say how far each pixel is from the outside of its object, at most 1 in each.

    Args:
        of: As for `Boundary`; the target of `data.nuclei` is `"distance"`.
        name: Defaults to `"distance"`.

    Reference:
        - [Bai and Urtasun, 2017](https://arxiv.org/abs/1611.08303)
    """

    def __init__(self, of: str = "instances", name: str = "distance") -> None:
        super().__init__(name)
        self.of = of

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return the distances `(batch, height, width, 1)`, and the map's weight."""
        found = find(labels, self.name, self.of)
        return (
            tf.map_fn(distance_map, found, fn_output_signature=tf.float32),
            weights[self.of],
        )

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a regression for each pixel; see `heads.DenseRegression`."""
        return Task(
            self.name,
            DenseRegression(1, **head),
            keras.losses.MeanSquaredError(),
            weight=weight,
            role="auxiliary",
        )
