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

    Inputs:
        A mapping with what `WordPieces` returns, for `N` windows of `L` pieces of
        `batch` texts with up to `W` words, and the stages' hidden states
        `(N, L, width)`, of which the last is read.

    Returns:
        `words` `(batch, W, width)`, zero where there is no word; `sentence` `(batch,
        width)`; and, as they came, `starts`, `ends` and `cases` `(batch, W)`.

    Reference:
        - [Søgaard and Goldberg, 2016](https://aclanthology.org/P16-2038)
    """

    def __init__(self, words_from: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words_from = words_from

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
        return {
            "words": words * ops.expand_dims(present, -1),
            "sentence": sentence / ops.sum(belongs, axis=1, keepdims=True),
            **{name: inputs[name] for name in OF_WORDS},
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "words_from": self.words_from}
