"""What heads read of a text: its words and the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

OF_WORDS = ("starts", "ends", "cases")


@keras.saving.register_keras_serializable(package="mtl_zoo")
class TextFeatures(keras.layers.Layer):
    """Gather the hidden states of windows into features of texts.

    Tasks that need less depth can read an earlier layer, `words_from`, and leave the
    last ones to the others (Søgaard and Goldberg, 2016).

    A word has the state of its first piece. A text has the mean state of its pieces,
    `[CLS]` and `[SEP]` included: the mean over the pieces of a window, then over the
    text's windows.

    Args:
        words_from: Name of the stage whose states the words have. Defaults to `None`:
            the last.
        pairs: Whether there is `pair` too, for tasks about two texts in one string
            (`mtl_zoo.text_pairs`). Defaults to `False`.

    Inputs:
        A mapping with what `WordPieces` returns, for `N` windows of `L` pieces of
        `batch` texts with up to `W` words, and the stages' hidden states
        `(N, L, width)`, of which the last is read.

    Returns:
        `words` `(batch, W, width)`, zero where there is no word; `sentence` `(batch,
        width)`; and, as they came, `starts`, `ends` and `cases` `(batch, W)`. With
        `pairs`, `pair` `(batch, 3 * width)`: `sentence`, `|a - b|` and `a * b`, `a` and
        `b` being the mean states of the pieces of the first and of the second text (Tai
        et al., 2015, section 4.2; Hashimoto et al., 2017, section 2.5); of one text
        alone, `b` is 0.

    References:
        - [Søgaard and Goldberg, 2016](https://aclanthology.org/P16-2038)
        - [Tai et al., 2015](https://arxiv.org/abs/1503.00075)
    """

    def __init__(
        self, words_from: str | None = None, pairs: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.words_from = words_from
        self.pairs = pairs

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        last = list(inputs)[-1]
        states, of_words = inputs[last], inputs[self.words_from or last]
        width = states.shape[-1]
        tokens = inputs["word_tokens"]
        words = ops.take(
            ops.reshape(of_words, (-1, width)), ops.maximum(tokens, 0), axis=0
        )
        present = ops.cast(tokens >= 0, states.dtype)
        mask = ops.cast(inputs["padding_mask"], states.dtype)
        windows = ops.sum(states, axis=1) / ops.sum(mask, axis=1, keepdims=True)
        rows = ops.arange(ops.shape(tokens)[0])
        belongs = ops.cast(
            ops.equal(ops.expand_dims(rows, 1), inputs["window_text"]), states.dtype
        )
        sentence = ops.matmul(belongs, windows)
        sentence = sentence / ops.sum(belongs, axis=1, keepdims=True)
        found = {
            "words": words * ops.expand_dims(present, -1),
            "sentence": sentence,
            **{name: inputs[name] for name in OF_WORDS},
        }
        if self.pairs:
            second = ops.cast(inputs["segment_ids"], states.dtype) * mask
            a = _mean_of(states, mask - second, belongs)
            b = _mean_of(states, second, belongs)
            found["pair"] = ops.concatenate([sentence, ops.abs(a - b), a * b], axis=-1)
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "words_from": self.words_from,
            "pairs": self.pairs,
        }


def _mean_of(states: Any, mask: Any, belongs: Any) -> Any:
    """Return the mean over some pieces of the texts, 0 where there is none.

    Args:
        states: `(windows, pieces, width)`.
        mask: `(windows, pieces)`, 1 for those that count, else 0.
        belongs: `(batch, windows)`, 1 for a text's windows, else 0.
    """
    total = ops.matmul(belongs, ops.sum(states * ops.expand_dims(mask, -1), axis=1))
    count = ops.matmul(belongs, ops.sum(mask, axis=1, keepdims=True))
    return total / ops.maximum(count, 1.0)
