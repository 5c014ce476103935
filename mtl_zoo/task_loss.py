"""The loss of one task on a batch of which not all may be labelled."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from mtl_zoo import gradients as grads
from mtl_zoo.partial_labels import fill_absent, item_weights
from mtl_zoo.task import Task


class TaskLoss(NamedTuple):
    """A task's loss on a batch.

    Attributes:
        loss: This replica's share of the mean over the labelled items.
        items: How many those are in the global batch, or 1 for none.
        labelled: Whether there is one.
        label: The label, filled where it is absent.
        weight: What each loss value counts.
    """

    loss: Any
    items: Any
    labelled: Any
    label: Any
    weight: Any


def task_loss(
    task: Task, labels: dict, outputs: dict, weights: dict | None
) -> TaskLoss:
    """Return the loss of a task.

    Args:
        task: The task.
        labels: `{task name: label}`.
        outputs: `{task name: raw output}`.
        weights: `{task name: weight}`, or `None`; see `mtl_zoo.partial_labels`.

    Raises:
        ValueError: When the data has no label for the task.
    """
    label = _of_task(labels, task.name, "label")
    weight = None if weights is None else weights.get(task.name)
    if weight is not None:
        label = fill_absent(label, weight)
    values = ops.cast(task.loss.call(label, outputs[task.name]), "float32")
    weight = item_weights(weight, values)
    count = getattr(task.loss, "count", None)
    items = ops.sum(
        weight if count is None else weight * count(label, outputs[task.name])
    )
    items = grads.sum_over_replicas(items)
    labelled = grads.sum_over_replicas(ops.sum(weight)) > 0
    items = ops.where(items > 0, items, 1.0)
    loss = ops.sum(ops.where(weight > 0, weight * values, 0.0)) / items
    return TaskLoss(loss, items, labelled, label, weight)


def unpack(data: Any) -> tuple[Any, dict, dict | None]:
    """Return inputs, labels and weights of what `fit` gives to a step.

    Raises:
        TypeError: When labels or weights are no dict.
    """
    inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    for value, what in ((labels, "labels"), (weights, "weights")):
        if not isinstance(value, dict) and not (value is None and what == "weights"):
            raise TypeError(
                f"A multi-task model trains on (inputs, {{task: label}}) or (inputs, "
                f"{{task: label}}, {{task: weight}}). Received {what} of type "
                f"{type(value).__name__}."
            )
    return inputs, labels, weights


def _of_task(labels: dict, name: str, what: str) -> Any:
    if name not in labels:
        raise ValueError(
            f"The data has no {what} for task {name!r}: expected the key {name!r} "
            f"among {sorted(labels)}. Where it is missing for some samples only, give "
            "any value there and weight 0."
        )
    return labels[name]
