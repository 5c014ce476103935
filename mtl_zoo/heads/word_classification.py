"""One class for each word of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head
from mtl_zoo.heads.tagging import is_word


@keras.saving.register_keras_serializable(package="mtl_zoo")
class WordClassification(Head):
    """Scores of classes that words have one by one, where `Tagging` has entities.

    The loss is `losses.Tags`, with labels `{"tags": int (batch, words)}`, -1 where a
    word has none.

    Args:
        num_classes: Number of classes, at least 2.
        feature: Name of the feature with the words' vectors. Defaults to `"words"`.
        dropout: Rate of the dropout before the scores. Defaults to `0.0`.

    Call arguments:
        features: Mapping with `(batch, words, width)` under `feature`, and `starts` and
            `ends` `(batch, words)`.

    Returns:
        `{"emissions": (batch, words, num_classes), "starts", "ends"}`.

    Raises:
        ValueError: When there are fewer than two classes.

    Example:
        >>> head = WordClassification(5)
        >>> starts, ends = ops.array([[0, 4, 0]]), ops.array([[3, 9, 0]])
        >>> raw = head({"words": ops.ones((1, 3, 8)), "starts": starts, "ends": ends})
        >>> tuple(raw["emissions"].shape), tuple(head.decode(raw)["label"].shape)
        ((1, 3, 5), (1, 3))
    """

    def __init__(
        self,
        num_classes: int,
        feature: str = "words",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(
                "A softmax needs at least two classes. "
                f"Received: num_classes={num_classes}"
            )
        self.num_classes = num_classes
        self.feature = feature
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.emissions = keras.layers.Dense(
            num_classes, dtype="float32", name="emissions"
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the scores for the words' width."""
        width = self.select(input_shape, self.feature)[-1]
        self.emissions.build((None, None, width))

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the scores, and where the words are."""
        words = self.drop(self.select(features, self.feature), training=training)
        return {
            "emissions": self.emissions(words),
            "starts": self.select(features, "starts"),
            "ends": self.select(features, "ends"),
        }

    @property
    def output_kernel(self) -> keras.Variable:
        """The kernel `(width, classes)`."""
        return self.emissions.kernel

    def decode(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the words' classes.

        Returns:
            `{"label": int32 (batch, words), -1 where there is no word, "probabilities":
            float32 (batch, words, num_classes), "starts", "ends"}`.
        """
        best = ops.cast(ops.argmax(raw["emissions"], axis=-1), "int32")
        return {
            "label": ops.where(is_word(raw), best, -1),
            "probabilities": self.label_probabilities(raw),
            "starts": ops.cast(raw["starts"], "int32"),
            "ends": ops.cast(raw["ends"], "int32"),
        }

    def label_probabilities(self, raw: Mapping[str, Any]) -> Any:
        """Returns the probabilities of the classes, 0 where there is no word."""
        chances = ops.softmax(raw["emissions"], axis=-1)
        return ops.where(ops.expand_dims(is_word(raw), -1), chances, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "feature": self.feature,
            "dropout": self.dropout,
        }
