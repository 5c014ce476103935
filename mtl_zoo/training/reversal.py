"""How strongly the gradient of an adversarial task is reversed, step by step."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtl_zoo")
class ReversalRamp(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 to `strength` along a sigmoid: `strength (2 / (1 + exp(-gamma p)) - 1)`.

    `p` is the part of `steps` that is done, and stays 1 behind them. The domain
    classifier thus learns something before the features are turned against it.

    Args:
        steps: Iterations of the optimizer over which `p` goes from 0 to 1.
        strength: What the ramp ends near, at least 0. Defaults to `1.0`.
        gamma: How steep it is. Defaults to `10.0`, as in the paper.

    Raises:
        ValueError: When `steps` or `gamma` is not positive, or `strength` negative.

    Example:
        >>> ramp = ReversalRamp(steps=100)
        >>> [round(float(ramp(step)), 3) for step in (0, 10, 50, 100, 200)]
        [0.0, 0.462, 0.987, 1.0, 1.0]

    Reference:
        - [Ganin et al., 2016](https://jmlr.org/papers/v17/15-239.html)
    """

    def __init__(self, steps: int, strength: float = 1.0, gamma: float = 10.0) -> None:
        super().__init__()
        if steps <= 0 or strength < 0 or gamma <= 0:
            raise ValueError(
                "Expected positive `steps` and `gamma`, and no negative `strength`. "
                f"Received: steps={steps}, strength={strength}, gamma={gamma}"
            )
        self.steps = steps
        self.strength = strength
        self.gamma = gamma

    def __call__(self, step: Any) -> Any:
        """Return the strength behind `step` iterations, a scalar float32."""
        done = ops.minimum(ops.cast(step, "float32") / self.steps, 1.0)
        # tanh(x / 2) = 2 / (1 + exp(-x)) - 1
        return self.strength * ops.tanh(self.gamma * done / 2.0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"steps": self.steps, "strength": self.strength, "gamma": self.gamma}
