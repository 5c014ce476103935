"""The weight of an auxiliary task that leaves, step by step."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

SHAPES = ("linear", "cosine", "exponential")


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Fade(keras.optimizers.schedules.LearningRateSchedule):
    """From `start` to 0: an auxiliary task helps first, then leaves the model alone.

    With `p` the part of `steps` that is done, 1 behind them, the weight is `start`
    times `1 - p` (linear), `(1 + cos(pi p)) / 2` (cosine), or
    `(exp(-rate p) - exp(-rate)) / (1 - exp(-rate))` (exponential). At 0 the task is as
    if it had no label: its gradient is left out, and its own variables stay.

    A `Task` takes it as its `weight`. It is a function of the optimizer's iterations,
    so that a run that goes on, or a model that is loaded, goes on fading.

    Args:
        steps: Iterations of the optimizer after which the weight is 0.
        shape: `"linear"`, `"cosine"` or `"exponential"`. Defaults to `"linear"`.
        start: Weight at the beginning. Defaults to `1.0`.
        rate: Of the exponential: how steep it is. Defaults to `5.0`.

    Raises:
        ValueError: When `steps`, `start` or `rate` is not positive, or there is no such
            `shape`.

    Example:
        >>> for shape in SHAPES:
        ...     fade = Fade(100, shape)
        ...     print(shape, [round(float(fade(step)), 2) for step in (0, 50, 100)])
        linear [1.0, 0.5, 0.0]
        cosine [1.0, 0.5, 0.0]
        exponential [1.0, 0.08, 0.0]
    """

    def __init__(
        self, steps: int, shape: str = "linear", start: float = 1.0, rate: float = 5.0
    ) -> None:
        super().__init__()
        if steps <= 0 or not start > 0 or not rate > 0:
            raise ValueError(
                "Expected positive `steps`, `start` and `rate`. "
                f"Received: steps={steps}, start={start}, rate={rate}"
            )
        if shape not in SHAPES:
            raise ValueError(f"`shape` must be one of {SHAPES}. Received: {shape!r}")
        self.steps = steps
        self.shape = shape
        self.start = start
        self.rate = rate

    def __call__(self, step: Any) -> Any:
        """Return the weight behind `step` iterations, a scalar float32."""
        done = ops.minimum(ops.cast(step, "float32") / self.steps, 1.0)
        if self.shape == "linear":
            left = 1.0 - done
        elif self.shape == "cosine":
            left = (1.0 + ops.cos(math.pi * done)) / 2.0
        else:
            end = math.exp(-self.rate)
            left = (ops.exp(-self.rate * done) - end) / (1.0 - end)
        return self.start * ops.where(done < 1.0, left, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "steps": self.steps,
            "shape": self.shape,
            "start": self.start,
            "rate": self.rate,
        }
