"""Which share of the words hangs where it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.dependency_parsing import best_tree


@keras.saving.register_keras_serializable(package="mtl_zoo")
class UAS(keras.metrics.Metric):
    """Unlabelled attachment score: the share of words with the right head, in the tree.

    As in the CoNLL-2018 shared task on the corpus' own words: over all words of all
    texts, punctuation included. For `heads.DependencyParsing`, in the graph.

    Words of the corpus may be several words to the model (`U.S.`); the label's `scored`
    marks the first of each. The tree is one of these alone.

    Call arguments:
        y_true: `{"heads": int (batch, words), 0 for the root, n for the n-th word of
            the model from 1, -1 where there is none; "relations": int (batch, words);
            "scored": bool (batch, words)}`. Without `scored`, all words with a head
            count.
        y_pred: What the head returned.
        sample_weight: Optional `(batch,)`; texts of weight 0 do not count.

    Reference:
        - [Zeman et al., 2018](https://aclanthology.org/K18-2001)
    """

    direction = "up"

    def __init__(self, name: str = "uas", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.hits = self.add_variable((), initializer="zeros", name="hits")
        self.words = self.add_variable((), initializer="zeros", name="words")

    def update_state(
        self, y_true: Mapping[str, Any], y_pred: Mapping[str, Any], sample_weight=None
    ) -> None:
        heads = ops.cast(y_true["heads"], "int32")
        scored = heads >= 0
        if "scored" in y_true:
            scored = ops.logical_and(scored, ops.cast(y_true["scored"], "bool"))
        if sample_weight is not None:
            present = ops.cast(sample_weight, "float32") > 0
            scored = ops.logical_and(scored, ops.expand_dims(present, -1))
        found, relations = best_tree(y_pred, scored)
        right = ops.logical_and(scored, ops.equal(found, heads))
        right = ops.logical_and(right, self._same(y_true["relations"], relations))
        self.hits.assign_add(ops.sum(ops.cast(right, "float32")))
        self.words.assign_add(ops.sum(ops.cast(scored, "float32")))

    def _same(self, truth: Any, found: Any) -> Any:
        """Where the relation counts as right."""
        return ops.ones_like(found, dtype="bool")

    def result(self) -> Any:
        """Return the share, 0 where there is no word."""
        return self.hits / ops.maximum(self.words, 1.0)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class LAS(UAS):
    """Labelled attachment score: the share of words with the right head and relation.

    As `UAS`; of relations, what stands in front of a `:` counts, as in the CoNLL-2018
    shared task (`nsubj` for `nsubj:pass`).

    Args:
        relations: Names of the relations, as the head has them.

    Call arguments:
        y_true: See `UAS`.
        y_pred: See `UAS`.
        sample_weight: See `UAS`.

    Reference:
        - [Zeman et al., 2018](https://aclanthology.org/K18-2001)
    """

    def __init__(
        self, relations: Sequence[str], name: str = "las", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.relation_names = tuple(relations)
        universal = [relation.split(":")[0] for relation in self.relation_names]
        self._universal = [universal.index(relation) for relation in universal]

    def _same(self, truth: Any, found: Any) -> Any:
        universal = ops.convert_to_tensor(self._universal, "int32")

        def of(numbers: Any) -> Any:
            numbers = ops.cast(numbers, "int32")
            known = ops.take(universal, ops.maximum(numbers, 0), axis=0)
            return ops.where(numbers >= 0, known, -1)

        return ops.equal(of(truth), of(found))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "relations": self.relation_names}
