"""A number on a scale, such as how related two sentences are from 1 to 5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head
from mtl_zoo.heads.pooling import pool


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Rating(Head):
    """Logits of the whole steps of a scale, whose mean is the rating.

    `y = sum_k k p_k` over the steps `k` from `lowest` to `highest`, with `p` the
    softmax of the logits (Tai et al., 2015, section 4.2). For `losses.Ratings`.

    Args:
        lowest: The lowest step.
        highest: The highest one, above it.
        feature: Name of the feature. Defaults to `"sentence"`.
        dropout: Rate of the dropout before the logits. Defaults to `0.0`.

    Call arguments:
        features: Mapping; `features[feature]` is `(batch, channels)` or
            `(batch, height, width, channels)`.

    Returns:
        Logits, float32 `(batch, 1 + highest - lowest)`.

    Raises:
        ValueError: When `highest` is not above `lowest`.

    Example:
        >>> head = Rating(1, 5, feature="last")
        >>> raw = head({"last": ops.zeros((2, 8))})
        >>> tuple(raw.shape), ops.convert_to_numpy(head.decode(raw)["value"]).tolist()
        ((2, 5), [3.0, 3.0])

    Reference:
        - [Tai et al., 2015](https://arxiv.org/abs/1503.00075)
    """

    def __init__(
        self,
        lowest: int,
        highest: int,
        feature: str = "sentence",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not lowest < highest:
            raise ValueError(
                "Expected a scale of whole steps from `lowest` up to `highest`. "
                f"Received: lowest={lowest}, highest={highest}"
            )
        self.lowest = lowest
        self.highest = highest
        self.feature = feature
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.logits = keras.layers.Dense(
            1 + highest - lowest, dtype="float32", name="logits"
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the logits for the feature's channels."""
        self.logits.build((None, self.select(input_shape, self.feature)[-1]))

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the logits `(batch, steps)`."""
        pooled = pool(self.select(features, self.feature))
        return self.logits(self.drop(pooled, training=training))

    @property
    def output_kernel(self) -> keras.Variable:
        """The kernel `(channels, outputs)`."""
        return self.logits.kernel

    def decode(self, raw: Any) -> dict[str, Any]:
        """Returns the rating and the probabilities of the steps.

        Args:
            raw: Logits `(batch, steps)`.

        Returns:
            `{"value": float32 (batch,), "probabilities": float32 (batch, steps)}`.
        """
        chances = ops.softmax(raw, axis=-1)
        steps = ops.arange(self.lowest, self.highest + 1, dtype="float32")
        return {
            "value": ops.sum(chances * steps, axis=-1),
            "probabilities": chances,
        }

    def label_probabilities(self, raw: Any) -> Any:
        """Returns the probabilities of the steps, `(batch, steps)`."""
        return ops.softmax(raw, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "lowest": self.lowest,
            "highest": self.highest,
            "feature": self.feature,
            "dropout": self.dropout,
        }
