"""One label out of a fixed set for each word of a text, such as its part of speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head
from mtl_zoo.heads.tagging import best_tags, is_word, written_cases
from mtl_zoo.letter_case import CASES


@keras.saving.register_keras_serializable(package="mtl_zoo")
class WordClassification(Head):
    """Class logits for each word by itself; for entities and chunks see `Tagging`.

    The raw output is a dict, as that of `Tagging` without its random field, and so
    trains with `losses.Tags`: `emissions` `(batch, words, classes)`, the logits;
    `starts` and `ends` `(batch, words)`, the word's characters, equal where there is no
    word.

    Args:
        class_names: Names of the classes, at least two.
        feature: Name of the feature with the words' vectors. Defaults to `"words"`.
        cases: Units of the hidden layer that reads capitals; see `Tagging`. Defaults to
            `0`: none.
        dropout: Rate of the dropout before the logits. Defaults to `0.1`.

    Call arguments:
        features: Mapping with `(batch, words, width)` under `feature`, and `starts` and
            `ends`; with `cases`, `(batch, words)` numbers under that name too.

    Raises:
        ValueError: When there are fewer than two classes, or two have one name.

    Example:
        >>> head = WordClassification(["NOUN", "VERB"])
        >>> starts, ends = ops.array([[0, 4, 0]]), ops.array([[3, 9, 0]])
        >>> raw = head({"words": ops.ones((1, 3, 8)), "starts": starts, "ends": ends})
        >>> tuple(raw["emissions"].shape), sorted(head.decode(raw))
        ((1, 3, 2), ['ends', 'labels', 'scores', 'starts'])
    """

    def __init__(
        self,
        class_names: Sequence[str],
        feature: str = "words",
        cases: int = 0,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        names = tuple(class_names)
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(
                "Expected the names of at least two classes, all different. Received: "
                f"class_names={list(names)}"
            )
        self.class_names = names
        self.feature = feature
        self.cases = cases
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        if cases:
            self.hidden = keras.layers.Dense(
                cases, activation="gelu", dtype=self.dtype_policy, name="hidden"
            )
        self.emissions = keras.layers.Dense(
            len(names), dtype="float32", name="emissions"
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the logits for the words' width."""
        width = self.select(input_shape, self.feature)[-1]
        if self.cases:
            self.hidden.build((None, None, width + 4 * len(CASES)))
        self.emissions.build((None, None, width + self.cases))

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the logits, and where the words are."""
        words = self.select(features, self.feature)
        if self.cases:
            written = written_cases(
                self.select(features, "cases"), is_word(features), words.dtype
            )
            hidden = self.hidden(ops.concatenate([words, written], axis=-1))
            words = ops.concatenate([words, hidden], axis=-1)
        return {
            "emissions": self.emissions(self.drop(words, training=training)),
            "starts": self.select(features, "starts"),
            "ends": self.select(features, "ends"),
        }

    @property
    def output_kernel(self) -> keras.Variable:
        """The kernel `(width, classes)`, of the hidden layer's units last."""
        return self.emissions.kernel

    def decode(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the class of each word.

        Returns:
            `labels`, int32 `(batch, words)`, numbers of classes, -1 where there is no
            word; `scores`, float32 `(batch, words)`, their probabilities, 0 where there
            is no word; `starts` and `ends`, int32, as they came.
        """
        labels, scores = best_tags(raw)
        return {
            "labels": ops.where(is_word(raw), labels, -1),
            "scores": scores,
            "starts": ops.cast(raw["starts"], "int32"),
            "ends": ops.cast(raw["ends"], "int32"),
        }

    def label_probabilities(self, raw: Mapping[str, Any]) -> Any:
        """Returns the probabilities of each word's classes, `(batch, words, classes)`.

        0 where there is no word.
        """
        chances = ops.softmax(raw["emissions"], axis=-1)
        return ops.where(ops.expand_dims(is_word(raw), -1), chances, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "class_names": self.class_names,
            "feature": self.feature,
            "cases": self.cases,
            "dropout": self.dropout,
        }
