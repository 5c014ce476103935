"""The loss of dependency trees, word by word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Dependencies(keras.losses.Loss):
    """Cross entropies of the words' heads and relations, for `heads.DependencyParsing`.

    A word's loss is `-log p(head) - log p(relation | head)`, the relation's under the
    true head (Dozat and Manning, 2017). Whether the heads are a tree is left to the
    decoding.

    Call arguments:
        y_true: `{"heads": int (batch, words), 0 for the root, n for the n-th word from
            1, -1 where there is none; "relations": int (batch, words), -1 where there
            is none; ...}`.
        y_pred: What the head returned.

    Returns:
        One value a text, float32 `(batch,)`; `count` says of how many words, so that a
        model's loss is a mean over words.

    Reference:
        - [Dozat and Manning, 2017](https://arxiv.org/abs/1611.01734)
    """

    def __init__(self, name: str = "dependencies", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Mapping[str, Any], y_pred: Mapping[str, Any]) -> Any:
        heads, known = _heads(y_true, y_pred)
        relations = ops.cast(y_true["relations"], "int32")
        arcs = ops.log_softmax(ops.cast(y_pred["arcs"], "float32"), axis=-1)
        chosen = ops.one_hot(heads, ops.shape(arcs)[-1])
        of_head = _taken(arcs, ops.maximum(heads, 0))
        scores = ops.einsum("bdh,bdhr->bdr", chosen, y_pred["relations"])
        of_relation = _taken(
            ops.log_softmax(scores, axis=-1), ops.maximum(relations, 0)
        )
        labelled = ops.logical_and(known, relations >= 0)
        return -ops.sum(
            ops.where(known, of_head, 0.0) + ops.where(labelled, of_relation, 0.0),
            axis=-1,
        )

    def count(self, y_true: Mapping[str, Any], y_pred: Mapping[str, Any]) -> Any:
        """Return the number of words with a head of each text, float32 `(batch,)`."""
        return ops.sum(ops.cast(_heads(y_true, y_pred)[1], "float32"), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def _heads(y_true: Mapping[str, Any], y_pred: Mapping[str, Any]) -> tuple[Any, Any]:
    heads = ops.cast(y_true["heads"], "int32")
    words = ops.convert_to_tensor(y_pred["ends"]) > ops.convert_to_tensor(
        y_pred["starts"]
    )
    return heads, ops.logical_and(words, heads >= 0)


def _taken(values: Any, index: Any) -> Any:
    return ops.take_along_axis(values, ops.expand_dims(index, -1), axis=-1)[..., 0]
