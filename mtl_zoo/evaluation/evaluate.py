"""All figures of a model on a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from mtl_zoo.evaluation.coco import CocoBoxes
from mtl_zoo.evaluation.delta_m import Directions, delta_m
from mtl_zoo.evaluation.results import Results
from mtl_zoo.heads import Detection, decode_boxes
from mtl_zoo.model import MultiTaskModel
from mtl_zoo.task import metric_direction

COCO_METRICS = ("AP", "AP50", "AP75")

# Detections enter the average precision from this score on, whatever the head shows.
COCO_SCORE_THRESHOLD = 0.01


def evaluate(
    model: MultiTaskModel, dataset: tf.data.Dataset, baselines: Results | None = None
) -> dict[str, dict[str, float]]:
    """Return `{task: {metric: value}}` in the order of the model's tasks.

    These are the tasks' metrics, the primary one first; for a task without metrics, its
    `"loss"`; and for a `Detection` head, after its metrics, COCO's `"AP"`, `"AP50"` and
    `"AP75"` of up to `max_detections` boxes with a score above 0.01, which take a
    second pass over the data.

    Args:
        model: A compiled model.
        dataset: Finite batches as in training; absent labels have weight 0.
        baselines: Optional `{task: {metric: value}}`, such as the results of
            single-task models. Adds the entry `"delta_m"`: `{convention: value}` over
            the main tasks and the metrics that `baselines` has; see `delta_m`.

    Raises:
        ValueError: When the dataset is infinite, or `baselines` lacks a main task
            or has a metric that the model has not.

    Example:
        >>> import numpy as np
        >>> import mtl_zoo as mtl
        >>> size = mtl.Task(
        ...     "size",
        ...     mtl.heads.Regression(1, feature="layer_1"),
        ...     keras.losses.MeanSquaredError(),
        ...     [keras.metrics.MeanAbsoluteError(name="mae")],
        ... )
        >>> model = mtl.architectures.HardSharing(mtl.trunks.mlp([4]), [size])
        >>> model.compile()
        >>> data = tf.data.Dataset.from_tensors((np.ones((2, 3)), {"size": [[0], [0]]}))
        >>> results = evaluate(model, data, baselines={"size": {"mae": 1.0}})
        >>> {name: list(values) for name, values in results.items()}
        {'size': ['mae'], 'delta_m': ['per_task', 'per_metric', 'primary']}
    """
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "evaluate() goes over the whole dataset. Received an infinite one. Leave "
            "out repeat(), or choose a number of batches with take()."
        )
    logs = model.evaluate(dataset, return_dict=True, verbose=0)
    results = {
        task: {metric: float(logs[f"{task}_{metric}"]) for metric in metrics}
        for task, metrics in _own_directions(model).items()
    }
    for task, values in _average_precision(model, dataset).items():
        results[task].update(values)
    if baselines is not None:
        results["delta_m"] = _delta_m(model, results, baselines)
    return results


def directions(model: MultiTaskModel) -> dict[str, dict[str, str]]:
    """Return `{task: {metric: "up" or "down"}}` for all that `evaluate` returns."""
    found = _own_directions(model)
    for task in _detection_tasks(model):
        found[task].update(dict.fromkeys(COCO_METRICS, "up"))
    return found


def _own_directions(model: MultiTaskModel) -> dict[str, dict[str, str]]:
    return {
        task.name: {metric.name: metric_direction(metric) for metric in task.metrics}
        or {"loss": "down"}
        for task in model.tasks
    }


def _delta_m(
    model: MultiTaskModel, results: Results, baselines: Results
) -> dict[str, float]:
    for name, metrics in baselines.items():
        unknown = sorted(set(metrics) - set(results.get(name, metrics)))
        if unknown:
            raise ValueError(
                f"`baselines[{name!r}]` has metrics that the model has not. Expected "
                f"some of {list(results[name])}. Received: {unknown}"
            )
    compared = {
        name: {
            metric: value
            for metric, value in results[name].items()
            # A task without baselines stays whole, so that delta_m names it.
            if metric in baselines.get(name, {metric: None})
        }
        for name in (task.name for task in model.tasks if task.role == "main")
    }
    up_or_down: Directions = directions(model)
    return {
        convention: delta_m(compared, baselines, up_or_down, convention)
        for convention in ("per_task", "per_metric", "primary")
    }


def _detection_tasks(model: MultiTaskModel) -> dict[str, Detection]:
    return {
        task.name: task.head for task in model.tasks if isinstance(task.head, Detection)
    }


def _average_precision(
    model: MultiTaskModel, dataset: tf.data.Dataset
) -> dict[str, dict[str, float]]:
    heads = _detection_tasks(model)
    if not heads:
        return {}
    detect = _detector(model, heads)
    boxes = {name: CocoBoxes() for name in heads}
    for batch in dataset:
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        found = detect(inputs)
        for name in heads:
            weight = None if weights is None else weights.get(name)
            boxes[name].add(labels[name], found[name], weight)
    return {name: boxes[name].average_precision() for name in heads}


def _detector(
    model: MultiTaskModel, heads: dict[str, Detection]
) -> Callable[[Any], dict[str, Any]]:
    @tf.function(reduce_retracing=True, autograph=False)
    def detect(inputs: Any) -> dict[str, Any]:
        outputs = model(inputs, training=False)
        return {
            name: decode_boxes(
                outputs[name],
                max_detections=head.max_detections,
                score_threshold=COCO_SCORE_THRESHOLD,
                iou_threshold=head.iou_threshold,
            )
            for name, head in heads.items()
        }

    return detect
