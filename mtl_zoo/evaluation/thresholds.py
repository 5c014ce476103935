"""Choose the score thresholds of detection tasks, on validation data."""

from __future__ import annotations

import tensorflow as tf

from mtl_zoo.evaluation.box_f1 import BoxF1
from mtl_zoo.model import MultiTaskModel


def choose_thresholds(
    model: MultiTaskModel, validation: tf.data.Dataset
) -> dict[str, float]:
    """Fix the score threshold of every task that has the metric `BoxF1`.

    The threshold with the highest F1 on `validation` becomes that of the task's head,
    so that `decode` and the exported model return the boxes above it, and that of its
    metric, so that test data has no say in it.

    Args:
        model: A compiled model.
        validation: Batches with labels, never those of the test split.

    Returns:
        `{task: threshold}`, empty when there is nothing to choose.
    """
    metrics = {
        (task.name, index): metric
        for task in model.tasks
        for index, metric in enumerate(task.metrics)
        if isinstance(metric, BoxF1)
    }
    if not metrics:
        return {}
    for metric in metrics.values():
        metric.score_threshold = None
    model.renew_metrics()
    model.evaluate(validation, verbose=0)
    found = {}
    for (name, index), metric in metrics.items():
        measured = model.task_metrics(name)[index]
        found[name] = round(float(measured.best_threshold()), 4)
        metric.score_threshold = model.task(name).head.score_threshold = found[name]
    model.renew_metrics()
    return found
