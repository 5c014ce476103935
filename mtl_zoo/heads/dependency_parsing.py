"""A head and a relation for each word of a text: its dependency tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head
from mtl_zoo.heads.tagging import is_word
from mtl_zoo.spanning_tree import maximum_spanning_tree

_NEVER = -1e4


@keras.saving.register_keras_serializable(package="mtl_zoo")
class DependencyParsing(Head):
    """Scores of arcs and of their relations, deep biaffine; decoded to a tree.

    Every word is seen as a dependent and as a head, each through a hidden layer of its
    own: `d_i`, `h_j`. Word `j` as the head of word `i` has the score
    `d_i U h_j + u h_j` (Dozat and Manning, 2017, eq. 6), and their relation `r` the
    score `d'_i U_r h'_j + [d'_i; h'_j] W_r + b_r` (eq. 3), from two further hidden
    layers. The root is a head with a learned vector. The tree is the maximum spanning
    tree with one word on the root, projective or not; see `mtl_zoo.spanning_tree`.

    The raw output is a dict: `arcs` `(batch, words, 1 + words)`, the score of each head
    of each word, the root first; `relations` `(batch, words, 1 + words, relations)`,
    of each arc; `starts` and `ends` `(batch, words)`, the word's characters, equal
    where there is no word.

    Args:
        relations: Names of the relations.
        feature: Name of the feature with the words' vectors. Defaults to `"words"`.
        arc_units: Units of the hidden layers for arcs. Defaults to `500`.
        relation_units: Units of those for relations. Defaults to `100`.
        dropout: Rate of the dropout on the words and behind the hidden layers.
            Defaults to `0.33`.

    Call arguments:
        features: Mapping with `(batch, words, width)` under `feature`, and `starts` and
            `ends`.

    Raises:
        ValueError: When there is no relation, or two have one name.

    Example:
        >>> head = DependencyParsing(["root", "obj"], arc_units=4, relation_units=4)
        >>> starts, ends = ops.array([[0, 4, 0]]), ops.array([[3, 9, 0]])
        >>> raw = head({"words": ops.ones((1, 3, 8)), "starts": starts, "ends": ends})
        >>> tuple(raw["arcs"].shape), tuple(raw["relations"].shape)
        ((1, 3, 4), (1, 3, 4, 2))
        >>> sorted(head.decode(raw))
        ['ends', 'heads', 'relations', 'scores', 'starts']

    Reference:
        - [Dozat and Manning, 2017](https://arxiv.org/abs/1611.01734)
    """

    def __init__(
        self,
        relations: Sequence[str],
        feature: str = "words",
        arc_units: int = 500,
        relation_units: int = 100,
        dropout: float = 0.33,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        relations = tuple(relations)
        if not relations or len(set(relations)) < len(relations):
            raise ValueError(
                "Expected the names of at least one relation, all different. "
                f"Received: relations={list(relations)}"
            )
        self.relation_names = relations
        self.feature = feature
        self.arc_units = arc_units
        self.relation_units = relation_units
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.arc_dependent = self._hidden(arc_units, "arc_dependent")
        self.arc_head = self._hidden(arc_units, "arc_head")
        self.relation_dependent = self._hidden(relation_units, "relation_dependent")
        self.relation_head = self._hidden(relation_units, "relation_head")

    def _hidden(self, units: int, name: str) -> keras.layers.Dense:
        policy = self.dtype_policy
        return keras.layers.Dense(units, "leaky_relu", dtype=policy, name=name)

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the hidden layers for the words' width."""
        width = self.select(input_shape, self.feature)[-1]
        for hidden in (
            self.arc_dependent,
            self.arc_head,
            self.relation_dependent,
            self.relation_head,
        ):
            hidden.build((None, None, width))
        count, arc, of = len(self.relation_names), self.arc_units, self.relation_units

        def weight(name: str, shape: tuple[int, ...], start: str) -> keras.Variable:
            return self.add_weight(shape=shape, initializer=start, name=name)

        self.root = weight("root", (width,), "random_normal")
        self.arc_kernel = weight("arc_kernel", (arc, arc), "glorot_uniform")
        self.arc_prior = weight("arc_prior", (arc,), "zeros")
        self.relation_kernel = weight(
            "relation_kernel", (of, count, of), "glorot_uniform"
        )
        self.relation_of_dependent = weight(
            "relation_of_dependent", (of, count), "glorot_uniform"
        )
        self.relation_of_head = weight(
            "relation_of_head", (of, count), "glorot_uniform"
        )
        self.relation_prior = weight("relation_prior", (count,), "zeros")

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the scores, and where the words are."""
        words = self.drop(self.select(features, self.feature), training=training)
        root = ops.cast(self.root, words.dtype)
        batch, width = ops.shape(words)[0], words.shape[-1]
        root = ops.broadcast_to(ops.reshape(root, (1, 1, -1)), (batch, 1, width))
        heads = ops.concatenate([root, words], axis=1)

        def through(layer: keras.layers.Layer, x: Any) -> Any:
            return self.drop(layer(x), training=training)

        d, h = through(self.arc_dependent, words), through(self.arc_head, heads)
        arcs = ops.matmul(ops.matmul(d, self.arc_kernel), ops.swapaxes(h, 1, 2))
        arcs = arcs + ops.expand_dims(ops.matmul(h, self.arc_prior), 1)
        d = through(self.relation_dependent, words)
        h = through(self.relation_head, heads)
        relations = ops.einsum("bdi,irj,bhj->bdhr", d, self.relation_kernel, h)
        of_dependent = ops.matmul(d, self.relation_of_dependent)
        of_head = ops.matmul(h, self.relation_of_head) + self.relation_prior
        relations = relations + of_dependent[:, :, None] + of_head[:, None]
        return {
            "arcs": self._possible(ops.cast(arcs, "float32"), is_word(features)),
            "relations": ops.cast(relations, "float32"),
            "starts": self.select(features, "starts"),
            "ends": self.select(features, "ends"),
        }

    @staticmethod
    def _possible(arcs: Any, words: Any) -> Any:
        """Rule out heads that are no words, and words as their own."""
        heads = ops.pad(words, ((0, 0), (1, 0)), constant_values=True)
        nodes = ops.arange(ops.shape(heads)[1])
        other = ops.not_equal(nodes[1:, None], nodes)
        return ops.where(ops.logical_and(heads[:, None], other), arcs, _NEVER)

    def decode(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the tree of each text.

        Returns:
            `heads`, int32 `(batch, words)`: 0 for the root, `n` for the `n`-th word,
            counted from 1 as in CoNLL-U; `relations`, int32 `(batch, words)`, numbers
            of relations; both -1 where there is no word. `scores`, float32 `(batch,
            words)`: the probability of the head among all, 0 where there is no word.
            `starts` and `ends`, int32, as they came.
        """
        mask = is_word(raw)
        heads, relations = best_tree(raw, mask)
        chances = ops.softmax(raw["arcs"], axis=-1)
        index = ops.expand_dims(ops.maximum(heads, 0), -1)
        chosen = ops.take_along_axis(chances, index, axis=-1)[..., 0]
        return {
            "heads": heads,
            "relations": relations,
            "scores": ops.where(mask, chosen, 0.0),
            "starts": ops.cast(raw["starts"], "int32"),
            "ends": ops.cast(raw["ends"], "int32"),
        }

    def label_probabilities(self, raw: Mapping[str, Any]) -> Any:
        """Returns the probabilities of each word's relations, over all its heads.

        Returns:
            `(batch, words, relations)`.
        """
        arcs = ops.softmax(raw["arcs"], axis=-1)
        relations = ops.softmax(raw["relations"], axis=-1)
        chances = ops.einsum("bdh,bdhr->bdr", arcs, relations)
        return ops.where(ops.expand_dims(is_word(raw), -1), chances, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "relations": self.relation_names,
            "feature": self.feature,
            "arc_units": self.arc_units,
            "relation_units": self.relation_units,
            "dropout": self.dropout,
        }


def best_tree(raw: Mapping[str, Any], mask: Any) -> tuple[Any, Any]:
    """Return the tree over some of the words of a raw output.

    Args:
        raw: What a `DependencyParsing` head returned.
        mask: bool `(batch, words)`, the words of the tree.

    Returns:
        Heads, 0 for the root, and relations, int32 `(batch, words)`; -1 where the mask
        is false.
    """
    heads = maximum_spanning_tree(raw["arcs"], mask)
    index = ops.maximum(heads, 0)[..., None]
    chosen = ops.take_along_axis(ops.argmax(raw["relations"], axis=-1), index, axis=2)[
        ..., 0
    ]
    return heads, ops.where(mask, ops.cast(chosen, "int32"), -1)
