"""Weights that are a function of the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing, now
from mtl_zoo.balancing.fixed import check_names


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Scheduled(LossBalancing):
    """Weigh each loss by a function of the number of steps taken.

    Args:
        schedules: `{task: weight}` of every task of the model. A weight is a number, or
            a function from a scalar float32, the steps taken, to a scalar, such as a
            `keras.optimizers.schedules.LearningRateSchedule`. To be saved with the
            model, functions of your own need
            `keras.saving.register_keras_serializable`.

    Raises:
        ValueError: In `build`, when these are not the model's tasks.

    Example:
        >>> ramp = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 1.0)
        >>> method = Scheduled({"main": 1.0, "auxiliary": ramp})
        >>> method.build(["main", "auxiliary"])
        >>> losses, active = ops.array([1.0, 1.0]), ops.array([True, True])
        >>> [round(float(method.task_weights(losses, active)[1]), 3) for _ in range(3)]
        [0.0, 0.1, 0.2]
    """

    promises = ("same for any order",)

    def __init__(
        self, schedules: Mapping[str, float | Callable], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.schedules = dict(schedules)

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        check_names(self.schedules, task_names)
        self.step = self.add_state((), "step")

    def task_weights(self, losses: Any, active: Any) -> Any:
        step = now(self.step)
        self.step.assign(step + 1)
        chosen = [self.schedules[name] for name in self.task_names]
        return ops.stack(
            [
                ops.cast(one(step) if callable(one) else one, losses.dtype)
                for one in chosen
            ]
        )

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        saved = {
            name: serialize(one) if callable(one) else one
            for name, one in self.schedules.items()
        }
        return {**super().get_config(), "schedules": saved}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Scheduled:
        schedules = {
            name: one
            if isinstance(one, int | float)
            else keras.saving.deserialize_keras_object(one)
            for name, one in config["schedules"].items()
        }
        return cls(**{**config, "schedules": schedules})
