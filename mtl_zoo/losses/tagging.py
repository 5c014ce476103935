"""The loss of word tags, with or without a linear chain between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo import linear_chain


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Tags(keras.losses.Loss):
    """Negative log-likelihood of the words' tags or classes.

    For `heads.Tagging` and `heads.WordClassification`.

    Where the raw output has `transitions`, that is the likelihood of the sequence under
    the conditional random field, `log Z - score(tags)` (Lample et al., 2016, equation
    of section 2.2); else the sum of the words' cross entropies.

    Call arguments:
        y_true: `{"tags": int (batch, words), -1 where there is no tag, ...}`. Under
            the conditional random field all words of a labelled text need a tag.
        y_pred: What the head returned.

    Returns:
        One value a text, float32 `(batch,)`; `count` says of how many words, so that a
        model's loss is a mean over words.
    """

    def __init__(self, name: str = "tags", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Mapping[str, Any], y_pred: Mapping[str, Any]) -> Any:
        tags, emissions, mask = _parts(y_true, y_pred)
        if "transitions" in y_pred:
            transitions = y_pred["transitions"]
            total = linear_chain.log_normalizer(emissions, transitions, mask)
            return total - linear_chain.path_score(emissions, transitions, tags, mask)
        chances = ops.log_softmax(ops.cast(emissions, "float32"), axis=-1)
        index = ops.expand_dims(ops.maximum(tags, 0), -1)
        found = ops.take_along_axis(chances, index, axis=-1)[..., 0]
        return -ops.sum(ops.where(mask, found, 0.0), axis=-1)

    def count(self, y_true: Mapping[str, Any], y_pred: Mapping[str, Any]) -> Any:
        """Return the number of tagged words of each text, float32 `(batch,)`."""
        return ops.sum(ops.cast(_parts(y_true, y_pred)[2], "float32"), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def _parts(y_true: Mapping[str, Any], y_pred: Mapping[str, Any]) -> tuple:
    tags = ops.cast(y_true["tags"], "int32")
    words = ops.convert_to_tensor(y_pred["ends"]) > ops.convert_to_tensor(
        y_pred["starts"]
    )
    return tags, y_pred["emissions"], ops.logical_and(words, tags >= 0)
