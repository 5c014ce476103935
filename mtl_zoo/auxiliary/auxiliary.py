"""What an auxiliary task is made of: labels from the data, and the task itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mtl_zoo.data.stream import checkpointable
from mtl_zoo.data.text_batches import LabelledTexts
from mtl_zoo.task import Task


class Auxiliary:
    """Base of all: `add` writes the labels into the data, `task` makes the task.

    Args:
        name: Of the task, and of its labels.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def add(self, data: Any) -> Any:
        """Return the data with labels for this task; validation data need them too."""
        raise NotImplementedError

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return the task, of `role="auxiliary"`.

        Args:
            weight: See `Task`; `training.Fade` lets the task leave. Defaults to `1.0`.
            **head: Further arguments of the head, such as the features that it reads.
        """
        raise NotImplementedError


class OfBatches(Auxiliary):
    """A task whose labels are made of batches: a `tf.data.Dataset` in, one out."""

    draws = False
    """Whether something is drawn for each batch."""

    def __init__(self, name: str, seed: int = 0) -> None:
        super().__init__(name)
        self.seed = seed

    def add(self, data: tf.data.Dataset) -> tf.data.Dataset:
        """Return the data with labels for this task.

        Element `i` depends on element `i` of `data`, `i` and the seed only, and the
        iterator can be saved if that of `data` can.

        Args:
            data: Batches `(inputs, labels)` or `(inputs, labels, weights)`.

        Returns:
            Batches `(inputs, labels, weights)`.
        """
        if not self.draws:
            return data.map(lambda *batch: self.added(*batch, key=None))
        keys = tf.data.Dataset.counter().map(
            lambda number: tf.stack([tf.constant(self.seed, tf.int64), number])
        )
        pairs = tf.data.Dataset.zip(data, keys)
        pairs = pairs.map(lambda batch, key: self.added(*batch, key=key))
        return checkpointable(pairs)

    def added(
        self, inputs: Any, labels: dict, weights: dict | None = None, *, key: Any
    ) -> tuple[Any, dict, dict]:
        """Return a batch with the label of this task."""
        weights = all_weights(inputs, labels, weights)
        label, weight = self.label(inputs, labels, weights)
        return inputs, {**labels, self.name: label}, {**weights, self.name: weight}

    def label(self, inputs: Any, labels: dict, weights: dict) -> tuple[Any, Any]:
        """Return the label of a batch, and its weight `(batch, ...)`."""
        raise NotImplementedError


class OfTexts(Auxiliary):
    """A task whose labels are made of texts, before they are cut into pieces."""

    def add(self, data: LabelledTexts) -> LabelledTexts:
        """Return the texts with labels for this task."""
        return LabelledTexts(data.texts, {**data.labels, self.name: self.labels(data)})

    def labels(self, data: LabelledTexts) -> Any:
        """Return one label a text."""
        raise NotImplementedError


def all_weights(inputs: Any, labels: dict, weights: dict | None) -> dict:
    """Return the weights of all labels, 1 where none are given."""
    return {name: ones(inputs) for name in labels} | (weights or {})


def ones(inputs: Any) -> Any:
    """Return a weight of 1 for each input, float32 `(batch,)`."""
    return tf.ones(tf.shape(tf.nest.flatten(inputs)[0])[:1])


def find(labels: dict, name: str, of: str) -> Any:
    """Return `labels[of]`.

    Raises:
        ValueError: When there is none.
    """
    if of not in labels:
        raise ValueError(
            f"The labels of {name!r} are made of those of {of!r}. Received labels of "
            f"{sorted(labels)}. Name another with `of`, or add it to the data."
        )
    return labels[of]


def with_own_rows(
    batch: tuple[Any, dict, dict], name: str, inputs: Any, label: Any
) -> tuple[Any, dict, dict]:
    """Append inputs of its own to a batch, labelled for the task `name` alone.

    All other labels are absent there, and that of `name` in the rows before.

    Args:
        batch: Inputs, labels and weights.
        name: Of the task.
        inputs: Of the structure of those of the batch, `(own, ...)`.
        label: `(own, ...)`.
    """
    old_inputs, labels, weights = batch
    first, own = ones(old_inputs), ones(inputs)

    def behind(value: Any) -> Any:
        return _with_rows(value, tf.size(own), _after)

    def before(value: Any) -> Any:
        return _with_rows(value, tf.size(first), _before)

    return (
        tf.nest.map_structure(
            lambda a, b: tf.concat([a, tf.cast(b, a.dtype)], 0), old_inputs, inputs
        ),
        {**tf.nest.map_structure(behind, labels), name: before(label)},
        {**tf.nest.map_structure(behind, weights), name: before(own)},
    )


def _with_rows(value: Any, count: Any, place: Callable) -> Any:
    rows = tf.zeros(tf.concat([[count], tf.shape(value)[1:]], 0), value.dtype)
    return tf.ensure_shape(
        tf.concat(place(value, rows), 0), [None, *value.shape[1:].as_list()]
    )


def _after(value: Any, rows: Any) -> list:
    return [value, rows]


def _before(value: Any, rows: Any) -> list:
    return [rows, value]
