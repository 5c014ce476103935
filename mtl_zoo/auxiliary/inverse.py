"""Inputs that do better as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, ones
from mtl_zoo.heads import Regression
from mtl_zoo.task import Task


class InverseInputs(OfBatches):
    """Predict some of the inputs from the others, instead of reading them.

    A noisy input may help more as an output: its noise then does not reach the
    prediction, and what is true in it shapes the features (Caruana and de Sa, 1997).
    Nor is it needed to predict.

    Args:
        columns: Which inputs, of `(batch, inputs)`. Those of a scale like 1 learn best.
        name: Defaults to `"inverse"`.

    Raises:
        ValueError: Without columns, or with one twice.

    Example:
        >>> data = tf.data.Dataset.from_tensors(([[1.0, 2.0, 3.0]], {"kind": [0]}))
        >>> inputs, labels, _ = next(iter(InverseInputs([1]).add(data)))
        >>> inputs.numpy(), labels["inverse"].numpy()
        (array([[1., 3.]], dtype=float32), array([[2.]], dtype=float32))

    Reference:
        - [Caruana and de Sa, 1997](https://papers.nips.cc/paper/1238)
    """

    def __init__(self, columns: Sequence[int], name: str = "inverse") -> None:
        super().__init__(name)
        self.columns = tuple(columns)
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise ValueError(
                "Expected at least one column, each once. "
                f"Received: columns={list(columns)}"
            )

    def added(
        self, inputs: Any, labels: dict, weights: dict | None = None, *, key: Any
    ) -> tuple[Any, dict, dict]:
        """Return the batch with fewer inputs and one more label.

        Raises:
            ValueError: When the inputs have no such columns, or no others.
        """
        every = range(inputs.shape[-1])
        kept = [column for column in every if column not in self.columns]
        if not kept or not set(self.columns) <= set(every):
            raise ValueError(
                f"Expected columns of the {len(every)} inputs, not all. "
                f"Received: columns={list(self.columns)}"
            )
        _, labels, weights = super().added(inputs, labels, weights, key=key)
        return tf.gather(inputs, kept, axis=1), labels, weights

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return the columns, and a weight of 1."""
        return tf.gather(inputs, self.columns, axis=1), ones(inputs)

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a regression of the columns; see `heads.Regression`."""
        return Task(
            self.name,
            Regression(len(self.columns), **head),
            keras.losses.MeanSquaredError(),
            weight=weight,
            role="auxiliary",
        )
