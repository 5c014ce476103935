"""Which word has been hidden?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_zoo.auxiliary.auxiliary import OfBatches, all_weights, ones
from mtl_zoo.heads import WordClassification
from mtl_zoo.losses import Tags
from mtl_zoo.task import Task


class MaskedWords(OfBatches):
    """Guess words that are hidden from the network: a masked language model.

    Of each batch, words are drawn whose first piece is one of the most frequent, and
    that piece reads `[MASK]`. All tasks read the text so, like with dropout of words.

    Args:
        texts: Training texts, whose first pieces of words are counted.
        word_pieces: A `trunks.WordPieces`, such as `trunk.prepare`.
        classes: How many of the most frequent pieces can be guessed. Defaults to
            `1000`.
        share: Of such words that are hidden. Defaults to `0.15`.
        name: Defaults to `"masked_words"`.
        seed: Of what is drawn. Defaults to `0`.

    Raises:
        ValueError: When there is no mask among the pieces, or `share` is not in 0 to 1.

    Differences from the paper:
        A hidden piece always reads `[MASK]`; only first pieces of words are hidden, and
        only frequent ones, as the head scores every class at every word. KerasHub's
        `MaskedLMHead` wants the places that are hidden, which features do not tell.

    Reference:
        - [Devlin et al., 2019](https://arxiv.org/abs/1810.04805), section 3.1.
    """

    draws = True

    def __init__(
        self,
        texts: Sequence[str],
        word_pieces: Any,
        classes: int = 1000,
        share: float = 0.15,
        name: str = "masked_words",
        seed: int = 0,
    ) -> None:
        super().__init__(name, seed)
        if not 0 < share <= 1:
            raise ValueError(
                f"`share` must be above 0, and 1 at the most. Received: share={share}"
            )
        self.share = share
        self.mask_id = word_pieces.mask_id
        if word_pieces.vocabulary[self.mask_id] != "[MASK]":
            raise ValueError(
                "Expected word pieces with a [MASK]. Received "
                f"{len(word_pieces.vocabulary)} pieces without one."
            )
        counts: Counter[int] = Counter()
        for at in range(0, len(texts), _AT_ONCE):
            inputs = word_pieces(tf.constant(texts[at : at + _AT_ONCE]))
            pieces, present = _first_pieces(inputs)
            counts.update(pieces[present].numpy().tolist())
        for special in word_pieces.special_ids:
            counts.pop(special, None)
        self.pieces = [piece for piece, _ in counts.most_common(classes)]
        self.class_names = [word_pieces.vocabulary[piece] for piece in self.pieces]
        class_of = np.full(len(word_pieces.vocabulary), -1, "int32")
        class_of[self.pieces] = np.arange(len(self.pieces))
        self._class_of = tf.constant(class_of)

    def added(
        self, inputs: Any, labels: dict, weights: dict | None = None, *, key: Any
    ) -> tuple[Any, dict, dict]:
        """Return the batch with words hidden, which are the label."""
        weights = all_weights(inputs["starts"], labels, weights)
        pieces, present = _first_pieces(inputs)
        classes = tf.where(present, tf.gather(self._class_of, pieces), -1)
        drawn = tf.random.stateless_uniform(tf.shape(classes), key) < self.share
        hidden = drawn & (classes >= 0)
        ids = inputs["token_ids"]
        places = inputs["word_tokens"][hidden]
        masked = tf.tensor_scatter_nd_update(
            tf.reshape(ids, [-1]),
            places[:, None],
            tf.fill(tf.shape(places), tf.cast(self.mask_id, ids.dtype)),
        )
        label = {"tags": tf.where(hidden, classes, -1), "scored": hidden}
        return (
            {**inputs, "token_ids": tf.reshape(masked, tf.shape(ids))},
            {**labels, self.name: label},
            {**weights, self.name: ones(inputs["starts"])},
        )

    def task(self, weight: Any = 1.0, **head: Any) -> Task:
        """Return a classification of each word; see `heads.WordClassification`."""
        return Task(
            self.name,
            WordClassification(self.class_names, **head),
            Tags(),
            weight=weight,
            role="auxiliary",
        )


_AT_ONCE = 1024


def _first_pieces(inputs: dict) -> tuple[Any, Any]:
    """Return the first piece of each word, and where there is a word."""
    tokens = inputs["word_tokens"]
    pieces = tf.gather(tf.reshape(inputs["token_ids"], [-1]), tf.maximum(tokens, 0))
    return pieces, tokens >= 0
