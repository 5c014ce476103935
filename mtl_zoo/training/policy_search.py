"""The phases of a search for the blocks that each task runs."""

from __future__ import annotations

from typing import Any

import keras


class PolicySearch(keras.callbacks.Callback):
    """Bring `architectures.AdaShare` through its phases.

    Sun et al. (2020): first every task runs all blocks; then blocks are opened to be
    skipped, from the last one on, one every few epochs; the temperature falls by a
    factor each epoch.

    Args:
        warm_up: Epochs with all blocks. Defaults to `1`.
        open_every: Epochs between two blocks that are opened. Defaults to `1`.
        temperature: At the start of the search. Defaults to `5.0`.
        decay: Factor on it an epoch. Defaults to `0.965`.

    Raises:
        ValueError: When a number is out of range; from `fit`, when the model is no
            `AdaShare`.

    Reference:
        - [Sun et al., 2020](https://arxiv.org/abs/1911.12423)
    """

    def __init__(
        self,
        warm_up: int = 1,
        open_every: int = 1,
        temperature: float = 5.0,
        decay: float = 0.965,
    ) -> None:
        super().__init__()
        if warm_up < 0 or open_every < 1 or not temperature > 0 or not 0 < decay <= 1:
            raise ValueError(
                "Expected `warm_up` of at least 0, `open_every` of at least 1, a "
                "positive `temperature` and `decay` in (0, 1]. Received: "
                f"warm_up={warm_up}, open_every={open_every}, "
                f"temperature={temperature}, decay={decay}"
            )
        self.warm_up = warm_up
        self.open_every = open_every
        self.temperature = temperature
        self.decay = decay

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Check the model."""
        if not hasattr(self.model, "set_phase"):
            raise ValueError(
                f"Expected architectures.AdaShare. Received: {type(self.model)}"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the phase."""
        searched = epoch - self.warm_up
        if searched < 0:
            self.model.set_phase("all")
            return
        opened = min(searched // self.open_every + 1, len(self.model.blocks))
        temperature = self.temperature * self.decay**searched
        self.model.set_phase("search", temperature, opened)
