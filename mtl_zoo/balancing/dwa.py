"""DWA: dynamic weight average, by how fast each loss falls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import LossBalancing, now


@keras.saving.register_keras_serializable(package="mtl_zoo")
class DWA(LossBalancing):
    """Give more weight to the losses that fall the slowest.

    `T softmax(r / temperature)` with `r_k` the ratio of the task's mean loss in the
    last window of steps to that in the window before; 1 in the first two (Liu et al.,
    2019, equation 7). The paper's window is an epoch. A task that was absent from a
    whole window keeps its earlier means.

    Args:
        window: Steps whose losses are averaged. Defaults to `100`.
        temperature: Above 0; the higher, the more equal. Defaults to `2.0`.

    Raises:
        ValueError: When the window is not at least 1, or the temperature not above 0.

    Reference:
        - [Liu et al., 2019](https://arxiv.org/abs/1803.10704)
    """

    promises = ("same for any order", "plain for one task")

    def __init__(
        self, window: int = 100, temperature: float = 2.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if window < 1 or not temperature > 0:
            raise ValueError(
                "Expected a window of at least 1 step and a temperature above 0. "
                f"Received: window={window}, temperature={temperature}"
            )
        self.window = window
        self.temperature = temperature

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        self.step = self.add_state((), "step")
        # Sum of the losses in this window, their number, mean of the last window and of
        # the one before, windows so far: one variable, because each costs time.
        self.seen = self.add_state((5, len(task_names)), "seen")

    def task_weights(self, losses: Any, active: Any) -> Any:
        step = now(self.step)
        sums, counts, last, earlier, windows = ops.unstack(now(self.seen), 5)
        # A window ends before the step that begins the next one.
        ended = ops.logical_and(step > 0, ops.equal(step % self.window, 0))
        closes = ops.logical_and(ended, counts > 0)
        earlier = ops.where(closes, last, earlier)
        last = ops.where(closes, sums / ops.maximum(counts, 1.0), last)
        windows = windows + ops.cast(closes, "float32")
        here = ops.cast(active, "float32")
        kept = ops.where(ended, 0.0, 1.0)
        sums = sums * kept + losses * here
        self.seen.assign(
            ops.stack([sums, counts * kept + here, last, earlier, windows])
        )
        self.step.assign(step + 1)
        ratio = ops.where(windows >= 2, last / ops.maximum(earlier, 1e-12), 1.0)
        return self.num_tasks * ops.softmax(ratio / self.temperature)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "window": self.window,
            "temperature": self.temperature,
        }
