"""The running means that a compiled model shows in its logs."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from mtl_zoo.balancing_statistics import BalancingStatistics
from mtl_zoo.task import Task


class Trackers:
    """What a compiled model follows: total loss, task losses, metrics, gradients."""

    def __init__(self, tasks: Iterable[Task], diagnostics: bool = False) -> None:
        tasks = tuple(tasks)
        self.loss = keras.metrics.Mean(name="loss")
        self.task_losses = [keras.metrics.Mean(name=f"{t.name}_loss") for t in tasks]
        self.task_metrics = [
            [_copy_metric(metric, task.name) for metric in task.metrics]
            for task in tasks
        ]

        self.balancing = (
            BalancingStatistics([t.name for t in tasks]) if diagnostics else None
        )

    @property
    def losses(self) -> list[keras.metrics.Metric]:
        return [self.loss, *self.task_losses]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [metric for metrics in self.task_metrics for metric in metrics]

    @property
    def all(self) -> list[keras.metrics.Metric]:
        followed = [] if self.balancing is None else [self.balancing]
        return [*self.losses, *self.metrics, *followed]


def _copy_metric(metric: keras.metrics.Metric, task: str) -> keras.metrics.Metric:
    config = metric.get_config()
    return type(metric).from_config({**config, "name": f"{task}_{metric.name}"})
