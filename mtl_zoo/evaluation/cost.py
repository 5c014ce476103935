"""Parameters and latency: all tasks in one call against one model a task."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from mtl_zoo.model import MultiTaskModel


def cost(
    multi_task: MultiTaskModel,
    single_task: Mapping[str, MultiTaskModel],
    inputs: Any,
    rounds: int = 31,
) -> dict[str, dict[str, float]]:
    """Compare a shared trunk with separate single-task models run one after the other.

    Latency is that of inputs to decoded outputs in one `tf.function` a model, the
    median over rounds in which both sides take turns in random order.

    Args:
        multi_task: The model of all tasks.
        single_task: `{task: model of that task alone}`.
        inputs: One batch, usually of one sample; of texts, a list of strings.
        rounds: Timed rounds. Defaults to `31`.

    Returns:
        `{"parameters": ..., "latency_ms": ...}`, each `{"multi_task", "single_task"
        (the sum), "ratio"}`.
    """
    sides = {"multi_task": [multi_task], "single_task": list(single_task.values())}
    functions = {
        name: [tf.function(model.predict_tasks, autograph=False) for model in models]
        for name, models in sides.items()
    }
    if isinstance(inputs, list) and all(isinstance(one, str) for one in inputs):
        inputs = tf.constant(inputs)
    inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 2):
        for name in random.Random(number).sample(list(sides), len(sides)):
            start = time.perf_counter()
            for function in functions[name]:
                _wait(function(inputs))
            if number >= 2:  # tracing and warm-up
                seconds[name].append(time.perf_counter() - start)
    figures = {
        "parameters": {
            name: sum(model.count_params() for model in models)
            for name, models in sides.items()
        },
        "latency_ms": {
            name: 1000 * statistics.median(times) for name, times in seconds.items()
        },
    }
    for values in figures.values():
        values["ratio"] = values["multi_task"] / values["single_task"]
    return figures


def _wait(outputs: Any) -> None:
    for tensor in tf.nest.flatten(outputs):
        tensor.numpy()
