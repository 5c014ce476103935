"""Which share of the words has the right class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.tagging import best_tags


@keras.saving.register_keras_serializable(package="mtl_zoo")
class WordAccuracy(keras.metrics.Metric):
    """The share of words with the right class, for `heads.WordClassification`.

    Words of the corpus may be several words to the model (`U.S.`); the label's `scored`
    marks the first of each, whose class stands for it, so that figures are those of the
    corpus.

    Call arguments:
        y_true: `{"tags": int (batch, words), -1 where there is none, "scored": bool
            (batch, words)}`.
        y_pred: What the head returned.
        sample_weight: Optional `(batch,)`; texts of weight 0 do not count.
    """

    direction = "up"

    def __init__(self, name: str = "accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.hits = self.add_variable((), initializer="zeros", name="hits")
        self.words = self.add_variable((), initializer="zeros", name="words")

    def update_state(
        self, y_true: Mapping[str, Any], y_pred: Mapping[str, Any], sample_weight=None
    ) -> None:
        tags = ops.cast(y_true["tags"], "int32")
        scored = ops.logical_and(ops.cast(y_true["scored"], "bool"), tags >= 0)
        if sample_weight is not None:
            present = ops.cast(sample_weight, "float32") > 0
            scored = ops.logical_and(scored, ops.expand_dims(present, -1))
        right = ops.logical_and(scored, ops.equal(best_tags(y_pred)[0], tags))
        self.hits.assign_add(ops.sum(ops.cast(right, "float32")))
        self.words.assign_add(ops.sum(ops.cast(scored, "float32")))

    def result(self) -> Any:
        """Return the share, 0 where there is no word."""
        return self.hits / ops.maximum(self.words, 1.0)
