"""F1 of whole entities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.entities import runs
from mtl_zoo.heads.tagging import best_tags


@keras.saving.register_keras_serializable(package="mtl_zoo")
class EntityF1(keras.metrics.Metric):
    """`2 TP / (predicted + true)` over entities, in the graph, for `heads.Tagging`.

    An entity is right when its first word, its last and its type are, as in CoNLL-2003;
    over all texts (micro average). `evaluation.tables` tells the types apart.

    Words of the corpus may be several words to the model (`U.S.`); the label's `scored`
    marks the first of each, whose tag stands for it, so that figures are those of the
    corpus.

    Call arguments:
        y_true: `{"tags": int (batch, words), "scored": bool (batch, words)}`, scored
            words in a prefix of each row or not.
        y_pred: What the head returned.
        sample_weight: Optional `(batch,)`; texts of weight 0 do not count.
    """

    direction = "up"

    def __init__(self, name: str = "f1", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        for part in ("hits", "predicted", "true"):
            weight = self.add_variable((), initializer="zeros", name=part)
            setattr(self, part, weight)

    def update_state(
        self, y_true: Mapping[str, Any], y_pred: Mapping[str, Any], sample_weight=None
    ) -> None:
        truth, found = scored_tags(y_true, best_tags(y_pred)[0])
        present = None
        if sample_weight is not None:
            present = ops.cast(ops.cast(sample_weight, "float32") > 0, "float32")

        def total(flags: Any) -> Any:
            counts = ops.sum(ops.cast(flags, "float32"), axis=1)
            return ops.sum(counts if present is None else counts * present)

        ours, theirs = runs(found), runs(truth)
        self.predicted.assign_add(total(ours.begins))
        self.true.assign_add(total(theirs.begins))
        self.hits.assign_add(total(_hits(ours, theirs)))

    def result(self) -> Any:
        """Return the F1, 0 where there is no entity at all."""
        both = self.predicted + self.true
        return 2.0 * self.hits / ops.where(both > 0, both, 1.0)


def scored_tags(y_true: Mapping[str, Any], found: Any) -> tuple[Any, Any]:
    """Return true and found tags of the scored words, moved together, 0 behind them.

    Args:
        y_true: As for `EntityF1`.
        found: int32 `(batch, words)`.
    """
    tags = ops.cast(y_true["tags"], "int32")
    scored = ops.logical_and(ops.cast(y_true["scored"], "bool"), tags >= 0)
    # A stable order with the scored words in front.
    width = ops.shape(tags)[1]
    place = ops.arange(width) + ops.where(scored, 0, width)
    order = ops.argsort(place, axis=1)

    def move(values: Any) -> Any:
        return ops.take_along_axis(ops.where(scored, values, 0), order, axis=1)

    return move(tags), move(found)


def _hits(ours: Any, theirs: Any) -> Any:
    """Mark the last word of each entity that both have, with one type and begin."""

    def begun(one: Any) -> Any:
        """Where the entity that a word belongs to began."""
        width = ops.shape(one.begins)[1]
        rows = ops.expand_dims(ops.arange(ops.shape(one.begins)[0]), 1) * width
        slot = rows + ops.maximum(one.number, 0)
        places = ops.where(one.begins, ops.arange(width), 0)
        begins = ops.segment_sum(
            ops.reshape(places, (-1,)),
            ops.reshape(slot, (-1,)),
            num_segments=ops.shape(one.begins)[0] * width,
        )
        return ops.reshape(ops.take(begins, slot), ops.shape(slot))

    same = ops.logical_and(
        ops.equal(ours.types, theirs.types), ops.equal(begun(ours), begun(theirs))
    )
    return ops.logical_and(same, ops.logical_and(ours.finishes, theirs.finishes))
