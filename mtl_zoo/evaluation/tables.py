"""Precision, recall and F1 of each class, and of each type of entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import seqeval.metrics
import sklearn.metrics
import tensorflow as tf

from mtl_zoo.evaluation.entity_f1 import scored_tags
from mtl_zoo.heads import Classification, Tagging
from mtl_zoo.heads.tagging import best_tags
from mtl_zoo.model import MultiTaskModel

Table = dict[str, dict[str, float]]


def tables(model: MultiTaskModel, dataset: tf.data.Dataset) -> dict[str, Table]:
    """Return `{task: {class or type: {"precision", "recall", "f1", "count"}}}`.

    Of the tasks with a `Classification` head with class names, by scikit-learn; and of
    those with a `Tagging` head, by seqeval, for whole entities as in CoNLL-2003. Where
    a class is never predicted, its precision is 0. `count` is how many there truly are.

    Args:
        model: A model.
        dataset: Finite batches as in training; absent labels have weight 0.
    """
    pairs: dict[str, list] = {task.name: [] for task in model.tasks if _has_table(task)}
    run = tf.function(
        lambda inputs: model(inputs, training=False), reduce_retracing=True
    )
    for batch in dataset:
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        outputs = run(inputs)
        for name, found in pairs.items():
            weight = np.ones(1) if weights is None else np.asarray(weights[name])
            truth, guess = _numbers(model.task(name), labels[name], outputs[name])
            present = np.broadcast_to(weight > 0, len(truth))
            found += zip(truth[present], guess[present], strict=True)
    return {name: _table(model.task(name), found) for name, found in pairs.items()}


def _has_table(task: Any) -> bool:
    return isinstance(task.head, Classification | Tagging) and bool(
        task.head.class_names
    )


def _numbers(task: Any, labels: Any, raw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return true and found classes `(batch,)`, or tags `(batch, words)`."""
    if isinstance(task.head, Tagging):
        truth, guess = scored_tags(labels, best_tags(raw)[0])
    else:
        truth, guess = labels, keras.ops.argmax(raw, axis=-1)
    return np.asarray(truth), np.asarray(guess)


def _table(task: Any, pairs: Sequence[tuple[Any, Any]]) -> Table:
    if isinstance(task.head, Tagging):
        names = task.head.tag_names
        both = [
            [[names[t] for t in row] for row in side]
            for side in zip(*pairs, strict=True)
        ]
        report = seqeval.metrics.classification_report(
            *both, output_dict=True, zero_division=0
        )
        kinds = [kind for kind in task.head.class_names if kind in report]
    else:
        truth, guess = (list(side) for side in zip(*pairs, strict=True))
        names = task.head.class_names
        report = sklearn.metrics.classification_report(
            truth,
            guess,
            labels=range(len(names)),
            target_names=names,
            output_dict=True,
            zero_division=0,
        )
        kinds = names
    return {kind: _row(report[kind]) for kind in kinds}


def _row(row: Mapping[str, float]) -> dict[str, float]:
    return {
        "precision": round(float(row["precision"]), 4),
        "recall": round(float(row["recall"]), 4),
        "f1": round(float(row["f1-score"]), 4),
        "count": int(row["support"]),
    }
