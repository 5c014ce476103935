"""A tag for each word of a text, and entities out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo import linear_chain
from mtl_zoo.entities import spans, tag_names
from mtl_zoo.heads.head import Head
from mtl_zoo.letter_case import CASES

_NEVER = -1e4


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Tagging(Head):
    """Tags for words, `O`, `B-t` and `I-t` for each type `t`, decoded to entities.

    With `crf`, tags are not chosen word by word: a linear-chain conditional random
    field adds a learned score for each pair of neighbouring tags and one for the tag
    that a text begins with (Lafferty et al., 2001; Lample et al., 2016, section 2.2,
    without its score for the end), and the best sequence of all is taken. Sequences
    that are not BIO, where an `I-t` does not follow its own type, are ruled out.

    With `cases`, the head also reads which letters of each word are capitals, which
    uncased trunks do not know: the case of the word, of the words beside it, and the
    mean over the text go through a hidden layer together with the word's vector, and
    what comes out is put beside that vector. Where none of it is informative, as in
    text in capitals throughout, the head can tell.

    The raw output is a dict, since whoever reads tags needs to know of what:
    `emissions` `(batch, words, tags)`, the score of each tag for each word; `starts`
    and `ends` `(batch, words)`, the word's characters, equal where there is no word;
    and with `crf` `transitions` `(batch, tags, tags)`, for all samples the same, the
    score of tag `j` behind tag `i`.

    Args:
        types: Names of the types of entities.
        feature: Name of the feature with the words' vectors. Defaults to `"words"`.
        crf: Whether to add the conditional random field. Defaults to `True`.
        crf_rate: Factor on the field's own weights, though not on their gradients, and
            so on how fast Adam learns them: it moves each weight by the learning rate
            at the most, and the rate of fine-tuning, 1e-4 or so, leaves them where they
            began. There, 100 does. Defaults to `1.0`.
        cases: Units of the hidden layer that reads capitals. Defaults to `0`: none.
        dropout: Rate of the dropout before the scores. Defaults to `0.1`.
        max_entities: How many entities `decode` returns at the most. Defaults to `64`.

    Call arguments:
        features: Mapping with `(batch, words, width)` under `feature`, and `starts` and
            `ends`; with `cases`, `(batch, words)` numbers under that name too.

    Raises:
        ValueError: When there is no type, or two have one name; or `crf_rate` is not
            positive.

    Example:
        >>> head = Tagging(["PER"])
        >>> starts, ends = ops.array([[0, 4, 0]]), ops.array([[3, 9, 0]])
        >>> raw = head({"words": ops.ones((1, 3, 8)), "starts": starts, "ends": ends})
        >>> tuple(raw["emissions"].shape), sorted(head.decode(raw))
        ((1, 3, 3), ['count', 'ends', 'labels', 'scores', 'starts'])

    Reference:
        - [Lample et al., 2016](https://arxiv.org/abs/1603.01360)
    """

    def __init__(
        self,
        types: Sequence[str],
        feature: str = "words",
        crf: bool = True,
        crf_rate: float = 1.0,
        cases: int = 0,
        dropout: float = 0.1,
        max_entities: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        types = tuple(types)
        if not types or len(set(types)) < len(types):
            raise ValueError(
                "Expected the names of at least one type of entity, all different. "
                f"Received: types={list(types)}"
            )
        if not crf_rate > 0:
            raise ValueError(
                f"`crf_rate` must be positive. Received: crf_rate={crf_rate}"
            )
        self.class_names = types
        self.tag_names = tag_names(types)
        self.feature = feature
        self.crf = crf
        self.crf_rate = crf_rate
        self.cases = cases
        self.dropout = dropout
        self.max_entities = max_entities
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        if cases:
            self.hidden = keras.layers.Dense(
                cases, activation="gelu", dtype=self.dtype_policy, name="hidden"
            )
        self.emissions = keras.layers.Dense(
            len(self.tag_names), dtype="float32", name="emissions"
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the scores for the words' width."""
        width = self.select(input_shape, self.feature)[-1]
        if self.cases:
            self.hidden.build((None, None, width + 4 * len(CASES)))
        self.emissions.build((None, None, width + self.cases))
        if self.crf:
            tags = len(self.tag_names)
            self._allowed_pairs, self._allowed_first = _allowed(len(self.class_names))
            self.transitions = self.add_weight(
                shape=(tags, tags),
                initializer="zeros",
                dtype="float32",
                autocast=False,
                name="transitions",
            )
            self.first = self.add_weight(
                shape=(tags,),
                initializer="zeros",
                dtype="float32",
                autocast=False,
                name="first",
            )

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the scores, and where the words are."""
        words = self.select(features, self.feature)
        if self.cases:
            written = written_cases(
                self.select(features, "cases"), is_word(features), words.dtype
            )
            hidden = self.hidden(ops.concatenate([words, written], axis=-1))
            words = ops.concatenate([words, hidden], axis=-1)
        scores = self.emissions(self.drop(words, training=training))
        raw = {
            "emissions": scores,
            "starts": self.select(features, "starts"),
            "ends": self.select(features, "ends"),
        }
        if self.crf:
            # The score of the first tag joins those of the first word.
            is_first = ops.cast(
                ops.equal(ops.arange(ops.shape(scores)[1]), 0), "float32"
            )
            first = self._faster(self.first) + self._allowed_first
            raw["emissions"] = scores + ops.reshape(is_first, (-1, 1)) * first
            pairs = self._faster(self.transitions) + self._allowed_pairs
            raw["transitions"] = ops.broadcast_to(
                ops.expand_dims(pairs, 0), (ops.shape(scores)[0], *pairs.shape)
            )
        return raw

    def _faster(self, weights: Any) -> Any:
        """Return `crf_rate` times the weights, of the gradient of the weights.

        A gradient as much larger would use up what clipping by the global norm leaves
        to all the others.
        """
        weights = ops.convert_to_tensor(weights)
        return weights + (self.crf_rate - 1.0) * ops.stop_gradient(weights)

    def decode(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the entities of each text; see `mtl_zoo.entities.spans`.

        Returns:
            `starts` and `ends` (characters, the end exclusive), `labels` (numbers of
            types), int32, and `scores`, float32, `(batch, max_entities)`, filled up
            with -1 and 0; `count`, int32 `(batch,)`, how many there are in the text.
            The score is the mean over the entity's words of the probability of the
            word's tag, given all words.
        """
        tags, probabilities = best_tags(raw)
        return spans(
            tags,
            ops.cast(raw["starts"], "int32"),
            ops.cast(raw["ends"], "int32"),
            probabilities,
            self.max_entities,
        )

    def label_probabilities(self, raw: Mapping[str, Any]) -> Any:
        """Returns the probabilities of each word's tags, `(batch, words, tags)`.

        Given all words under the conditional random field, else word by word.
        """
        emissions, mask = raw["emissions"], is_word(raw)
        if self.crf:
            return linear_chain.marginals(emissions, raw["transitions"], mask)
        chances = ops.softmax(emissions, axis=-1)
        return ops.where(ops.expand_dims(mask, -1), chances, 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "types": self.class_names,
            "feature": self.feature,
            "crf": self.crf,
            "crf_rate": self.crf_rate,
            "cases": self.cases,
            "dropout": self.dropout,
            "max_entities": self.max_entities,
        }


def _allowed(types: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what to add to transitions and to the first tag: 0, or else -10,000."""
    tags = np.arange(1 + 2 * types)
    inside = (tags > 0) & (tags % 2 == 0)
    of_type = (tags - 1) // 2
    same = (of_type[:, None] == of_type) & (tags[:, None] > 0)
    pairs = np.where(inside & ~same, _NEVER, 0.0)
    return pairs.astype("float32"), np.where(inside, _NEVER, 0.0).astype("float32")


def written_cases(cases: Any, mask: Any, dtype: str) -> Any:
    """Return the cases of each word, its neighbours and its text, one-hot.

    Args:
        cases: int `(batch, words)`.
        mask: bool `(batch, words)`, where there is a word.
        dtype: Of the result.

    Returns:
        `(batch, words, 4 * len(CASES))`.
    """
    present = ops.expand_dims(ops.cast(mask, dtype), -1)
    own = ops.one_hot(cases, len(CASES), dtype=dtype) * present
    wide = ops.pad(own, ((0, 0), (1, 1), (0, 0)))
    count = ops.maximum(ops.sum(present, axis=1, keepdims=True), 1)
    text = ops.sum(own, axis=1, keepdims=True) / count
    return ops.concatenate([wide[:, :-2], own, wide[:, 2:], text * present], axis=-1)


def is_word(raw: Mapping[str, Any]) -> Any:
    """Return where features or the raw output of a tagging head are about words."""
    return ops.convert_to_tensor(raw["ends"]) > ops.convert_to_tensor(raw["starts"])


def best_tags(raw: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the best tags of a raw output, and their probabilities.

    Args:
        raw: What a `Tagging` head returned.

    Returns:
        int32 and float32 `(batch, words)`; 0 where there is no word.
    """
    emissions, mask = raw["emissions"], is_word(raw)
    if "transitions" in raw:
        tags = linear_chain.viterbi(emissions, raw["transitions"], mask)
        chances = linear_chain.marginals(emissions, raw["transitions"], mask)
    else:
        best = ops.cast(ops.argmax(emissions, axis=-1), "int32")
        tags = ops.where(mask, best, 0)
        chances = ops.softmax(emissions, axis=-1)
    chosen = ops.take_along_axis(chances, ops.expand_dims(tags, -1), axis=-1)[..., 0]
    return tags, ops.where(mask, chosen, 0.0)
