"""Choices that are trained by a relaxation: what searched structures have in common."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.model import MultiTaskModel

PHASES = ("all", "search")
TINY = 1e-10


class Searched(MultiTaskModel):
    """A model that learns choices, which `training.PolicySearch` opens one by one.

    A subclass calls `add_search` in its constructor.

    Attributes:
        blocks: Names of the stages that have choices.
    """

    blocks: tuple[str, ...]

    def add_search(self, seed: int) -> None:
        """Create the state of a search, once `blocks` is set."""
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        values = {"searching": 0.0, "temperature": 5.0, "opened": len(self.blocks)}
        self.searching, self.temperature, self.opened = (
            self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(float(value)),
                trainable=False,
                name=name,
            )
            for name, value in values.items()
        )

    def set_phase(self, phase: str, temperature: float = 5.0, blocks: int = -1) -> None:
        """Set what the next steps do.

        Args:
            phase: `"all"`, before the search; or `"search"`.
            temperature: Of the relaxation. Defaults to `5.0`.
            blocks: How many of the last `blocks` are open to the search. Defaults to
                `-1`: all.

        Raises:
            ValueError: When there is no such phase or the temperature is not positive.
        """
        if phase not in PHASES or not temperature > 0:
            raise ValueError(
                f"Expected a phase of {PHASES} and a positive temperature. Received: "
                f"phase={phase!r}, temperature={temperature}"
            )
        self.searching.assign(float(phase == "search"))
        self.temperature.assign(temperature)
        self.opened.assign(float(len(self.blocks) if blocks < 0 else blocks))

    def is_open(self, numbers: Any) -> Any:
        """Return whether the search is on for blocks of these numbers."""
        first = len(self.blocks) - ops.cast(self.opened, "float32")
        inside = ops.cast(numbers, "float32") >= first
        return ops.logical_and(ops.cast(self.searching, "bool"), inside)

    def drawn(self, logits: Any) -> Any:
        """Return a draw along the last axis, relaxed by Gumbel noise and softmax.

        Reference:
            - [Jang et al., 2017](https://arxiv.org/abs/1611.01144)
        """
        uniform = keras.random.uniform(logits.shape, seed=self.generator)
        noise = -ops.log(-ops.log(uniform + TINY) + TINY)
        temperature = ops.cast(self.temperature, "float32")
        return ops.softmax((logits + noise) / temperature, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
